"""Reductions over axes: their rules spread the cotangent out again."""

from __future__ import annotations

from typing import Any

from ..backend import Array
from ..graph import operation
from ..shapes import Axis, count, keep_dims

__all__ = ["max", "mean", "min", "sum", "var"]


@operation
def sum(xp: Any, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The sum over axes (all, if None)."""
    return x.sum(axis=axis, keepdims=keepdims)


@operation
def mean(xp: Any, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The mean over axes (all, if None)."""
    return x.mean(axis=axis, keepdims=keepdims)


@operation
def max(xp: Any, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The largest element over axes; several equal ones share its gradient evenly."""
    return x.max(axis=axis, keepdims=keepdims)


@operation
def min(xp: Any, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The smallest element over axes; several equal ones share its gradient evenly."""
    return x.min(axis=axis, keepdims=keepdims)


def _spread(xp: Any, g: Any, shapes: Any, axis: Axis) -> Any:
    return xp.broadcast_to(g.reshape(keep_dims(shapes[0], axis)), shapes[0])


def _spread_mean(xp: Any, g: Any, shapes: Any, axis: Axis) -> Any:
    return _spread(xp, g / count(shapes[0], axis), shapes, axis)


def _to_extremes(g: Any, x: Any, y: Any, axis: Axis) -> Any:
    shape = keep_dims(x.shape, axis)
    hit = (x == y.reshape(shape)).astype(x.dtype)
    return g.reshape(shape) * hit / hit.sum(axis=axis, keepdims=True)


sum.vjp(x=_spread)
mean.vjp(x=_spread_mean)
max.vjp(x=_to_extremes)
min.vjp(x=_to_extremes)


def var(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """The variance over axes (of the population, as NumPy's default).

    >>> import tinygrad_rnn as tg
    >>> tg.var(tg.tensor([1.0, 2.0, 3.0, 4.0])).item()
    1.25
    """
    deviation = x - mean(x, axis=axis, keepdims=True)
    return mean(deviation * deviation, axis=axis, keepdims=keepdims)
