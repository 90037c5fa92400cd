"""Operations that move elements and change none."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import InvalidTypeError, ShapeError
from .. import backend
from ..backend import Array
from ..inputs import operand
from ..operation import Op, operation
from ..shapes import Axis, Shapes, integer, one_axis
from .indexing import getitem

__all__ = [
    "broadcast_to", "concat", "expand_dims", "flip", "matrix_transpose", "moveaxis",
    "permute_dims", "reshape", "roll", "split", "squeeze", "stack", "swapaxes", "to_device",
    "unstack",
]  # fmt: skip


@operation
def reshape(xp: ModuleType, x: Array, *, shape: int | tuple[int, ...]) -> Array:
    """Changes the shape; one length may be -1, which is then inferred.

    >>> import tinygrad_rnn as tg
    >>> tg.reshape(tg.arange(6), (2, -1))
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    return x.reshape(shape)


@operation
def broadcast_to(xp: ModuleType, x: Array, *, shape: tuple[int, ...]) -> Array:
    """Broadcasts x to a shape, without a copy.

    >>> import tinygrad_rnn as tg
    >>> tg.broadcast_to(tg.tensor([1, 2]), (3, 2))
    tensor([[1, 2],
            [1, 2],
            [1, 2]])
    """
    return xp.broadcast_to(x, shape)


@operation
def expand_dims(xp: ModuleType, x: Array, *, axis: int | tuple[int, ...]) -> Array:
    """Inserts an axis of length 1.

    >>> import tinygrad_rnn as tg
    >>> tg.expand_dims(tg.zeros((2, 3)), axis=0).shape
    (1, 2, 3)
    """
    if axis == 0:  # the usual one; the function takes longer than all that is around it here
        return xp.asarray(x)[None]
    return xp.expand_dims(x, axis)


@operation
def squeeze(xp: ModuleType, x: Array, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """Removes all axes of length 1, or those named.

    >>> import tinygrad_rnn as tg
    >>> tg.squeeze(tg.zeros((1, 3, 1)), axis=0).shape
    (3, 1)
    """
    return xp.squeeze(x, axis)


@operation
def permute_dims(xp: ModuleType, x: Array, *, axes: tuple[int, ...] | None = None) -> Array:
    """Permutes the axes; reverses their order, if None.

    >>> import tinygrad_rnn as tg
    >>> tg.permute_dims(tg.zeros((2, 3, 4)), (1, 0, 2)).shape
    (3, 2, 4)
    """
    return xp.transpose(x, axes)


@operation
def swapaxes(xp: ModuleType, x: Array, *, axis1: int, axis2: int) -> Array:
    """Exchanges two axes.

    >>> import tinygrad_rnn as tg
    >>> tg.swapaxes(tg.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    return xp.swapaxes(x, axis1, axis2)


@operation
def moveaxis(
    xp: ModuleType, x: Array, *, source: int | Sequence[int], destination: int | Sequence[int]
) -> Array:
    """Moves axes to other positions; the others keep their order.

    >>> import tinygrad_rnn as tg
    >>> tg.moveaxis(tg.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    return xp.moveaxis(x, source, destination)


@operation
def flip(xp: ModuleType, x: Array, *, axis: Axis = None) -> Array:
    """Reverses the order of the elements along axes (all, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.flip(tg.tensor([[1, 2], [3, 4]]), axis=1)
    tensor([[2, 1],
            [4, 3]])
    """
    return xp.flip(x, axis)


@operation
def roll(
    xp: ModuleType,
    x: Array,
    *,
    shift: int | tuple[int, ...],
    axis: int | tuple[int, ...] | None = None,
) -> Array:
    """Rolls elements along axes (of the flattened x, if None), from the end to the start.

    >>> import tinygrad_rnn as tg
    >>> tg.roll(tg.arange(4), 1)
    tensor([3, 0, 1, 2])
    """
    for n in shift if isinstance(shift, tuple) else (shift,):
        integer(n, "roll: shift")
    return xp.roll(x, shift, axis)


def _roll_back(g: Any, shift: int | tuple[int, ...], axis: Axis) -> Any:
    back = tuple([-n for n in shift]) if isinstance(shift, tuple) else -shift
    return roll(g, shift=back, axis=axis)


def _permute_back(g: Any, axes: tuple[int, ...] | None) -> Any:
    if axes is None:
        return permute_dims(g)
    axes = axes if isinstance(axes, Sequence) else tuple(np.ravel(axes))
    places = [axis % len(axes) for axis in axes]
    return permute_dims(g, axes=tuple(sorted(range(len(axes)), key=places.__getitem__)))


reshape.vjp(x=lambda g, shapes: g.reshape(shapes[0]))
expand_dims.vjp(x=lambda g, shapes: g.reshape(shapes[0]))
squeeze.vjp(x=lambda g, shapes: g.reshape(shapes[0]))
broadcast_to.vjp(x=lambda g: g)  # the engine sums what was spread
permute_dims.vjp(x=_permute_back)
swapaxes.vjp(x=lambda g, axis1, axis2: swapaxes(g, axis1=axis1, axis2=axis2))
moveaxis.vjp(x=lambda g, source, destination: moveaxis(g, source=destination, destination=source))
flip.vjp(x=lambda g, axis: flip(g, axis=axis))
roll.vjp(x=_roll_back)


def matrix_transpose(x: Array) -> Array:
    """Exchanges the last two axes.

    >>> import tinygrad_rnn as tg
    >>> tg.matrix_transpose(tg.zeros((5, 2, 3))).shape
    (5, 3, 2)
    """
    return swapaxes(x, axis1=-2, axis2=-1)


# ---------------------------------------------------------------- many to one, one to many

MAX_SECTIONS = 1 << 20  # an empty axis divides into any number of parts, which all take memory

_concat = Op(
    "concat",
    lambda xp, *xs, axis: xp.concatenate(xs, axis=axis),
    expects="shapes that differ along the axis only",
)
_stack = Op("stack", lambda xp, *xs, axis: xp.stack(xs, axis=axis), expects="equal shapes")


@operation
def unstack(xp: ModuleType, x: Array, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices of x along an axis, as a tuple: one node for all of them.

    >>> import tinygrad_rnn as tg
    >>> tg.unstack(tg.tensor([[1, 2], [3, 4]]), axis=1)
    (tensor([1, 3]), tensor([2, 4]))
    """
    return tuple(xp.moveaxis(x, one_axis(axis, x.ndim, "unstack"), 0))


def _parts(g: Any, shapes: Shapes, axis: int) -> list[Any]:
    start, parts = 0, []
    before = (slice(None),) * (axis % len(shapes[0]))
    for shape in shapes:
        parts.append(g[(*before, slice(start, start + shape[axis]))])
        start += shape[axis]
    return parts


def _restack(xp: ModuleType, g: Any, axis: int) -> Any:
    zero = xp.zeros_like(next(v for v in g if v is not None))
    return stack([zero if v is None else v for v in g], axis=axis)


_concat.vjp(_parts)
_stack.vjp(lambda g, axis: unstack(g, axis=axis))
unstack.vjp(x=_restack)


def _several(name: str, arrays: Any) -> tuple[Any, ...]:
    """The arrays to join: at least one."""
    try:
        each = tuple(arrays)
    except TypeError as error:
        raise InvalidTypeError(f"{name}: expected a list of arrays, got {arrays!r}") from error
    if not each:
        raise ShapeError(f"{name}: expected one array or more, got none")
    return each


def concat(arrays: Sequence[Array], axis: int | None = 0) -> Array:
    """Joins arrays along an existing axis (the flattened arrays, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.concat([tg.zeros((2, 3)), tg.ones((1, 3))]).shape
    (3, 3)
    """
    each = _several("concat", arrays)
    if axis is None:  # as NumPy: all of them flattened
        each, axis = tuple([reshape(x, shape=(-1,)) for x in each]), 0
    return _concat(*each, axis=operator.index(axis))


def stack(arrays: Sequence[Array], axis: int = 0) -> Array:
    """Joins arrays of one shape along a new axis.

    >>> import tinygrad_rnn as tg
    >>> tg.stack([tg.zeros((3,)), tg.ones((3,))], axis=1).shape
    (3, 2)
    """
    return _stack(*_several("stack", arrays), axis=operator.index(axis))


def split(x: Array, indices_or_sections: int | Sequence[int], axis: int = 0) -> tuple[Array, ...]:
    """Splits x into consecutive parts along an axis: a number of equal parts, or cut at indices.

    **Raises** ShapeError if the axis does not divide into equal parts.

    >>> import tinygrad_rnn as tg
    >>> [part.tolist() for part in tg.split(tg.arange(5), [1, 3])]
    [[0], [1, 2], [3, 4]]
    """
    x = operand(x)
    axis = one_axis(axis, len(x.shape), "split")
    n = x.shape[axis]
    if not isinstance(indices_or_sections, Sequence):
        sections = integer(indices_or_sections, "split: sections")
        if sections < 1 or n % sections or sections > MAX_SECTIONS:
            raise ShapeError(f"split: an axis of {n} does not divide into {sections} equal parts")
        cuts = [n // sections * i for i in range(1, sections)]
    else:
        cuts = [integer(i, "split: an index") for i in indices_or_sections]
        cuts = [i + n if i < 0 else i for i in cuts]
        if cuts != sorted(cuts) or any(not 0 <= i <= n for i in cuts):
            raise ShapeError(
                f"split: expected indices in ascending order, up to the axis's {n}, got "
                f"{list(indices_or_sections)}"
            )
    before = (slice(None),) * axis
    return tuple(
        getitem(x, index=(*before, slice(start, stop)))
        for start, stop in zip([0, *cuts], [*cuts, n], strict=True)
    )


# ---------------------------------------------------------------- from device to device

_to_device = Op("to", lambda xp, x, *, device, source: backend.to_device(x, device)).vjp(
    x=lambda g, device, source: to_device(g, source)
)


def to_device(x: Array, device: str) -> Array:
    """Copies x to another device; the cotangent is copied back.

    >>> import tinygrad_rnn as tg
    >>> tg.to_device(tg.ones((2,)), "cpu").device
    'cpu'
    """
    return _to_device(x, device=device, source=backend.device_of(getattr(x, "array", x)))
