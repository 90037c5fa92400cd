"""Kernels for training: cross-entropy and its gradient, sums of rows and of squares, Adam's step.

Each runs natively in one or two passes over memory, or in array code.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from . import cuda
from .contract import check_whole
from .cpu import functions as cpu
from .products import Multiplier, add_product, product

Array = Any


def cross_entropy(
    xp: ModuleType, x: Array, targets: Array, counts: Array | None = None, *, smoothing: float = 0.0
) -> Array:
    """log(sum(exp(x))) - x[target]: -log(softmax(x))[target].

    **Arguments** x: (..., C); targets: (...) integers from 0 to C - 1. counts: (...), false where
    the loss is 0, whatever x holds there; None, if all count. smoothing: label smoothing, the part
    of each target's probability that is spread over all classes. **Returns** (...).
    """
    targets = xp.asarray(targets)
    _check_smoothing(smoothing)
    _check_rows(x, targets=targets, counts=counts)
    if cpu.supports(x):
        losses = cpu.cross_entropy(x, targets, smoothing=smoothing)
        return losses if counts is None else np.where(counts, losses, 0)
    _check_targets(x.shape[-1], targets)
    if xp is not np and cuda.has_cross_entropy(xp, x):
        losses = xp.empty(targets.shape, x.dtype)
        cuda.cross_entropy(xp, x, targets, None, counts, smoothing=smoothing, losses=losses)
        return losses
    if counts is not None:
        losses = cross_entropy(xp, _selected(xp, x, counts), targets, smoothing=smoothing)
        return xp.where(counts, losses, 0)
    shifted = x - _peak(xp, x)
    at = shifted.reshape(targets.size, x.shape[-1])[_at(xp, targets)].reshape(targets.shape)
    with np.errstate(divide="ignore"):  # a row of -inf
        losses = xp.log(xp.exp(shifted).sum(axis=-1)) - at
    return losses + smoothing * (at - shifted.mean(axis=-1)) if smoothing else losses


def cross_entropy_gradient(
    xp: ModuleType,
    x: Array,
    targets: Array,
    weights: Array,
    counts: Array | None = None,
    *,
    smoothing: float = 0.0,
    losses: Array | None = None,
    out: Array | None = None,
    sums: Array | None = None,
) -> Array:
    """The gradient of sum(weights * cross_entropy): (softmax(x) - smoothed target) * weight.

    **Arguments** x: (..., C); targets, weights: (...). counts: (...), false where it is 0, whatever
    x holds there, or None. Only without counts: losses, an array for `cross_entropy` too; out, one
    for the result, which may be x; sums, (C,), to which the result's rows are added. **Returns**
    (..., C).
    """
    targets = xp.asarray(targets)
    _check_smoothing(smoothing)
    _check_rows(x, targets=targets, weights=weights, counts=counts)
    if xp is not np and cuda.has_cross_entropy(xp, x, weights, losses, out, sums):
        _check_targets(x.shape[-1], targets)
        dx = xp.empty(x.shape, x.dtype) if out is None else out
        cuda.cross_entropy(
            xp, x, targets, weights, counts, smoothing=smoothing, losses=losses, gradient=dx
        )
        if sums is not None:
            sums += dx.reshape(-1, x.shape[-1]).sum(axis=0)
        return dx
    if counts is not None:
        native = cpu.supports(x)  # whose arithmetic warns of nothing: the rows are selected once
        selected = x if native else _selected(xp, x, counts)
        dx = cross_entropy_gradient(xp, selected, targets, weights, smoothing=smoothing)
        if not native:
            return _selected(xp, dx, counts)
        dx[~counts] = 0
        return dx
    if cpu.supports(None if out is x else x, outputs=(losses, out, sums)):
        return cpu.cross_entropy(x, targets, weights, smoothing, losses=losses, out=out, sums=sums)
    _check_targets(x.shape[-1], targets)
    if losses is not None:
        losses[...] = cross_entropy(xp, x, targets, smoothing=smoothing)
    x = xp.ascontiguousarray(x)  # so that e is, too, and its rows are a view of it
    e = xp.subtract(x, _peak(xp, x), out=out)
    xp.exp(e, out=e)
    e *= xp.expand_dims(weights / e.sum(axis=-1), -1)
    if smoothing:
        e -= xp.expand_dims(weights * (smoothing / x.shape[-1]), -1)
    rows = e.reshape(targets.size, x.shape[-1])
    rows[_at(xp, targets)] -= (1 - smoothing) * weights.reshape(-1)
    if sums is not None:
        sums += rows.sum(axis=0)
    return e


CHUNK = 1 << 21  # logits of a chunk of rows, which stay in the cache
DEVICE_CHUNK = 1 << 25  # on a GPU, which a smaller product does not fill
MIN_ROWS = 128  # of a chunk: products of fewer rows would wait for the weights


def linear_cross_entropy(
    xp: ModuleType,
    x: Array,
    w: Array,
    targets: Array,
    weights: Array,
    b: Array | None = None,
    *,
    smoothing: float = 0.0,
    keep: bool = True,
) -> tuple[Array, Any]:
    """The sum of weights * cross_entropy(x w' + b, targets), computed in chunks of rows.

    The logits of all rows are never in memory. The cotangent of a sum is a scalar, so the gradients
    up to that factor are computed from each chunk's logits in the same pass.

    **Arguments** x: (N, I); w: (C, I); b: (C,), or None; targets, weights: (N,). **Returns** the
    sum, (), and the gradients of x, w, weights (the losses) and b, or None without keep.
    """
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1]:
        raise ValueError(f"expected x (N, I) and w (C, I), got {x.shape} and {w.shape}")
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"b: expected {w.shape[:1]}, got {b.shape}")
    targets = xp.asarray(targets)
    _check_smoothing(smoothing)
    _check_rows(x, targets=targets, weights=weights)
    _check_targets(len(w), targets)
    most = max(MIN_ROWS, (CHUNK if xp is np else DEVICE_CHUNK) // max(1, len(w)))
    rows = max(1, -(-len(x) // max(1, round(len(x) / most))))  # chunks of equal size
    losses = xp.empty(len(x), x.dtype)
    to_logits, to_x = Multiplier(xp, w.T), Multiplier(xp, w) if keep else None
    dx, dw = xp.empty(x.shape, x.dtype) if rows < len(x) else None, None
    db = None if b is None else xp.zeros(b.shape, b.dtype)
    for first in range(0, max(1, len(x)), rows):
        part = slice(first, first + rows)
        z = to_logits(x[part], b)
        if to_x is None:
            losses[part] = cross_entropy(xp, z, targets[part], smoothing=smoothing)
            continue
        dz = cross_entropy_gradient(
            xp, z, targets[part], weights[part],
            smoothing=smoothing, losses=losses[part], out=z, sums=db,
        )  # fmt: skip
        if dx is None:
            dx = to_x(dz)
        else:
            dx[part] = to_x(dz)
        if dw is None:
            dw = product(dz.T, x[part])
        else:
            add_product(dw, dz.T, x[part])
    if xp is not np and cuda.has_cross_entropy(xp, losses, weights):
        total = cuda.weighted_sum(xp, weights, losses)
        return total, [dx, dw, losses, db] if keep else None
    losses = xp.where((weights != 0) | xp.isfinite(losses), losses, 0)  # 0 times infinity is NaN
    return xp.sum(weights * losses), [dx, dw, losses, db] if keep else None


def add_rows(xp: ModuleType, table: Array, ids: Array, rows: Array) -> Array:
    """table[ids] += rows in place, adding every row of a repeated id.

    **Arguments** table: (V, ...); ids: integers, as NumPy indexes; rows: (*ids.shape, ...).
    **Returns** the table.
    """
    wanted = (*ids.shape, *table.shape[1:])
    if not table.ndim or rows.shape != wanted:
        rows = xp.broadcast_to(rows, wanted)
    if cpu.supports(rows, outputs=(table,)):
        cpu.add_rows(table, ids, rows)
        return table
    check_whole("ids", ids, -len(table), len(table) - 1, IndexError)
    if xp is np and rows.size:
        # Sorted, each run of equal ids is one sum. add.at is 10 times slower.
        flat = ids.reshape(-1) % len(table)
        order = np.argsort(flat, kind="stable")
        named, starts = np.unique(flat[order], return_index=True)
        terms = rows.reshape(flat.size, -1)[order]
        sums = np.add.reduceat(terms, starts, axis=0)
        table[named] += sums.reshape(len(named), *table.shape[1:])
    elif xp is not np:
        cuda.scatter_add(xp, table, ids, rows)
    return table


def sum_of_squares(x: Array) -> Any:
    """In float64: the squares of float32 overflow where the root of their sum does not."""
    if cpu.supports(x):
        return cpu.sum_of_squares(x)
    wide = x.astype("float64")
    wide *= wide
    return wide.sum()


def adam(
    xp: ModuleType, p: Array, g: Array, m: Array, v: Array, *,
    step: int, lr: float, betas: tuple[float, float], eps: float, decay: float, decoupled: bool,
) -> None:  # fmt: skip
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr m^ / (sqrt(v^) + eps), in place.

    **Arguments** step: counts from 1, for m^ = m / (1 - b1^step) and v^. decay: weight decay; decay
    * p is added to g, or if decoupled, lr * decay * p is subtracted from p.
    """
    if not p.shape == g.shape == m.shape == v.shape:
        raise ValueError(
            f"adam: expected g, m and v {p.shape}, got {g.shape}, {m.shape}, {v.shape}"
        )
    b1, b2 = betas
    shrink, decay = (1 - lr * decay, 0.0) if decoupled else (1.0, decay)
    scale, rate = (1 - b2**step) ** -0.5, lr / (1 - b1**step)
    if cpu.supports(g, outputs=(p, m, v)):
        cpu.adam(p, g, m, v, b1, b2, 1 - b1, 1 - b2, shrink, decay, scale, eps, rate)
        return
    if xp is np and not (p.flags.writeable and m.flags.writeable and v.flags.writeable):
        raise ValueError("adam: p, m and v are written to: one of them is read-only")
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


def _check_smoothing(smoothing: object) -> None:
    if not isinstance(smoothing, (int, float)) or isinstance(smoothing, bool):
        raise TypeError(f"smoothing: expected a number, got {smoothing!r}")
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing: expected a part, from 0 to 1, got {smoothing!r}")


def _check_rows(x: Array, **of_rows: Array) -> None:
    """Raises unless each array has one element for each row of logits."""
    if not x.ndim:
        raise ValueError("x: expected (..., C), got ()")
    for name, a in of_rows.items():
        if a is None and name == "counts":
            continue
        if not hasattr(a, "shape"):
            raise TypeError(f"{name}: expected an array, got {type(a).__name__}")
        if a.shape != x.shape[:-1]:
            raise ValueError(f"{name}: expected {x.shape[:-1]}, one for each row, got {a.shape}")


def _check_targets(classes: int, targets: Array) -> None:
    check_whole("targets", targets, 0, classes - 1, IndexError)


def _peak(xp: ModuleType, x: Array) -> Array:
    """The maximum of each row; 0 where there is no finite one, as in a row of -inf."""
    if not x.size:  # no rows, or rows of nothing, which have no maximum
        return xp.zeros((*x.shape[:-1], 1), x.dtype)
    peak = x.max(axis=-1, keepdims=True)
    return xp.where(xp.isfinite(peak), peak, 0)


def _selected(xp: ModuleType, x: Array, counts: Array) -> Array:
    """The rows of x that count, and zeros in place of the others."""
    return xp.where(counts[..., None], x, 0)


def _at(xp: ModuleType, targets: Array) -> tuple[Array, Array]:
    """The index of each row's target."""
    return xp.arange(targets.size), targets.reshape(-1)
