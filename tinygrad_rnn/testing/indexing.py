"""OpInfos of reading and writing by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import backend
from .builders import FLATTENED, along_axis, applied, op_info
from .op_info import (
    Array,
    Sample,
    Sampler,
    an_axis,
    axis_or_none,
    broadcastable,
    distinct,
    real,
    shape,
    with_zeros,
)


def index_of(d: Sampler, n: int) -> Any:
    """An index of an axis of length n > 0, of any of NumPy's kinds."""
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


def _an_index(d: Sampler, x: Array) -> Any:
    if not x.ndim:
        return d.one_of([(), ..., None, (..., None)])
    parts = [index_of(d, x.shape[0])]
    if x.ndim > 1:
        parts.append(d.one_of([slice(None), d.integer(0, x.shape[1] - 1), None, ...]))
    return d.one_of([parts[0], tuple(parts)])


def _getitem(d: Sampler) -> Sample:
    x = real(d, shape(d, smallest=1))
    return applied(x, index=_an_index(d, x))


def _place(d: Sampler) -> Sample:
    whole = shape(d, smallest=1)
    index = _an_index(d, np.zeros(whole))
    value = real(d, np.zeros(whole)[index].shape)
    return applied(value, index=index, shape=whole)


def _written(d: Sampler) -> Sample:
    x = real(d, shape(d, smallest=1))
    index = _an_index(d, x)
    value = real(d, broadcastable(d, x[index].shape))
    return applied(x, value, index=index)


def _take(d: Sampler) -> Sample:
    x = real(d, shape(d, smallest=1))
    axis = axis_or_none(d, x)
    n = x.size if axis is None else x.shape[axis]
    indices = np.array([[d.integer(-n, n - 1)] * 2, [0, d.integer(-n, n - 1)]])
    return Sample([x], lambda f, x: f(x, indices, axis=axis))


def _take_along_axis(d: Sampler) -> Sample:
    x = real(d, shape(d, least=1, smallest=1))
    axis = an_axis(d, x)
    read = list(broadcastable(d, (1, *x.shape)))[-x.ndim :]
    read = [1] * (x.ndim - len(read)) + read
    read[axis] = d.integer(0, 3)
    indices = np.array(np.floor(np.abs(d.reals(tuple(read))) * 50) % x.shape[axis], np.int64)
    return Sample([x], lambda f, x: f(x, backend.to_device(indices), axis=axis))


def _one_hot(d: Sampler) -> Sample:
    classes = d.integer(1, 4)
    x = np.floor(np.abs(d.reals(shape(d))) * 50) % classes + 0.5  # off the steps
    return Sample([x], lambda f, x: f(x.astype("int64"), num_classes=classes))


def _topk(d: Sampler) -> Sample:
    x = distinct(d, shape(d, least=1))
    axis, largest = an_axis(d, x), d.one_of([True, False])
    k = d.integer(0, x.shape[axis])
    return Sample([x], lambda f, x: f(x, k, axis, largest=largest))


def _searchsorted(d: Sampler) -> Sample:
    whole = np.sort(d.reals((d.integer(0, 4),)))
    side = d.one_of(["left", "right"])
    return applied(whole, real(d, shape(d)), side=side)


INDEXING = [
    op_info("getitem", _getitem),
    op_info("place", _place),
    op_info("index_update", _written),
    op_info("take", _take),
    op_info("index_add", _written),
    op_info("take_along_axis", _take_along_axis),
    # in order
    along_axis("sort", distinct, descending=[False, True], **FLATTENED),
    op_info("topk", _topk),
    along_axis("argsort", distinct, kind="constant", descending=[False, True], **FLATTENED),
    op_info("searchsorted", _searchsorted, kind="constant"),
    op_info("nonzero", lambda d: applied(with_zeros(d, shape(d, least=1))), kind="constant"),
    op_info("one_hot", _one_hot, kind="constant"),
]
