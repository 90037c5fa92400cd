"""What surrounds a layer in training: the cross-entropy of logits, and Adam's step.

Here in array code; natively in one or two passes over memory, where there is native code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import cpu

Array = Any


def cross_entropy(xp: Any, x: Array, targets: Array, *, smoothing: float = 0.0) -> Array:
    """log(sum(exp(x))) - x[target]: -log(softmax(x))[target].

    **Arguments** x: (..., C); targets: (...) integers from 0 to C - 1. smoothing: the share of each
    target's probability that is spread over all classes. **Returns** (...).
    """
    if cpu.takes(x):
        return cpu.cross_entropy(x, targets, smoothing=smoothing)
    shifted = x - _peak(xp, x)
    at = shifted.reshape(targets.size, x.shape[-1])[_at(xp, targets)].reshape(targets.shape)
    with np.errstate(divide="ignore"):  # a row of -inf
        losses = xp.log(xp.exp(shifted).sum(axis=-1)) - at
    return losses + smoothing * (at - shifted.mean(axis=-1)) if smoothing else losses


def cross_entropy_gradient(
    xp: Any, x: Array, targets: Array, weights: Array, *, smoothing: float = 0.0
) -> Array:
    """(softmax(x) - what it should be: one at the target, unless smoothed) * weight.

    **Arguments** x: (..., C); targets, weights: (...). **Returns** (..., C).
    """
    if cpu.takes(x):
        return cpu.cross_entropy(x, targets, weights, smoothing)
    x = xp.ascontiguousarray(x)  # so that e is, too, and its rows are a view of it
    e = x - _peak(xp, x)
    xp.exp(e, out=e)
    e *= xp.expand_dims(weights / e.sum(axis=-1), -1)
    if smoothing:
        e -= xp.expand_dims(weights * (smoothing / x.shape[-1]), -1)
    e.reshape(targets.size, x.shape[-1])[_at(xp, targets)] -= (1 - smoothing) * weights.reshape(-1)
    return e


def adam(
    xp: Any, p: Array, g: Array, m: Array, v: Array, *,
    step: int, lr: float, betas: tuple[float, float], eps: float, decay: float, decoupled: bool,
) -> None:  # fmt: skip
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr m^ / (sqrt(v^) + eps), in place.

    **Arguments** step: counts from 1, for m^ = m / (1 - b1^step) and v^. decay: the share of p that
    is added to g, or times lr, where it is decoupled, taken off p.
    """
    b1, b2 = betas
    shrink, decay = (1 - lr * decay, 0.0) if decoupled else (1.0, decay)
    scale, rate = (1 - b2**step) ** -0.5, lr / (1 - b1**step)
    if cpu.takes(p, g, m, v):
        cpu.adam(p, g, m, v, b1, b2, 1 - b1, 1 - b2, shrink, decay, scale, eps, rate)
        return
    if decay:
        g = g + decay * p
    if shrink != 1:
        p *= shrink
    work = xp.empty_like(p)
    xp.multiply(g, 1 - b1, out=work)
    m *= b1
    m += work
    xp.multiply(g, g, out=work)
    work *= 1 - b2
    v *= b2
    v += work
    xp.sqrt(v, out=work)
    work *= scale
    work += eps
    xp.divide(m, work, out=work)
    work *= rate
    p -= work


def _peak(xp: Any, x: Array) -> Array:
    """The maximum of each row; 0 where there is no finite one, as in a row of -inf."""
    peak = x.max(axis=-1, keepdims=True)
    return xp.where(xp.isfinite(peak), peak, 0)


def _at(xp: Any, targets: Array) -> tuple[Array, Array]:
    """The index of each row's target."""
    return xp.arange(targets.size), targets.reshape(-1)
