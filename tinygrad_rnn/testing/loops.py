"""OpInfos of loops over time, step by step or in parallel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import backend
from .builders import applied, op_info
from .op_info import Sample, Sampler, real


def _scan(d: Sampler) -> Sample:
    steps, batch = d.integer(1, 4), d.integer(1, 3)
    lengths = d.one_of([None, np.array([d.integer(0, steps) for _ in range(batch)])])
    reset = d.one_of([None, d.reals((steps, batch)) > 0])
    reverse, several = d.one_of([False, True]), d.one_of([False, True])
    how: dict[str, Any] = d.one_of(
        [{}, {"fused": True}, {"fused": True, "checkpoint_every": d.integer(1, 3)}]
    )

    def call(f: Callable[..., Any], xs: Any, carry: Any, w: Any) -> Any:
        on, resets = (None if a is None else backend.to_device(a) for a in (lengths, reset))

        def step(s: Any, x: Any) -> Any:
            if not several:
                return s * w + x, s * x
            (s, count), (x, y) = s, x
            return (s * w + x, count + s), (s * x + count, y * s)

        state, inputs = ((carry, carry), (xs, xs * xs)) if several else (carry, xs)
        state, ys = f(step, state, inputs, reverse=reverse, lengths=on, reset=resets, **how)
        return (*state, *ys) if several else (state, ys)

    return Sample([real(d, (steps, batch, 2)), real(d, (batch, 2)), real(d, (2,))], call)


def _associative_scan(d: Sampler) -> Sample:
    """Of products of matrices, which do not commute, or of a linear recurrence."""
    n, axis, reverse = d.integer(0, 6), d.one_of([0, 1, -3]), d.one_of([False, True])
    if d.one_of([False, True]):
        shape = (n, 2, 2) if axis == 0 else ((2, n, 2, 2) if axis == 1 else (n, 2, 2))
        return Sample(
            [real(d, shape)], lambda f, x: f(lambda a, b: a @ b, x, axis=axis, reverse=reverse)
        )
    whole = [n, 2, 2]
    whole[0], whole[axis] = whole[axis], whole[0]

    def then(a: Any, b: Any) -> Any:
        return a[0] * b[0], b[0] * a[1] + b[1]

    xs = [real(d, tuple(whole)), real(d, tuple(whole))]
    return Sample(xs, lambda f, *xs: f(then, xs, axis=axis, reverse=reverse))


def _linear_recurrence(d: Sampler) -> Sample:
    """Of states of no axis, one or two."""
    shape = d.one_of([(), (2,), (2, 3)])
    n, reverse = d.integer(0, 5), d.one_of([False, True])
    xs = [real(d, (n, *shape)), real(d, (n, *shape)), real(d, shape)]
    return applied(*xs, reverse=reverse)


LOOPS = [
    op_info("scan", _scan),
    op_info("associative_scan", _associative_scan),
    op_info("linear_recurrence", _linear_recurrence),
]
