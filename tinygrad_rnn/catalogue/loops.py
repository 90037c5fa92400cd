"""Rows of what loops over time, step by step or in parallel."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import backend
from .build import row
from .case import Array, Case, Draw, real


def _scan(d: Draw) -> Case:
    steps, batch = d.integer(1, 4), d.integer(1, 3)
    lengths = d.one_of([None, np.array([d.integer(0, steps) for _ in range(batch)])])
    reset = d.one_of([None, d.reals((steps, batch)) > 0])
    reverse, several = d.one_of([False, True]), d.one_of([False, True])
    plain: dict[str, Any] = {}
    how = d.one_of([plain, {"fused": True}, {"fused": True, "checkpoint_every": d.integer(1, 3)}])

    def call(f: Any, xs: Any, carry: Any, w: Any) -> Any:
        on, anew = (None if a is None else backend.to_device(a) for a in (lengths, reset))

        def step(s: Any, x: Any) -> Any:
            if not several:
                return s * w + x, s * x
            (s, count), (x, y) = s, x
            return (s * w + x, count + s), (s * x + count, y * s)

        state, inputs = ((carry, carry), (xs, xs * xs)) if several else (carry, xs)
        options = plain if f is _scan_by_hand else how
        state, ys = f(step, state, inputs, reverse=reverse, lengths=on, reset=anew, **options)
        return (*state, *ys) if several else (state, ys)

    return Case([real(d, (steps, batch, 2)), real(d, (batch, 2)), real(d, (2,))], call)


def _scan_by_hand(
    step: Any, carry: Any, xs: Any, reverse: bool, lengths: Array | None, reset: Array | None
) -> tuple[Any, Any]:
    """A scan row by row, each as long as it is and begun anew where it is: nothing masked."""
    if not isinstance(xs, tuple):  # all of it for tuples

        def alone(s: Any, x: Any) -> Any:
            return tuple((part,) for part in step(s[0], x[0]))

        (last,), (y,) = _scan_by_hand(alone, (carry,), (xs,), reverse, lengths, reset)
        return last, y
    last, ys = tuple(c.copy() for c in carry), tuple(np.zeros_like(x) for x in xs)
    for b in range(xs[0].shape[1]):
        times = range(xs[0].shape[0] if lengths is None else int(lengths[b]))
        for t in reversed(times) if reverse else times:
            anew = reset is not None and reset[t, b]
            state = tuple(0 * c[b] if anew else c[b] for c in last)
            for kept, part in zip((last, ys), step(state, tuple(x[t, b] for x in xs)), strict=True):
                for whole, value in zip(kept, part, strict=True):
                    whole[b if kept is last else (t, b)] = value
    return last, ys


def _associative_scan(d: Draw) -> Case:
    """Of products of matrices, which do not commute, or of a linear recurrence."""
    n, axis, reverse = d.integer(0, 6), d.one_of([0, 1, -3]), d.one_of([False, True])
    if d.one_of([False, True]):
        shape = (n, 2, 2) if axis == 0 else ((2, n, 2, 2) if axis == 1 else (n, 2, 2))
        return Case(
            [real(d, shape)], lambda f, x: f(lambda a, b: a @ b, x, axis=axis, reverse=reverse)
        )
    whole = [n, 2, 2]
    whole[0], whole[axis] = whole[axis], whole[0]

    def then(a: Any, b: Any) -> Any:
        return a[0] * b[0], b[0] * a[1] + b[1]

    xs = [real(d, tuple(whole)), real(d, tuple(whole))]
    return Case(xs, lambda f, *xs: f(then, xs, axis=axis, reverse=reverse))


def _one_by_one(fn: Any, xs: Any, axis: int, reverse: bool) -> Any:
    """An associative scan as it is defined."""
    if not isinstance(xs, tuple):
        return _one_by_one(lambda a, b: (fn(a[0], b[0]),), (xs,), axis, reverse)[0]
    parts = [np.moveaxis(x, axis, 0) for x in xs]
    n = len(parts[0])
    ys = [np.empty_like(x) for x in parts]
    total: Any = None
    for t in reversed(range(n)) if reverse else range(n):
        x = tuple(part[t : t + 1] for part in parts)
        total = x if total is None else fn(total, x)
        for y, v in zip(ys, total, strict=True):
            y[t : t + 1] = v
    return tuple(np.moveaxis(y, 0, axis) for y in ys)


LOOPS = [
    row("scan", _scan, _scan_by_hand),
    row("associative_scan", _associative_scan, _one_by_one),
]
