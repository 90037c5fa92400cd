"""The linear recurrence, whose gradient is one, too: it runs in one pass, in either direction."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from .. import kernels
from ..tensor.inputs import reals
from ..tensor.operation import Op
from ..tensor.ops.elementwise import multiply, zeros_like
from ..tensor.ops.movement import concat, expand_dims

__all__ = ["linear_recurrence"]


def _forward(xp: ModuleType, a: Any, b: Any, h0: Any, *, reverse: bool = False) -> Any:
    """h_t = a_t h_{t-1} + b_t for all t: the states of a linear recurrence with elementwise gates.

    A recurrent cell whose gates do not read its state is such a recurrence: the minimal GRU and
    LSTM (Feng et al. 2024), state-space models with a diagonal matrix. All steps are one node of
    the graph and one pass over memory; its gradient is a linear recurrence in reverse.

    **Arguments** a, b: (T, ...). h0: (...), the state before the first step. reverse: from the last
    step to the first. **Returns** h of all steps, (T, ...). **Raises** ShapeError.

    >>> import tinygrad_rnn as tg
    >>> a, b = tg.full((4,), 0.5), tg.ones((4,))
    >>> tg.linear_recurrence(a, b, tg.zeros(()))  # h_t = h_{t-1} / 2 + 1
    tensor([1.   , 1.5  , 1.75 , 1.875])
    """
    a, b, h0 = reals(a, b, h0)
    return kernels.linear_recurrence(xp, a, b, h0, reverse=bool(reverse))


def _backward(
    g: Any, y: Any, a: Any, h0: Any, needs: Sequence[bool], reverse: bool
) -> tuple[Any, Any, Any]:
    """The cotangents of a, b and h0: that of h_t is g_t + a_{t+1} times that of h_{t+1}."""
    if not len(a):
        return zeros_like(a), zeros_like(a), zeros_like(h0)
    none = expand_dims(zeros_like(h0), axis=0)
    later = concat([none, a[:-1]] if reverse else [a[1:], none])
    d = linear_recurrence(later, g, zeros_like(h0), reverse=not reverse)
    first = -1 if reverse else 0
    da = None
    if needs[0]:
        h0 = expand_dims(h0, axis=0)
        da = multiply(d, concat([y[1:], h0] if reverse else [h0, y[:-1]]))
    return da, d, multiply(a[first], d[first])


linear_recurrence = Op(
    "linear_recurrence", _forward, expects="a and b (T, ...) of one shape, and h0 (...)", fresh=True
)
linear_recurrence.vjp(_backward)
