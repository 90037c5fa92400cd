"""Items to learn from and to test with, and the numbers of their tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import TextError
from ..tensor.random import Generator

HELD_OUT = 0.1  # of the items for validation, and as many for the test


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
                f"{sum(map(len, files))} items are too few to learn from and to test with"
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


class Index:
    """Tokens with an id each: 0 for an unknown one, then the most frequent first.

    >>> index = Index.of([["a", "rose", "is", "a", "rose"]], most=2)
    >>> index.tokens, index.ids(["a", "tulip"]).tolist(), len(index)
    (['a', 'rose'], [1, 0], 3)
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        self.places = {token: i for i, token in enumerate(tokens, start=1)}

    @classmethod
    def of(cls, texts: Iterable[Iterable[str]], most: int, least: int = 1) -> Index:
        """Collects the most frequent tokens that occur at least so often."""
        counts = Counter(token for text in texts for token in text)
        frequent = sorted((t for t in counts if counts[t] >= least), key=lambda t: (-counts[t], t))
        return cls(frequent[:most])

    def __len__(self) -> int:
        return len(self.tokens) + 1

    def ids(self, text: Sequence[str]) -> NDArray[np.int64]:
        """Returns the ids of tokens."""
        return np.array([self.places.get(token, 0) for token in text], np.int64)
