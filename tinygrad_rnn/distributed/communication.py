"""The communicator: what ranks say to each other. This one is of a process alone.

A subclass for another engine (NCCL through CuPy, say) defines the same four methods: all else is
made of them.
"""

from __future__ import annotations

import functools
import os
import time
from typing import Any, TypeVar

import numpy as np

from ..errors import InvalidValueError, public
from ..tensor import backend
from ..tensor.backend import Array

T = TypeVar("T")

# What mpiexec (of MPICH, Intel MPI, Open MPI) and srun tell the processes that they start.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
LAUNCHED = (*SIZES, "PMIX_RANK")
TIMEOUT = "TINYGRAD_RNN_TIMEOUT"
FIRST = 1.0  # seconds that rank 0 has to report a failure that all ranks have


class Communicator:
    """A single process, rank 0 of 1: `communicator()` returns it where there are no other ranks.

    All ranks call the same methods in the same order; each call returns when all have made it.

    >>> alone = Communicator()
    >>> alone.rank, alone.size, alone.gather("mine")
    (0, 1, ['mine'])
    """

    rank = 0
    size = 1

    def sum(self, array: Array) -> Array:
        """Sums arrays of one shape over the ranks, in place. **Returns** the array."""
        return array

    def broadcast(self, value: Any) -> Any:
        """Returns rank 0's value; the other ranks' are not read."""
        return value

    def gather(self, value: T) -> list[T]:
        """Returns the values of all ranks, on each."""
        return [value]

    def abort(self, status: int) -> None:
        """Ends the processes of all ranks; alone, does nothing."""

    # ------------------------------------------------------------ made of these

    def part(self, array: Array, axis: int = 0) -> Array:
        """Returns this rank's elements along an axis: every size-th, from its number on.

        Sorted by length, the ranks' sequences are of similar lengths.
        """
        if self.size == 1:
            return array
        return array[(slice(None),) * axis + (slice(self.rank, None, self.size),)]

    def join(self, part: Array, axis: int = 0) -> Array:
        """Joins the parts of all ranks to the array that `part` divides."""
        if self.size == 1:
            return part
        parts = self.gather(backend.to_host(part))
        shape = list(part.shape)
        shape[axis] = sum(one.shape[axis] for one in parts)
        whole = np.empty(shape, part.dtype)
        for rank, one in enumerate(parts):
            whole[(slice(None),) * axis + (slice(rank, None, self.size),)] = one
        return backend.to_device(whole, backend.device_of(part))


@public
def communicator() -> Communicator:
    """Returns the communicator of this process: MPI's where mpiexec or srun started it.

    **Raises** ValueError if they did, and mpi4py is missing or belongs to another MPI.

    >>> communicator().size
    1
    """
    return _of_this_process()


@functools.cache
def _of_this_process() -> Communicator:
    sizes = [int(os.environ[name]) for name in SIZES if name in os.environ]
    if not any(name in os.environ for name in LAUNCHED) or sizes == [1]:
        return Communicator()
    from .mpi import MPI

    ranks = MPI(_timeout())
    if sizes and ranks.size != sizes[0]:
        raise InvalidValueError(
            f"communicator: mpiexec started {sizes[0]} processes, but mpi4py sees {ranks.size}: it "
            f"belongs to another MPI ({ranks.library}): use the mpiexec of that one, or install "
            "mpi4py for yours: pip install --no-binary mpi4py mpi4py"
        )
    return ranks if ranks.size > 1 else Communicator()


def _timeout() -> float:
    text = os.environ.get(TIMEOUT, "600")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise InvalidValueError(f"{TIMEOUT}: expected seconds above 0, got {text!r}")
    return seconds


def give_way() -> None:
    """Waits for rank 0 to end the job, in case it reports the same failure as this rank."""
    if _of_this_process.cache_info().currsize and _of_this_process().rank:
        time.sleep(FIRST)


def leave(status: int) -> None:
    """Ends the processes of all ranks, if this one fails."""
    if status and _of_this_process.cache_info().currsize:
        _of_this_process().abort(status)
