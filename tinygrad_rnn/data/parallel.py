"""Pairs of sequences, such as sentences and their translations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValueError, public
from .datasets import TextError, read_lines
from .vocabulary import END, PAD, START

Ids = NDArray[np.int64]
Pair = tuple[Ids, Ids]


class Batch(NamedTuple):
    """A padded batch of pairs, time first.

    >>> import tinygrad_rnn as tg
    >>> batch = tg.data.collate_pairs([([5, 6], [7]), ([5], [8, 9])])
    >>> batch.source.shape, batch.symbols
    ((3, 2), 5)
    """

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
    """Reads two files whose lines translate each other, with `read_lines`.

    **Returns** the pairs without an empty side. **Raises** TextError as `read_text` does, and if
    the files have different numbers of lines, or no pair.

    >>> import tempfile, tinygrad_rnn as tg
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     en, es = Path(folder, "en"), Path(folder, "es")
    ...     _ = en.write_text("a cat"), es.write_text("un gato")
    ...     tg.data.read_pairs(en, es)
    [('a cat', 'un gato')]
    """
    return file_pairs(source, target)


def file_pairs(source: str | Path, target: str | Path) -> list[tuple[str, str]]:
    """Reads pairs as `read_pairs` does, for the command, whose errors name no function."""
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
def collate_pairs(pairs: Sequence[Pair]) -> Batch:
    """Pads pairs of ids to a batch.

    >>> first, second = (np.array([5, 6]), np.array([7])), (np.array([5]), np.array([8, 9]))
    >>> batch = collate_pairs([first, second])
    >>> batch.source
    array([[5, 5],
           [6, 2],
           [2, 0]])
    >>> batch.lengths, batch.inputs.tolist(), batch.targets.tolist()
    (array([3, 2]), [[1, 1], [7, 8], [0, 9]], [[7, 8], [2, 9], [0, 2]])
    """
    sources = [source for source, _ in pairs]
    return Batch(
        source=columns(sources, before=False),
        lengths=np.array([len(source) + 1 for source in sources]),
        inputs=columns([target for _, target in pairs], before=True),
        targets=columns([target for _, target in pairs], before=False),
    )


def columns(rows: Sequence[Ids], before: bool) -> Ids:
    """Pads rows to the columns of a table, each with START before it or END after it."""
    table = np.full((max(map(len, rows)) + 1, len(rows)), PAD)
    for column, row in enumerate(rows):
        table[int(before) : len(row) + int(before), column] = row
        table[0 if before else len(row), column] = START if before else END
    return table


def pair_lengths(pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """Returns the lengths of both sides of each pair: pairs of similar length share a batch."""
    return [(len(source), len(target)) for source, target in pairs]


@public
def in_order(pairs: Sequence[Pair], batch: int) -> Iterator[tuple[list[int], Batch]]:
    """Batches every pair once, in the order of their lengths: yields indices and the batch.

    >>> import tinygrad_rnn as tg
    >>> pairs = [([5, 6, 7], [7]), ([5], [8]), ([6, 5], [9])]
    >>> [rows for rows, batch in tg.data.in_order(pairs, 2)]
    [[1, 2], [0]]
    """
    if batch < 1:
        raise InvalidValueError(f"in_order: batch: expected 1 or more, got {batch}")
    lengths = pair_lengths(pairs)
    order = sorted(range(len(pairs)), key=lambda i: lengths[i])
    batches = [order[start : start + batch] for start in range(0, len(order), batch)]
    return ((indices, collate_pairs([pairs[i] for i in indices])) for indices in batches)
