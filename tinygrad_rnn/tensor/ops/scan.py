"""A loop over time as an operation: each step a function of composed operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ShapeError
from .elementwise import logical_and, where
from .movement import stack, unstack

__all__ = ["scan"]


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
    lengths: Any = None,
    reset: Any = None,
) -> tuple[Any, Any]:
    """Carries a state through the steps of a sequence.

    **Arguments** step: `(carry, x_t) -> (carry, y_t)`; carry, x_t and y_t are Tensors, (B, ...), or
    tuples of them. xs: (T, B, ...), or a tuple of such. reverse: from the last step to the first.
    lengths: (B,) integers: past its length a row keeps its carry, and its outputs are zero. reset:
    (T, B), true where a row's carry is set to zero before the step. **Returns** the last carry, and
    the outputs, (T, B, ...), in the order of xs. **Raises** ShapeError for T = 0.

    >>> import tinygrad_rnn as tg
    >>> total, sums = tg.scan(lambda s, x: (s + x, s + x), tg.zeros((1,)), tg.ones((3, 1)))
    >>> sums.tolist()
    [[1.0], [2.0], [3.0]]
    """
    steps = list(zip(*map(unstack, xs), strict=True)) if isinstance(xs, tuple) else unstack(xs)
    if not steps:
        raise ShapeError("scan: expected at least one step; got xs of none")
    ys: list[Any] = [None] * len(steps)
    for t in reversed(range(len(steps))) if reverse else range(len(steps)):
        running = None if lengths is None else t < lengths
        if reset is not None:
            begins = reset[t] if running is None else logical_and(reset[t], running)
            carry = _choose(begins, 0, carry)
        new, y = step(carry, steps[t])
        carry = new if running is None else _choose(running, new, carry)
        ys[t] = y if running is None else _choose(running, y, 0)
    return carry, tuple(map(stack, zip(*ys, strict=True))) if type(ys[0]) is tuple else stack(ys)


def _choose(rows: Any, a: Any, b: Any) -> Any:
    """a in the chosen rows, b in the others; either may be one number for all."""
    if isinstance(a, tuple) or isinstance(b, tuple):
        parts = len(a if isinstance(a, tuple) else b)
        pairs = zip(*(v if isinstance(v, tuple) else (v,) * parts for v in (a, b)), strict=True)
        return tuple(_choose(rows, p, q) for p, q in pairs)
    axes = max(getattr(a, "ndim", 0), getattr(b, "ndim", 0))
    return where(rows.reshape((-1,) + (1,) * (axes - 1)), a, b)
