"""Ranks that MPI connects (extra `mpi`): mpi4py, and the MPI library that it was built for.

No rank waits for ever: collective calls do not block, and a rank that has waited for too long says
so and ends the job. So does one that raises an error nobody catches. Ranks that make different
calls all raise an error: MPI would mix up their numbers.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
import zlib
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from ..errors import InvalidValueError, needs
from ..kernels.cpu.functions import set_num_threads
from ..tensor import backend
from ..tensor.backend import Array
from .communication import FIRST, TIMEOUT, Communicator

T = TypeVar("T")

SPIN = 0.05  # seconds that a rank waits without sleeping
PAUSE = 0.001
ROOM = 62  # numbers that ranks sum while they check that they make the same call
NOTHING = np.zeros(0)


class MPI(Communicator):
    """The ranks of an MPI job.

    **Arguments** timeout: seconds that a rank waits for the others, which may evaluate or save.
    """

    def __init__(self, timeout: float) -> None:
        remedy = (
            "pip install 'tinygrad_rnn[mpi]', which brings an MPI along; on a cluster with its "
            "own, pip install --no-binary mpi4py mpi4py"
        )
        with needs("mpi4py", "communicator: mpiexec", remedy, InvalidValueError):
            from mpi4py import MPI as mpi
        self._mpi, self.timeout = mpi, timeout
        self._world: Any = mpi.COMM_WORLD
        self.rank, self.size = self._world.rank, self._world.size
        self.library = mpi.Get_library_version().splitlines()[0].replace("\t", " ").strip("\0 ")
        self.seconds, self.bytes = 0.0, 0  # waited, and handed to sums, so far
        self._pinned: Any = None
        self._calls = np.zeros(1, np.int64)  # that this rank has waited in, the same on all ranks
        if self.size == 1:
            return
        self._world, request = self._world.Idup()  # apart from the user's own messages
        self._wait(request, "the start")
        sys.excepthook = self._end
        self._share_cores()

    def sum(self, array: Array) -> Array:
        """Sums arrays over the ranks; those of a GPU go through pinned memory of the host."""
        host = array if isinstance(array, np.ndarray) else self._to_pinned(array)
        self.bytes += host.nbytes
        few = host.size <= ROOM and host.dtype == np.float64
        head = self._agree("a sum", f" of {host.size} {host.dtype.name}", host if few else NOTHING)
        if few:
            host[...] = head.reshape(host.shape)
        else:
            self._sum(host)
        if host is not array:
            array.set(host)
        return array

    def broadcast(self, value: Any) -> Any:
        """Returns rank 0's value, pickled."""
        data = np.frombuffer(pickle.dumps(value) if self.rank == 0 else b"", np.uint8)
        self._agree("a broadcast")
        (length,) = self._sum(np.array([data.size]))
        if self.rank:
            data = np.empty(length, np.uint8)
        self._wait(self._world.Ibcast([data, self._mpi.BYTE]), "a broadcast")
        return value if self.rank == 0 else pickle.loads(data.data)

    def gather(self, value: T) -> list[T]:
        """Returns the values of all ranks, pickled."""
        data = pickle.dumps(value)
        self._agree("a gathering")
        return [pickle.loads(one) for one in self._gather(data)]

    def abort(self, status: int) -> None:
        """Ends the processes of all ranks."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._world.Abort(status)

    # ------------------------------------------------------------ inside

    def _agree(
        self, call: str, details: str = "", numbers: np.ndarray[Any, Any] = NOTHING
    ) -> np.ndarray[Any, Any]:
        """Checks that all ranks make the same call, and sums a few numbers on the way.

        What ranks send is of one length, whatever they call. **Returns** the sums. **Raises**
        ValueError on all ranks if their calls differ.
        """
        code = zlib.crc32(f"{call}{details}".encode()) % 2**20  # sums of its square are exact
        head = np.zeros(2 + ROOM)
        head[:2] = code, code * code
        head[2 : 2 + numbers.size] = numbers.reshape(-1)
        self._wait(self._world.Iallreduce(self._mpi.IN_PLACE, head), call)
        if self.size * int(head[1]) == int(head[0]) ** 2:  # the codes do not vary
            return head[2 : 2 + numbers.size]
        first, *calls = (one.decode() for one in self._gather(f"{call}{details}".encode()))
        rank, other = next((r, c) for r, c in enumerate(calls, 1) if c != first)
        raise InvalidValueError(
            f"the ranks make different calls: rank 0 makes {first}, and rank {rank} "
            f"{other}: let all make the same ones in the same order, for one model"
        )

    def _sum(self, host: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self._wait(self._world.Iallreduce(self._mpi.IN_PLACE, host), "a sum")
        return host

    def _gather(self, own: bytes) -> list[bytes]:
        data = np.frombuffer(own, np.uint8)
        lengths = np.zeros(self.size, np.int64)
        lengths[self.rank] = data.size
        self._sum(lengths)
        everything = np.empty(lengths.sum(), np.uint8)
        parts = [everything, lengths.tolist()]
        self._wait(self._world.Iallgatherv(data, parts), "a gathering")
        return [one.tobytes() for one in np.split(everything, np.cumsum(lengths)[:-1])]

    def _wait(self, request: Any, what: str) -> None:
        """Waits for a collective call to complete; ends the job after the time-out."""
        started = time.monotonic()
        waited = 0.0
        told: list[Any] = []
        self._calls = self._calls + 1  # a new array: messages with the older one may be under way
        while not request.Test():
            waited = time.monotonic() - started
            if waited > self.timeout:
                missing = " and ".join(map(str, self._missing())) or "others"
                print(
                    f"error: rank {self.rank} of {self.size} waited {self.timeout:g} s in {what} "
                    f"for rank {missing}: dead, frozen or slower; the job ends. "
                    f"{TIMEOUT}={2 * self.timeout:g} would wait longer",
                    file=sys.stderr,
                )
                self.abort(1)
            if waited > self.timeout / 2 and not told:  # that this rank is there
                others = (rank for rank in range(self.size) if rank != self.rank)
                told = [self._world.Isend(self._calls, rank) for rank in others]
            time.sleep(0 if waited < SPIN else PAUSE)
        self.seconds += waited

    def _missing(self) -> list[int]:
        """Returns the ranks that have not told that they wait in the same call."""
        missing = set(range(self.size)) - {self.rank}
        status, call = self._mpi.Status(), np.zeros(1, np.int64)
        while self._world.Iprobe(status=status):
            self._world.Recv(call, status.source)
            if call == self._calls:
                missing.discard(status.source)
        return sorted(missing)

    def _to_pinned(self, array: Array) -> np.ndarray[Any, Any]:
        """Copies a GPU's array to page-locked memory, which the device reads and writes fastest."""
        if self._pinned is None or self._pinned.nbytes < array.nbytes:
            self._pinned = backend.pinned(array.nbytes)
        host: np.ndarray[Any, Any] = self._pinned[: array.nbytes].view(array.dtype)
        host = host.reshape(array.shape)
        array.get(out=host)
        return host

    def _end(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """Prints an error that nobody has caught, once if all ranks have it, and ends the job."""
        if self.rank:
            time.sleep(FIRST)
        sys.__excepthook__(kind, error, trace)
        self.abort(1)

    def _share_cores(self) -> None:
        """Divides the cores among the ranks that have the same ones."""
        if "OMP_NUM_THREADS" in os.environ:
            return
        if hasattr(os, "sched_getaffinity"):
            cores = os.sched_getaffinity(0)
        else:
            cores = set(range(os.cpu_count() or 1))
        mine = socket.gethostname(), sorted(cores)
        set_num_threads(max(1, len(cores) // self.gather(mine).count(mine)))
