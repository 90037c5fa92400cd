"""A loop over time as an operation: each step a function of composed operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ShapeError
from .elementwise import where
from .movement import stack, unstack

__all__ = ["scan"]


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
    lengths: Any = None,
) -> tuple[Any, Any]:
    """Carries a state through the steps of a sequence.

    **Arguments** step: `(carry, x_t) -> (carry, y_t)`. carry: a Tensor (B, ...), or a tuple of
    them. xs: (T, B, ...). reverse: from the last step to the first. lengths: (B,) integers: past
    its length a row keeps its carry, and its outputs are zero. **Returns** the last carry, and the
    outputs, (T, B, ...), in the order of xs. **Raises** ShapeError for T = 0.

    >>> import tinygrad_rnn as tg
    >>> total, sums = tg.scan(lambda s, x: (s + x, s + x), tg.zeros((1,)), tg.ones((3, 1)))
    >>> sums.tolist()
    [[1.0], [2.0], [3.0]]
    """
    steps = unstack(xs)
    if not steps:
        raise ShapeError(f"scan: expected at least one step; got xs {list(xs.shape)}")
    ys: list[Any] = [None] * len(steps)
    for t in reversed(range(len(steps))) if reverse else range(len(steps)):
        new, y = step(carry, steps[t])
        if lengths is None:
            carry, ys[t] = new, y
            continue
        running = t < lengths

        def choose(a: Any, b: Any, running: Any = running) -> Any:
            if isinstance(a, tuple):
                return tuple(choose(p, q) for p, q in zip(a, b, strict=True))
            return where(running.reshape((-1,) + (1,) * (a.ndim - 1)), a, b)

        carry, ys[t] = choose(new, carry), choose(y, 0)
    return carry, stack(ys)
