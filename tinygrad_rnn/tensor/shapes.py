"""Shapes: whether they are any, and broadcasting arithmetic on them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from operator import index
from typing import Any

from ..errors import InvalidTypeError, OutOfRangeError, ShapeError

Axis = int | Sequence[int] | None


def size(value: Any, what: str, least: int = 0) -> int:
    """A length as an int. **Raises** TypeError, ShapeError naming what it is of."""
    number = integer(value, what)
    if number < least:
        raise ShapeError(f"{what}: expected {least} or more, got {number}")
    return number


def integer(value: Any, what: str) -> int:
    """Anything that counts as an int, as one. **Raises** TypeError naming what it is."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)
    except TypeError as error:
        raise InvalidTypeError(f"{what}: expected an integer, got {value!r}") from error


def one_axis(axis: Any, ndim: int, what: str) -> int:
    """An axis, counted from the front. **Raises** TypeError; IndexError if there is none such."""
    number = integer(axis, f"{what}: axis")
    if not -ndim <= number < ndim:
        raise OutOfRangeError(f"{what}: expected one of {ndim} axes, got axis {number}")
    return number % ndim


def sizes(shape: Any, what: str) -> tuple[int, ...]:
    """A shape as a tuple of ints: from one length, or several."""
    if type(shape) is tuple and all(type(n) is int and n >= 0 for n in shape):
        return shape  # as layers ask for at every call
    each = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple([size(n, f"{what}: shape") for n in each])


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sums what broadcasting had spread: g, an array or a Tensor, comes back with `shape`."""
    if g.shape == shape:
        return g
    lead = len(g.shape) - len(shape)
    if lead < 0:  # axes of length 1 in front, which assignment to an index ignores
        return sum_to(g.reshape((1,) * -lead + g.shape), shape)
    spread = (i + lead for i, n in enumerate(shape) if n == 1 != g.shape[i + lead])
    return g.sum(axis=(*range(lead), *spread), keepdims=True).reshape(shape)


def axes_of(ndim: int, axis: Axis) -> tuple[int, ...]:
    """The axes that `axis` names (all, if None), counted from the front."""
    if axis is None or not ndim:  # NumPy takes 0 and -1 where there are no axes
        return tuple(range(ndim))
    several = axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(operator.index(i) % ndim for i in several)


def keep_dims(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape that a reduction of `shape` over `axis` has with keepdims=True."""
    reduced = axes_of(len(shape), axis)
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements a reduction of `shape` over `axis` puts into one."""
    total = 1
    for n, kept in zip(shape, keep_dims(shape, axis), strict=True):
        total *= n if kept == 1 else 1
    return total
