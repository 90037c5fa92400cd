"""Operations that run along an axis: each element comes of those up to its own."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from .. import backend
from ..backend import Array
from ..operation import operation
from ..shapes import Shapes
from .elementwise import ones_like, zeros_like
from .indexing import along, place
from .movement import concat, flip, moveaxis

__all__ = ["cummax", "cumprod", "cumsum"]


@operation
def cumsum(xp: ModuleType, x: Array, *, axis: int | None = None) -> Array:
    """Cumulative sums along an axis (of the flattened x, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.cumsum(tg.tensor([1.0, 2.0, 3.0]))
    tensor([1., 3., 6.])
    """
    if xp is np or x.dtype.kind != "f":
        return xp.cumsum(x, axis=axis)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return xp.moveaxis(ordered_cumsum(xp, xp.moveaxis(x, axis, -1)), -1, axis)


def ordered_cumsum(xp: ModuleType, x: Array) -> Array:
    """The sums so far along the last axis, added in an order that is always the same.

    CuPy's `cumsum` adds in the order in which blocks come. Here each round adds what was summed of
    twice as many elements.
    """
    if xp is np:
        return xp.cumsum(x, axis=-1)
    reach = 1
    while reach < x.shape[-1]:
        x = xp.concatenate([x[..., :reach], x[..., reach:] + x[..., :-reach]], axis=-1)
        reach *= 2
    return x


@operation
def cumprod(xp: ModuleType, x: Array, *, axis: int | None = None) -> Array:
    """Cumulative products along an axis (of the flattened x, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.cumprod(tg.tensor([1.0, 2.0, 3.0]))
    tensor([1., 2., 6.])
    """
    return xp.cumprod(x, axis=axis)


@operation
def cummax(xp: ModuleType, x: Array, *, axis: int | None = None) -> Array:
    """Cumulative maxima along an axis (of the flattened x, if None).

    Of several equal ones the latest takes the gradient.

    >>> import tinygrad_rnn as tg
    >>> tg.cummax(tg.tensor([1.0, 3.0, 2.0]))
    tensor([1., 3., 3.])
    """
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    return xp.moveaxis(_largest_so_far(xp, xp.moveaxis(x, axis, -1)), -1, axis)


def _largest_so_far(xp: ModuleType, x: Array) -> Array:
    """By doubling: each round compares with the best of twice as many elements."""
    reach = 1
    while reach < x.shape[-1]:
        better = xp.maximum(x[..., reach:], x[..., :-reach])
        x = xp.concatenate([x[..., :reach], better], axis=-1)
        reach *= 2
    return x


def _in_cumsum(g: Any, shapes: Shapes, axis: int | None) -> Any:
    along = 0 if axis is None else axis
    return flip(cumsum(flip(g, axis=along), axis=along), axis=along).reshape(shapes[0])


def product_before(x: Any) -> Any:
    """The products of all elements before each, along the last axis."""
    return _after_one(cumprod(x, axis=-1))


def _after_one(x: Any) -> Any:
    return concat([ones_like(x[..., :1]), x[..., :-1]], axis=-1)


def _ahead(x: Any, steps: int) -> Any:
    """The elements some steps ahead along the last axis; zeros past its end."""
    return concat([x[..., steps:], zeros_like(x[..., :steps])], axis=-1)


def _in_cumprod(g: Any, x: Any, y: Any, shapes: Shapes, axis: int | None) -> Any:
    """The product before each element, times s_i = g_i + x_(i+1) s_(i+1): right at zeros.

    The recurrence by doubling, in rounds of array operations as many as the length has bits.
    """
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    before = _after_one(moveaxis(y, axis, -1))
    s, factor, reach = moveaxis(g, axis, -1), _ahead(moveaxis(x, axis, -1), 1), 1
    while reach < s.shape[-1]:
        s = s + factor * _ahead(s, reach)
        factor = factor * _ahead(factor, reach)
        reach *= 2
    return moveaxis(before * s, -1, axis).reshape(shapes[0])


def _in_cummax(g: Any, x: Any, y: Any, shapes: Shapes, axis: int | None) -> Any:
    x, y = getattr(x, "array", x), getattr(y, "array", y)
    xp = backend.module_of(x)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    x, y = xp.moveaxis(x, axis, -1), xp.moveaxis(y, axis, -1)
    records = xp.where(x == y, xp.arange(x.shape[-1]), 0)
    index = along(_largest_so_far(xp, records), x.shape, -1)
    g = place(moveaxis(g, axis, -1), index=index, shape=x.shape)
    return moveaxis(g, -1, axis).reshape(shapes[0])


cumsum.vjp(x=_in_cumsum)
cumprod.vjp(x=_in_cumprod)
cummax.vjp(x=_in_cummax)
