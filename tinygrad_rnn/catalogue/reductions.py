"""Rows of reductions and of what runs along an axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import backend
from ..tensor.shapes import count
from .build import along_axis, reduction, row
from .case import Array, Case, Draw, axis_or_none, distinct, real, shape, some_axes, with_zeros


def _softmax_cross_entropy(d: Draw) -> Case:
    whole, classes = shape(d, most=2), d.integer(1, 4)
    targets = np.asarray(np.array(d.reals(whole) > 0, dtype=np.int64) * (classes - 1))
    options = {"smoothing": 0.3} if d.integer(0, 1) else {}
    return Case(
        [real(d, (*whole, classes))], lambda f, x: f(x, backend.to_device(targets), **options)
    )


def _surprise(x: Array, targets: Array, smoothing: float = 0.0) -> Array:
    logs = np.log(_softmax(x, -1))
    hit = np.take_along_axis(logs, targets[..., None], axis=-1)[..., 0]
    return np.asarray(-(1 - smoothing) * hit - smoothing * logs.mean(axis=-1))


def _linear_cross_entropy(d: Draw) -> Case:
    rows, features, classes = d.integer(0, 3), d.integer(1, 3), d.integer(1, 4)
    targets = np.array([d.integer(0, classes - 1) for _ in range(rows)], dtype=np.int64)
    options = {"smoothing": 0.3} if d.integer(0, 1) else {}
    shapes = [(rows, features), (classes, features), (rows,), (classes,)]
    inputs = [real(d, shape) for shape in shapes[: d.integer(3, 4)]]

    def call(f: Any, x: Any, w: Any, weights: Any, *b: Any) -> Any:
        return f(x, w, backend.to_device(targets), weights, *b, **options)

    return Case(inputs, call)


def _total_surprise(
    x: Array, w: Array, targets: Array, weights: Array, b: Array | float = 0.0, **options: float
) -> Array:
    return np.asarray((weights * _surprise(x @ w.T + b, targets, **options)).sum())


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def off_the_edge(d: Draw, shape: tuple[int, ...]) -> Array:
    """Reals of which sparsemax drops none by so little that a small change would bring it back."""
    return distinct(d, shape) * 1.03


def _sparsemax(x: Array, axis: int) -> Array:
    z = -np.sort(-x, axis=axis)
    rank = np.cumsum(np.ones_like(z), axis=axis)
    threshold = ((np.cumsum(z, axis=axis) - 1) / rank).max(axis=axis, keepdims=True)
    return np.asarray(np.maximum(x - threshold, 0))


def _cummax(x: Array, axis: int | None) -> Array:
    return np.asarray(np.maximum.accumulate(x.ravel() if axis is None else x, axis=axis or 0))


def _spread(d: Draw, smallest: int) -> Case:
    """A case of a variance: of as many elements as its correction needs."""
    x = distinct(d, shape(d, least=smallest - 1, smallest=smallest))
    axis, keepdims = some_axes(d, x), d.one_of([True, False])
    correction = d.one_of([0, 0.5, 1] if count(x.shape, axis) > 1 else [0])
    return Case([x], lambda f, x: f(x, axis=axis, correction=correction, keepdims=keepdims))


REDUCTIONS = [
    reduction("sum"),
    reduction("mean", smallest=1),
    reduction("prod", with_zeros),
    row("var", lambda d: _spread(d, smallest=1)),
    row("std", lambda d: _spread(d, smallest=2)),
    reduction("max", distinct, smallest=1),
    reduction("min", distinct, smallest=1),
    reduction("logsumexp", smallest=1, reference=lambda x, **k: np.log(np.sum(np.exp(x), **k))),
    along_axis("cumsum", axes=axis_or_none, least=0, smallest=0),
    along_axis("cumprod", with_zeros, axes=axis_or_none, least=0, smallest=0),
    along_axis("cummax", distinct, _cummax, axes=axis_or_none, least=0, smallest=0),
    along_axis("softmax", reference=_softmax),
    along_axis("log_softmax", reference=lambda x, axis: np.log(_softmax(x, axis))),
    along_axis("sparsemax", off_the_edge, _sparsemax),
    row("softmax_cross_entropy", _softmax_cross_entropy, _surprise),
    row("linear_softmax_cross_entropy", _linear_cross_entropy, _total_surprise),
    # without a gradient
    reduction("any", with_zeros, kind="constant"),
    reduction("all", with_zeros, kind="constant"),
    reduction("count_nonzero", with_zeros, kind="constant"),
    along_axis(
        "argmax",
        distinct,
        axes=axis_or_none,
        least=0,
        kind="constant",
        keepdims=[False, True],
    ),
    along_axis(
        "argmin",
        distinct,
        axes=axis_or_none,
        least=0,
        kind="constant",
        keepdims=[False, True],
    ),
]
