"""Items split into those to learn from, those to validate with, and those of the test."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..tensor.random import Generator
from .datasets import TextError

HELD_OUT = 0.1  # of the items for validation, and as many for the test

Texts = tuple[str, str]  # source and target


@dataclass(frozen=True)
class Parts:
    """Items, split."""

    training: list[Any]
    validation: list[Any]
    test: list[Any]

    @classmethod
    def of(cls, files: Sequence[Sequence[Any]], seed: int, limit: int = 0) -> Parts:
        """Splits one file at random; of two the second is the test, of three the third.

        **Arguments** files: the items of each. limit: the most items of a file to use, drawn at
        random; all, if 0. **Raises** TextError for too few items, or too many files.

        >>> parts = Parts.of([range(20)], seed=0)
        >>> len(parts.training), len(parts.validation), len(parts.test)
        (16, 2, 2)
        """
        if len(files) > 3:
            raise TextError(
                f"got {len(files)} files; expected one to split, two (training and test), or three "
                "(training, validation and test)"
            )
        generator = Generator(seed)
        drawn = [[items[i] for i in generator.permutation(len(items)).tolist()] for items in files]
        drawn = [items[: limit or None] for items in drawn]
        for missing in range(3 - len(drawn)):  # the test first, then validation
            first = drawn[0]
            count = max(1, round(HELD_OUT * len(first) / (1 - HELD_OUT * missing)))
            drawn.insert(1, first[:count])
            drawn[0] = first[count:]
        if not all(drawn):
            raise TextError(
                f"{' and '.join(str(len(items)) for items in files)} items are too few to learn "
                "from, to validate and to test with: expected three at least"
            )
        return cls(*drawn)

    def __iter__(self) -> Iterator[list[Any]]:
        return iter((self.training, self.validation, self.test))

    def sizes(self, items: str) -> str:
        """Says how many items each part has.

        >>> Parts([1, 2], [3], [4]).sizes("texts")
        'texts: 2 to learn from, 1 for validation, 1 for the test'
        """
        first, second, third = (f"{len(part):,}" for part in self)
        return f"{items}: {first} to learn from, {second} for validation, {third} for the test"


def by_hash(texts: Iterable[str]) -> list[str]:
    """Sorts texts by their SHA-256 digest, an order that no other text changes."""
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


def split_by_hash(pairs: Sequence[Texts], test: int, validation: int) -> Parts:
    """Splits pairs by a hash of their sources, so that no source is in two parts.

    **Arguments** test, validation: numbers of pairs.

    >>> pairs = [("God", "Dios"), ("day", "dia"), ("God", "Dios"), ("sea", "mar")]
    >>> [len(part) for part in split_by_hash(pairs, test=1, validation=1)]
    [1, 1, 1]
    """
    once = dict(reversed(pairs))  # of equal sources the first counts
    order = [(source, once[source]) for source in by_hash(once)]
    return Parts(
        training=order[test + validation :],
        validation=order[test : test + validation],
        test=order[:test],
    )


def hold_out(pairs: Sequence[Texts], seed: int) -> tuple[list[Texts], list[Texts]]:
    """Splits pairs into training data and one of twenty held out, drawn by a seed.

    **Raises** TextError for one pair only.
    """
    if len(pairs) < 2:
        raise TextError(f"{len(pairs)} pairs are too few: expected two, of which one is held out")
    order = Generator(seed).permutation(len(pairs)).tolist()
    heldout = set(order[: max(1, len(pairs) // 20)])
    return (
        [pair for i, pair in enumerate(pairs) if i not in heldout],
        [pair for i, pair in enumerate(pairs) if i in heldout],
    )
