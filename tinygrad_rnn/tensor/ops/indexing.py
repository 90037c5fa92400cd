"""Reading and writing by index; what is read by index gets its cotangent back by index."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import EllipsisType, ModuleType
from typing import Any, SupportsIndex

import numpy as np

from ... import kernels
from ...kernels.contract import check_whole
from .. import backend
from ..backend import Array
from ..conversion import DType, check_cast, normalized, number_dtype
from ..graph import Traced
from ..inputs import operand
from ..operation import Op, operation
from ..shapes import Shapes, one_axis, size
from .elementwise import where

__all__ = [
    "getitem", "index_add", "index_update", "nonzero", "one_hot", "place", "take",
    "take_along_axis",
]  # fmt: skip


# What `x[index]` accepts: one entry, or one for each axis; the arrays of a device have no type.
Entry = SupportsIndex | slice | EllipsisType | None | list[Any] | np.ndarray[Any, Any] | Traced
Index = Entry | tuple[Entry, ...]

BASIC = frozenset({int, slice, type(None), type(...)})


def is_basic(index: Index) -> bool:
    """Whether an index is of numbers and slices only, as most are."""
    return type(index) in BASIC or (type(index) is tuple and BASIC.issuperset(map(type, index)))


def raw_index(xp: ModuleType, index: Index) -> Any:
    """An index in which Tensors, lists and arrays of the host are arrays of the module."""
    if is_basic(index):
        return index
    if isinstance(index, tuple):
        return tuple([raw_index(xp, i) for i in index])
    if isinstance(index, Traced):
        return index.array
    if isinstance(index, list):
        array = np.asarray(index)
        return xp.asarray(array if array.size else array.astype(np.intp))
    if isinstance(index, np.ndarray):
        index = normalized(index, "an index")
        return index if xp is np else xp.asarray(index)
    return index


def checked_index(xp: ModuleType, shape: tuple[int, ...], index: Index) -> Any:
    """As `raw_index`, for CuPy: what is out of range, which CuPy wraps silently, is refused."""
    at = raw_index(xp, index)
    if not repeats(at):
        return at
    parts = index if isinstance(index, tuple) else (index,)
    raw = at if isinstance(at, tuple) else (at,)
    taken = sum(_axes_of(part) for part in raw)
    axis = 0
    for given, part in zip(parts, raw, strict=True):
        if backend.is_array(part) and part.dtype.kind in "iu" and part.size:
            rows = shape[axis]
            if isinstance(given, (np.ndarray, list)):
                check_whole("index", np.asarray(given), -rows, rows - 1, IndexError)
            else:
                backend.check_later(xp, "index", part, -rows, rows - 1)
        axis += len(shape) - taken if part is ... else _axes_of(part)
    return at


def _axes_of(part: Any) -> int:
    """The number of axes that a part of an index takes."""
    if part is None or part is ...:
        return 0
    return part.ndim if backend.is_array(part) and part.dtype == bool else 1


def repeats(index: Any) -> bool:
    """Whether an index may name an element twice: only arrays of integers can."""
    if is_basic(index):
        return False
    parts = index if isinstance(index, tuple) else (index,)
    return any(backend.is_array(i) and i.dtype != bool for i in parts)


def scatter_add(buffer: Array, index: Any, value: Array) -> None:
    """Adds into a buffer at an index, as often as it names an element."""
    xp = backend.module_of(buffer)
    if not repeats(index):
        buffer[index] += value
    elif xp is not np:
        kernels.cuda.scatter_add(xp, buffer, index, value)
    elif buffer.ndim > 1 and backend.is_array(index):
        kernels.add_rows(xp, buffer, index, value)
    else:
        xp.add.at(buffer, index, value)


def dtype_of(value: Any) -> np.dtype[Any]:
    """The dtype of an array or a number."""
    found: np.dtype[Any] = getattr(value, "dtype", None) or np.dtype(type(value))
    return found


class Part:
    """A cotangent that is zero but at an index.

    Reading x[t] in a loop would otherwise build as many arrays of x's size as there are steps:
    the engine adds parts into one buffer, at a cost that is that of what was read.
    """

    __slots__ = ("index", "shape", "value")

    def __init__(self, value: Array, index: Index, shape: tuple[int, ...]) -> None:
        self.value, self.index, self.shape = value, index, shape

    def add_to(self, buffer: Array) -> None:
        if is_basic(self.index):
            buffer[self.index] += self.value
            return
        scatter_add(buffer, raw_index(backend.module_of(buffer), self.index), self.value)

    def spread(self) -> Array:
        buffer = backend.module_of(self.value).zeros(self.shape, self.value.dtype)
        if is_basic(self.index):
            buffer[self.index] = self.value
        else:
            self.add_to(buffer)
        return buffer


place = Op("place", lambda xp, x, *, index, shape: Part(x, index, shape).spread())
getitem = Op(
    "getitem",
    lambda xp, x, *, index: x[
        raw_index(xp, index) if xp is np else checked_index(xp, x.shape, index)
    ],
    expects="an index within the shape",
)


def _part(g: Any, index: Index, shapes: Shapes) -> Any:
    if isinstance(g, Traced):
        return place(g, index=index, shape=shapes[0])
    return Part(g, index, shapes[0])


place.vjp(x=lambda g, index: getitem(g, index=index))
getitem.vjp(x=_part)


@operation
def index_update(xp: ModuleType, x: Array, value: Array, *, index: Index) -> Array:
    """Performs `x[index] = value` on a copy of x.

    >>> import tinygrad_rnn as tg
    >>> tg.index_update(tg.zeros((3,)), 5.0, index=1)
    tensor([0., 5., 0.])
    """
    check_cast(dtype_of(value), x.dtype, "value")
    y, at = x.copy(), raw_index(xp, index)
    if xp is np or not repeats(at):
        y[at] = value
        return y
    places, last = _last_writes(xp, x.shape, at)  # a GPU writes in no order: all write the last one
    values = xp.broadcast_to(xp.asarray(value, dtype=x.dtype), places.shape).reshape(-1)
    y.reshape(-1)[places] = values[last]
    return y


def _last_writes(xp: ModuleType, shape: tuple[int, ...], at: Any) -> tuple[Array, Array]:
    """The flat place of each element that an index names, and which of them is its place's last."""
    size = math.prod(shape)
    places = xp.arange(size).reshape(shape)[at]
    order = xp.arange(places.size, dtype="uint64").reshape(places.shape)  # has an atomic maximum
    last = xp.zeros(size, order.dtype)
    xp.maximum.at(last, places, order)
    return places, last[places].astype("int64")


def _read_back(g: Any, index: Index, shapes: Shapes) -> Any:
    """The cotangent of an assigned value: none for what a later one of its element overwrote."""
    xp = backend.module_of(getattr(g, "array", g))
    at = raw_index(xp, index)
    read = getitem(g, index=index)
    if not repeats(at):
        return read
    _, last = _last_writes(xp, g.shape, at)
    return where(last == xp.arange(read.size).reshape(read.shape), read, 0)


index_update.vjp(x=lambda g, index: index_update(g, 0, index=index), value=_read_back)


@operation
def index_add(xp: ModuleType, x: Array, value: Array, *, index: Index) -> Array:
    """Adds value to a copy of x at an index, as often as the index names an element.

    >>> import tinygrad_rnn as tg
    >>> tg.index_add(tg.zeros((3,)), 1.0, index=[0, 2, 2])
    tensor([1., 0., 2.])
    """
    check_cast(dtype_of(value), x.dtype, "value")
    y, index = x.copy(), raw_index(xp, index)
    value = xp.broadcast_to(xp.asarray(value, dtype=x.dtype), y[index].shape)
    scatter_add(y, index, value)  # add.at of NumPy 2.4 reads past what it has to broadcast itself
    return y


index_add.vjp(x=lambda g: g, value=lambda g, index: getitem(g, index=index))


def take(x: Array, indices: Array, axis: int | None = None) -> Array:
    """Selects elements along an axis by integer indices of any shape (of the flattened x, if None).

    **Arguments** x: (..., n, ...); indices: integers below n. **Returns** x's shape with n replaced
    by the shape of indices. The gradient costs as much as what was taken, not as x.

    >>> import tinygrad_rnn as tg
    >>> table = tg.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    >>> tg.take(table, [2, 0], axis=0).numpy()
    array([[4., 5.],
           [0., 1.]], dtype=float32)
    """
    x = operand(x)
    if axis is None:
        return getitem(x.reshape(-1), index=indices)
    axis = one_axis(axis, len(x.shape), "take")
    return getitem(x, index=((slice(None),) * axis + (indices,)) if axis else indices)


def remembered(make: Callable[..., Any]) -> Callable[..., Any]:
    """A function of numbers that makes index arrays: the same arrays for the same numbers.

    A fused scan, which compares two calls of a function, so sees that they are constants.
    """

    @functools.lru_cache(256, typed=True)  # 4.0 is no 4
    @functools.wraps(make)
    def made(*args: Any) -> Any:
        found = make(*args)
        for indices in found if isinstance(found, tuple) else (found,):
            indices.setflags(write=False)
        return found

    return made


@remembered
def _grid(*shape: int) -> tuple[Array, ...]:
    """The indices along each axis."""
    return tuple(np.ogrid[tuple(slice(n) for n in shape)])


def along(indices: Any, shape: tuple[int, ...], axis: int) -> tuple[Any, ...]:
    """The index that reads `indices` along one axis of `shape`, each of the others in step."""
    axis, grid = axis % len(shape), _grid(*shape)
    return (*grid[:axis], indices, *grid[axis + 1 :])


def take_along_axis(x: Array, indices: Array, axis: int = -1) -> Array:
    """Selects for each position the element at its own index along an axis.

    **Arguments** x: (..., n, ...); indices: integers below n, of as many axes as x, which
    broadcasts with it on all but the one. **Returns** x's elements, in the shape of indices.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([[3.0, 1.0], [5.0, 9.0]])
    >>> tg.take_along_axis(x, tg.argmax(x, axis=1, keepdims=True), axis=1).tolist()
    [[3.0], [9.0]]
    """
    x = operand(x)
    axis = one_axis(axis, len(x.shape), "take_along_axis")
    return getitem(x, index=along(indices, x.shape, axis))


# ---------------------------------------------------------------- without a gradient


@operation
def nonzero(xp: ModuleType, x: Array) -> tuple[Array, ...]:
    """The indices of the elements that are not zero: one array for each axis.

    >>> import tinygrad_rnn as tg
    >>> tg.nonzero(tg.tensor([0.0, 3.0, 0.0, 4.0]))
    (tensor([1, 3]),)
    """
    return tuple(xp.nonzero(x))


@operation
def one_hot(xp: ModuleType, x: Array, *, num_classes: int, dtype: DType = "float32") -> Array:
    """One-hot encoding: 1 at the class of each integer of x, 0 elsewhere, along a new last axis.

    **Raises** IndexError for one that names no class; on a GPU, with the next value that comes to
    the host.

    >>> import tinygrad_rnn as tg
    >>> tg.one_hot(tg.tensor([2, 0]), num_classes=3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    if xp.asarray(x).dtype.kind not in "iu":
        raise TypeError("x: expected integers")
    num_classes = size(num_classes, "one_hot: num_classes")
    refuse_outside(xp, "one_hot", xp.asarray(x), num_classes)
    return (xp.expand_dims(x, -1) == xp.arange(num_classes)).astype(
        number_dtype(dtype or "float32")
    )


def refuse_outside(xp: ModuleType, name: str, ids: Array, rows: int) -> None:
    """Raises IndexError for an integer that is not from 0 to below a number.

    On a GPU, for which one would have to wait, `check_later` does.
    """
    if not ids.size:
        return
    if xp is not np:
        backend.check_later(xp, name, ids, 0, rows - 1)
        return
    unsigned = ids if ids.dtype.kind == "u" else ids.view(f"u{ids.dtype.itemsize}")
    if np.maximum.reduce(unsigned, axis=None) >= rows:  # what is below 0 is huge there
        wrong = ids[unsigned >= rows].flat[0]
        raise IndexError(f"{wrong} is outside 0 to {rows - 1}")


@functools.cache
def in_table(name: str) -> Op:
    """The operation that hands on ids of a table's rows, and refuses others under a name."""

    def forward(xp: ModuleType, ids: Array, *, rows: int) -> Array:
        refuse_outside(xp, name, ids, rows)
        return ids

    return Op(name, forward, expects="ids from 0 to below the table's rows")
