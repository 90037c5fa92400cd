"""The LSTM over a whole sequence, and its backward pass by hand."""

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
    affine_tanh_,
    product_over_time,
    project,
    split,
    transposed,
    weight_gradients,
)


def lstm_forward(
    xp: ModuleType,
    x: Array,
    h0: Array,
    c0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None = None,
    b_hh: Array | None = None,
    w_hr: Array | None = None,
    w_ch: Array | None = None,
    *,
    coupled_gates: bool = False,
    cell_clip: float | None = None,
    options: SequenceOptions = NO_OPTIONS,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """Gates i, f, g, o: c_t = f c_{t-1} + i g; h_t = o tanh(c_t); see `lstm_step` for the rest."""
    loop, width = TimeLoop(xp, x, options), c0.shape[1]
    hs, cs = Carry(loop, h0), Carry(loop, c0, 1)
    gates = project(xp, loop.read(x), w_ih, add_biases(b_ih, b_hh))
    by_gate, gates_of = loop.gates(gates, width), loop.each(gates)
    p_i, p_f, p_o = _peepholes(w_ch, width)
    # The gates that do not depend on the new c: all of them, unless o has a peephole. As
    # sigmoid(a) = tanh(a / 2) / 2 + 1/2, one tanh serves all of them, if they are scaled so.
    early = gates_of if w_ch is None else loop.each(gates[..., :-width])
    rows = w_hh.shape[0]
    scale = xp.full(rows if w_ch is None else rows - width, 0.5, x.dtype)
    g_from = rows - 2 * width
    scale[g_from : g_from + width] = 1
    shift = 1 - scale
    w = transposed(xp, w_hh, loop.steps)
    tanh_c = loop.empty(width)
    tanh_of = loop.each(tanh_c)
    clipped = None if cell_clip is None else xp.empty(tanh_c.shape, bool)  # where c is cut off
    clipped_of = [] if clipped is None else loop.each(clipped)
    part, work = loop.work(rows), loop.work(width)
    masked = loop.work(hs.width)
    for t in loop.forwards(hs, cs):
        c, new, (i, *f, g, o) = cs.old[t], cs.new[t], by_gate[t]
        xp.matmul(loop.masked(hs.old[t], out=masked), w, out=part)
        gates_of[t] += part
        if w_ch is not None:
            xp.multiply(c, p_i, out=work)
            i += work
            if f:
                xp.multiply(c, p_f, out=work)
                f[0] += work
        affine_tanh_(xp, early[t], scale, shift)
        if f:
            xp.multiply(f[0], c, out=new)
        else:
            xp.subtract(1, i, out=new)
            new *= c
        xp.multiply(i, g, out=work)
        new += work
        if cell_clip is not None:
            xp.abs(new, out=work)
            xp.greater(work, cell_clip, out=clipped_of[t])
            xp.minimum(new, cell_clip, out=new)
            xp.maximum(new, -cell_clip, out=new)
        if w_ch is not None:
            xp.multiply(new, p_o, out=work)
            o += work
            affine_tanh_(xp, o)
        xp.tanh(new, out=tanh_of[t])
        if w_hr is None:
            xp.multiply(o, tanh_of[t], out=hs.new[t])
        else:
            xp.multiply(o, tanh_of[t], out=work)
            xp.matmul(work, w_hr.T, out=hs.new[t])
    outputs = (hs.output(), hs.last(), cs.last(), *((cs.output(),) if options.every else ()))
    saved = hs, cs, gates, tanh_c, clipped, x, w_ih, w_hh, w_hr, w_ch
    return outputs, (saved if keep else None)


def lstm_backward(xp: ModuleType, g: Arrays, saved: Any, needs: Sequence[bool]) -> Arrays:
    """Computes the cotangents of all inputs."""
    hs, cs, gates, tanh_c, clipped, x, w_ih, w_hh, w_hr, w_ch = saved
    loop, width = hs.loop, tanh_c.shape[-1]
    gy, gh, gc, *gcs = g
    dh, dc = Cotangent(hs, gh, gy), Cotangent(cs, gc, gcs[0] if gcs else None)
    dz = xp.empty_like(gates)
    by_gate, d_by_gate = loop.gates(gates, width), loop.gates(dz, width)
    gates_of, dz_of, tanh_of = loop.each(gates), loop.each(dz), loop.each(tanh_c)
    clipped_of = [] if clipped is None else loop.each(clipped)
    p_i, p_f, p_o = _peepholes(w_ch, width)
    slope, work = loop.work(gates.shape[-1]), loop.work(width)
    *_, slope_g, slope_o = split(slope, width)
    d_out = dh.d if w_hr is None else loop.work(width)  # of o * tanh(c)
    dhs = None if w_hr is None else loop.empty(hs.width)
    dhs_of = [] if dhs is None else loop.each(dhs)
    for t in loop.backwards(dh, dc):
        (i, *f, g_, o), (d_i, *d_f, d_g, d_o), tc = by_gate[t], d_by_gate[t], tanh_of[t]
        if dhs is not None:
            dhs_of[t][...] = dh.d
            xp.matmul(dh.d, w_hr, out=d_out)
        xp.subtract(1, gates_of[t], out=slope)
        slope *= gates_of[t]
        xp.multiply(g_, g_, out=work)
        xp.subtract(1, work, out=slope_g)
        xp.multiply(d_out, tc, out=d_o)
        xp.multiply(tc, tc, out=work)
        xp.subtract(1, work, out=work)
        work *= o
        work *= d_out
        dc.d += work
        if w_ch is not None:
            xp.multiply(d_o, slope_o, out=work)
            work *= p_o
            dc.d += work
        if clipped is not None:
            xp.copyto(dc.d, loop.zero, where=clipped_of[t])
        xp.multiply(dc.d, i, out=d_g)
        if f:
            xp.multiply(dc.d, g_, out=d_i)
            xp.multiply(dc.d, cs.old[t], out=d_f[0])
            dc.d *= f[0]
        else:
            xp.subtract(g_, cs.old[t], out=d_i)
            d_i *= dc.d
            xp.subtract(1, i, out=work)
            dc.d *= work
        d = dz_of[t]
        d *= slope
        if w_ch is not None:
            xp.multiply(d_i, p_i, out=work)
            dc.d += work
            if f:
                xp.multiply(d_f[0], p_f, out=work)
                dc.d += work
        xp.matmul(d, w_hh, out=dh.d)
        loop.masked(dh.d, out=dh.d)
    need_x, need_h, need_c, *rest, need_w_hr, need_w_ch = needs
    h_in = loop.masked(hs.before)
    dx, *dw = weight_gradients(loop, (need_x, *rest), x, w_ih, dz, dz, h_in)
    dw_hr = dw_ch = None
    if dhs is not None and need_w_hr:
        dw_hr = product_over_time(*map(loop.running, (dhs, gates[..., -width:] * tanh_c)))
    if w_ch is not None and need_w_ch:
        *early, _, late = split(dz, width)
        inputs = [*((d, cs.before) for d in early), (late, cs.written)]
        dw_ch = xp.concatenate([loop.running(d * c).sum(axis=(0, 1)) for d, c in inputs])
    states = (dh.d if need_h else None, dc.d if need_c else None)
    return (dx, *states, *dw, dw_hr, dw_ch)


def _peepholes(w_ch: Array | None, width: int) -> tuple[Any, Any, Any]:
    """Those into i, f and o, as far as there are any."""
    if w_ch is None:
        return None, None, None
    i, *f, o = split(w_ch, width)
    return i, (f[0] if f else None), o
