"""The GRU over a whole sequence, in both forms, and its backward pass by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .course import Array, Arrays, Course, in_weights, product_over_time, project, turned


def gru_forward(
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
    reset_after: bool = False,
    reverse: bool = False,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """Gates r, z, n: h_t = z h_{t-1} + (1 - z) n; see `gru_step` for both forms of n."""
    width = w_hh.shape[1]
    if any(a is not None for a in (reset, h_mask, h_zone)):
        raise NotImplementedError("an option that the kernel does not have yet")
    course = Course(xp, x, lengths, reverse)
    hs = course.states(h0, width)
    gates = project(xp, x, w_ih, b_ih)
    w = turned(xp, w_hh if reset_after else w_hh[: 2 * width], course.steps)
    w_n = None if reset_after else turned(xp, w_hh[2 * width :], course.steps)
    part = xp.empty((course.batch, w.shape[1]), x.dtype)
    part_n = xp.empty_like(hs[0])
    ns = xp.empty_like(course.after(hs)) if reset_after else None  # w_hn h + b_hn of each step
    for t in course.order:
        before, after = course.around(t)
        h, rz, n = hs[before], gates[t, :, : 2 * width], gates[t, :, 2 * width :]
        xp.matmul(h, w, out=part)
        if reset_after and b_hh is not None:
            part += b_hh
        rz += part[:, : 2 * width]
        rz *= 0.5  # the logistic function, by tanh
        xp.tanh(rz, out=rz)
        rz *= 0.5
        rz += 0.5
        r, z = rz[:, :width], rz[:, width:]
        if ns is None:
            xp.multiply(r, h, out=hs[after])  # a place to work in
            xp.matmul(hs[after], w_n, out=part_n)
        else:
            ns[t] = part[:, 2 * width :]
            xp.multiply(r, ns[t], out=part_n)
        n += part_n
        xp.tanh(n, out=n)
        xp.subtract(h, n, out=hs[after])
        hs[after] *= z
        hs[after] += n
        course.hold(t, hs)
    return (course.output(hs), course.last(hs)), ((hs, gates, ns) if keep else None)


def gru_backward(
    xp: Any,
    g: Arrays,
    saved: Any,
    needs: Sequence[bool],
    x: Array,
    w_ih: Array,
    w_hh: Array,
    lengths: Array | None,
    reset_after: bool,
    reverse: bool,
) -> Arrays:
    """The cotangents of x, h0, w_ih, w_hh, b_ih, b_hh."""
    course = Course(xp, x, lengths, reverse)
    hs, gates, ns = saved
    width = hs.shape[-1]
    gy, gh = g
    dh = course.cotangent(gh, width)
    dz = xp.empty_like(gates)  # of the pre-activations, on the side of the input
    dz_rec = xp.empty_like(gates) if reset_after else dz  # and on the recurrent one
    slope = xp.empty_like(gates[0])
    work = xp.empty_like(dh)
    w_rz, w_n = w_hh[: 2 * width], w_hh[2 * width :]
    for t in reversed(course.order):
        before, _ = course.around(t)
        h, gate, d = hs[before], gates[t], dz[t]
        held = course.receive(t, dh, gy)
        r, z, n = gate[:, :width], gate[:, width : 2 * width], gate[:, 2 * width :]
        d_r, d_z, d_n = d[:, :width], d[:, width : 2 * width], d[:, 2 * width :]
        xp.subtract(1, gate, out=slope)
        xp.multiply(dh, slope[:, width : 2 * width], out=d_n)  # dh (1 - z)
        slope *= gate
        xp.multiply(n, n, out=work)
        xp.subtract(1, work, out=work)
        d_n *= work
        xp.subtract(h, n, out=d_z)
        d_z *= dh
        dh *= z
        if reset_after:
            xp.multiply(d_n, ns[t], out=d_r)
            d[:, : 2 * width] *= slope[:, : 2 * width]
            dz_rec[t, :, : 2 * width] = d[:, : 2 * width]
            xp.multiply(d_n, r, out=dz_rec[t, :, 2 * width :])
            xp.matmul(dz_rec[t], w_hh, out=work)
        else:
            xp.matmul(d_n, w_n, out=work)  # the cotangent of r * h
            xp.multiply(work, h, out=d_r)
            work *= r
            dh += work
            d[:, : 2 * width] *= slope[:, : 2 * width]
            xp.matmul(d[:, : 2 * width], w_rz, out=work)
        dh += work
        if held is not None:
            dh += held
    need_x, _, *rest = needs[:6]
    h_before = course.before(hs)
    dx, dw_ih, dw_hh, db_ih, db_hh = in_weights((need_x, *rest), x, w_ih, dz, dz_rec, h_before)
    if dw_hh is not None and not reset_after:  # w_hn has seen r * h
        dw_hh[2 * width :] = product_over_time(
            dz[:, :, 2 * width :], gates[:, :, :width] * h_before
        )
    return (dx, dh, dw_ih, dw_hh, db_ih, db_hh, *(None,) * 4)
