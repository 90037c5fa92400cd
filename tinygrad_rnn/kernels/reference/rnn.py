"""The vanilla RNN over a whole sequence, and its backward pass by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
    xp: Any,
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    lengths: Array | None = None,
    reset: Array | None = None,
    h_mask: Array | None = None,
    h_zone: Array | None = None,
    ids: Array | None = None,
    *,
    activation: str = "tanh",
    reverse: bool = False,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """h_t = act(w_ih x_t + b_ih + w_hh h_{t-1} + b_hh), act being tanh or relu."""
    loop = TimeLoop(xp, x, ids, lengths, reset, reverse)
    hs = Carry(loop, h0, h_zone)
    z = loop.each(project(xp, loop.read(x, ids), w_ih, add_biases(b_ih, b_hh)))
    w = transposed(xp, w_hh, loop.steps)
    part = loop.work(hs.width)
    masked = None if h_mask is None else loop.work(hs.width)
    for t in loop.forwards(hs):
        h = hs.old[t]
        if h_mask is not None:
            h = xp.multiply(h, h_mask, out=masked)
        xp.matmul(h, w, out=part)
        part += z[t]
        if activation == "tanh":
            xp.tanh(part, out=hs.new[t])
        else:
            xp.maximum(part, 0, out=hs.new[t])
    return (hs.output(), hs.last()), (hs if keep else None)


def rnn_backward(
    xp: Any,
    g: Arrays,
    saved: Any,
    needs: Sequence[bool],
    x: Array,
    w_ih: Array,
    w_hh: Array,
    h_mask: Array | None,
    ids: Array | None,
    activation: str,
) -> Arrays:
    """Computes the cotangents of x, h0, w_ih, w_hh, b_ih, b_hh; the options have none."""
    hs: Carry = saved
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
        xp.matmul(d, w_hh, out=dh.d)
        if h_mask is not None:
            dh.d *= h_mask
    need_x, need_h, *rest = needs[:6]
    h_in = hs.before if h_mask is None else hs.before * h_mask
    dx, *dw = weight_gradients(loop, (need_x, *rest), x, ids, w_ih, dz, dz, h_in)
    return (dx, dh.d if need_h else None, *dw, None, None, None, None, None)
