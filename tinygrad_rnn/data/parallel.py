"""Pairs of sequences, batched with others of about their length so that little is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValueError, public
from ..tensor.random import Generator
from .datasets import TextError, read_lines
from .vocabulary import END, PAD, START

Ids = NDArray[np.int64]
Pair = tuple[Ids, Ids]

POOL = 50  # batches that are sorted by length together: alike, and yet not the same each pass


class Batch(NamedTuple):
    """Pairs side by side, time first, filled up with PAD."""

    source: Ids  # (S, B), each ending in END
    lengths: Ids  # (B,), of the sources
    given: Ids  # (T, B): START, and then the target
    wanted: Ids  # (T, B): the target, and then END

    @property
    def symbols(self) -> int:
        """How many symbols of targets are asked for."""
        return int((self.wanted != PAD).sum())


@public
def read_pairs(source: str | Path, target: str | Path) -> list[tuple[str, str]]:
    """The lines of two files, of which each translates the other's, as `read_lines` has them.

    **Returns** pairs; one with an empty side is left out. **Raises** TextError as `read_text` does,
    if the files have different numbers of lines, or if no pair is left.
    """
    sides = [read_lines(path) for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        raise TextError(
            f"{source} has {len(sides[0])} lines and {target} {len(sides[1])}: line for line the "
            "one must translate the other"
        )
    pairs = [pair for pair in zip(*sides, strict=True) if all(side.strip() for side in pair)]
    if not pairs:
        raise TextError(f"{source} and {target} have no line with text on both sides")
    return pairs


@public
def collate(pairs: Sequence[Pair]) -> Batch:
    """A batch of pairs of ids.

    >>> batch = collate([(np.array([5, 6]), np.array([7])), (np.array([5]), np.array([8, 9]))])
    >>> batch.source
    array([[5, 5],
           [6, 2],
           [2, 0]])
    >>> batch.lengths, batch.given.tolist(), batch.wanted.tolist()
    (array([3, 2]), [[1, 1], [7, 8], [0, 9]], [[7, 8], [2, 9], [0, 2]])
    """
    sources = [source for source, _ in pairs]
    return Batch(
        source=_columns(sources, before=False),
        lengths=np.array([len(source) + 1 for source in sources]),
        given=_columns([target for _, target in pairs], before=True),
        wanted=_columns([target for _, target in pairs], before=False),
    )


def _columns(rows: Sequence[Ids], before: bool) -> Ids:
    """Rows side by side, each with START before it or END after it."""
    table = np.full((max(map(len, rows)) + 1, len(rows)), PAD)
    for column, row in enumerate(rows):
        table[int(before) : len(row) + int(before), column] = row
        table[0 if before else len(row), column] = START if before else END
    return table


class Buckets(Iterator[Batch]):
    """Batches of pairs of about one length, pass after pass, shuffled anew for each.

    `position` counts the batches read since the beginning, over all passes; assigning to it goes on
    from there.

    **Arguments** pairs: of ids, without marks. batch: how many of them at a time, the last batches
    of a pass fewer. seed: fixes the order of every pass.

    >>> pairs = [(np.arange(4, 4 + n), np.arange(4, 4 + n)) for n in (3, 1, 3, 1)]
    >>> buckets = Buckets(pairs, batch=2, seed=0)
    >>> sorted(next(buckets).source.shape for _ in range(2)), buckets.batches
    ([(2, 2), (4, 2)], 2)
    """

    @public
    def __init__(self, pairs: Sequence[Pair], batch: int, seed: int = 0) -> None:
        if not pairs:
            raise InvalidValueError("Buckets: expected at least one pair, got none")
        if batch < 1:
            raise InvalidValueError(f"Buckets: batch: expected at least 1, got {batch}")
        self.pairs, self.batch, self.seed = pairs, batch, seed
        self.position = 0
        self._pass, self._order = -1, self._shuffled(0)

    @property
    def batches(self) -> int:
        """How many batches a pass has."""
        return len(self._order)

    def __next__(self) -> Batch:
        number, at = divmod(self.position, self.batches)
        if number != self._pass:
            self._pass, self._order = number, self._shuffled(number)
        self.position += 1
        return collate([self.pairs[i] for i in self._order[at]])

    def _shuffled(self, number: int) -> list[list[int]]:
        generator = Generator((self.seed << 32) + number)
        order = generator.permutation(len(self.pairs)).tolist()
        pool = POOL * self.batch
        cut = [
            alike[i : i + self.batch]
            for start in range(0, len(order), pool)
            for alike in [sorted(order[start : start + pool], key=self._length)]
            for i in range(0, len(alike), self.batch)
        ]
        return [cut[i] for i in generator.permutation(len(cut)).tolist()]

    def _length(self, i: int) -> tuple[int, int]:
        source, target = self.pairs[i]
        return len(source), len(target)


@public
def in_order(pairs: Sequence[Pair], batch: int) -> Iterator[tuple[list[int], Batch]]:
    """Every pair once, the short ones first: their places, and the batch."""
    if batch < 1:
        raise InvalidValueError(f"in_order: batch: expected 1 or more, got {batch}")
    order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][0]), len(pairs[i][1])))
    parts = [order[start : start + batch] for start in range(0, len(order), batch)]
    return ((places, collate([pairs[i] for i in places])) for places in parts)
