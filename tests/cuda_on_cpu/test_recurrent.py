"""The recurrent kernels on a GPU: what they launch, their numbers, and bugs planted in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import dispatch, reference
from tinygrad_rnn.kernels.cpu import functions as cpu
from tinygrad_rnn.kernels.cuda import recurrent
from tinygrad_rnn.testing import sequence

from ..drawing import HypothesisSampler
from ..kernels.fused import Fused
from .driver import start

pytestmark = pytest.mark.gpu

Arrays = dict[str, Any]
GATES = {"rnn": 1, "gru": 3, "lstm": 4}

# Of each cell: its options, and the kernels and products of a step, forwards and backwards alike.
CELLS: dict[str, tuple[str, Arrays, tuple[int, int]]] = {
    "rnn_tanh": ("rnn", {"activation": "tanh"}, (1, 1)),
    "rnn_relu": ("rnn", {"activation": "relu"}, (1, 1)),
    "gru_reset_after": ("gru", {"reset_after": True}, (1, 1)),
    "gru": ("gru", {"reset_after": False}, (2, 2)),
    "lstm": ("lstm", {}, (1, 1)),
    "lstm_coupled": ("lstm", {"coupled_gates": True, "cell_clip": 0.4}, (1, 1)),
    "lstm_projected": ("lstm", {"every_cell": True}, (2, 2)),
}


def arrays(cell: str, steps: int, batch: int, width: int, dtype: str = "float64") -> Arrays:
    """The inputs of a cell, drawn by a fixed seed."""
    name, options, _ = CELLS[cell]
    rng, out = np.random.default_rng(0), width - 1 if cell == "lstm_projected" else width
    gates = (GATES[name] - bool(options.get("coupled_gates"))) * width
    shapes = {"x": (steps, batch, 3), "h0": (batch, out), "w_ih": (gates, 3), "w_hh": (gates, out)}
    shapes["b_ih"] = (gates,)
    if name == "lstm":
        shapes |= {"c0": (batch, width), "w_ch": (gates - width,)}
    if cell == "lstm_projected":
        shapes["w_hr"] = (out, width)
    if cell == "gru_reset_after":
        shapes["b_hh"] = (gates,)
    return {k: rng.normal(size=shape).astype(dtype) for k, shape in shapes.items()}


def everything(cell: str, steps: int, batch: int, width: int) -> Arrays:
    """All options that are constants."""
    rng, out = np.random.default_rng(1), width - 1 if cell == "lstm_projected" else width
    constants = {
        "lengths": steps - np.arange(batch) % steps,
        "reset": rng.random((steps, batch)) < 0.3,
        "h_mask": (rng.random((batch, out)) < 0.7) * 1.5,
        "h_zone": (rng.random((steps, batch, out)) < 0.3).astype("float64"),
        "c_zone": np.full((1, 1, 1), 0.3),
    }
    return constants if CELLS[cell][0] == "lstm" else {**constants, "c_zone": None}


def results(
    call: Callable[..., Any], device: str, inputs: Arrays, constants: Arrays, **options: Any
) -> list[Any]:
    """All outputs, and the gradients of all of them in all inputs."""
    xs = {k: tg.tensor(v, device=device, requires_grad=True) for k, v in inputs.items()}
    on = {k: tg.tensor(v, device=device).data for k, v in constants.items() if v is not None}
    ys = call(**xs, **on, **options)
    gs = [tg.tensor(np.cos(np.arange(y.size)).reshape(y.shape), device=device) for y in ys]
    found = tg.grad(ys, list(xs.values()), [g.astype(y.dtype) for g, y in zip(gs, ys, strict=True)])
    return [a.numpy() for a in (*ys, *found)]


def of_cell(cell: str, module: Any, device: str, *sizes: int, reverse: bool = False) -> list[Any]:
    name, options, _ = CELLS[cell]
    return results(
        Fused(module, name), device, arrays(cell, *sizes), everything(cell, *sizes),
        reverse=reverse, **options,
    )  # fmt: skip


@pytest.mark.parametrize("options", ["no options", "all options"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_step_is_one_product_and_one_kernel(cell: str, options: str) -> None:
    name, settings, expected = CELLS[cell]

    def counts(steps: int) -> list[dict[str, int]]:
        sizes = steps, 2, 4
        ins = {
            k: tg.tensor(v, device="cuda", requires_grad=True)
            for k, v in arrays(cell, *sizes).items()
        }
        with_all = everything(cell, *sizes) if options == "all options" else {}
        on = {k: tg.tensor(v, device="cuda").data for k, v in with_all.items() if v is not None}
        call, found = Fused(dispatch, name), []
        for _ in range(2):  # what is compiled at first use is not counted
            with start().counting() as forward:
                y = call(**ins, **on, **settings)[0]
            total = y.sum()
            with start().counting() as backward:
                total.backward()
            found = [forward, backward]
        return found

    for short, long in zip(counts(5), counts(15), strict=True):
        per_step = {k: (long[k] - short[k]) / 10 for k in ("launches", "products", "allocations")}
        assert (per_step["launches"], per_step["products"]) == expected
        assert short["waits"] == short["to_host"] == short["to_device"] == 0


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 2e-4)])
@given(data=st.data())
def test_they_equal_array_code_and_the_kernels_of_the_cpu(
    name: str, dtype: str, tolerance: float, data: st.DataObject
) -> None:
    d = HypothesisSampler(data)
    sizes = d.integer(1, 9), d.integer(1, 9), d.integer(1, 9), d.integer(1, 40)
    drawn, constants, options = sequence(d, name, *sizes)
    if name == "rnn":
        options["activation"] = d.one_of(["tanh", "relu"])
    gains = {"w_hh": 0.3 if options.get("activation") == "relu" else 1.0, "w_ch": 0.3}
    gains["w_hr"] = drawn["w_hh"].shape[1] ** -0.5
    inputs = {k: (gains.get(k, 1.0) * v).astype(dtype) for k, v in drawn.items()}
    there = {k: v for k, v in constants.items() if v is not None}
    there = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in there.items()}
    found = results(Fused(recurrent, name), "cuda", inputs, there, **options)
    for module, device in ((reference, "cuda"), (cpu, "cpu")):
        for a, b in zip(
            found, results(Fused(module, name), device, inputs, there, **options), strict=True
        ):
            assert a.dtype == b.dtype == dtype
            size = max(1.0, float(abs(b).max())) if b.size else 1.0
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * size)


@pytest.mark.parametrize("cell", CELLS)
def test_the_bits_are_the_same_in_every_order_and_at_a_second_backward_pass(cell: str) -> None:
    name, options, _ = CELLS[cell]
    first = of_cell(cell, recurrent, "cuda", 6, 5, 30)
    with start().order(3):
        for a, b in zip(first, of_cell(cell, recurrent, "cuda", 6, 5, 30), strict=True):
            np.testing.assert_array_equal(a, b)
    x, *rest = arrays(cell, 3, 2, 4).items()
    ins = {k: tg.tensor(v, device="cuda", requires_grad=True) for k, v in (x, *rest)}
    y = Fused(recurrent, name)(**ins, **options)[0].sum()
    xs = list(ins.values())
    once, twice = tg.grad(y, xs, retain_graph=True), tg.grad(y, xs)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize("cell", CELLS)
def test_second_derivatives(cell: str) -> None:
    name, options, _ = CELLS[cell]
    found = []
    for device in ("cuda", "cpu"):
        ins = {
            k: tg.tensor(v, device=device, requires_grad=True)
            for k, v in arrays(cell, 3, 2, 4).items()
        }
        y = getattr(tg, name)(**ins, **options)[0]
        (g,) = tg.grad((y * y).sum(), [ins["w_hh"]], create_graph=True)
        found.append([h.numpy() for h in tg.grad((g * g).sum(), [ins["x"], ins["w_hh"]])])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "runs"), [("float16", reference), ("float32", recurrent), ("float64", recurrent)]
)
def test_float16_is_left_to_array_code(dtype: str, runs: Any) -> None:
    import cupy

    assert dispatch.pick(cupy, (cupy.empty((2, 3), dtype), None)) is runs
    assert dispatch.pick(np, (np.empty((2, 3), "float16"), None)) is reference


def test_arrays_of_two_types_are_left_to_array_code() -> None:
    import cupy

    both = cupy.empty(1, "float32"), cupy.empty(1, "float64")
    assert dispatch.pick(cupy, both) is reference


@given(data=st.data())
@pytest.mark.parametrize("name", GATES)
def test_what_is_dropped_may_be_infinite(name: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    inputs, constants, options = sequence(d, name, *(d.integer(1, 4) for _ in range(4)))
    chosen = d.one_of([k for k, v in inputs.items() if v.size])
    inputs[chosen].flat[d.integer(0, inputs[chosen].size - 1)] = d.one_of([np.inf, -np.inf, np.nan])
    with np.errstate(all="ignore"):
        found = results(Fused(recurrent, name), "cuda", inputs, constants, **options)
        true = results(Fused(reference, name), "cpu", inputs, constants, **options)
    outputs = len(found) - len(inputs)
    for a, b in zip(found[:outputs], true[:outputs], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- checks and planted bugs


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("reverse", [False, True])
def test_no_stray_writes_nor_races(cp: Any, cell: str, reverse: bool) -> None:
    sizes = 4, 3, 50
    with start().order(1):
        found = of_cell(cell, recurrent, "cuda", *sizes, reverse=reverse)
    for a, b in zip(found, of_cell(cell, reference, "cpu", *sizes, reverse=reverse), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


BUGS: dict[str, tuple[str, str, str, str]] = {
    "no end of the elements": (
        "rnn_tanh", "if (e >= s.B * (COLUMNS)) return;", "", "stray write",
    ),
    "time runs the wrong way": ("rnn_relu", "s.T - 1 - n : n", "n : s.T - 1 - n", ""),
    "a state that is not written": (
        "rnn_tanh", "s.hs[state_of(s, n + 1, b) * s.P + u] = h;", "", "",
    ),
    "no length": ("gru", "if (rest) return before;", "", ""),
    "no reset of c": ("lstm", "return begins(s, n, b) ? Real(0) : s.cs", "return s.cs", ""),
    "the mask where it is not": ("gru_reset_after", "masked(s, b * s.P + u, h)", "h", ""),
    "zoneout keeps what it should change": (
        "lstm", "times(keep, before) + times(1 - keep, computed)",
        "times(1 - keep, before) + times(keep, computed)", "",
    ),
    "a bypass that is lost": ("rnn_tanh", "*bypass = times(keep, d);", "*bypass = 0;", ""),
    "no cut at a reset": ("lstm", "if (begins(s, n, b)) return 0;", "", ""),
    "a clip that passes gradients": (
        "lstm_coupled", "if (s.cut && s.cut[row * H + u]) dc = 0;", "", "",
    ),
    "a peephole from the wrong gate": (
        "lstm", "o += s.peepholes[(G - 2) * H + u]", "o += s.peepholes[H + u]", "",
    ),
    "coupled gates without their sum": ("lstm_coupled", "s.coupled ? g - c_old : g", "g", ""),
    "the slope of the wrong gate": ("gru", "d * m * (1 - r) * r", "d * m * (1 - r)", ""),
    "a row of another batch": (
        "lstm_projected", "s.d_projected[row_of(s, n, b) * s.P + u]", "s.d_projected[e]", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(cp: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, old, new, failure = BUGS[name]
    checked, planted = cp.RawModule, []

    def with_bug(code: str) -> Any:
        planted.append(old in code)
        return checked(code=code.replace(old, new))

    monkeypatch.setattr(cp, "RawModule", with_bug)
    sizes = 4, 3, 50
    true = of_cell(cell, reference, "cpu", *sizes, reverse=True)
    try:
        found = of_cell(cell, recurrent, "cuda", *sizes, reverse=True)
    except (cp.cuda.driver.CUDADriverError, tg.DeviceError):
        assert failure
        assert failure in start().failure
    else:
        assert not failure
        assert not all(
            np.allclose(a, b, rtol=1e-9, atol=1e-9) for a, b in zip(found, true, strict=True)
        )
    assert planted[0]
