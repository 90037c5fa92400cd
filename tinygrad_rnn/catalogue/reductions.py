"""Rows of reductions and of what runs along an axis."""

from __future__ import annotations

import numpy as np

from ..tensor import backend
from .build import along_axis, reduction, row
from .case import Array, Case, Draw, distinct, real, shape


def _softmax_cross_entropy(d: Draw) -> Case:
    whole, classes = shape(d, most=2), d.integer(1, 4)
    targets = np.array(d.reals(whole) > 0, dtype=np.int64) * (classes - 1)
    return Case([real(d, (*whole, classes))], lambda f, x: f(x, backend.to_device(targets)))


def _surprise(x: Array, targets: Array) -> Array:
    p = _softmax(x, -1)
    return np.asarray(-np.log(np.take_along_axis(p, targets[..., None], axis=-1)[..., 0]))


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


REDUCTIONS = [
    reduction("sum"),
    reduction("mean", smallest=1),
    reduction("var", smallest=1),
    reduction("max", distinct, smallest=1),
    reduction("min", distinct, smallest=1),
    reduction("logsumexp", smallest=1, reference=lambda x, **k: np.log(np.sum(np.exp(x), **k))),
    along_axis("softmax", reference=_softmax),
    along_axis("log_softmax", reference=lambda x, axis: np.log(_softmax(x, axis))),
    row("softmax_cross_entropy", _softmax_cross_entropy, _surprise),
]
