"""The softmax family, shifted by the maximum so that nothing overflows."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ... import kernels
from ..backend import Array
from ..inputs import reals
from ..operation import Op, operation
from ..shapes import Axis, keep_dims
from .elementwise import isfinite, logical_or, where
from .indexing import take_along_axis
from .linear import linear
from .reductions import sum

__all__ = [
    "linear_softmax_cross_entropy",
    "log_softmax",
    "logsumexp",
    "softmax",
    "softmax_cross_entropy",
    "sparsemax",
]


def _peak(xp: ModuleType, x: Array, axis: Axis) -> Array:
    """The maximum over an axis; 0 where there is no finite one, as in a row of -inf."""
    peak = x.max(axis=axis, keepdims=True)
    return xp.where(xp.isfinite(peak), peak, 0)


@operation
def softmax(xp: ModuleType, x: Array, *, axis: int = -1) -> Array:
    """exp(x) / sum(exp(x)) along an axis.

    >>> import tinygrad_rnn as tg
    >>> tg.softmax(tg.tensor([[0.0, 0.0], [0.0, 200.0]]))
    tensor([[0.5, 0.5],
            [0. , 1. ]])
    """
    e = xp.exp(x - _peak(xp, x, axis))
    return e / e.sum(axis=axis, keepdims=True)


@operation
def log_softmax(xp: ModuleType, x: Array, *, axis: int = -1) -> Array:
    """log(softmax(x)) along an axis, exact where softmax(x) would round to zero.

    >>> import tinygrad_rnn as tg
    >>> tg.log_softmax(tg.tensor([0.0, 200.0]))
    tensor([-200.,    0.])
    """
    shifted = x - _peak(xp, x, axis)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))


@operation
def sparsemax(xp: ModuleType, x: Array, *, axis: int = -1) -> Array:
    """The nearest distribution to x along an axis (Martins and Astudillo 2016).

    It is x less a threshold where that is positive, and exactly 0 elsewhere.

    >>> import tinygrad_rnn as tg
    >>> tg.sparsemax(tg.tensor([0.5, 0.0, -3.0]))
    tensor([0.75, 0.25, 0.  ])
    """
    z = xp.moveaxis(x - _peak(xp, x, axis), axis, -1)
    falling = xp.flip(xp.sort(z, axis=-1), -1)
    sums, rank = xp.cumsum(falling, axis=-1), xp.arange(1, z.shape[-1] + 1, dtype=x.dtype)
    support = (1 + rank * falling > sums).sum(axis=-1, keepdims=True)
    excess = xp.take_along_axis(sums, support - 1, axis=-1) - 1
    return xp.moveaxis(xp.maximum(z - excess / support.astype(x.dtype), 0), -1, axis)


@operation
def logsumexp(xp: ModuleType, x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """log(sum(exp(x))) over axes; -inf, with a gradient of 0, where all of x is.

    >>> import tinygrad_rnn as tg
    >>> tg.logsumexp(tg.tensor([1000.0, -1000.0]))
    tensor(1000.)
    """
    peak = _peak(xp, x, axis)
    with np.errstate(divide="ignore"):
        y = peak + xp.log(xp.exp(x - peak).sum(axis=axis, keepdims=True))
    return y if keepdims else y.squeeze(axis)


@operation
def softmax_cross_entropy(
    xp: ModuleType, x: Array, targets: Array, counts: Array | None = None, *, smoothing: float = 0.0
) -> Array:
    """-log(softmax(x))[target] for x (..., C) and integer targets (...), from 0 to C - 1.

    The share `smoothing` of each target's probability is spread over all classes. Where counts
    (...) is false, the loss and the row's gradient are 0, whatever x holds there.

    >>> import tinygrad_rnn as tg
    >>> tg.softmax_cross_entropy(tg.tensor([[0.0, 200.0], [0.0, 200.0]]), tg.tensor([0, 1]))
    tensor([200.,   0.])
    """
    return kernels.cross_entropy(xp, x, targets, counts, smoothing=smoothing)


def _gradient(
    xp: ModuleType,
    x: Array,
    targets: Array,
    weights: Array,
    counts: Array | None = None,
    *,
    smoothing: float = 0.0,
) -> Array:
    return kernels.cross_entropy_gradient(xp, x, targets, weights, counts, smoothing=smoothing)


_pulled_back = Op("softmax_cross_entropy", _gradient)


def _by_logits(
    x: Any, w: Any, targets: Any, weights: Any, b: Any = None, *, smoothing: float = 0.0
) -> Any:
    """The sum of weights * softmax_cross_entropy(x w' + b, targets).

    The logits of all rows are never in memory.

    **Arguments** x: (N, I); w: (C, I); targets: (N,) integers from 0 to C - 1; weights: (N,); b:
    (C,), or None. smoothing: as there. **Returns** a scalar. **Raises** ShapeError.

    >>> import tinygrad_rnn as tg
    >>> x, w, targets = tg.zeros((3, 2)), tg.zeros((5, 2)), tg.tensor([0, 1, 4])
    >>> round(tg.linear_softmax_cross_entropy(x, w, targets, tg.ones((3,))).item(), 4)  # 3 log(5)
    4.8283
    """
    losses = softmax_cross_entropy(linear(x, w, b), targets, None, smoothing=smoothing)
    losses = where(logical_or(weights != 0, isfinite(losses)), losses, 0)
    return sum(weights * losses)


def _in_chunks(
    xp: ModuleType, x: Array, w: Array, targets: Array, weights: Array, b: Array | None = None, *,
    smoothing: float = 0.0, keep: bool = True,
) -> tuple[Array, Any]:  # fmt: skip
    x, w, weights, b = reals(x, w, weights, b)
    return kernels.linear_cross_entropy(
        xp, x, w, targets, weights, b, smoothing=smoothing, keep=keep
    )


linear_softmax_cross_entropy = Op(
    "linear_softmax_cross_entropy",
    _in_chunks,
    decomposition=_by_logits,
    expects="x (N, I), w (C, I), targets (N,), weights (N,) and b (C,)",
    fresh=True,
)


def _in_linear(
    xp: ModuleType, g: Any, saved: Any, needs: Sequence[bool], x: Any, w: Any, targets: Any,
    weights: Any, b: Any, smoothing: float,
) -> tuple[Any, ...]:  # fmt: skip
    """Returns the gradients that forward computed, without a copy: they are as large as w."""
    if not saved:  # handed out before: whoever asks again waits for it again
        _, again = _in_chunks(xp, x, w, targets, weights, b, smoothing=smoothing)
        saved.extend(again)
    dx, dw, losses, db = saved
    saved.clear()
    made = [
        part if need else None for part, need in zip((dx, dw, None, losses, db), needs, strict=True)
    ]
    if not (xp is np and g == 1):
        for part in made:
            if part is not None:
                part *= g
    return tuple(made)


linear_softmax_cross_entropy.vjp(_in_linear)
softmax.vjp(x=lambda xp, g, y, axis: y * (g - xp.sum(g * y, axis=axis, keepdims=True)))
log_softmax.vjp(x=lambda xp, g, y, axis: g - xp.exp(y) * xp.sum(g, axis=axis, keepdims=True))


def _in_sparsemax(xp: ModuleType, g: Any, y: Any, axis: int) -> Any:
    on = y > 0  # the support; elsewhere nothing changes
    count = xp.sum(on.astype(y.dtype), axis=axis, keepdims=True)
    mean = xp.sum(xp.where(on, g, 0), axis=axis, keepdims=True) / count
    return xp.where(on, g - mean, 0)


def _in_logsumexp(xp: ModuleType, g: Any, x: Any, y: Any, axis: Axis) -> Any:
    shape = keep_dims(x.shape, axis)
    y = xp.where(y == -np.inf, 0, y)
    return g.reshape(shape) * xp.exp(x - y.reshape(shape))


def _selected(xp: ModuleType, counts: Any, *rows: Any) -> Any:
    """Rows (..., C), zero where they do not count."""
    if counts is None:
        return rows
    at = xp.expand_dims(counts, -1)
    return tuple(xp.where(at, x, 0) for x in rows)


def _in_gradient(xp: ModuleType, g: Any, x: Any, weights: Any, counts: Any) -> Any:
    """The rule of softmax, to which the ones at the targets are constants."""
    x, g = _selected(xp, counts, x, g)
    p, g = softmax(x, axis=-1), g * xp.expand_dims(weights, -1)
    return p * (g - xp.sum(g * p, axis=-1, keepdims=True))


def _in_weights(xp: ModuleType, g: Any, x: Any, targets: Any, counts: Any, smoothing: float) -> Any:
    x, g = _selected(xp, counts, x, g)
    at = take_along_axis(g, xp.expand_dims(targets, -1), axis=-1).reshape(g.shape[:-1])
    expected = (1 - smoothing) * at + smoothing * xp.mean(g, axis=-1)
    return xp.sum(g * softmax(x, axis=-1), axis=-1) - expected


sparsemax.vjp(x=_in_sparsemax)
logsumexp.vjp(x=_in_logsumexp)
softmax_cross_entropy.vjp(
    x=lambda g, x, targets, counts, smoothing: _pulled_back(
        x, targets, g, counts, smoothing=smoothing
    )
)
_pulled_back.vjp(x=_in_gradient, weights=_in_weights)
