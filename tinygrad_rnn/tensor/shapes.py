"""Broadcasting arithmetic on tuples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Axis = int | Sequence[int] | None


def sum_to(g: Any, shape: tuple[int, ...]) -> Any:
    """Sums what broadcasting had spread: g, an array or a Tensor, comes back with `shape`."""
    if g.shape == shape:
        return g
    lead = len(g.shape) - len(shape)
    spread = (i + lead for i, n in enumerate(shape) if n == 1 != g.shape[i + lead])
    return g.sum(axis=(*range(lead), *spread), keepdims=True).reshape(shape)


def axes_of(ndim: int, axis: Axis) -> tuple[int, ...]:
    """The axes that `axis` names (all, if None), counted from the front."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(i % ndim for i in ((axis,) if isinstance(axis, int) else axis))


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
