"""OpInfos of reductions, and of operations along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import backend
from ..tensor.shapes import count
from .builders import FLATTENED, along_axis, applied, op_info, reduction
from .op_info import Array, Sample, Sampler, distinct, real, shape, some_axes, with_zeros


def _softmax_cross_entropy(d: Sampler) -> Sample:
    whole, classes = shape(d, most=2), d.integer(1, 4)
    targets = np.asarray(np.array(d.reals(whole) > 0, dtype=np.int64) * (classes - 1))
    options = {"smoothing": 0.3} if d.integer(0, 1) else {}
    return Sample(
        [real(d, (*whole, classes))], lambda f, x: f(x, backend.to_device(targets), **options)
    )


def _linear_cross_entropy(d: Sampler) -> Sample:
    rows, features, classes = d.integer(0, 3), d.integer(1, 3), d.integer(1, 4)
    targets = np.array([d.integer(0, classes - 1) for _ in range(rows)], dtype=np.int64)
    options = {"smoothing": 0.3} if d.integer(0, 1) else {}
    shapes = [(rows, features), (classes, features), (rows,), (classes,)]
    inputs = [real(d, shape) for shape in shapes[: d.integer(3, 4)]]

    def call(f: Callable[..., Any], x: Any, w: Any, weights: Any, *b: Any) -> Any:
        return f(x, w, backend.to_device(targets), weights, *b, **options)

    return Sample(inputs, call)


def off_the_edge(d: Sampler, shape: tuple[int, ...]) -> Array:
    """Reals of which sparsemax drops none by so little that a small change would bring it back."""
    return distinct(d, shape) * 1.03


def _spread(d: Sampler, smallest: int) -> Sample:
    """A sample of a variance: of as many elements as its correction needs."""
    x = distinct(d, shape(d, least=smallest - 1, smallest=smallest))
    axis, keepdims = some_axes(d, x), d.one_of([True, False])
    correction = d.one_of([0, 0.5, 1] if count(x.shape, axis) > 1 else [0])
    return applied(x, axis=axis, correction=correction, keepdims=keepdims)


NOT_EMPTY: dict[str, Any] = {**FLATTENED, "smallest": 1}

REDUCTIONS = [
    reduction("sum"),
    reduction("mean", smallest=1),
    reduction("prod", with_zeros),
    op_info("var", lambda d: _spread(d, smallest=1)),
    op_info("std", lambda d: _spread(d, smallest=2)),
    reduction("max", distinct, smallest=1),
    reduction("min", distinct, smallest=1),
    reduction("logsumexp", smallest=1),
    along_axis("cumsum", **FLATTENED),
    along_axis("cumprod", with_zeros, **FLATTENED),
    along_axis("cummax", distinct, **FLATTENED),
    along_axis("softmax"),
    along_axis("log_softmax"),
    along_axis("sparsemax", off_the_edge),
    op_info("softmax_cross_entropy", _softmax_cross_entropy),
    op_info("linear_softmax_cross_entropy", _linear_cross_entropy),
    # without a gradient
    *(reduction(name, with_zeros, kind="constant") for name in ("any", "all", "count_nonzero")),
    along_axis("argmax", distinct, kind="constant", keepdims=[False, True], **NOT_EMPTY),
    along_axis("argmin", distinct, kind="constant", keepdims=[False, True], **NOT_EMPTY),
]
