"""The kernels in array code: it runs on NumPy and on CuPy, and allocates nothing in its loops.

The inputs of all steps go through one product before the loop, and each weight's gradient comes
from one product after it; what remains in the loop is the recurrence itself. The backward passes
are those of the equations in `tensor/ops/recurrent.py`, written out by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Array = Any
Arrays = tuple[Array | None, ...]

# ---------------------------------------------------------------- shared by the cells


def project(xp: Any, x: Array, w: Array, b: Array | None) -> Array:
    """x @ w.T + b for every step at once: (T, B, G)."""
    z = xp.matmul(x.reshape(-1, x.shape[-1]), w.T)
    if b is not None:
        z += b
    return z.reshape(*x.shape[:-1], -1)


def both(b_ih: Array | None, b_hh: Array | None) -> Array | None:
    """The sum of two biases, each of which may be missing."""
    return b_ih if b_hh is None else b_hh if b_ih is None else b_ih + b_hh


def product_over_time(a: Array, b: Array) -> Array:
    """The sum over steps and rows of outer products: (T, B, M), (T, B, N) to (M, N)."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


class Course:
    """The order of the steps, and the states before and after each, in one buffer of T + 1.

    After step t forwards lies before step t + 1, so nothing is copied; running in reverse, the
    buffer is filled from its end.
    """

    def __init__(self, xp: Any, x: Array, lengths: Array | None, reverse: bool) -> None:
        self.xp, self.steps, self.batch, self.dtype = xp, x.shape[0], x.shape[1], x.dtype
        self.reverse = reverse
        self.order = range(self.steps)[:: -1 if reverse else 1]
        self.valid = self.over = None
        if lengths is not None:  # which rows are still running, (T, B, 1), as bool and as number
            valid = (xp.arange(self.steps)[:, None] < lengths[None, :])[:, :, None]
            self.over, self.valid = xp.logical_not(valid), valid.astype(x.dtype)

    def states(self, first: Array, width: int) -> Array:
        """A buffer (T + 1, B, width) in which the first state is in place."""
        if first.shape != (self.batch, width):
            raise ValueError(f"initial state: expected {(self.batch, width)}, got {first.shape}")
        buffer = self.xp.empty((self.steps + 1, self.batch, width), self.dtype)
        buffer[-1 if self.reverse else 0] = first
        return buffer

    def around(self, t: int) -> tuple[int, int]:
        """Where the states before and after step t lie in a buffer."""
        return (t + 1, t) if self.reverse else (t, t + 1)

    def before(self, buffer: Array) -> Array:
        """The states before each step."""
        return buffer[1:] if self.reverse else buffer[:-1]

    def after(self, buffer: Array) -> Array:
        """The states after each step."""
        return buffer[:-1] if self.reverse else buffer[1:]

    def hold(self, t: int, buffer: Array) -> None:
        """Keeps the state of the rows that are over, or have not begun."""
        if self.over is not None:
            before, after = self.around(t)
            self.xp.copyto(buffer[after], buffer[before], where=self.over[t])

    def output(self, buffer: Array) -> Array:
        """The states after each step, zero where a row is over."""
        y = self.after(buffer)
        return y if self.valid is None else y * self.valid

    def last(self, buffer: Array) -> Array:
        """The final state: a copy, so that keeping it does not keep the buffer."""
        return buffer[0 if self.reverse else -1].copy()

    def cotangent(self, g: Array | None, width: int) -> Array:
        """The cotangent of a final state, in a buffer of our own."""
        if g is None:
            return self.xp.zeros((self.batch, width), self.dtype)
        return self.xp.array(g, dtype=self.dtype)

    def receive(self, t: int, d: Array, gy: Array | None = None) -> Array | None:
        """Adds the output's cotangent to d, and splits off what only passes through step t."""
        held = None
        if self.over is not None and self.valid is not None:
            held = d * self.over[t]
            d *= self.valid[t]
            if gy is not None:
                d += gy[t] * self.valid[t]
        elif gy is not None:
            d += gy[t]
        return held


def in_weights(
    needs: Sequence[bool],
    x: Array,
    w_ih: Array,
    d_in: Array,
    d_rec: Array,
    h_before: Array,
) -> tuple[Array | None, ...]:
    """The cotangents of x, w_ih, w_hh, b_ih and b_hh from those of the pre-activations."""
    need_x, need_w_ih, need_w_hh, need_b_ih, need_b_hh = needs
    return (
        (d_in.reshape(-1, d_in.shape[-1]) @ w_ih).reshape(x.shape) if need_x else None,
        product_over_time(d_in, x) if need_w_ih else None,
        product_over_time(d_rec, h_before) if need_w_hh else None,
        d_in.sum(axis=(0, 1)) if need_b_ih else None,
        d_rec.sum(axis=(0, 1)) if need_b_hh else None,
    )


# ---------------------------------------------------------------- vanilla RNN


def rnn_forward(
    xp: Any,
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    lengths: Array | None,
    *,
    activation: str = "tanh",
    reverse: bool = False,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """h_t = act(w_ih x_t + b_ih + w_hh h_{t-1} + b_hh), act being tanh or relu."""
    course = Course(xp, x, lengths, reverse)
    hs = course.states(h0, w_hh.shape[1])
    z = project(xp, x, w_ih, both(b_ih, b_hh))
    w = xp.ascontiguousarray(w_hh.T)
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
    x: Array,
    w_ih: Array,
    w_hh: Array,
    lengths: Array | None,
    saved: Any,
    needs: Sequence[bool],
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
    need_x, _, *rest, _ = needs
    dx, *dw = in_weights((need_x, *rest), x, w_ih, dz, dz, course.before(hs))
    return (dx, dh, *dw, None)


# ---------------------------------------------------------------- GRU


def gru_forward(
    xp: Any,
    x: Array,
    h0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    lengths: Array | None,
    *,
    reset_after: bool = False,
    reverse: bool = False,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """Gates r, z, n: h_t = z h_{t-1} + (1 - z) n; see `gru_step` for both forms of n."""
    width = w_hh.shape[1]
    course = Course(xp, x, lengths, reverse)
    hs = course.states(h0, width)
    gates = project(xp, x, w_ih, b_ih)
    recurrent = xp.ascontiguousarray(w_hh.T)
    w, w_n = (
        (recurrent, None)
        if reset_after
        else [xp.ascontiguousarray(p) for p in xp.split(recurrent, [2 * width], axis=1)]
    )
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
    x: Array,
    w_ih: Array,
    w_hh: Array,
    lengths: Array | None,
    saved: Any,
    needs: Sequence[bool],
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
    need_x, _, *rest, _ = needs
    h_before = course.before(hs)
    dx, dw_ih, dw_hh, db_ih, db_hh = in_weights((need_x, *rest), x, w_ih, dz, dz_rec, h_before)
    if dw_hh is not None and not reset_after:  # w_hn has seen r * h
        dw_hh[2 * width :] = product_over_time(
            dz[:, :, 2 * width :], gates[:, :, :width] * h_before
        )
    return (dx, dh, dw_ih, dw_hh, db_ih, db_hh, None)


# ---------------------------------------------------------------- LSTM


def lstm_forward(
    xp: Any,
    x: Array,
    h0: Array,
    c0: Array,
    w_ih: Array,
    w_hh: Array,
    b_ih: Array | None,
    b_hh: Array | None,
    w_hr: Array | None,
    lengths: Array | None,
    *,
    reverse: bool = False,
    keep: bool = True,
) -> tuple[Arrays, Any]:
    """Gates i, f, g, o: c_t = f c_{t-1} + i g; h_t = w_hr (o tanh(c_t)), w_hr being (P, H) or 1."""
    width = w_hh.shape[0] // 4
    course = Course(xp, x, lengths, reverse)
    hs, cs = course.states(h0, w_hh.shape[1]), course.states(c0, width)
    # sigmoid(a) = tanh(a / 2) / 2 + 1/2: with the weights halved, one tanh serves all four gates.
    scale = xp.full((4, width), 0.5, x.dtype)
    scale[2] = 1
    scale = scale.reshape(-1)
    shift = 1 - scale
    b = both(b_ih, b_hh)
    gates = project(xp, x, w_ih * scale[:, None], None if b is None else b * scale)
    w = xp.ascontiguousarray((w_hh * scale[:, None]).T)
    tanh_c = xp.empty_like(course.after(cs))
    part, work = xp.empty_like(gates[0]), xp.empty_like(cs[0])
    for t in course.order:
        before, after = course.around(t)
        a, c = gates[t], cs[after]
        xp.matmul(hs[before], w, out=part)
        a += part
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
    x: Array,
    w_ih: Array,
    w_hh: Array,
    w_hr: Array | None,
    lengths: Array | None,
    saved: Any,
    needs: Sequence[bool],
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
    need_x, _, _, *rest, need_w_hr, _ = needs
    dx, *dw = in_weights((need_x, *rest), x, w_ih, dz, dz, course.before(hs))
    dw_hr = None
    if dhs is not None and need_w_hr:
        dw_hr = product_over_time(dhs, gates[:, :, 3 * width :] * tanh_c)
    return (dx, dh, dc, *dw, dw_hr, None)
