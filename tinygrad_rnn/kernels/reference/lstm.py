"""The LSTM over a whole sequence, and its backward pass by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .course import Array, Arrays, Course, both, in_weights, product_over_time, project, turned


def lstm_forward(
    xp: Any,
    x: Array,
    h0: Array,
    c0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    w_hr: Array | None = None,
    w_ch: Array | None = None,
    lengths: Array | None = None,
    reset: Array | None = None,
    h_mask: Array | None = None,
    h_zone: Array | None = None,
    c_zone: Array | None = None,
    *,
    coupled_gates: bool = False,
    cell_clip: float | None = None,
    every_cell: bool = False,
    reverse: bool = False,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """Gates i, f, g, o: c_t = f c_{t-1} + i g; h_t = w_hr (o tanh(c_t)), w_hr being (P, H) or 1."""
    if any(a is not None for a in (w_ch, reset, h_mask, h_zone, c_zone, cell_clip)) or (
        coupled_gates or every_cell
    ):
        raise NotImplementedError("lstm: an option that the kernel does not have yet")
    width = w_hh.shape[0] // 4
    course = Course(xp, x, lengths, reverse)
    hs, cs = course.states(h0, w_hh.shape[1]), course.states(c0, width)
    # sigmoid(a) = tanh(a / 2) / 2 + 1/2: scaled so, one tanh serves all four gates.
    scale = xp.full((4, width), 0.5, x.dtype)
    scale[2] = 1
    scale = scale.reshape(-1)
    shift = 1 - scale
    gates = project(xp, x, w_ih, both(b_ih, b_hh))
    w = turned(xp, w_hh, course.steps)
    tanh_c = xp.empty_like(course.after(cs))
    part, work = xp.empty_like(gates[0]), xp.empty_like(cs[0])
    for t in course.order:
        before, after = course.around(t)
        a, c = gates[t], cs[after]
        xp.matmul(hs[before], w, out=part)
        a += part
        a *= scale
        xp.tanh(a, out=a)
        a *= scale
        a += shift
        i, f, g, o = (a[:, k * width : (k + 1) * width] for k in range(4))
        xp.multiply(f, cs[before], out=c)
        xp.multiply(i, g, out=work)
        c += work
        xp.tanh(c, out=tanh_c[t])
        if w_hr is None:
            xp.multiply(o, tanh_c[t], out=hs[after])
        else:
            xp.multiply(o, tanh_c[t], out=work)
            xp.matmul(work, w_hr.T, out=hs[after])
        course.hold(t, hs)
        course.hold(t, cs)
    outputs = (course.output(hs), course.last(hs), course.last(cs))
    return outputs, ((hs, cs, gates, tanh_c) if keep else None)


def lstm_backward(
    xp: Any,
    g: Arrays,
    saved: Any,
    needs: Sequence[bool],
    x: Array,
    w_ih: Array,
    w_hh: Array,
    w_hr: Array | None,
    lengths: Array | None,
    reverse: bool,
) -> Arrays:
    """The cotangents of x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr."""
    course = Course(xp, x, lengths, reverse)
    hs, cs, gates, tanh_c = saved
    width = cs.shape[-1]
    gy, gh, gc = g
    dh, dc = course.cotangent(gh, hs.shape[-1]), course.cotangent(gc, width)
    dz = xp.empty_like(gates)
    slope = xp.empty_like(gates[0])
    work = xp.empty_like(dc)
    d_out = dh if w_hr is None else xp.empty_like(dc)  # of o * tanh(c)
    dhs = None if w_hr is None else xp.empty_like(course.after(hs))
    for t in reversed(course.order):
        before, _ = course.around(t)
        held_h, held_c = course.receive(t, dh, gy), course.receive(t, dc)
        a, d, tc = gates[t], dz[t], tanh_c[t]
        i, f, g_, o = (a[:, k * width : (k + 1) * width] for k in range(4))
        d_i, d_f, d_g, d_o = (d[:, k * width : (k + 1) * width] for k in range(4))
        if dhs is not None:
            dhs[t] = dh
            xp.matmul(dh, w_hr, out=d_out)
        xp.multiply(tc, tc, out=work)
        xp.subtract(1, work, out=work)
        work *= o
        work *= d_out
        dc += work
        xp.multiply(dc, g_, out=d_i)
        xp.multiply(dc, cs[before], out=d_f)
        xp.multiply(dc, i, out=d_g)
        xp.multiply(d_out, tc, out=d_o)
        xp.subtract(1, a, out=slope)
        slope *= a
        xp.multiply(g_, g_, out=work)
        xp.subtract(1, work, out=slope[:, 2 * width : 3 * width])
        d *= slope
        dc *= f
        xp.matmul(d, w_hh, out=dh)
        if held_h is not None:
            dh += held_h
            dc += held_c
    need_x, _, _, *rest, need_w_hr = needs[:8]
    dx, *dw = in_weights((need_x, *rest), x, w_ih, dz, dz, course.before(hs))
    dw_hr = None
    if dhs is not None and need_w_hr:
        dw_hr = product_over_time(dhs, gates[:, :, 3 * width :] * tanh_c)
    return (dx, dh, dc, *dw, dw_hr, *(None,) * 6)
