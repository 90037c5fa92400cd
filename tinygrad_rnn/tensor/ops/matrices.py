"""Parts of matrices: their triangles, their diagonals."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from ..backend import Array
from ..inputs import operand
from ..operation import operation
from .indexing import getitem, remembered
from .movement import moveaxis
from .reductions import sum

__all__ = ["diagonal", "trace", "tril", "triu"]


@operation
def tril(xp: ModuleType, x: Array, *, k: int = 0) -> Array:
    """Matrices (..., m, n) with zeros above their k-th diagonal.

    >>> import tinygrad_rnn as tg
    >>> tg.tril(tg.ones((2, 3)))
    tensor([[1., 0., 0.],
            [1., 1., 0.]])
    """
    return xp.tril(x, k)


@operation
def triu(xp: ModuleType, x: Array, *, k: int = 0) -> Array:
    """Matrices (..., m, n) with zeros below their k-th diagonal.

    >>> import tinygrad_rnn as tg
    >>> tg.triu(tg.ones((2, 3)), k=1)
    tensor([[0., 1., 1.],
            [0., 0., 1.]])
    """
    return xp.triu(x, k)


tril.vjp(x=lambda g, k: tril(g, k=k))
triu.vjp(x=lambda g, k: triu(g, k=k))


def diagonal(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The diagonal of two axes, as the last axis; an offset above 0 selects one to the right of it.

    >>> import tinygrad_rnn as tg
    >>> tg.diagonal(tg.arange(6).reshape(2, 3), 1).tolist()
    [1, 5]
    """
    x = operand(x)
    rows, columns = x.shape[axis1], x.shape[axis2]
    places = _places(max(0, -offset), max(0, -offset, min(rows, columns - offset)), offset)
    return moveaxis(getitem(moveaxis(x, (axis1, axis2), (0, 1)), index=places), 0, -1)


@remembered
def _places(start: int, stop: int, offset: int) -> tuple[Array, Array]:
    """The rows and columns of a diagonal."""
    rows = np.arange(start, stop)
    return rows, rows + offset


def trace(x: Array, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Array:
    """The sum of the diagonal of two axes.

    >>> import tinygrad_rnn as tg
    >>> tg.trace(tg.tensor([[1.0, 2.0], [3.0, 4.0]])).item()
    5.0
    """
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)
