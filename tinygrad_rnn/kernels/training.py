"""What surrounds a layer in training: the cross-entropy of logits, sums of rows and of squares,
and Adam's step.

Here in array code; natively in one or two passes over memory, where there is native code.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import cpu
from .contract import check_whole
from .products import Multiplier, add_product, product

Array = Any


def cross_entropy(
    xp: Any, x: Array, targets: Array, counts: Array | None = None, *, smoothing: float = 0.0
) -> Array:
    """log(sum(exp(x))) - x[target]: -log(softmax(x))[target].

    **Arguments** x: (..., C); targets: (...) integers from 0 to C - 1. counts: (...), false where
    the loss is 0, whatever x holds there; None, if all count. smoothing: the share of each
    target's probability that is spread over all classes. **Returns** (...).
    """
    targets = xp.asarray(targets)
    _check_rows(x, targets=targets, counts=counts)
    if cpu.supports(x):
        losses = cpu.cross_entropy(x, targets, smoothing=smoothing)
        return losses if counts is None else np.where(counts, losses, 0)
    _check_targets(x.shape[-1], targets)
    if counts is not None:
        losses = cross_entropy(xp, _selected(xp, x, counts), targets, smoothing=smoothing)
        return xp.where(counts, losses, 0)
    shifted = x - _peak(xp, x)
    at = shifted.reshape(targets.size, x.shape[-1])[_at(xp, targets)].reshape(targets.shape)
    with np.errstate(divide="ignore"):  # a row of -inf
        losses = xp.log(xp.exp(shifted).sum(axis=-1)) - at
    return losses + smoothing * (at - shifted.mean(axis=-1)) if smoothing else losses


def cross_entropy_gradient(
    xp: Any,
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
    """(softmax(x) - what it should be: one at the target, unless smoothed) * weight.

    **Arguments** x: (..., C); targets, weights: (...). counts: (...), false where it is 0, whatever
    x holds there, or None; then without the others: losses: where to put `cross_entropy`, if it is
    wanted, too. out: where to put this, if anywhere: x itself will do. sums: (C,), to which its
    rows are added. **Returns** (..., C).
    """
    targets = xp.asarray(targets)
    _check_rows(x, targets=targets, weights=weights, counts=counts)
    if counts is not None:
        native = cpu.supports(x)  # whose arithmetic warns of nothing: the rows are selected once
        given = x if native else _selected(xp, x, counts)
        made = cross_entropy_gradient(xp, given, targets, weights, smoothing=smoothing)
        if not native:
            return _selected(xp, made, counts)
        made[~counts] = 0
        return made
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


CHUNK = 1 << 21  # logits that are held at once: they stay in the cache
LEAST = 128  # rows of them: fewer would leave the products waiting for the weights


def linear_cross_entropy(
    xp: Any,
    x: Array,
    w: Array,
    targets: Array,
    weights: Array,
    b: Array | None = None,
    *,
    smoothing: float = 0.0,
    keep: bool = True,
) -> tuple[Array, Any]:
    """The sum of weights * cross_entropy(x w' + b, targets), some rows of logits at a time.

    The logits of all rows are never in memory. As the cotangent of a sum is one number, what it
    will be multiplied with is made of each row's logits while they are there.

    **Arguments** x: (N, I); w: (C, I); b: (C,), or None; targets, weights: (N,). **Returns** the
    sum, (), and the gradients of x, w, weights (they are the losses) and b; None without keep.
    """
    if x.ndim != 2 or w.ndim != 2 or x.shape[1] != w.shape[1]:
        raise ValueError(f"expected x (N, I) and w (C, I), got {x.shape} and {w.shape}")
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"b: expected {w.shape[:1]}, got {b.shape}")
    targets = xp.asarray(targets)
    _check_rows(x, targets=targets, weights=weights)
    _check_targets(len(w), targets)
    most = max(LEAST, CHUNK // max(1, len(w)))
    rows = max(1, -(-len(x) // max(1, round(len(x) / most))))  # equally many, about the most
    losses = xp.empty(len(x), x.dtype)
    to_logits, to_x = Multiplier(xp, w.T), Multiplier(xp, w) if keep else None
    dx, dw = xp.empty(x.shape, x.dtype), None
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
        dx[part] = to_x(dz)
        if dw is None:
            dw = product(dz.T, x[part])
        else:
            add_product(dw, dz.T, x[part])
    losses = xp.where((weights != 0) | xp.isfinite(losses), losses, 0)  # 0 times infinity is NaN
    return xp.sum(weights * losses), [dx, dw, losses, db] if keep else None


def add_rows(xp: Any, table: Array, ids: Array, rows: Array) -> Array:
    """Adds rows to those of a table that ids name, in place: each, however often they name one.

    **Arguments** table: (V, ...); ids: whole numbers, as NumPy indexes; rows: for each of them one
    of the table's. **Returns** the table.
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
    else:
        xp.add.at(table, ids, rows)
    return table


def sum_of_squares(x: Array) -> Any:
    """In float64: the squares of float32 overflow where the root of their sum does not."""
    if cpu.supports(x):
        return cpu.sum_of_squares(x)
    wide = x.astype("float64")
    wide *= wide
    return wide.sum()


def adam(
    xp: Any, p: Array, g: Array, m: Array, v: Array, *,
    step: int, lr: float, betas: tuple[float, float], eps: float, decay: float, decoupled: bool,
) -> None:  # fmt: skip
    """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr m^ / (sqrt(v^) + eps), in place.

    **Arguments** step: counts from 1, for m^ = m / (1 - b1^step) and v^. decay: the share of p that
    is added to g, or times lr, where it is decoupled, taken off p.
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


def _check_rows(x: Array, **of_rows: Array) -> None:
    """Refuses what is not one number for each row of logits."""
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


def _peak(xp: Any, x: Array) -> Array:
    """The maximum of each row; 0 where there is no finite one, as in a row of -inf."""
    if not x.size:  # no rows, or rows of nothing, which have no maximum
        return xp.zeros((*x.shape[:-1], 1), x.dtype)
    peak = x.max(axis=-1, keepdims=True)
    return xp.where(xp.isfinite(peak), peak, 0)


def _selected(xp: Any, x: Array, counts: Array) -> Array:
    """The rows of x that count, and zeros in place of the others."""
    return xp.where(counts[..., None], x, 0)


def _at(xp: Any, targets: Array) -> tuple[Array, Array]:
    """The index of each row's target."""
    return xp.arange(targets.size), targets.reshape(-1)
