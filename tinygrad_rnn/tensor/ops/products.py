"""Products."""

from __future__ import annotations

from math import prod
from typing import Any

from ..backend import Array
from ..graph import Op

__all__ = ["matmul"]


def _flat(a: Any) -> Any:
    """A stack of matrices as one: all rows below each other."""
    return a.reshape((prod(a.shape[:-1]), a.shape[-1]))


def _matmul(xp: Any, a: Array, b: Array) -> Array:
    """The matrix product a @ b: of vectors, matrices, and stacks of matrices that broadcast."""
    if b.ndim == 2 and a.ndim > 2:  # one large product beats a stack of small ones
        return (_flat(a) @ b).reshape(*a.shape[:-1], b.shape[-1])
    return xp.matmul(a, b)


def _in_a(g: Any, b: Any, shapes: Any) -> Any:
    if len(shapes[1]) == 1:
        return g.reshape((*g.shape, 1)) * b
    if len(shapes[0]) == 1:
        return (b @ g.reshape((*g.shape, 1))).reshape((*g.shape[:-1], shapes[0][0]))
    return g @ b.mT


def _in_b(g: Any, a: Any, shapes: Any) -> Any:
    if len(shapes[0]) == 1:
        if len(shapes[1]) == 1:
            return g * a
        return a.reshape((-1, 1)) * g.reshape((*g.shape[:-1], 1, g.shape[-1]))
    if len(shapes[1]) == 1:
        return (a.mT @ g.reshape((*g.shape, 1))).reshape((*a.shape[:-2], a.shape[-1]))
    if len(shapes[1]) == 2:
        # One b for the whole stack: one product sums over the stack as it goes.
        return _flat(a).mT @ _flat(g)
    return a.mT @ g


matmul = Op(
    "matmul",
    _matmul,
    expects="a's last axis to be as long as b's last but one (b's only one, if b is a vector)",
).vjp(a=_in_a, b=_in_b)
