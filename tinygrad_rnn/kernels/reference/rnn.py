"""The vanilla RNN over a whole sequence, and its backward pass by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .course import Array, Arrays, Course, both, in_weights, project, turned


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
    *,
    activation: str = "tanh",
    reverse: bool = False,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """h_t = act(w_ih x_t + b_ih + w_hh h_{t-1} + b_hh), act being tanh or relu."""
    if any(a is not None for a in (reset, h_mask, h_zone)):
        raise NotImplementedError("an option that the kernel does not have yet")
    course = Course(xp, x, lengths, reverse)
    hs = course.states(h0, w_hh.shape[1])
    z = project(xp, x, w_ih, both(b_ih, b_hh))
    w = turned(xp, w_hh, course.steps)
    part = xp.empty_like(hs[0])
    for t in course.order:
        before, after = course.around(t)
        xp.matmul(hs[before], w, out=part)
        part += z[t]
        if activation == "tanh":
            xp.tanh(part, out=hs[after])
        else:
            xp.maximum(part, 0, out=hs[after])
        course.hold(t, hs)
    return (course.output(hs), course.last(hs)), (hs if keep else None)


def rnn_backward(
    xp: Any,
    g: Arrays,
    saved: Any,
    needs: Sequence[bool],
    x: Array,
    w_ih: Array,
    w_hh: Array,
    lengths: Array | None,
    activation: str,
    reverse: bool,
) -> Arrays:
    """The cotangents of x, h0, w_ih, w_hh, b_ih, b_hh."""
    course, hs = Course(xp, x, lengths, reverse), saved
    gy, gh = g
    dh = course.cotangent(gh, hs.shape[-1])
    dz = xp.empty(course.after(hs).shape, x.dtype)
    for t in reversed(course.order):
        _, after = course.around(t)
        held = course.receive(t, dh, gy)
        d = dz[t]
        if activation == "tanh":
            xp.multiply(hs[after], hs[after], out=d)
            xp.subtract(1, d, out=d)
        else:
            d[...] = hs[after] > 0
        d *= dh
        xp.matmul(d, w_hh, out=dh)
        if held is not None:
            dh += held
    need_x, _, *rest = needs[:6]
    dx, *dw = in_weights((need_x, *rest), x, w_ih, dz, dz, course.before(hs))
    return (dx, dh, *dw, *(None,) * 4)
