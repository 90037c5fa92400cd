"""The linear recurrence h_t = a_t h_{t-1} + b_t: one pass over memory."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from . import cuda

Array = Any


def linear_recurrence(
    xp: ModuleType, a: Array, b: Array, h0: Array, *, reverse: bool = False
) -> Array:
    """Computes h of all steps. **Arguments** a, b: (T, ...). h0: (...). **Returns** (T, ...)."""
    if a.shape != b.shape or a.shape[1:] != h0.shape or not a.ndim:
        raise ValueError("shapes differ")
    y = xp.empty(a.shape, xp.result_type(a, b, h0))
    if xp is not np and cuda.has_linear_recurrence(xp, a, b, h0):
        cuda.linear_recurrence(xp, a, b, h0, y, reverse)
        return y
    steps = range(len(a))
    for t in reversed(steps) if reverse else steps:
        h = y[t : t + 1]  # an array also where a step is a number
        xp.multiply(a[t], h0, out=h)
        h += b[t]
        h0 = h[0]
    return y
