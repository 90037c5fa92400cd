"""Operations that copy elements, by broadcasting or by index."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import InvalidValueError, ShapeError
from ..backend import Array
from ..conversion import check_cast
from ..inputs import operand
from ..operation import Op
from ..shapes import Shapes, one_axis, size
from .indexing import dtype_of, remembered, take
from .movement import broadcast_to, expand_dims, reshape, swapaxes

__all__ = ["broadcast_arrays", "meshgrid", "pad", "repeat", "tile"]


def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """Broadcasts arrays against each other, to one shape.

    >>> import tinygrad_rnn as tg
    >>> [x.shape for x in tg.broadcast_arrays(tg.ones((3, 1)), tg.ones((2,)))]
    [(3, 2), (3, 2)]
    """
    arrays = tuple(map(operand, arrays))
    shape = np.broadcast_shapes(*(x.shape for x in arrays))
    return tuple(broadcast_to(x, shape=shape) for x in arrays)


def meshgrid(*arrays: Array, indexing: str = "xy") -> tuple[Array, ...]:
    """The coordinates of a grid, from the coordinates along its axes.

    **Arguments** indexing: `xy` has the first array run along the second axis, as plots do; `ij`
    along the first.

    >>> import tinygrad_rnn as tg
    >>> x, y = tg.meshgrid(tg.arange(3), tg.arange(2))
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [0, 1, 2]], [[0, 0, 0], [1, 1, 1]])
    """
    arrays = tuple(map(operand, arrays))
    if indexing not in ("xy", "ij"):
        raise InvalidValueError(f"meshgrid: expected indexing 'xy' or 'ij', got {indexing!r}")
    ones = (1,) * len(arrays)
    grids = broadcast_arrays(
        *(reshape(x, shape=(*ones[:i], x.size, *ones[i + 1 :])) for i, x in enumerate(arrays))
    )
    if indexing == "ij" or len(arrays) < 2:
        return grids
    return tuple(swapaxes(grid, axis1=0, axis2=1) for grid in grids)


def tile(x: Array, reps: int | Sequence[int]) -> Array:
    """Repeats x along each axis.

    >>> import tinygrad_rnn as tg
    >>> tg.tile(tg.tensor([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    x = operand(x)
    each = reps if isinstance(reps, (tuple, list)) else (reps,)
    reps = tuple([size(n, "tile: reps") for n in each])
    ndim = max(len(reps), len(x.shape))
    reps = (1,) * (ndim - len(reps)) + reps
    lengths = (1,) * (ndim - len(x.shape)) + x.shape
    x = reshape(x, shape=tuple(n for length in lengths for n in (1, length)))
    x = broadcast_to(x, shape=tuple(n for pair in zip(reps, lengths, strict=True) for n in pair))
    return reshape(x, shape=tuple(r * n for r, n in zip(reps, lengths, strict=True)))


def repeat(x: Array, repeats: int | Sequence[int], axis: int | None = None) -> Array:
    """Repeats each element along an axis (of the flattened x, if None).

    **Arguments** repeats: how many times, for all or for each.

    >>> import tinygrad_rnn as tg
    >>> tg.repeat(tg.tensor([1, 2]), [1, 3]).tolist()
    [1, 2, 2, 2]
    """
    x = operand(x)
    x, axis = (reshape(x, shape=(x.size,)), 0) if axis is None else (x, axis)
    axis = one_axis(axis, len(x.shape), "repeat")
    if isinstance(repeats, (tuple, list, np.ndarray)):
        each = [size(n, "repeat: repeats") for n in repeats]
        if len(each) not in (1, x.shape[axis]):
            raise ShapeError(
                f"repeat: repeats: expected one number, or one for each of {x.shape[axis]}, got "
                f"{len(each)}"
            )
        return take(x, _repeated(x.shape[axis], *each), axis)
    repeats = size(repeats, "repeat: repeats")
    before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    copies = broadcast_to(expand_dims(x, axis=axis + 1), shape=(*before, n, repeats, *after))
    return reshape(copies, shape=(*before, n * repeats, *after))


def _unpad(g: Any, shapes: Shapes, pad_width: Sequence[tuple[int, int]]) -> Any:
    pairs = zip(pad_width, shapes[0], strict=True)
    return g[tuple([slice(start, start + n) for (start, _), n in pairs])]


def _with_margins(
    xp: ModuleType, x: Array, *, pad_width: Sequence[Sequence[int]], value: float
) -> Array:
    check_cast(dtype_of(value), x.dtype, "constant_values")
    return xp.pad(x, pad_width, constant_values=value)


_pad = Op("pad", _with_margins).vjp(x=_unpad)


def pad(
    x: Array,
    pad_width: int | Sequence[int] | Sequence[Sequence[int]],
    mode: str = "constant",
    *,
    constant_values: float = 0,
) -> Array:
    """Pads x before and after along each axis.

    **Arguments** pad_width: how many, as a number, as (before, after), or as a pair for each axis.
    mode: `constant`, or NumPy's modes of copying x: `edge`, `reflect`, `symmetric`, `wrap`.

    >>> import tinygrad_rnn as tg
    >>> tg.pad(tg.tensor([1, 2, 3]), (1, 2)).tolist()
    [0, 1, 2, 3, 0, 0]
    >>> tg.pad(tg.tensor([1, 2, 3]), (1, 2), "reflect").tolist()
    [2, 1, 2, 3, 2, 1]
    """
    x = operand(x)
    pairs = np.broadcast_to(pad_width, (len(x.shape), 2)).tolist()
    if mode == "constant" and pairs:
        return _pad(x, pad_width=pairs, value=constant_values)
    if mode not in ("constant", "edge", "reflect", "symmetric", "wrap"):
        raise InvalidValueError(f"pad: unknown mode {mode!r}")
    for axis, width in enumerate(pairs):
        x = take(x, _padded(x.shape[axis], *width, mode), axis)
    return x


@remembered
def _repeated(n: int, *repeats: int) -> Array:
    """Each index below n so many times."""
    return np.repeat(np.arange(n), repeats)


@remembered
def _padded(n: int, before: int, after: int, mode: Any) -> Array:
    """The indices below n, with those added that a mode adds before and after."""
    return np.pad(np.arange(n), (before, after), mode=mode)
