"""The loader: batches of a dataset, shuffled and prefetched, that resume where they stopped.

The order of an epoch follows from a seed and the epoch's number alone. A position is therefore two
numbers, and resuming draws no random numbers and reads no sample that was read before.
"""

from __future__ import annotations

import itertools
import multiprocessing
import numbers
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pickle import PicklingError
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError, public
from ..tensor import tree
from ..tensor.backend import default_device, placed
from ..tensor.backend import device as default
from ..tensor.random import Generator, given_or_default
from ..tensor.shapes import flag, integer
from ..tensor.tensor import Tensor
from .batching import part_of
from .collating import collate as stacked
from .samples import Dataset, IterableDataset
from .transfer import Transfer, Transfers

POOL = 50  # batches that are sorted by length together: similar, yet not the same each epoch

Collate = Callable[[list[Any]], Any]


class DataLoader:
    """Iterates over the batches of a dataset, an epoch at a time.

    The first epoch after `load_state_dict` is the rest of the one that was interrupted; otherwise
    each `for` loop reads a new epoch from its beginning.

    **Arguments** dataset: with a length and an index (map-style), or an iterable. batch_size:
    samples in a batch; the last ones may be fewer. shuffle: a new order for each epoch. generator:
    gives the seed of all orders when the loader is created. drop_last: omits a smaller last batch.
    collate: makes a batch of a list of samples; stacks them, if None. lengths: of each sample (or a
    tuple of lengths): samples of similar length share a batch (buckets), so that there is little
    padding. prefetch: batches that a background thread prepares ahead. num_workers: processes that
    prepare them instead; dataset and collate must be picklable, and a script needs
    `if __name__ == "__main__":`, as for PyTorch's. device: of the batches' Tensors; with prefetch
    or num_workers a GPU copies the next batch during the work on the one before (PyTorch's
    `pin_memory` and `non_blocking`).

    >>> import tinygrad_rnn as tg
    >>> loader = DataLoader(range(7), 3, shuffle=True, generator=tg.Generator(0))
    >>> [len(batch) for batch in loader], len(loader)
    ([3, 3, 1], 3)
    """

    @public
    def __init__(
        self,
        dataset: Dataset | IterableDataset,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        generator: Generator | None = None,
        drop_last: bool = False,
        collate: Collate | None = None,
        lengths: Sequence[Any] | None = None,
        prefetch: int = 0,
        num_workers: int = 0,
        device: str | None = None,
    ) -> None:
        if isinstance(dataset, Mapping):
            raise InvalidTypeError(
                "DataLoader: dataset: expected samples by number, got a dict: "
                "TensorDataset(*columns) makes samples of arrays, list(zip(*columns)) of lists"
            )
        self.indexed = isinstance(dataset, Dataset)
        integer(batch_size, "DataLoader: batch_size", 1)
        shuffle = flag(shuffle, "DataLoader: shuffle")
        drop_last = flag(drop_last, "DataLoader: drop_last")
        if not (collate is None or callable(collate)):
            raise InvalidTypeError(
                f"DataLoader: collate: expected a function of a list of samples, got {collate!r}"
            )
        if not self.indexed:
            self._check_iterable(dataset, shuffle, lengths, num_workers)
        elif not len(dataset):  # type: ignore[arg-type]
            raise InvalidValueError("DataLoader: dataset: expected at least one sample, got none")
        if lengths is not None and len(lengths) != len(dataset):  # type: ignore[arg-type]
            raise InvalidValueError(
                f"DataLoader: lengths: expected {len(dataset)}, "  # type: ignore[arg-type]
                f"one for each sample, got {len(lengths)}"
            )
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        every = () if lengths is None else lengths
        for k, length in enumerate(every):
            parts = length if isinstance(length, tuple) else (length,)
            whole = all(isinstance(n, numbers.Integral) and int(n) >= 0 for n in parts)
            if not whole or isinstance(length, tuple) != isinstance(every[0], tuple):
                raise InvalidTypeError(
                    "DataLoader: lengths: expected integers from 0 up, or tuples of them; "
                    f"got lengths[0] = {every[0]!r}, and lengths[{k}] = {length!r}"
                )
        self.drop_last, self.collate, self.lengths = drop_last, collate or stacked, lengths
        self.prefetch = integer(prefetch, "DataLoader: prefetch", 0)
        self.num_workers = integer(num_workers, "DataLoader: num_workers", 0)
        if self.num_workers and not prefetch:
            self.prefetch = 2 * num_workers
        self.device = device
        self._transfers: Transfers | None = None
        if device is not None:
            with placed(device) as xp:
                self._transfers = Transfers(device) if xp is not np and self.prefetch else None
        self.seed = 0
        if shuffle:
            self.seed = int(given_or_default(generator, "DataLoader").integers(0, 2**31))
        self.epoch, self.position = 0, 0  # of the next batch
        self._resumed = False
        self._order: tuple[int, list[list[int]]] | None = None
        self._workers: Executor | None = None
        self._locking: Executor | None = None  # a thread for what processes return
        self._part = slice(None)  # of each batch
        if self.indexed and not len(self):
            raise InvalidValueError(
                f"DataLoader: drop_last: {len(dataset)} samples "  # type: ignore[arg-type]
                f"are fewer than one batch of {batch_size}: lower batch_size"
            )

    @staticmethod
    def _check_iterable(dataset: object, shuffle: bool, lengths: Any, num_workers: int) -> None:
        if not isinstance(dataset, IterableDataset) or isinstance(dataset, Iterator):
            raise InvalidTypeError(
                "DataLoader: dataset: expected one with __len__ and __getitem__, or an iterable "
                f"that can be read once an epoch, got {type(dataset).__name__}"
            )
        for name, given in (
            ("shuffle", shuffle), ("lengths", lengths is not None), ("num_workers", num_workers)
        ):  # fmt: skip
            if given:
                raise InvalidValueError(
                    f"DataLoader: {name}: needs a dataset with __len__ and __getitem__; "
                    f"{type(dataset).__name__} has an order of its own, and one reader"
                )

    def __repr__(self) -> str:
        count = f", {len(self.dataset)} samples" if self.indexed else ""  # type: ignore[arg-type]
        return (
            f"DataLoader({type(self.dataset).__name__}{count}, batch_size={self.batch_size}, "
            f"shuffle={self.shuffle})"
        )

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        if not self.indexed:
            raise InvalidTypeError(
                f"DataLoader: {type(self.dataset).__name__} is an iterable without a length"
            )
        whole, rest = divmod(len(self.dataset), self.batch_size)  # type: ignore[arg-type]
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Any]:
        if self.position and not self._resumed:  # a loop that ended early
            self.epoch, self.position = self.epoch + 1, 0
        self._resumed = False
        return self._read(self.epoch)

    def _read(self, epoch: int) -> Iterator[Any]:
        tasks = self._loaded() if self.indexed else self._streamed()
        position = self.position  # of this loop: another one may read at the same time
        for batch in self._results(tasks):
            if batch is _END:
                break
            position += 1
            last = self.indexed and position == len(self)
            self.epoch, self.position = (epoch + 1, 0) if last else (epoch, position)
            yield batch
        self.epoch, self.position = epoch + 1, 0

    @public
    def shard(self, rank: int, size: int) -> None:
        """Gives each batch's samples to several processes: to this one every size-th.

        All processes read the same batches in the same order, so their loaders need the same seed.
        A process gets None for a batch with fewer samples than there are processes, if none of them
        is its own.

        **Arguments** rank: of this process, from 0. size: the number of processes.

        >>> loader = DataLoader(range(5), 4, collate=list)
        >>> loader.shard(1, 2)
        >>> list(loader)
        [[1, 3], None]
        """
        self._part = part_of("DataLoader.shard", rank, size, self.batch_size)

    def state_dict(self) -> dict[str, int]:
        """Returns the position, which `load_state_dict` restores."""
        return {"seed": self.seed, "epoch": self.epoch, "position": self.position}

    @public
    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restores a position: the next loop reads the rest of that epoch."""
        if {*state} != {*self.state_dict()}:
            raise InvalidValueError(
                f"DataLoader.load_state_dict: state: expected {sorted(self.state_dict())}, got "
                f"{sorted(state)}"
            )
        seed, epoch, position = (
            integer(state[n], f"DataLoader.load_state_dict: {n}", 0)
            for n in ("seed", "epoch", "position")
        )
        if self.indexed and position >= len(self):
            raise InvalidValueError(
                f"DataLoader.load_state_dict: position: expected less than the {len(self)} batches "
                f"of an epoch, got {position}: it is the state of another dataset"
            )
        self.seed, self.epoch, self.position = seed, epoch, position
        self._resumed, self._order = True, None

    # ------------------------------------------------------------ the order

    def order(self) -> list[list[int]]:
        """Returns the indices of each batch of the current epoch."""
        if self._order is None or self._order[0] != self.epoch:
            self._order = self.epoch, self._drawn()
        return self._order[1]

    def _drawn(self) -> list[list[int]]:
        count: int = len(self.dataset)  # type: ignore[arg-type]
        generator = Generator((self.seed << 32) + self.epoch)
        order = generator.permutation(count).tolist() if self.shuffle else list(range(count))
        lengths = self.lengths
        if lengths is None:
            batches = _chunks(order, self.batch_size)
        elif not self.shuffle:
            batches = _chunks(sorted(order, key=lambda i: lengths[i]), self.batch_size)
        else:
            batches = [
                batch
                for pool in _chunks(order, POOL * self.batch_size)
                for batch in _chunks(sorted(pool, key=lambda i: lengths[i]), self.batch_size)
            ]
            if self.drop_last:
                batches = [batch for batch in batches if len(batch) == self.batch_size]
            batches = [batches[i] for i in generator.permutation(len(batches)).tolist()]
        return [batch for batch in batches if len(batch) == self.batch_size or not self.drop_last]

    # ------------------------------------------------------------ reading

    def _loaded(self) -> Iterator[Callable[[], Any]]:
        """Yields a task for each remaining batch of the epoch, which returns the batch."""
        for whole in self.order()[self.position :]:
            indices = whole[self._part]
            if self.num_workers:
                yield partial(_load_in_worker, indices)
            else:
                yield partial(_load, self.dataset, self.collate, indices)

    def _streamed(self) -> Iterator[Callable[[], Any]]:
        """Yields one task again and again, which returns the next batch, or _END."""
        start = self.position * self.batch_size
        samples = itertools.islice(iter(self.dataset), start, None)

        def take() -> Any:
            batch = list(itertools.islice(samples, self.batch_size))
            enough = len(batch) == self.batch_size or (batch and not self.drop_last)
            return _collated(self.collate, batch[self._part]) if enough else _END

        return itertools.repeat(take)

    def _results(self, tasks: Iterator[Callable[[], Any]]) -> Iterator[Any]:
        """Yields the results of tasks in order; some run ahead of their use."""
        if not self.prefetch:
            yield from (self._moved(task()) for task in tasks)
            return
        self._workers = self._workers or self._started()
        ahead: deque[Future[Any] | Transfer] = deque()
        try:
            for task in tasks:
                ahead.append(self._submitted(task))
                if len(ahead) > self.prefetch:
                    yield self._taken(ahead)
            while ahead:
                yield self._taken(ahead)
        finally:
            for future in ahead:
                future.cancel()

    def _taken(self, ahead: deque[Future[Any] | Transfer]) -> Any:
        """Takes the first batch; a GPU starts to copy the next one, if that is prepared."""
        first = ahead.popleft()
        batch = self._result(first) if isinstance(first, Future) else None
        if self._transfers is None:
            return self._moved(batch)
        copy = first if isinstance(first, Transfer) else self._transfers.start(batch)
        after = ahead[0] if ahead else None
        if isinstance(after, Future) and after.done() and after.exception() is None:
            ahead[0] = self._transfers.start(after.result())
        return copy.result()

    def _moved(self, batch: Any) -> Any:
        if (device := self.device) is None:
            return batch
        return tree.mapped(lambda x: x.to(device) if isinstance(x, Tensor) else x, batch)

    def _started(self) -> Executor:
        if not self.num_workers:
            return ThreadPoolExecutor(1, "DataLoader")
        return ProcessPoolExecutor(
            self.num_workers,
            multiprocessing.get_context("spawn"),  # a fork of threads may hang
            _start_worker,
            (self.dataset, self.collate),
        )

    def _submitted(self, task: Callable[[], Any]) -> Future[Any]:
        assert self._workers is not None
        lock = self._transfers.locked if self._transfers else None
        try:
            if not self.num_workers:
                here = default_device() if self.device is None else "cpu"  # it is copied from there
                return self._workers.submit(_on, here, task, lock)
            future = self._workers.submit(task)
        except (PicklingError, AttributeError, TypeError) as error:
            self._workers = None
            raise InvalidTypeError(f"DataLoader: num_workers: {error}: {_REMEDY}") from None
        if lock is None:
            return future
        self._locking = self._locking or ThreadPoolExecutor(1, "DataLoader")
        return self._locking.submit(lambda: lock(future.result()))

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except BrokenProcessPool:
            self._workers = None
            raise InvalidValueError(
                f"DataLoader: num_workers: the worker processes have ended: {_REMEDY}"
            ) from None


_REMEDY = (
    "processes import the script again, so it must start its work below "
    '`if __name__ == "__main__":`, and dataset and collate must be picklable (classes and '
    "functions of a module, no lambdas); prefetch=2 reads in a thread instead"
)
_END = object()  # after the last batch of an iterable
_worker: list[Any] = []  # the dataset and collate of this process


def _load(dataset: Any, collate: Collate, indices: list[int]) -> Any:
    return _collated(collate, [dataset[i] for i in indices])


def _collated(collate: Collate, samples: list[Any]) -> Any:
    """Makes a batch; None of no samples, which all are other processes'."""
    return collate(samples) if samples else None


def _on(name: str, task: Callable[[], Any], then: Callable[[Any], Any] | None = None) -> Any:
    """Runs a task with a default device, not that of this thread, and a function of its result."""
    with default(name):
        result = task()
    return result if then is None else then(result)


def _start_worker(dataset: Any, collate: Collate) -> None:
    _worker[:] = dataset, collate


def _load_in_worker(indices: list[int]) -> Any:
    dataset, collate = _worker
    try:
        return _load(dataset, collate, indices)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # such an error would end the processes, unseen
            what = f"DataLoader: a worker process raised {type(error).__name__}: {error}"
            raise InvalidValueError(what) from error
        raise


def _chunks(items: list[int], length: int) -> list[list[int]]:
    return [items[i : i + length] for i in range(0, len(items), length)]
