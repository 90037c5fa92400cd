"""Sequences of a problem with long dependencies: the loss, and which are processed wrongly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.batching import part_of
from ..nn import cross_entropy, mse_loss
from ..tensor.creation import as_tensor
from ..tensor.tensor import Tensor

IGNORED = -1
NEAR = 0.08  # of a sum of two numbers, a 25th of its range, as in the paper


class Sample(NamedTuple):
    """Sequences, and what is to be learned of them."""

    x: NDArray[np.float32]  # (T, B, features)
    target: NDArray[Any]  # sums, (B, 1); or symbols, (T, B), IGNORED where none is asked for
    legal: NDArray[np.bool_] | None = None  # (T, B, symbols): each that may follow

    @property
    def sums(self) -> bool:
        """Tells whether the target is a sum for each sequence, not a symbol for each step."""
        return self.target.dtype.kind == "f"

    def loss(self, y: Tensor) -> Tensor:
        """Computes the mean squared error of sums, or the mean cross-entropy of symbols.

        **Arguments** y: (T, B, outputs) of a model.
        """
        target = as_tensor(self.target, device=y.device)
        if self.sums:
            return mse_loss(y[-1], target)
        return cross_entropy(y, target, ignore_index=IGNORED)

    def wrong(self, outputs: Tensor) -> NDArray[np.bool_]:
        """Tells which sequences are processed wrongly, (B,).

        A sum, if it is further from the true one than NEAR. A string of Reber's grammar, if a
        symbol that may follow is somewhere less probable than one that may not. Otherwise, if the
        most probable symbol is not the right one.
        """
        y = outputs.numpy()
        if self.sums:
            right = np.abs(y[-1] - self.target).T <= NEAR
        elif self.legal is not None:
            worst = np.where(self.legal, y, np.inf).min(axis=-1)
            best = np.where(self.legal, -np.inf, y).max(axis=-1)
            right = (worst > best) | (self.target == IGNORED)
        else:
            right = (y.argmax(axis=-1) == self.target) | (self.target == IGNORED)
        found: NDArray[np.bool_] = ~right.all(axis=0)  # of a NaN as well
        return found

    def ends(self, count: int) -> Sample:
        """Returns sequences of one length, the most frequent one, whose last step alone counts."""
        if self.sums:
            return Sample(self.x[:, :count], self.target[:count])
        counted = self.target != IGNORED
        lengths = len(counted) - np.argmax(counted[::-1], axis=0)
        length = np.bincount(lengths).argmax()
        rows = np.flatnonzero(lengths == length)[:count]
        target = np.full((length, len(rows)), IGNORED)
        target[-1] = self.target[length - 1, rows]
        return Sample(self.x[:length, rows], target)


class Draws(Iterator[Sample]):
    """Iterates over new samples without an end, which several processes can share.

    Each draws them whole, so that all have the same random numbers.
    """

    def __init__(self, draw: Callable[[], Sample], batch: int) -> None:
        self.draw, self.batch, self.part = draw, batch, slice(None)

    def shard(self, rank: int, size: int) -> None:
        """Gives this process every size-th sequence."""
        self.part = part_of("Memory", rank, size, self.batch)

    def __next__(self) -> Sample:
        whole = self.draw()
        target = whole.target[self.part] if whole.sums else whole.target[:, self.part]
        return Sample(whole.x[:, self.part], target)
