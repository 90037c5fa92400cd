"""The recurrent kernels on a GPU: per step one product of cuBLAS, and one kernel for all the rest.

That kernel finishes the gates and applies every option, so lengths, resets, masks, zoneout,
peepholes and clips cost no launch. Two cells need two products a step, and two kernels: an LSTM
with a projection, and a GRU whose reset gate comes before its product. The loop runs in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from ..contract import NO_OPTIONS, SequenceOptions
from ..reference.time_loop import add_biases, product_over_time, split, weight_gradients
from . import persistent
from .rows import enabled
from .sequence import Array, Arrays, Pass, Step


def supports(xp: ModuleType, floats: Sequence[Array | None]) -> bool:
    """Whether these kernels run a call: where CUDA compiles, all float32 or all float64.

    Float16 is left to array code, and so are arrays of 2^31 elements a step.

    **Arguments** floats: arrays of real numbers, or None, x first; none of them empty. Masks may
    be of any dtype.
    """
    if not enabled(xp):
        return False
    dtypes = {a.dtype for a in floats if a is not None and a.dtype.kind == "f"}
    return len(dtypes) == 1 and str(dtypes.pop()) in ("float32", "float64")


def describe() -> str:
    """Names the kernels that run a sequence, and the reason."""
    return persistent.describe()


def _forwards(
    s: Pass, cell: str, w_hh: Array, product: Callable[[int, int], None], step: Step, part: int = 0
) -> None:
    """Runs all steps in one launch, or each as a product and a kernel.

    **Arguments** part: the address of the products, if they are kept apart from the gates.
    """
    if not persistent.run(s, cell, "forward", w_hh):
        for n, m, z in s.forwards():
            product(m, part or z)
            step(n)


def _backwards(
    s: Pass, cell: str, w_hh: Array, product: Callable[[int, int], None], step: Step,
    name: str = "dz",
) -> None:  # fmt: skip
    """As `_forwards`, from the last step. **Arguments** name: of what the products read."""
    if not persistent.run(s, cell, "backward", w_hh):
        dm = s.arrays["dm"].data.ptr
        for n, dz in s.backwards(name):
            step(n)
            product(dz, dm)


# ---------------------------------------------------------------- RNN


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
    """As in array code: `reference.rnn_forward`."""
    with x.device:
        s, w_hh = Pass(xp, x, options, h0, h0.shape[1]), xp.ascontiguousarray(w_hh)
        s.project(x, w_ih, add_biases(b_ih, b_hh))
        s.numbers(relu=activation == "relu")
        times = s.product(w_hh, transposed=True, add=True)
        step = s.launcher("rnn", s.width)
        s.start()
        _forwards(s, "rnn", w_hh, times, step)
        return (s.output, s.arrays["h_last"]), ((s, x, w_ih, w_hh) if keep else None)


def rnn_backward(xp: ModuleType, g: Arrays, saved: Any, needs: Sequence[bool]) -> Arrays:
    """As in array code: `reference.rnn_backward`."""
    s, x, w_ih, w_hh = saved
    with x.device:
        s = s.backward(g)
        times = s.product(w_hh, transposed=False)
        step = s.launcher("rnn_back", s.width)
        _backwards(s, "rnn", w_hh, times, step)
        s.finish()
        need_x, need_h, *rest = needs
        dz = s.arrays["dz"]
        dx, *dw = weight_gradients(s.loop, (need_x, *rest), x, w_ih, dz, dz, s.m)
        return (dx, s.arrays["dh"] if need_h else None, *dw)


# ---------------------------------------------------------------- GRU


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
    """As in array code: `reference.gru_forward`."""
    with x.device:
        s = Pass(xp, x, options, h0, h0.shape[1])
        s.project(x, w_ih, b_ih)
        width, w_hh = s.width, xp.ascontiguousarray(w_hh)
        s.make(part=(s.loop.batch, (3 if reset_after else 1) * width))
        part = s.arrays["part"].data.ptr
        if reset_after:
            s.put(b_hh=b_hh)
            if keep:
                s.make(aside=s.each_step(width))
            times, step = s.product(w_hh, transposed=True), s.launcher("gru_after", width)
            s.start()
            _forwards(s, "gru_after", w_hh, times, step, part)
        else:
            wide: dict[str, Any] = {"transposed": True, "add": True, "out_row": 3 * width}
            times_rz = s.product(w_hh[: 2 * width], **wide)
            times_n = s.product(w_hh[2 * width :], **wide)
            step_rz, step = s.launcher("gru_rz", width), s.launcher("gru_before", width)
            to_n = 2 * width * s.dtype.itemsize
            s.start()
            for n, m, z in s.forwards():
                times_rz(m, z)
                step_rz(n)
                times_n(part, z + to_n)
                step(n)
        saved = s, x, w_ih, w_hh, reset_after
        return (s.output, s.arrays["h_last"]), (saved if keep else None)


def gru_backward(xp: ModuleType, g: Arrays, saved: Any, needs: Sequence[bool]) -> Arrays:
    """As in array code: `reference.gru_backward`."""
    s, x, w_ih, w_hh, reset_after = saved
    with x.device:
        s = s.backward(g)
        width, dm, rec = s.width, s.arrays["dm"].data.ptr, "dz"
        if reset_after:
            rec = "dz_rec"
            s.make(dz_rec=s.arrays["gates"].shape)
            times, step = s.product(w_hh, transposed=False), s.launcher("gru_after_back", width)
            _backwards(s, "gru_after", w_hh, times, step, rec)
        else:
            s.make(part=(s.loop.batch, width))
            part, to_n = s.arrays["part"].data.ptr, 2 * width * s.dtype.itemsize
            wide: dict[str, Any] = {"transposed": False, "a_row": 3 * width}
            times_n = s.product(w_hh[2 * width :], **wide)
            times_rz = s.product(w_hh[: 2 * width], **wide, add=True)
            step_n, step_rz = s.launcher("gru_n_back", width), s.launcher("gru_rz_back", width)
            for n, dz in s.backwards("dz"):
                step_n(n)
                times_n(dz + to_n, part)
                step_rz(n)
                times_rz(dz, dm)
        s.finish()
        need_x, need_h, *rest = needs
        dz, dz_rec = s.arrays["dz"], s.arrays[rec]
        dx, dw_ih, dw_hh, *db = weight_gradients(s.loop, (need_x, *rest), x, w_ih, dz, dz_rec, s.m)
        if dw_hh is not None and not reset_after:  # the input of w_hn is r * m
            r_m = s.arrays["gates"][..., :width] * s.m
            running = map(s.loop.running, (dz[..., 2 * width :], r_m))
            dw_hh[2 * width :] = product_over_time(*running)
        return (dx, s.arrays["dh"] if need_h else None, dw_ih, dw_hh, *db)


# ---------------------------------------------------------------- LSTM


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
    """As in array code: `reference.lstm_forward`."""
    with x.device:
        s, w_hh = Pass(xp, x, options, h0, c0.shape[1], c0), xp.ascontiguousarray(w_hh)
        s.project(x, w_ih, add_biases(b_ih, b_hh))
        width, batch = s.width, s.loop.batch
        s.numbers(coupled=coupled_gates, clip=cell_clip or 0)
        s.put(peepholes=w_ch)
        if options.every and "y" in s.arrays:
            s.make(c_every=s.each_step(width))
        if keep and cell_clip is not None:
            s.make(cut=s.each_step(width))
        if keep and "c_zone" in s.arrays:
            s.make(c_computed=s.each_step(width))
        times = s.product(w_hh, transposed=True, add=True)
        if w_hr is None:
            step = s.launcher("lstm", width)
            s.start()
            _forwards(s, "lstm", w_hh, times, step)
        else:
            s.make(part=(batch, width), projected=(batch, s.out))
            part, projected = s.arrays["part"].data.ptr, s.arrays["projected"].data.ptr
            step, carry = s.launcher("lstm", width), s.launcher("carry", s.out)
            w_hr = xp.ascontiguousarray(w_hr)
            times_hr = s.product(w_hr, transposed=True)
            s.start()
            for n, m, z in s.forwards():
                times(m, z)
                step(n)
                times_hr(part, projected)
                carry(n)
        every = (s.arrays.get("c_every", s.after("cs")),) if options.every else ()
        outputs = (s.output, s.arrays["h_last"], s.arrays["c_last"], *every)
        return outputs, ((s, x, w_ih, w_hh, w_hr, w_ch) if keep else None)


def lstm_backward(xp: ModuleType, g: Arrays, saved: Any, needs: Sequence[bool]) -> Arrays:
    """As in array code: `reference.lstm_backward`."""
    s, x, w_ih, w_hh, w_hr, w_ch = saved
    with x.device:
        s = s.backward(g)
        width, dm = s.width, s.arrays["dm"].data.ptr
        times = s.product(w_hh, transposed=False)
        if w_hr is None:
            step = s.launcher("lstm_back", width)
            _backwards(s, "lstm", w_hh, times, step)
        else:
            s.make(d_projected=s.each_step(s.out), part=(s.loop.batch, width))
            carry, step = s.launcher("carry_back", s.out), s.launcher("lstm_back", width)
            times_hr, part = s.product(w_hr, transposed=False), s.arrays["part"].data.ptr
            for n, d, dz in s.backwards("d_projected", "dz"):
                carry(n)
                times_hr(d, part)
                step(n)
                times(dz, dm)
        s.finish()
        need_x, need_h, need_c, *rest, need_w_hr, need_w_ch = needs
        dz, gates, running = s.arrays["dz"], s.arrays["gates"], s.loop.running
        dx, *dw = weight_gradients(s.loop, (need_x, *rest), x, w_ih, dz, dz, s.m)
        computed = s.arrays.get("c_computed", s.after("cs"))
        dw_hr = dw_ch = None
        if w_hr is not None and need_w_hr:
            h = gates[..., -width:] * xp.tanh(computed)
            dw_hr = product_over_time(*map(running, (s.arrays["d_projected"], h)))
        if w_ch is not None and need_w_ch:
            before = s.before("cs")
            if s.loop.reset is not None:
                before = xp.where(s.loop.reset, 0, before)
            *early, _, late = split(dz, width)
            inputs = [*((d, before) for d in early), (late, computed)]
            dw_ch = xp.concatenate([running(d * c).sum(axis=(0, 1)) for d, c in inputs])
        states = (s.arrays["dh"] if need_h else None, s.arrays["dc"] if need_c else None)
        return (dx, *states, *dw, dw_hr, dw_ch)
