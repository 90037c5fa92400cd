"""The sequences of problems with long dependencies.

    adding      the sum of the two marked of T numbers
    copying     ten symbols, T blanks, a marker; then the ten symbols again
    order       which of X and Y came first and which second, among T distractors
    reber       strings of the embedded Reber grammar: its second symbol is also its last but one

All but `copying` (Arjovsky et al. 2016) are experiments of Hochreiter and Schmidhuber (1997, "Long
short-term memory", sections 5.1, 5.4 and 5.6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tensor.random import Generator
from .sample import IGNORED, Sample

COPIED, ALPHABET = 10, 8
DISTRACTORS = 4  # symbols besides X and Y
REBER = "BTPSXVE"
NEXT: tuple[dict[str, int], ...] = (  # a state's successors, by symbol; the last state ends
    {"T": 1, "P": 2}, {"S": 1, "X": 3}, {"T": 2, "V": 4}, {"X": 2, "S": 5}, {"P": 3, "V": 5}, {},
)  # fmt: skip


def adding(generator: Generator, length: int, batch: int) -> Sample:
    """Draws numbers in [0, 1), two of them marked, one in each half.

    >>> x, sums, _ = adding(Generator(0), length=6, batch=3)
    >>> bool((x[:, :, 1].sum(axis=0) == 2).all())
    True
    """
    rows, middle = np.arange(batch), length // 2
    numbers = generator.random((length, batch)).astype("float32")
    marks = np.zeros_like(numbers)
    marks[generator.integers(0, middle, (batch,)), rows] = 1
    marks[generator.integers(middle, length, (batch,)), rows] = 1
    return Sample(np.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=0)[:, None])


def copying(generator: Generator, length: int, batch: int) -> Sample:
    """Draws ten symbols, then `length` blanks, of which the last is a marker, then ten blanks.

    >>> x, target, _ = copying(Generator(0), length=5, batch=1)
    >>> len(x), bool((target[15:, 0] == x[:10, 0].argmax(axis=-1)).all())
    (25, True)
    """
    symbols = generator.integers(0, ALPHABET, (COPIED, batch))
    blank, marker = ALPHABET, ALPHABET + 1
    ids = np.full((2 * COPIED + length, batch), blank)
    ids[:COPIED], ids[COPIED + length - 1] = symbols, marker
    target = np.full_like(ids, IGNORED)
    target[-COPIED:] = symbols
    return Sample(_one_hot(ids, ALPHABET + 2), target)


def order(generator: Generator, length: int, batch: int) -> Sample:
    """Draws distractors, and X or Y after a tenth and again after half of them.

    >>> x, target, _ = order(Generator(0), length=20, batch=8)
    >>> sorted({*target[-1].tolist()}), bool((target[:-1] == IGNORED).all())
    ([0, 1, 2, 3], True)
    """
    rows, tenth = np.arange(batch), max(1, length // 10)
    ids = generator.integers(2, 2 + DISTRACTORS, (length, batch))
    first, second = generator.integers(0, 2, (2, batch))
    early = generator.integers(0, tenth, (2, batch))
    ids[length // 10 + early[0], rows] = first
    ids[length // 2 + early[1], rows] = second
    target = np.full_like(ids, IGNORED)
    target[-1] = 2 * first + second
    return Sample(_one_hot(ids, 2 + DISTRACTORS), target)


def reber(generator: Generator, length: int, batch: int) -> Sample:
    """Draws strings of the embedded Reber grammar; the grammar draws their lengths, from 9 on.

    >>> x, target, legal = reber(Generator(0), length=0, batch=1)
    >>> "".join(REBER[i] for i in x[:, 0].argmax(axis=-1)), REBER[target[-1, 0]]
    ('BPBPVPXTTTTVVEP', 'E')
    """
    drawn = [_reber(generator) for _ in range(batch)]
    steps = max(len(text) for text, _ in drawn) - 1
    x = np.zeros((steps, batch, len(REBER)), "float32")
    target = np.full((steps, batch), IGNORED)
    legal = np.ones((steps, batch, len(REBER)), bool)
    for row, (text, choices) in enumerate(drawn):
        ids = np.array([REBER.index(symbol) for symbol in text])
        x[np.arange(len(ids) - 1), row, ids[:-1]] = 1
        target[: len(ids) - 1, row] = ids[1:]
        for t, allowed in enumerate(choices[1:]):
            legal[t, row] = [symbol in allowed for symbol in REBER]
    return Sample(x, target, legal)


def _reber(generator: Generator) -> tuple[str, list[str]]:
    """A string, and the symbols that were legal at each of its places."""
    outer = "TP"[generator.integers(0, 2, ()).item()]
    text, choices, state = "B" + outer + "B", ["B", "TP", "B"], 0
    while NEXT[state]:
        legal = "".join(NEXT[state])
        symbol = legal[generator.integers(0, 2, ()).item()]
        text, state = text + symbol, NEXT[state][symbol]
        choices.append(legal)
    return text + "E" + outer + "E", [*choices, "E", outer, "E"]


def _one_hot(ids: NDArray[Any], count: int) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = np.eye(count, dtype="float32")[ids]
    return vectors


@dataclass(frozen=True)
class Problem:
    """A problem: its sequences, the sizes of input and output, and the paper's result for LSTM."""

    draw: Callable[[Generator, int, int], Sample]
    features: int
    outputs: int
    paper: str  # sequences until it was solved, and in how many trials


PROBLEMS = {
    "adding": Problem(adding, 2, 1, "all, 74,000"),
    "copying": Problem(copying, ALPHABET + 2, ALPHABET, ""),
    "order": Problem(order, 2 + DISTRACTORS, 4, "all, 31,390"),
    "reber": Problem(reber, len(REBER), len(REBER), "97-100 %, 8,440-39,740"),
}
