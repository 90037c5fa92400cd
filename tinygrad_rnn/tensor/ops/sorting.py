"""Order along an axis: what is sorted is read by index, and so differentiable."""

from __future__ import annotations

from math import inf
from types import ModuleType
from typing import Any

from ...errors import ShapeError
from ..backend import Array
from ..inputs import operand
from ..operation import operation
from ..shapes import flag, integer, one_axis
from .indexing import take_along_axis

__all__ = ["argsort", "searchsorted", "sort", "topk"]


@operation
def argsort(xp: ModuleType, x: Array, *, axis: int | None = -1, descending: bool = False) -> Array:
    """The indices that sort x along an axis (flattened, if None); equal elements keep their order.

    >>> import tinygrad_rnn as tg
    >>> tg.argsort(tg.tensor([2.0, 3.0, 1.0]))
    tensor([2, 0, 1])
    """
    x, axis = (x.reshape(-1), 0) if axis is None else (x, axis)
    if not flag(descending, "descending"):
        return xp.argsort(x, axis=axis, kind="stable")
    backwards = xp.argsort(xp.flip(x, axis), axis=axis, kind="stable")
    return xp.flip(x.shape[axis] - 1 - backwards, axis)


def sort(x: Array, axis: int | None = -1, *, descending: bool = False) -> Array:
    """Sorts x in ascending order along an axis (the flattened x, if None).

    >>> import tinygrad_rnn as tg
    >>> tg.sort(tg.tensor([3.0, 1.0, 2.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    x = operand(x)
    x, axis = (x.reshape(-1), 0) if axis is None else (x, one_axis(axis, len(x.shape), "sort"))
    return take_along_axis(x, argsort(x, axis=axis, descending=descending), axis)


def topk(x: Array, k: int, axis: int = -1, *, largest: bool = True) -> tuple[Array, Array]:
    """The k largest elements along an axis, the largest first, and their indices.

    **Arguments** k: at most the axis's length. largest: False for the k smallest, the smallest
    first. **Returns** values, indices. **Raises** ShapeError for a k that is no length there.

    >>> import tinygrad_rnn as tg
    >>> values, indices = tg.topk(tg.tensor([3.0, 1.0, 2.0]), 2)
    >>> values.tolist(), indices.tolist()
    ([3.0, 2.0], [0, 2])
    """
    x = operand(x)
    axis = one_axis(axis, len(x.shape), "topk")
    if integer(k, "topk: k", 0) > (n := x.shape[axis]):
        raise ShapeError(f"topk: k: expected at most the {n} elements of axis {axis}, got {k}")
    order = argsort(x, axis=axis, descending=flag(largest, "topk: largest"))
    indices = order[(slice(None),) * axis + (slice(k),)]
    return take_along_axis(x, indices, axis), indices


@operation
def topk_indices(xp: ModuleType, x: Any, *, k: int) -> Any:
    """The indices of the k largest reals along the last axis; of equals the lower index first.

    Without sorting the axis. Where fewer than k are above -inf, an index may occur twice.
    """
    if 8 * k > x.shape[-1]:
        order = xp.argsort(-x, axis=-1, kind="stable")
        return order[..., :k]
    rest = x.reshape(
        -1, x.shape[-1]
    ).copy()  # k passes: to sort a vocabulary takes 100 times longer
    rows = xp.arange(len(rest))
    found = []
    for _ in range(k):
        found.append(rest.argmax(axis=-1))
        rest[rows, found[-1]] = -inf
    return xp.stack(found, axis=-1).reshape(*x.shape[:-1], k)


@operation
def searchsorted(xp: ModuleType, x: Array, values: Array, *, side: str = "left") -> Array:
    """Finds the indices at which to insert values into a sorted x to keep it sorted.

    >>> import tinygrad_rnn as tg
    >>> tg.searchsorted(tg.tensor([1.0, 2.0, 3.0]), tg.tensor([0.5, 2.0]))
    tensor([0, 1])
    """
    return xp.searchsorted(x, values, side=side)
