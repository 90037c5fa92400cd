"""Datasets: samples by index, as PyTorch has them, and windows over a long series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, Protocol, runtime_checkable

from ..errors import InvalidTypeError, InvalidValueError, OutOfRangeError, public
from ..tensor.random import Generator, given_or_default
from ..tensor.shapes import integer
from ..tensor.tree import is_leaf


@runtime_checkable
class Dataset(Protocol):
    """A map-style dataset: an object with a length and samples by index, such as a list.

    >>> import tinygrad_rnn as tg
    >>> class Squares:
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         return i, i * i
    >>> isinstance(Squares(), tg.data.Dataset)
    True
    >>> [y.tolist() for x, y in tg.data.DataLoader(Squares(), 2)]
    [[0, 1], [4, 9]]
    """

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


@runtime_checkable
class IterableDataset(Protocol):
    """A dataset in an order of its own: an iterable, which each epoch iterates over again.

    >>> import tinygrad_rnn as tg
    >>> class Countdown:
    ...     def __iter__(self):
    ...         yield from (3, 2, 1)
    >>> [x.tolist() for x in tg.data.DataLoader(Countdown(), 2)]
    [[3, 2], [1]]
    """

    def __iter__(self) -> Iterator[Any]: ...


class TensorDataset:
    """A dataset of arrays or Tensors: sample i consists of the i-th row of each.

    >>> import numpy as np
    >>> data = TensorDataset(np.arange(6).reshape(3, 2), np.array([7, 8, 9]))
    >>> len(data), data[1]
    (3, (array([2, 3]), np.int64(8)))
    """

    @public
    def __init__(self, *arrays: Any) -> None:
        if not arrays or not all(is_leaf(array) for array in arrays):
            got = ", ".join(type(array).__name__ for array in arrays) or "nothing"
            raise InvalidTypeError(f"TensorDataset: arrays: expected arrays or Tensors, got {got}")
        lengths = [array.shape[0] if array.shape else None for array in arrays]
        if len(set(lengths)) > 1 or None in lengths:
            shapes = ", ".join(str(list(array.shape)) for array in arrays)
            raise InvalidValueError(
                f"TensorDataset: arrays: expected the same number of rows in each, got {shapes}: "
                "the first axis counts the samples"
            )
        self.arrays = arrays

    def __len__(self) -> int:
        return int(self.arrays[0].shape[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return tuple(array[index] for array in self.arrays)


class Subset:
    """A subset of a dataset: its samples at given indices.

    >>> [*Subset("abcdef", [4, 0])]
    ['e', 'a']
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]


@public
def random_split(
    dataset: Dataset, fractions: Sequence[float], generator: Generator | None = None
) -> list[Subset]:
    """Splits a dataset at random into disjoint parts, such as training and validation data.

    **Arguments** fractions: of the samples, which sum to 1; or counts of samples, which sum to
    their number. generator: the default one, if None. **Returns** a part for each fraction.

    >>> import tinygrad_rnn as tg
    >>> [len(part) for part in random_split(range(10), [0.8, 0.2], tg.Generator(0))]
    [8, 2]
    """
    count, total = len(dataset), sum(fractions)
    counted = count > 1 and total == count and all(isinstance(n, Integral) for n in fractions)
    if not fractions or min(fractions) < 0 or not (counted or abs(total - 1) <= 1e-9):
        raise InvalidValueError(
            "random_split: fractions: expected numbers from 0 on that sum to 1, or counts that sum "
            f"to {count}; got {fractions}"
        )
    order = given_or_default(generator, "random_split").permutation(count).tolist()
    share = 1 if counted else count
    ends = [round(sum(fractions[:i]) * share) for i in range(len(fractions) + 1)]
    return [Subset(dataset, order[a:b]) for a, b in pairwise(ends)]


class Windows:
    """Windows of a long series, each with the steps after it, which are to be forecast.

    Sample i is `(series[s : s + length], series[s + length : s + length + horizon])` with
    s = i * stride.

    **Arguments** series: (T, ...), an array or a Tensor. length: steps to read. horizon: steps to
    forecast. stride: steps between the beginnings of two windows.

    >>> import numpy as np
    >>> windows = Windows(np.arange(10), length=3, horizon=2, stride=2)
    >>> len(windows), windows[2]
    (3, (array([4, 5, 6]), array([7, 8])))
    """

    @public
    def __init__(self, series: Any, length: int, horizon: int = 1, stride: int = 1) -> None:
        for name, value in (("length", length), ("horizon", horizon), ("stride", stride)):
            integer(value, f"Windows: {name}", 1)
        if len(series) < length + horizon:
            raise InvalidValueError(
                f"Windows: series: {len(series)} steps are too few for a window of length + horizon"
                f" = {length + horizon}: lower one of them"
            )
        self.series, self.length, self.horizon, self.stride = series, length, horizon, stride

    def __len__(self) -> int:
        return int((len(self.series) - self.length - self.horizon) // self.stride + 1)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        if not -len(self) <= index < len(self):
            raise OutOfRangeError(f"Windows: there are {len(self)} windows, and none at {index}")
        start = index % len(self) * self.stride
        end = start + self.length
        return self.series[start:end], self.series[end : end + self.horizon]
