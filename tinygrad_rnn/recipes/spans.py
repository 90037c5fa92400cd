"""Spans of tags: entities in BIO, or runs of equal tags; and the baselines of taggers."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from ..errors import needs
from .settings import SettingError

OUTSIDE = "O"
Span = tuple[int, int, str]  # start, end, kind


def is_bio(tags: Sequence[str]) -> bool:
    """Whether a set of tags is BIO: beginnings, insides, and outside."""
    marked = [tag for tag in tags if tag != OUTSIDE]
    return bool(marked) and all(tag[:2] in ("B-", "I-", "E-", "S-") for tag in marked)


def spans(tags: Sequence[str], bio: bool) -> set[Span]:
    """Returns the entities of a sequence, as conlleval counts them; or its runs of equal tags.

    >>> sorted(spans(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"], bio=True))
    [(0, 2, 'PER'), (3, 4, 'LOC'), (4, 5, 'LOC')]
    >>> sorted(spans(["Street", "Street", "City"], bio=False))
    [(0, 2, 'Street'), (2, 3, 'City')]
    """
    found, at = set(), 0
    if not bio:
        for tag, run in groupby(tags):
            start, at = at, at + len(list(run))
            if tag != OUTSIDE:
                found.add((start, at, tag))
        return found
    start, kind = 0, ""
    for i, tag in enumerate([*tags, OUTSIDE]):
        mark, _, name = tag.partition("-")
        ended = bool(kind) and (mark in ("B", "S", OUTSIDE) or name != kind)
        if ended:
            found.add((start, i, kind))
        if tag != OUTSIDE and (ended or not kind):
            start = i
        kind = name if tag != OUTSIDE else ""
    return found


def forbidden(tags: Sequence[str]) -> list[tuple[int | None, int]]:
    """Returns the transitions that BIO excludes: an inside after anything but its entity."""
    if not is_bio(tags) or any(tag[:2] in ("E-", "S-") for tag in tags):
        return []
    kinds = {tag[2:] for tag in tags if tag.startswith("B-")}
    inside = [i for i, tag in enumerate(tags) if tag.startswith("I-") and tag[2:] in kinds]
    wrong: list[tuple[int | None, int]] = [(None, i) for i in inside]
    return wrong + [
        (j, i) for i in inside for j, tag in enumerate(tags) if tag[2:] != tags[i][2:]
    ]  # fmt: skip


class MostFrequentTag:
    """Gives a word its most frequent tag, and an unknown word the most frequent of all.

    >>> tagger = MostFrequentTag([[("the", "D"), ("cat", "N")], [("the", "D")]])
    >>> tagger.predict([["the", "dog"]])
    [['D', 'D']]
    """

    def __init__(self, sentences: Sequence[Sequence[tuple[str, str]]]) -> None:
        counts: dict[str, Counter[str]] = {}
        for sentence in sentences:
            for word, tag in sentence:
                counts.setdefault(word.lower(), Counter())[tag] += 1
        self.best = {word: max(tags, key=lambda t: (tags[t], t)) for word, tags in counts.items()}
        overall = sum(counts.values(), Counter())
        self.default = max(overall, key=lambda t: (overall[t], t))

    def predict(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Tags sentences."""
        return [[self.best.get(word.lower(), self.default) for word in s] for s in sentences]


def features_crf(
    training: Sequence[Sequence[tuple[str, str]]], test: Sequence[Sequence[str]]
) -> list[list[str]]:
    """Tags by a linear-chain CRF on features of a word and its neighbours (Okazaki 2007).

    **Returns** the tags of the test's sentences. **Raises** SettingError without python-crfsuite.
    """
    install = "pip install 'tinygrad_rnn[baselines]'"
    with needs("python-crfsuite", "a CRF on features", install, SettingError):
        import pycrfsuite

    trainer = pycrfsuite.Trainer(verbose=False)
    trainer.set_params({"c1": 0.1, "c2": 0.01, "max_iterations": 200})
    for sentence in training:
        trainer.append(_features([w for w, _ in sentence]), [tag for _, tag in sentence])
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(f"{folder}/crf")
        tagger: Any = pycrfsuite.Tagger()
        tagger.open(f"{folder}/crf")
        found = [tagger.tag(_features(words)) for words in test]
        tagger.close()
    return found


def _features(words: Sequence[str]) -> list[list[str]]:
    def of(word: str) -> list[str]:
        shape = "".join("9" if c.isdigit() else "A" if c.isupper() else "a" for c in word[:6])
        end = "." if not word[-1:].isalnum() else ""
        return [word.lower(), f"end={word[-3:].lower()}", f"start={word[:2].lower()}", shape, end]

    rows = []
    for i in range(len(words)):
        row = ["first"] * (i == 0) + ["last"] * (i == len(words) - 1) + [f"at={min(i, 5)}"]
        for step in (-2, -1, 0, 1, 2):
            if 0 <= i + step < len(words):
                row += [f"{step}:{k}:{value}" for k, value in enumerate(of(words[i + step]))]
        rows.append(row)
    return rows
