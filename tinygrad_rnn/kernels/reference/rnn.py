"""The vanilla RNN over a whole sequence, and its backward pass by hand."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

from ..contract import NO_OPTIONS, SequenceOptions
from .time_loop import (
    Array,
    Arrays,
    Carry,
    Cotangent,
    TimeLoop,
    add_biases,
    project,
    transposed,
    weight_gradients,
)


def rnn_forward(
    xp: ModuleType,
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    activation: str = "tanh",
    options: SequenceOptions = NO_OPTIONS,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """h_t = act(w_ih x_t + b_ih + w_hh h_{t-1} + b_hh), act being tanh or relu."""
    loop = TimeLoop(xp, x, options)
    hs = Carry(loop, h0)
    z = loop.each(project(xp, loop.read(x), w_ih, add_biases(b_ih, b_hh)))
    w = transposed(xp, w_hh, loop.steps)
    part = loop.work(hs.width)
    masked = loop.work(hs.width)
    for t in loop.forwards(hs):
        xp.matmul(loop.masked(hs.old[t], out=masked), w, out=part)
        part += z[t]
        if activation == "tanh":
            xp.tanh(part, out=hs.new[t])
        else:
            xp.maximum(part, 0, out=hs.new[t])
    return (hs.output(), hs.last()), ((hs, x, w_ih, w_hh, activation) if keep else None)


def rnn_backward(xp: ModuleType, g: Arrays, saved: Any, needs: Sequence[bool]) -> Arrays:
    """Computes the cotangents of x, h0, w_ih, w_hh, b_ih, b_hh."""
    hs, x, w_ih, w_hh, activation = saved
    loop, (gy, gh) = hs.loop, g
    dh = Cotangent(hs, gh, gy)
    dz = loop.empty(hs.width)
    dzs = loop.each(dz)
    for t in loop.backwards(dh):
        h, d = hs.new[t], dzs[t]
        if activation == "tanh":
            xp.multiply(h, h, out=d)
            xp.subtract(1, d, out=d)
        else:
            xp.greater(h, 0, out=d)
        d *= dh.d
        if activation == "relu":  # 0 times a cotangent that is not finite is NaN
            xp.copyto(d, loop.zero, where=xp.logical_not(h > 0))
        xp.matmul(d, w_hh, out=dh.d)
        loop.masked(dh.d, out=dh.d)
    need_x, need_h, *rest = needs
    h_in = loop.masked(hs.before)
    dx, *dw = weight_gradients(loop, (need_x, *rest), x, w_ih, dz, dz, h_in)
    return (dx, dh.d if need_h else None, *dw)
