"""Parallel streams over a text, cut into windows, for truncated back-propagation through time.

A text of n + 1 symbols has n targets: the symbol after each of the first n. B streams divide it
into contiguous segments, which are the columns of a batch. A window holds the next `window` steps
of all streams. Window k + 1 begins where window k ends, so a model can carry its hidden state
from one to the next.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValueError, public

Window = tuple[NDArray[Any], NDArray[Any]]


class Streams:
    """Iterates over the windows of parallel streams, epoch after epoch.

    In an epoch every symbol is a target exactly once, except the first, which nothing precedes, and
    fewer than `batch` at the end. The last window of an epoch is shorter if `window` does not
    divide the streams' length. `position` counts the windows of all epochs so far; assigning to it
    moves the streams there.

    **Arguments** ids: (n + 1,) integers. batch: the number of parallel streams, B. window: the
    steps in a window, T.

    **Raises** ValueError if the sequence is too short for one window.

    >>> streams = Streams(np.arange(9), batch=2, window=3)
    >>> x, y = next(streams)
    >>> x
    array([[0, 4],
           [1, 5],
           [2, 6]])
    >>> y[-1], streams.position, streams.windows
    (array([3, 7]), 1, 2)
    """

    @public
    def __init__(self, ids: NDArray[Any], batch: int, window: int) -> None:
        if operator.index(batch) < 1 or operator.index(window) < 1:
            raise InvalidValueError(
                f"batch and window must be at least 1, not {batch} and {window}"
            )
        if len(ids) < batch * window + 1:
            raise InvalidValueError(
                f"{len(ids)} symbols are too few: {batch} streams of {window} steps need at least "
                f"{batch * window + 1}. Lower batch or window, or use a longer text"
            )
        self.batch = batch
        self.window = window
        self.length = (len(ids) - 1) // batch
        used = self.length * batch
        # Time-major and contiguous, so that a window is a plain slice.
        self._x = np.ascontiguousarray(ids[:used].reshape(batch, self.length).T)
        self._y = np.ascontiguousarray(ids[1 : used + 1].reshape(batch, self.length).T)
        self._whole = self._x, self._y
        self.position = 0

    @public
    def shard(self, rank: int, size: int) -> None:
        """Gives the streams to several processes: to this one every size-th.

        **Arguments** rank: of this process, from 0. size: the number of processes.

        >>> streams = Streams(np.arange(9), batch=2, window=3)
        >>> streams.shard(1, 2)
        >>> next(streams)[0].tolist()
        [[4], [5], [6]]
        """
        part = part_of("Streams.shard", rank, size, self.batch)
        self._x, self._y = (np.ascontiguousarray(ids[:, part]) for ids in self._whole)

    @property
    def windows(self) -> int:
        """The number of windows in an epoch."""
        return -(-self.length // self.window)

    @property
    def at_start(self) -> bool:
        """Tells whether the next window begins an epoch, with a state of its own."""
        return self.position % self.windows == 0

    def state_dict(self) -> dict[str, int]:
        """Returns the position, which `load_state_dict` restores."""
        return {"position": self.position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restores a position."""
        self.position = operator.index(state["position"])

    def __iter__(self) -> Iterator[Window]:
        return self

    def __next__(self) -> Window:
        """Returns the next window; after the last one a new epoch begins.

        **Returns** `(x, y)`, both (T, B); `y[t, b]` is the symbol that follows `x[t, b]`.
        """
        start = self.position % self.windows * self.window
        self.position += 1
        steps = slice(start, start + self.window)
        return self._x[steps], self._y[steps]


def part_of(what: str, rank: int, size: int, batch: int) -> slice:
    """Returns the part of a batch that one of several processes reads: every size-th element.

    Where lengths are sorted, neighbours are of similar length, so all processes have about the same
    work.
    """
    rank, size = operator.index(rank), operator.index(size)
    if not 0 <= rank < size:
        raise InvalidValueError(f"{what}: rank: expected 0 to size - 1 = {size - 1}, got {rank}")
    if size > batch:
        raise InvalidValueError(
            f"{what}: size: {size} processes divide batches of {batch}: raise the batch size, or "
            "start fewer processes"
        )
    return slice(rank, None, size)
