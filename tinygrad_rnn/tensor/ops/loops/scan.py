"""A loop over time as an operation: each step a function of composed operations."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from ....errors import InvalidValueError, ShapeError
from ... import backend
from ...graph import Traced, watch
from ..elementwise import where
from ..movement import stack, unstack
from .fused import flat, repeated
from .recording import listened_to

__all__ = ["scan"]


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    xs: Any,
    *,
    reverse: bool = False,
    lengths: Any = None,
    reset: Any = None,
    fused: bool = False,
    checkpoint_every: int | None = None,
) -> tuple[Any, Any]:
    """Carries a state through the steps of a sequence.

    **Arguments** step: `(carry, x_t) -> (carry, y_t)`; carry, x_t and y_t are Tensors, (B, ...), or
    tuples of them. xs: (T, B, ...), or a tuple of such. reverse: from the last step to the first.
    lengths: (B,) integers: past its length a row keeps its carry, what it reads is zero, and so are
    its outputs. reset: (T, B), true where a row's carry is set to zero before the step. fused:
    calls the step twice only, and repeats its operations on arrays, as one node of the graph:
    several times faster. checkpoint_every: of so many steps together (sqrt(T), say) only the first
    carry is kept for the backward pass, which runs them again; fused only. **Returns** the last
    carry, and the outputs, (T, B, ...), in the order of xs. **Raises** ShapeError for T = 0.

    A fused step does the same operations at every step, whatever the values. What it cannot do
    raises GraphError: to look at elements (`.item()`, `if` on a value: write `tg.where`), to make
    new constants (random numbers: hand them over in xs), to index by what it computed, to change
    the carry's shape. What it does besides (printing, counting, appending to a list) it does twice.

    >>> import tinygrad_rnn as tg
    >>> total, sums = tg.scan(lambda s, x: (s + x, s + x), tg.zeros((1,)), tg.ones((3, 1)))
    >>> sums.tolist()
    [[1.0], [2.0], [3.0]]
    """
    count = len(xs[0] if isinstance(xs, tuple) else xs)
    if not count:
        raise ShapeError("scan: expected at least one step; got xs of none")
    if checkpoint_every is not None and (checkpoint_every < 1 or not fused):
        raise InvalidValueError(
            "scan: checkpoint_every: expected a whole number from 1 up, and fused=True; got "
            f"{checkpoint_every!r}, fused={fused}"
        )
    running = None if lengths is None else running_rows(count, lengths)
    begins = getattr(reset, "array", reset)
    if begins is not None and running is not None:
        begins = begins & running
    if running is not None:  # a step on what fills a row up could have no finite derivative
        xs = _choose(running, xs, 0)
    order = range(count)[:: -1 if reverse else 1]

    def masked(carry: Any, x: Any, running: Any, begins: Any) -> tuple[Any, Any]:
        if begins is not None:
            carry = _choose(begins, 0, carry)
        new, y = step(carry, x)
        if running is None:
            return new, y
        return _choose(running, new, carry), _choose(running, y, 0)

    inputs = (xs, running, begins)
    made = next((v.made for v in flat((carry, xs)) if isinstance(v, Traced)), None)
    if fused and count > 1 and made is not None and not watch.forward and not listened_to():
        return repeated(masked, carry, inputs, order, checkpoint_every, made)
    elements = list(zip(*map(_unstacked, inputs), strict=False))
    ys: list[Any] = [None] * count
    for t in order:
        carry, ys[t] = masked(carry, *elements[t])
    return carry, tuple(map(stack, zip(*ys, strict=True))) if type(ys[0]) is tuple else stack(ys)


def running_rows(steps: int, lengths: Any) -> Any:
    """(T, B), an array, true where a row of such a length, (B,), is not over yet."""
    raw = getattr(lengths, "array", lengths)
    return backend.module_of(raw).arange(steps)[:, None] < raw


def _unstacked(xs: Any) -> Any:
    """The elements of a sequence, of several, or of none."""
    if xs is None:
        return itertools.repeat(None)
    return list(zip(*map(unstack, xs), strict=True)) if isinstance(xs, tuple) else unstack(xs)


def _choose(rows: Any, a: Any, b: Any) -> Any:
    """a in the chosen rows, b in the others; either may be one number for all.

    **Arguments** rows: truths, (B,), or (T, B) to choose at each step.
    """
    if isinstance(a, tuple) or isinstance(b, tuple):
        parts = len(a if isinstance(a, tuple) else b)
        pairs = zip(*(v if isinstance(v, tuple) else (v,) * parts for v in (a, b)), strict=True)
        return tuple(_choose(rows, p, q) for p, q in pairs)
    axes = max(getattr(a, "ndim", 0), getattr(b, "ndim", 0))
    return where(rows.reshape(rows.shape + (1,) * (axes - rows.ndim)), a, b)
