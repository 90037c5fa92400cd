"""Checks of shapes and axes, and broadcasting arithmetic."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from math import inf
from operator import index
from typing import Any, SupportsIndex

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError, OutOfRangeError, ShapeError

Axis = int | Sequence[int] | None
Shapes = Sequence[tuple[int, ...]]  # of the inputs of an operation, which a rule may read


def size(value: Any, what: str) -> int:
    """Converts the size of an axis to an int. **Raises** TypeError, ShapeError naming it."""
    number = integer(value, what)
    if number < 0:
        raise ShapeError(f"{what}: expected 0 or more, got {number}")
    return number


def integer(value: Any, what: str, least: float = -inf) -> int:
    """Converts an integer to an int. **Raises** TypeError, ValueError naming the argument."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError as error:
        raise InvalidTypeError(f"{what}: expected an integer, got {value!r}") from error
    if number < least:
        raise InvalidValueError(f"{what}: expected {least} or more, got {number}")
    return number


def flag(value: Any, what: str) -> bool:
    """Checks a value that is True or False. **Raises** TypeError naming the argument."""
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidTypeError(f"{what}: expected True or False, got {value!r}")
    return bool(value)


def one_axis(axis: SupportsIndex, ndim: int, what: str) -> int:
    """Normalizes an axis to 0..ndim-1. **Raises** TypeError; IndexError if out of range."""
    number = integer(axis, f"{what}: axis")
    if not -ndim <= number < ndim:
        raise OutOfRangeError(f"{what}: expected one of {ndim} axes, got axis {number}")
    return number % ndim


def sizes(shape: int | tuple[int, ...] | list[int], what: str) -> tuple[int, ...]:
    """Converts a shape to a tuple of ints: from one length or several."""
    if type(shape) is tuple:
        for n in shape:
            if type(n) is not int or n < 0:
                break
        else:
            return shape  # the usual case
    each = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple([size(n, f"{what}: shape") for n in each])


def refuse_beyond(what: str, lengths: Sequence[int], most: int) -> None:
    """Refuses lengths of rows that are not from 0 to the number of steps."""
    for row, length in enumerate(lengths):
        if not 0 <= length <= most:
            raise ShapeError(
                f"{what}[{row}] = {length} is outside 0..{most} (the sequence has {most} steps)"
            )


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sums g, an array or a Tensor, to `shape`: the transpose of broadcasting."""
    if g.shape == shape:
        return g
    lead = len(g.shape) - len(shape)
    if lead < 0:  # axes of length 1 in front, which assignment to an index ignores
        return sum_to(g.reshape((1,) * -lead + g.shape), shape)
    spread = (i + lead for i, n in enumerate(shape) if n == 1 != g.shape[i + lead])
    return g.sum(axis=(*range(lead), *spread), keepdims=True).reshape(shape)


def axes_of(ndim: int, axis: Axis) -> tuple[int, ...]:
    """Normalizes one axis, several, or all (None) to a tuple."""
    if axis is None or not ndim:  # NumPy takes 0 and -1 where there are no axes
        return tuple(range(ndim))
    several = axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(operator.index(i) % ndim for i in several)


def keep_dims(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The shape of a reduction of `shape` over `axis` with keepdims=True."""
    reduced = axes_of(len(shape), axis)
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """The number of elements that a reduction of `shape` over `axis` combines into one."""
    total = 1
    for n, reduced in zip(shape, keep_dims(shape, axis), strict=True):
        total *= n if reduced == 1 else 1
    return total
