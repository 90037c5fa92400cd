"""Reductions over axes: their rules spread the cotangent out again."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..backend import Array
from ..operation import operation
from ..shapes import Axis, Shapes, axes_of, count, keep_dims
from .cumulative import product_before
from .elementwise import reciprocal
from .movement import flip, moveaxis

__all__ = [
    "all", "any", "argmax", "argmin", "count_nonzero", "max", "mean", "min", "prod", "std", "sum",
    "var",
]  # fmt: skip


@operation
def sum(xp: ModuleType, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The sum over axes (all, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.sum(tg.tensor([[1.0, 3.0], [4.0, 2.0]]), axis=1, keepdims=True)
    tensor([[4.],
            [6.]])
    """
    return x.sum(axis=axis, keepdims=keepdims)


@operation
def mean(xp: ModuleType, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The mean over axes (all, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.mean(tg.tensor([[1.0, 3.0], [4.0, 2.0]]), axis=0)
    tensor([2.5, 2.5])
    """
    return x.mean(axis=axis, keepdims=keepdims)


@operation
def max(xp: ModuleType, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The maximum over axes; equal maxima share the gradient evenly.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 3.0, 3.0, 1.0], requires_grad=True)
    >>> (slope,) = tg.grad(tg.max(x), [x])
    >>> slope
    tensor([0. , 0.5, 0.5, 0. ])
    """
    return x.max(axis=axis, keepdims=keepdims)


@operation
def min(xp: ModuleType, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The minimum over axes; equal minima share the gradient evenly.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 3.0, 3.0, 1.0], requires_grad=True)
    >>> (slope,) = tg.grad(tg.min(x), [x])
    >>> slope
    tensor([0.5, 0. , 0. , 0.5])
    """
    return x.min(axis=axis, keepdims=keepdims)


def _spread(xp: ModuleType, g: Any, shapes: Shapes, axis: Axis) -> Any:
    return xp.broadcast_to(g.reshape(keep_dims(shapes[0], axis)), shapes[0])


def _spread_mean(xp: ModuleType, g: Any, shapes: Shapes, axis: Axis) -> Any:
    return _spread(xp, g / count(shapes[0], axis), shapes, axis)


def _to_extremes(xp: ModuleType, g: Any, x: Any, y: Any, axis: Axis) -> Any:
    shape = keep_dims(x.shape, axis)
    hit = x == y.reshape(shape)
    share = g.reshape(shape) / hit.astype(x.dtype).sum(axis=axis, keepdims=True)
    return xp.where(hit, share, 0)


sum.vjp(x=_spread)
mean.vjp(x=_spread_mean)
max.vjp(x=_to_extremes)
min.vjp(x=_to_extremes)


@operation
def var(
    xp: ModuleType, x: Array, *, axis: Axis = None, correction: float = 0, keepdims: bool = False
) -> Array:
    """The variance over axes: squared deviations, summed and divided by their count - correction.

    The correction is 0 for a population, 1 for a sample (NumPy's older `ddof`).

    >>> import tinygrad_rnn as tg
    >>> tg.var(tg.tensor([1.0, 3.0])), tg.var(tg.tensor([1.0, 3.0]), correction=1)
    (tensor(1.), tensor(2.))
    """
    return xp.var(x, axis=axis, ddof=correction, keepdims=keepdims)


@operation
def std(
    xp: ModuleType, x: Array, *, axis: Axis = None, correction: float = 0, keepdims: bool = False
) -> Array:
    """The square root of the variance; where that is 0, its derivatives are 0.

    >>> import tinygrad_rnn as tg
    >>> tg.std(tg.tensor([1.0, 3.0])), tg.std(tg.tensor([1.0, 3.0]), correction=1)
    (tensor(1.), tensor(1.4142135))
    """
    return xp.std(x, axis=axis, ddof=correction, keepdims=keepdims)


@operation
def prod(xp: ModuleType, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The product over axes (all, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.prod(tg.tensor([2.0, 3.0, 4.0]))
    tensor(24.)
    """
    return xp.prod(x, axis=axis, keepdims=keepdims)


def _deviation(xp: ModuleType, x: Any, axis: Axis, correction: float) -> Any:
    return (x - xp.mean(x, axis=axis, keepdims=True)) / (count(x.shape, axis) - correction)


def _in_var(xp: ModuleType, g: Any, x: Any, axis: Axis, correction: float) -> Any:
    return 2 * g.reshape(keep_dims(x.shape, axis)) * _deviation(xp, x, axis, correction)


def _in_std(xp: ModuleType, g: Any, x: Any, y: Any, axis: Axis, correction: float) -> Any:
    slope = (g * reciprocal(y)).reshape(keep_dims(x.shape, axis))
    return slope * _deviation(xp, x, axis, correction)


def _in_prod(xp: ModuleType, g: Any, x: Any, axis: Axis) -> Any:
    """Times the product of all other elements, without a division: right at zeros."""
    axes = axes_of(x.ndim, axis)
    last = tuple(range(-len(axes), 0))
    rows = moveaxis(x, axes, last)
    flat = rows.reshape((*rows.shape[: x.ndim - len(axes)], count(x.shape, axis)))
    others = product_before(flat) * flip(product_before(flip(flat, axis=-1)), axis=-1)
    return g.reshape(keep_dims(x.shape, axis)) * moveaxis(others.reshape(rows.shape), last, axes)


var.vjp(x=_in_var)
std.vjp(x=_in_std)
prod.vjp(x=_in_prod)

# ---------------------------------------------------------------- without a gradient


@operation
def any(xp: ModuleType, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Tests whether any element over axes is true (or not zero).

    >>> import tinygrad_rnn as tg
    >>> tg.any(tg.tensor([[0, 0], [0, 2]]), axis=1)
    tensor([False,  True])
    """
    return x.any(axis=axis, keepdims=keepdims)


@operation
def all(xp: ModuleType, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Tests whether all elements over axes are true (or not zero).

    >>> import tinygrad_rnn as tg
    >>> tg.all(tg.tensor([[True, False], [True, True]]), axis=1)
    tensor([False,  True])
    """
    return x.all(axis=axis, keepdims=keepdims)


@operation
def count_nonzero(xp: ModuleType, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Counts the elements that are not zero, over axes.

    >>> import tinygrad_rnn as tg
    >>> tg.count_nonzero(tg.tensor([[1, 0], [2, 3]]), axis=0)
    tensor([2, 1])
    """
    return xp.sum(x != 0, axis=axis, keepdims=keepdims)


@operation
def argmax(xp: ModuleType, x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the largest element along an axis (of the flattened x, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.argmax(tg.tensor([[1.0, 3.0], [4.0, 2.0]]), axis=1)
    tensor([1, 0])
    """
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@operation
def argmin(xp: ModuleType, x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the smallest element along an axis (of the flattened x, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.argmin(tg.tensor([[1.0, 3.0], [4.0, 2.0]]), axis=1)
    tensor([0, 1])
    """
    return xp.argmin(x, axis=axis, keepdims=keepdims)
