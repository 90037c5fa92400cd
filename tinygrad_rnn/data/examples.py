"""The data of tasks without files of users' own: sentences, addresses, and vowels."""

from __future__ import annotations

import io
import math
import tarfile
import xml.etree.ElementTree as ET

from ..tensor.random import Generator
from .conll import Sentence
from .sets import SETS
from .ts import Case, parse_ts


def movie_sentences() -> list[tuple[str, str, float]]:
    """Reads sentences of movie reviews; the label is the sign of the mean rating by people.

    The farther the rating is from 0, the surer is the label.

    **Raises** TextError if the archive of the package vaderSentiment is not there.
    """
    inner = SETS["movies"].read("additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        file = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        assert file is not None
        rows = [line.split("\t", 2) for line in file.read().decode("utf-8", "replace").splitlines()]
    rated = [(text.strip(), float(rating)) for _, rating, text in rows]
    return [
        (text, "positive" if r > 0 else "negative", 1 / (1 + math.exp(-1.5 * abs(r))))
        for text, r in rated
        if r
    ]


def addresses() -> list[Sentence]:
    """Reads labelled addresses. **Raises** TextError if the archive of usaddress is not there."""
    root = ET.fromstring(SETS["addresses"].read("training/labeled.xml"))
    return [[((part.text or "").strip(), part.tag) for part in address] for address in root]


RIVER = ["of the river", "where the boats lie", "and fished", "under the willows"]
MONEY = ["to withdraw cash", "that gave the loan", "and paid a cheque", "before it closed"]
BEGINNINGS = ["I went to the", "she walked to the", "we came to the", "they met at the"]


def bank_sentences(count: int, seed: int) -> list[Sentence]:
    """Draws sentences in which the words after "bank" say which of the two it is.

    >>> [sentence] = bank_sentences(1, seed=3)
    >>> dict(sentence)["bank"] in ("RIVER", "MONEY")
    True
    """
    generator, found = Generator(seed), []
    for kind, i, j in generator.integers(0, 4, (count, 3)).tolist():
        tag, ends = ("RIVER", RIVER) if kind % 2 else ("MONEY", MONEY)
        words = [*BEGINNINGS[i].split(), "bank", *ends[j].split()]
        found.append([(word, tag if word == "bank" else "O") for word in words])
    return found


def japanese_vowels() -> list[list[Case]]:
    """Reads the utterances of nine speakers, to learn from and for the test.

    **Raises** TextError if the package aeon is not installed.
    """
    names = [f"datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts" for part in ("TRAIN", "TEST")]
    return [parse_ts(SETS["vowels"].read(name).decode("utf-8", "replace"), name) for name in names]
