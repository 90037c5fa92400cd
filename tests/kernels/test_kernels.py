"""The contract of the kernels: each implementation equals the decomposition, in all it returns.

An implementation is a line in IMPLEMENTATIONS: a module with the six functions, and a device. The
last of them is what picks one.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import dispatch, reference
from tinygrad_rnn.kernels.cpu import functions as cpu
from tinygrad_rnn.kernels.cuda import recurrent
from tinygrad_rnn.tensor import backend
from tinygrad_rnn.testing import sequence
from tinygrad_rnn.testing.sequences import packed

from ..drawing import HypothesisSampler
from .fused import Fused

IMPLEMENTATIONS = [
    pytest.param(reference, "cpu", id="reference"),
    pytest.param(reference, "cuda", id="reference-cuda", marks=pytest.mark.gpu),
    pytest.param(recurrent, "cuda", id="cuda", marks=pytest.mark.gpu),
    pytest.param(
        cpu,
        "cpu",
        id="native",
        marks=pytest.mark.skipif(cpu.native is None, reason=cpu.describe()),
    ),
    pytest.param(dispatch, "cpu", id="picked"),
]
NAMES = ["rnn", "gru", "lstm"]

implementations = pytest.mark.parametrize(("module", "device"), IMPLEMENTATIONS)
operations = pytest.mark.parametrize("name", NAMES)


class Configuration:
    """Drawn arrays and options of one operation, and which of its outputs are used."""

    def __init__(self, data: st.DataObject, name: str, dtype: str, device: str) -> None:
        d = HypothesisSampler(data)
        sizes = d.integer(1, 6), d.integer(1, 9), d.integer(1, 9), d.integer(1, 20)
        self.inputs, constants, self.options = sequence(d, name, *sizes)
        if name == "rnn":
            self.options["activation"] = d.one_of(["tanh", "relu"])
        self.dtype, self.device = dtype, device
        self.constants = {
            k: None if v is None else backend.to_device(self.cast(v), device)
            for k, v in constants.items()
        }
        outputs = 2 if name != "lstm" else 3 + self.options["every_cell"]
        self.used = [d.one_of([True, False]) for _ in range(outputs)]
        self.used[d.integer(0, outputs - 1)] = True
        self.wanted = {k for k in self.inputs if d.one_of([True, True, False])} or {"x"}

    def cast(self, a: Any) -> Any:
        return a.astype(self.dtype) if a.dtype.kind == "f" else a

    def run(self, f: Any) -> tuple[list[Any], dict[str, Any]]:
        """The outputs, and the gradients of those used in the inputs wanted."""
        xs = {
            k: tg.tensor(self.cast(v), device=self.device, requires_grad=k in self.wanted)
            for k, v in self.inputs.items()
        }
        ys = f(**xs, **self.constants, **self.options)
        live = [y for y, use in zip(ys, self.used, strict=True) if use]
        weights = [np.cos(np.arange(y.size)).reshape(y.shape).astype(self.dtype) for y in live]
        gs = [backend.to_device(w, self.device) for w in weights]
        live, gs = zip(
            *((y, g) for y, g in zip(live, gs, strict=True) if y.requires_grad), strict=True
        )
        wanted = sorted(self.wanted)
        return list(ys), dict(zip(wanted, tg.grad(live, [xs[k] for k in wanted], gs), strict=True))


@pytest.mark.quick
@implementations
@operations
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 2e-4)])
@given(data=st.data())
def test_fused_equals_composed_forwards_and_backwards(
    module: ModuleType, device: str, name: str, dtype: str, tolerance: float, data: st.DataObject
) -> None:
    drawn = Configuration(data, name, dtype, device)
    op = Fused(module, name)
    (ys, gs), (true_ys, true_gs) = drawn.run(op), drawn.run(op.decomposition)
    pairs = [*zip(ys, true_ys, strict=True), *((gs[k], true_gs[k]) for k in gs)]
    for found, true in pairs:
        assert found.dtype == dtype
        np.testing.assert_allclose(found.numpy(), true.numpy(), rtol=tolerance, atol=tolerance)


@implementations
@operations
@given(data=st.data())
def test_cotangents_keep_to_the_contract(
    module: ModuleType, device: str, name: str, data: st.DataObject
) -> None:
    """One for each input, None where nothing needs it; nothing saved or given is written to."""
    drawn = Configuration(data, name, "float64", device)
    fused = Fused(module, name)
    op = fused.op
    xs = {k: tg.tensor(v, device=device, requires_grad=True) for k, v in drawn.inputs.items()}
    ys = fused(**xs, **drawn.constants, **drawn.options)
    node = ys[0].edge[0]
    xp = backend.module_of(ys[0].data)
    gs = tuple(xp.ones(y.shape) if use else None for y, use in zip(ys, drawn.used, strict=True))

    def backward(needs: Any) -> dict[str, Any]:
        node.edges = [
            edge if k in needs else None for k, edge in zip(op.inputs, edges, strict=True)
        ]
        return dict(
            zip(
                op.inputs,
                (g for _, g in op.cotangents(node, gs, node.edges, xp, node.kept)),
                strict=True,
            )
        )

    edges = node.edges
    whole = backward(drawn.inputs)
    assert {k for k, g in whole.items() if g is not None} == set(drawn.inputs)
    part = backward(drawn.wanted)
    assert {k for k, g in part.items() if g is not None} == drawn.wanted
    for k in drawn.wanted:
        np.testing.assert_array_equal(backend.to_host(part[k]), backend.to_host(whole[k]))
    assert all(g is None or bool((g == 1).all()) for g in gs)


@implementations
@operations
@given(data=st.data())
def test_without_a_graph_the_values_are_the_same_and_nothing_is_kept(
    module: ModuleType, device: str, name: str, data: st.DataObject
) -> None:
    drawn = Configuration(data, name, "float64", device)
    forward, op = getattr(module, f"{name}_forward"), Fused(module, name)
    arrays = {k: backend.to_device(v, device) for k, v in drawn.inputs.items()}
    xp = backend.module_of(arrays["x"])
    given, settings = packed(name, **arrays, **drawn.constants, **drawn.options)
    kept, saved = forward(xp, *given, **settings, keep=True)
    free, nothing = forward(xp, *given, **settings, keep=False)
    assert saved is not None
    assert nothing is None
    if xp is np:  # to keep a final state is not to keep a buffer of all of them
        assert not any(np.shares_memory(free[0], last) for last in free[1:3])
    for a, b in zip(kept, free, strict=True):
        np.testing.assert_array_equal(backend.to_host(a), backend.to_host(b))
    assert len(kept) == len(op(**arrays, **drawn.constants, **drawn.options))


@implementations
@operations
@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("steps", [0, 3])
def test_nothing_to_do_is_done(
    module: ModuleType, device: str, name: str, steps: int, batch: int
) -> None:
    """No steps, no rows, or rows that are all empty: the state stays, and gradients are zero."""
    if module in (cpu, recurrent) and (steps == 0 or batch == 0):
        pytest.skip("nothing of nothing is for the reference")
    gates, states = {"rnn": (1, 1), "gru": (3, 1), "lstm": (4, 2)}[name]
    rng = np.random.default_rng(0)
    shapes = [(steps, batch, 3), *[(batch, 4)] * states, (gates * 4, 3), (gates * 4, 4)]
    xs = [tg.tensor(rng.normal(size=s), device=device, requires_grad=True) for s in shapes]
    lengths = backend.to_device(np.zeros(batch, int), device)
    ys = Fused(module, name)(*xs, lengths=lengths)
    assert ys[0].shape == (steps, batch, 4)
    assert not ys[0].numpy().any()
    for last, first in zip(ys[1:], xs[1 : 1 + states], strict=True):
        np.testing.assert_array_equal(last.numpy(), first.numpy())
    gs = tg.grad(ys, xs, [tg.ones(y.shape, dtype="float64", device=device) for y in ys])
    for k, g in enumerate(gs):
        assert g.shape == xs[k].shape
        assert (g.numpy() == (1 <= k <= states)).all()


@implementations
@operations
@given(data=st.data())
def test_what_takes_no_part_may_be_anything(
    module: ModuleType, device: str, name: str, data: st.DataObject
) -> None:
    """Inputs past a row's length; the state of an empty row, or one reset before its first step."""
    drawn = Configuration(data, name, "float64", device)
    constants = {k: None if v is None else backend.to_host(v) for k, v in drawn.constants.items()}
    shape = drawn.inputs["x"].shape if constants["ids"] is None else constants["ids"].shape
    steps, batch = shape[:2]
    lengths = np.full(batch, steps) if constants["lengths"] is None else constants["lengths"]
    free = lengths == 0
    if constants["reset"] is not None:
        first = np.maximum(lengths - 1, 0) if drawn.options.get("reverse") else lengths * 0
        free |= constants["reset"][first, np.arange(batch)]
    found = []
    for anything in (0.0, np.nan, np.inf):
        inputs = {k: v.copy() for k, v in drawn.inputs.items()}
        for state in {"h0", "c0"} & inputs.keys():
            inputs[state][free] = anything
        if constants["ids"] is None:
            inputs["x"][np.arange(steps)[:, None] >= lengths] = anything
        drawn.inputs = inputs
        with np.errstate(invalid="ignore", over="ignore"):
            (y, *last), gs = drawn.run(Fused(module, name))
        found.append([y.numpy(), *(s.numpy()[lengths > 0] for s in last[:2] if s.ndim == 2)])
        found[-1] += [gs[k].numpy() for k in gs]
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"zoneout": 0.1}], ids=["plain", "zoneout"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("array_code", [False, True])
def test_reset_forgets_what_is_not_finite(
    array_code: bool, kind: str, options: Any, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if array_code:
        monkeypatch.setattr(cpu, "native", None)
    x = tg.ones((3, 2, 2), dtype=dtype)
    bad = tg.full((1, 2, 3), float("nan"), dtype=dtype)
    reset = np.array([[True, True], [False, True], [False, False]])
    layer: Any = getattr(tg.nn, kind)(2, 3, dtype=dtype, generator=tg.Generator(0), **options)
    layer.eval()
    y, _ = layer(x, (bad, bad) if kind == "LSTM" else bad, reset=reset)
    y.sum().backward()
    expected, _ = layer(x, reset=reset)
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-2)
    assert all(np.isfinite(p.grad.numpy()).all() for p in layer.parameters())


@pytest.mark.skipif(cpu.native is None, reason=cpu.describe())
@given(st.data())
def test_an_infinite_cell_is_the_same_in_every_implementation(data: st.DataObject) -> None:
    r = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    coupled = data.draw(st.booleans())
    gates, x = 3 if coupled else 4, r.normal(size=(2, 2, 3))
    c0 = r.normal(size=(2, 5))
    c0[data.draw(st.integers(0, 1)), data.draw(st.integers(0, 4))] = data.draw(
        st.sampled_from([np.inf, -np.inf, np.nan])
    )
    w_ih, w_hh = r.normal(size=(gates * 5, 3)), r.normal(size=(gates * 5, 5))
    w_ch = r.normal(size=(gates - 1) * 5) if data.draw(st.booleans()) else None
    given = (x, r.normal(size=(2, 5)), c0, w_ih, w_hh, None, None, None, w_ch)
    with np.errstate(invalid="ignore", over="ignore"):
        found, _ = cpu.lstm_forward(np, *given, coupled_gates=coupled, keep=False)
        expected, _ = reference.lstm_forward(np, *given, coupled_gates=coupled, keep=False)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- what is selected away


@pytest.mark.skipif(cpu.native is None, reason=cpu.describe())
@operations
@given(data=st.data())
def test_what_a_mask_drops_may_be_infinite(name: str, data: st.DataObject) -> None:
    """All three agree on which values are NaN; native and array code on which gradients are."""
    d = HypothesisSampler(data)
    inputs, constants, options = sequence(d, name, *(d.integer(1, 4) for _ in range(4)))
    chosen = d.one_of([k for k, v in inputs.items() if v.size])
    inputs[chosen].flat[d.integer(0, inputs[chosen].size - 1)] = d.one_of([np.inf, -np.inf, np.nan])
    values: list[list[Any]] = []
    gradients: list[list[Any]] = []
    for call in (Fused(cpu, name), Fused(reference, name), Fused(cpu, name).decomposition):
        xs = {k: tg.tensor(v, requires_grad=True) for k, v in inputs.items()}
        with np.errstate(all="ignore"):
            ys = call(**xs, **constants, **options)
            sum(y.sum() for y in ys).backward()
        values.append([y.numpy() for y in ys])
        gradients.append([x.grad.numpy() for x in xs.values()])
    native, array_code, decomposition = values
    for one, other in (
        (native, array_code),
        (native, decomposition),
        (gradients[0], gradients[1]),
    ):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
