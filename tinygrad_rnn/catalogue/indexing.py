"""Rows of reading and writing by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from .build import row
from .case import Array, Case, Draw, an_axis, broadcastable, real, shape


def index_of(d: Draw, n: int) -> Any:
    """Something that indexes an axis of length n > 0, each of NumPy's kinds."""
    return d.one_of(
        [
            d.integer(-n, n - 1),
            slice(None),
            slice(d.integer(0, n), None, d.one_of([1, 2])),
            slice(None, None, -1),
            [d.integer(-n, n - 1) for _ in range(d.integer(0, 4))],
            np.array([[d.integer(0, n - 1)] * 2, [0, d.integer(-n, n - 1)]]),
            np.arange(n) % 2 == d.integer(0, 1),
        ]
    )


def _an_index(d: Draw, x: Array) -> Any:
    parts = [index_of(d, x.shape[0])]
    if x.ndim > 1:
        parts.append(d.one_of([slice(None), d.integer(0, x.shape[1] - 1), None, ...]))
    return d.one_of([parts[0], tuple(parts)])


def _getitem(d: Draw) -> Case:
    x = real(d, shape(d, least=1, smallest=1))
    index = _an_index(d, x)
    return Case([x], lambda f, x: f(x, index=index))


def _place(d: Draw) -> Case:
    whole = shape(d, least=1, smallest=1)
    index = _an_index(d, np.zeros(whole))
    value = real(d, np.zeros(whole)[index].shape)
    return Case([value], lambda f, v: f(v, index=index, shape=whole))


def _index_update(d: Draw) -> Case:
    x = real(d, shape(d, least=1, smallest=1))
    index = _an_index(d, x)
    value = real(d, broadcastable(d, x[index].shape))
    return Case([x, value], lambda f, x, v: f(x, v, index=index))


def _take(d: Draw) -> Case:
    x = real(d, shape(d, least=1, smallest=1))
    axis = d.one_of([None, an_axis(d, x)])
    n = x.size if axis is None else x.shape[axis]
    indices = np.array([[d.integer(-n, n - 1)] * 2, [0, d.integer(-n, n - 1)]])
    return Case([x], lambda f, x: f(x, indices, axis=axis))


def _placed(value: Array, index: Any, shape: tuple[int, ...]) -> Array:
    whole = np.zeros(shape)
    np.add.at(whole, index, value)
    return whole


def _updated(x: Array, value: Array, index: Any) -> Array:
    x = x.copy()
    x[index] = value
    return x


INDEXING = [
    row("getitem", _getitem, lambda x, index: x[index]),
    row("place", _place, _placed),
    row("index_update", _index_update, _updated),
    row("take", _take),
]
