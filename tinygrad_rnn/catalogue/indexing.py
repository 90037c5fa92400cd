"""Rows of reading and writing by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import backend
from .build import along_axis, row
from .case import (
    Array,
    Case,
    Draw,
    an_axis,
    axis_or_none,
    broadcastable,
    distinct,
    real,
    shape,
    with_zeros,
)


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
    if not x.ndim:
        return d.one_of([(), ..., None, (..., None)])
    parts = [index_of(d, x.shape[0])]
    if x.ndim > 1:
        parts.append(d.one_of([slice(None), d.integer(0, x.shape[1] - 1), None, ...]))
    return d.one_of([parts[0], tuple(parts)])


def _getitem(d: Draw) -> Case:
    x = real(d, shape(d, smallest=1))
    index = _an_index(d, x)
    return Case([x], lambda f, x: f(x, index=index))


def _place(d: Draw) -> Case:
    whole = shape(d, smallest=1)
    index = _an_index(d, np.zeros(whole))
    value = real(d, np.zeros(whole)[index].shape)
    return Case([value], lambda f, v: f(v, index=index, shape=whole))


def _index_update(d: Draw) -> Case:
    x = real(d, shape(d, smallest=1))
    index = _an_index(d, x)
    value = real(d, broadcastable(d, x[index].shape))
    return Case([x, value], lambda f, x, v: f(x, v, index=index))


def _take(d: Draw) -> Case:
    x = real(d, shape(d, smallest=1))
    axis = axis_or_none(d, x)
    n = x.size if axis is None else x.shape[axis]
    indices = np.array([[d.integer(-n, n - 1)] * 2, [0, d.integer(-n, n - 1)]])
    return Case([x], lambda f, x: f(x, indices, axis=axis))


def _index_add(d: Draw) -> Case:
    x = real(d, shape(d, smallest=1))
    index = _an_index(d, x)
    value = real(d, broadcastable(d, x[index].shape))
    return Case([x, value], lambda f, x, v: f(x, v, index=index))


def _added(x: Array, value: Array, index: Any) -> Array:
    x = x.copy()
    places = np.arange(x.size).reshape(x.shape)[index]
    for i, v in zip(places.flat, np.broadcast_to(value, places.shape).flat, strict=True):
        x.flat[i] += v
    return x


def _take_along_axis(d: Draw) -> Case:
    x = real(d, shape(d, least=1, smallest=1))
    axis = an_axis(d, x)
    read = list(broadcastable(d, (1, *x.shape)))[-x.ndim :]
    read = [1] * (x.ndim - len(read)) + read
    read[axis] = d.integer(0, 3)
    indices = np.array(np.floor(np.abs(d.reals(tuple(read))) * 50) % x.shape[axis], np.int64)
    return Case([x], lambda f, x: f(x, backend.to_device(indices), axis=axis))


def _one_hot(d: Draw) -> Case:
    classes = d.integer(1, 4)
    x = np.floor(np.abs(d.reals(shape(d))) * 50) % classes + 0.5  # off the steps
    return Case([x], lambda f, x: f(x.astype("int64"), num_classes=classes))


def _flags(x: Array, num_classes: int) -> Array:
    return np.asarray(np.expand_dims(x, -1) == np.arange(num_classes), np.float32)


def _topk(d: Draw) -> Case:
    x = distinct(d, shape(d, least=1))
    axis, largest = an_axis(d, x), d.one_of([True, False])
    k = d.integer(0, x.shape[axis])
    return Case([x], lambda f, x: f(x, k, axis, largest=largest))


def _first_of_sorted(x: Array, k: int, axis: int, *, largest: bool) -> tuple[Array, Array]:
    order = np.argsort(-x if largest else x, axis=axis)
    indices = np.take(order, np.arange(k), axis)
    return np.take_along_axis(x, indices, axis), indices


def _ordered(x: Array, axis: int | None, descending: bool) -> Array:
    return np.asarray(-np.sort(-x, axis=axis) if descending else np.sort(x, axis=axis))


def _order(x: Array, axis: int | None, descending: bool) -> Array:
    return np.asarray(np.argsort(-x if descending else x, axis=axis))


def _searchsorted(d: Draw) -> Case:
    whole = np.sort(d.reals((d.integer(0, 4),)))
    side = d.one_of(["left", "right"])
    return Case([whole, real(d, shape(d))], lambda f, x, v: f(x, v, side=side))


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
    row("index_add", _index_add, _added),
    row("take_along_axis", _take_along_axis),
    # in order
    along_axis(
        "sort",
        distinct,
        _ordered,
        axes=axis_or_none,
        least=0,
        smallest=0,
        descending=[False, True],
    ),
    row("topk", _topk, _first_of_sorted),
    along_axis(
        "argsort",
        distinct,
        _order,
        axes=axis_or_none,
        least=0,
        smallest=0,
        kind="constant",
        descending=[False, True],
    ),
    row("searchsorted", _searchsorted, kind="constant"),
    row(
        "nonzero",
        lambda d: Case([with_zeros(d, shape(d, least=1))], lambda f, x: f(x)),
        kind="constant",
    ),
    row("one_hot", _one_hot, _flags, kind="constant"),
]
