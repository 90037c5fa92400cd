"""The GRU over a whole sequence, in both forms, and its backward pass by hand."""

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
    affine_tanh_,
    product_over_time,
    project,
    transposed,
    weight_gradients,
)


def gru_forward(
    xp: ModuleType,
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    *,
    reset_after: bool = False,
    options: SequenceOptions = NO_OPTIONS,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """Gates r, z, n: h_t = z h_{t-1} + (1 - z) n; see `gru_step` for both forms of n."""
    loop, width = TimeLoop(xp, x, options), h0.shape[1]
    hs = Carry(loop, h0)
    gates = project(xp, loop.read(x), w_ih, b_ih)
    rz_of, by_gate = loop.each(gates[..., : 2 * width]), loop.gates(gates, width)
    w = transposed(xp, w_hh if reset_after else w_hh[: 2 * width], loop.steps)
    w_n = None if reset_after else transposed(xp, w_hh[2 * width :], loop.steps)
    part = loop.work(w.shape[1])
    part_rz, part_n = part[:, : 2 * width], loop.work(width)
    masked = loop.work(width)
    ns = loop.empty(width) if reset_after else None  # w_hn h + b_hn of each step
    ns_of = None if ns is None else loop.each(ns)
    for t in loop.forwards(hs):
        h, new, rz, (r, z, n) = hs.old[t], hs.new[t], rz_of[t], by_gate[t]
        m = loop.masked(h, out=masked)
        xp.matmul(m, w, out=part)
        if reset_after and b_hh is not None:
            part += b_hh
        rz += part_rz
        affine_tanh_(xp, rz)
        if ns_of is None:
            xp.multiply(r, m, out=new)  # used as a work buffer
            xp.matmul(new, w_n, out=part_n)
        else:
            ns_of[t][...] = part[:, 2 * width :]
            xp.multiply(r, ns_of[t], out=part_n)
        n += part_n
        xp.tanh(n, out=n)
        xp.subtract(h, n, out=new)
        new *= z
        new += n
    return (hs.output(), hs.last()), ((hs, gates, ns, x, w_ih, w_hh) if keep else None)


def gru_backward(xp: ModuleType, g: Arrays, saved: Any, needs: Sequence[bool]) -> Arrays:
    """Computes the cotangents of x, h0, w_ih, w_hh, b_ih, b_hh."""
    hs, gates, ns, x, w_ih, w_hh = saved
    loop, width, reset_after, (gy, gh) = hs.loop, hs.before.shape[-1], ns is not None, g
    dh = Cotangent(hs, gh, gy)
    h_in = loop.masked(hs.before)
    dz = xp.empty_like(gates)  # of the pre-activations, on the side of the input
    dz_rec = xp.empty_like(gates) if reset_after else dz  # and on the recurrent one
    by_gate, d_by_gate = loop.gates(gates, width), loop.gates(dz, width)
    d_rz_of = loop.each(dz[..., : 2 * width])
    gates_of, h_in_of = loop.each(gates), loop.each(h_in)
    ns_of, d_rec_of = loop.each(ns) if reset_after else [], loop.each(dz_rec)
    slope, work, back = loop.work(3 * width), loop.work(width), loop.work(width)
    slope_rz, slope_z = slope[:, : 2 * width], slope[:, width : 2 * width]
    w_rz, w_n = w_hh[: 2 * width], w_hh[2 * width :]
    for t in loop.backwards(dh):
        (r, z, n), (d_r, d_z, d_n), d_rz = by_gate[t], d_by_gate[t], d_rz_of[t]
        xp.subtract(1, gates_of[t], out=slope)
        xp.multiply(dh.d, slope_z, out=d_n)  # dh (1 - z)
        slope *= gates_of[t]
        xp.multiply(n, n, out=work)
        xp.subtract(1, work, out=work)
        d_n *= work
        xp.subtract(hs.old[t], n, out=d_z)
        d_z *= dh.d
        dh.d *= z
        if reset_after:
            xp.multiply(d_n, ns_of[t], out=d_r)
            d_rz *= slope_rz
            d_rec = d_rec_of[t]
            d_rec[:, : 2 * width] = d_rz
            xp.multiply(d_n, r, out=d_rec[:, 2 * width :])
            xp.matmul(d_rec, w_hh, out=work)
        else:
            xp.matmul(d_n, w_n, out=work)  # the cotangent of r * h
            xp.multiply(work, h_in_of[t], out=d_r)
            if loop.h_mask is not None:
                xp.copyto(d_r, loop.zero, where=loop.dropped)
            d_rz *= slope_rz
            work *= r
            xp.matmul(d_rz, w_rz, out=back)
            work += back
        loop.masked(work, out=work)
        dh.d += work
    need_x, need_h, *rest = needs
    dx, dw_ih, dw_hh, db_ih, db_hh = weight_gradients(
        loop, (need_x, *rest), x, w_ih, dz, dz_rec, h_in
    )
    if dw_hh is not None and not reset_after:  # the input of w_hn is r * h
        r_h = gates[..., :width] * h_in
        dw_hh[2 * width :] = product_over_time(*map(loop.running, (dz[..., 2 * width :], r_h)))
    return (dx, dh.d if need_h else None, dw_ih, dw_hh, db_ih, db_hh)
