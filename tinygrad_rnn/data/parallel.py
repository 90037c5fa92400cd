"""Pairs of sequences, batched with others of similar length so that there is little padding."""

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

POOL = 50  # batches that are sorted by length together: similar, yet not the same each epoch


class Batch(NamedTuple):
    """A padded batch of pairs, time first."""

    source: Ids  # (S, B), each ending in END
    lengths: Ids  # (B,), of the sources
    inputs: Ids  # (T, B) of the decoder: START, and then the target
    targets: Ids  # (T, B): the target, and then END

    @property
    def symbols(self) -> int:
        """The number of target symbols without padding."""
        return int((self.targets != PAD).sum())


@public
def read_pairs(source: str | Path, target: str | Path) -> list[tuple[str, str]]:
    """Reads two files of which each line translates the other's, with `read_lines`.

    **Returns** the pairs without an empty side. **Raises** TextError as `read_text` does, and if
    the files have different numbers of lines, or no pair.
    """
    sides = [read_lines(path) for path in (source, target)]
    if len(sides[0]) != len(sides[1]):
        raise TextError(
            f"{source} has {len(sides[0])} lines and {target} {len(sides[1])}: each line of one "
            "must translate the same line of the other"
        )
    pairs = [pair for pair in zip(*sides, strict=True) if all(side.strip() for side in pair)]
    if not pairs:
        raise TextError(f"{source} and {target} have no line with text on both sides")
    return pairs


@public
def collate(pairs: Sequence[Pair]) -> Batch:
    """Pads pairs of ids to a batch.

    >>> batch = collate([(np.array([5, 6]), np.array([7])), (np.array([5]), np.array([8, 9]))])
    >>> batch.source
    array([[5, 5],
           [6, 2],
           [2, 0]])
    >>> batch.lengths, batch.inputs.tolist(), batch.targets.tolist()
    (array([3, 2]), [[1, 1], [7, 8], [0, 9]], [[7, 8], [2, 9], [0, 2]])
    """
    sources = [source for source, _ in pairs]
    return Batch(
        source=_columns(sources, before=False),
        lengths=np.array([len(source) + 1 for source in sources]),
        inputs=_columns([target for _, target in pairs], before=True),
        targets=_columns([target for _, target in pairs], before=False),
    )


def _columns(rows: Sequence[Ids], before: bool) -> Ids:
    """Pads rows to the columns of a table, each with START before it or END after it."""
    table = np.full((max(map(len, rows)) + 1, len(rows)), PAD)
    for column, row in enumerate(rows):
        table[int(before) : len(row) + int(before), column] = row
        table[0 if before else len(row), column] = START if before else END
    return table


class Buckets(Iterator[Batch]):
    """Batches of pairs of similar length (a bucket sampler), shuffled for each epoch.

    `position` counts the batches of all epochs so far; assigning to it moves the sampler there.

    **Arguments** pairs: of ids, without special symbols. batch: pairs in a batch; the last batches
    of an epoch have fewer. seed: determines the order of every epoch.

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
        self._epoch, self._order = -1, self._shuffled(0)

    @property
    def batches(self) -> int:
        """The number of batches in an epoch."""
        return len(self._order)

    def __next__(self) -> Batch:
        epoch, at = divmod(self.position, self.batches)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        self.position += 1
        return collate([self.pairs[i] for i in self._order[at]])

    def _shuffled(self, epoch: int) -> list[list[int]]:
        generator = Generator((self.seed << 32) + epoch)
        order = generator.permutation(len(self.pairs)).tolist()
        pool = POOL * self.batch
        batches = [
            similar[i : i + self.batch]
            for start in range(0, len(order), pool)
            for similar in [sorted(order[start : start + pool], key=self._length)]
            for i in range(0, len(similar), self.batch)
        ]
        return [batches[i] for i in generator.permutation(len(batches)).tolist()]

    def _length(self, i: int) -> tuple[int, int]:
        source, target = self.pairs[i]
        return len(source), len(target)


@public
def in_order(pairs: Sequence[Pair], batch: int) -> Iterator[tuple[list[int], Batch]]:
    """Batches every pair once, in the order of their lengths: yields indices and the batch."""
    if batch < 1:
        raise InvalidValueError(f"in_order: batch: expected 1 or more, got {batch}")
    order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][0]), len(pairs[i][1])))
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    return ((indices, collate([pairs[i] for i in indices])) for indices in batches)
