"""Batches on their way to a GPU: page-locked memory, and copies in a stream of their own.

A background thread puts a batch in page-locked memory, which the GPU reads by itself. The thread
that uses the batches issues the copy, in a second stream: it runs beside the work on the batch
before, and the thread that takes the batch lets its own stream wait for it, not the host.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from ..tensor import backend, tree
from ..tensor.graph import wrap
from ..tensor.tensor import Tensor


class Transfers:
    """Copies batches to a GPU, in a stream of their own."""

    def __init__(self, device: str) -> None:
        self.device = device
        with backend.placed(device) as self.xp:
            self.stream = self.xp.cuda.Stream(non_blocking=True)
        self._unfinished: deque[tuple[Any, Any]] = deque()  # events, and what is read until then

    def locked(self, batch: Any) -> Any:
        """Copies the Tensors of a batch to page-locked memory."""
        with backend.placed(self.device):
            return tree.mapped(self._locked, batch)

    def _locked(self, x: Any) -> Any:
        if not _copied(x):
            return x
        memory = self.xp.cuda.alloc_pinned_memory(x.array.nbytes)
        array = np.frombuffer(memory, x.array.dtype, x.size).reshape(x.shape)
        array[...] = x.array
        return wrap(Tensor, array, None)

    def start(self, batch: Any) -> Transfer:
        """Starts to copy a batch, whose Tensors `locked` has made."""
        with backend.placed(self.device):
            # Its memory may be that of a batch whose last use has been launched, but has not run.
            self.stream.wait_event(self.xp.cuda.get_current_stream().record())
            with self.stream:
                there = tree.mapped(self._there, batch)
            event = self.stream.record()
        while self._unfinished and self._unfinished[0][0].done:
            self._unfinished.popleft()
        self._unfinished.append((event, batch))
        return Transfer(self, there, event)

    def _there(self, x: Any) -> Any:
        if not _copied(x):
            return x.to(self.device) if isinstance(x, Tensor) else x
        array = self.xp.empty(x.shape, x.array.dtype)
        array.data.copy_from_host_async(x.array.ctypes.data, x.array.nbytes, self.stream)
        return wrap(Tensor, array, None)


class Transfer:
    """A batch during its copy, with the interface of the future that prepared it."""

    def __init__(self, transfers: Transfers, batch: Any, event: Any) -> None:
        self._transfers, self._batch, self._event = transfers, batch, event

    def result(self) -> Any:
        """Returns the batch, for use in the current stream, which waits for the copy."""
        with backend.placed(self._transfers.device) as xp:
            xp.cuda.get_current_stream().wait_event(self._event)
        return self._batch

    def cancel(self) -> None:
        """Does nothing: the copy runs."""


def _copied(x: object) -> bool:
    """Tells whether the second stream copies an element of a batch: a constant of the host."""
    return isinstance(x, Tensor) and x.edge is None and type(x.array) is np.ndarray and x.size > 0
