"""The operations against programs that others wrote: onnxruntime for values, PyTorch for gradients.

These tests run where onnx and onnxruntime, or torch, can be imported, and are skipped elsewhere:
the package depends on none of them. Rows of length 0 are not compared: for them onnxruntime gives
zeros where the contract has the initial state, and PyTorch refuses them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.cells.common import by_steps
from tinygrad_rnn.kernels import SequenceOptions
from tinygrad_rnn.testing import sequence

from ..drawing import HypothesisSampler

T, B, I, H = 5, 4, 3, 6
Given = dict[str, Any]
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
ragged = pytest.mark.parametrize("lengths", [None, [3, 5, 1, 4]], ids=["even", "ragged"])
pytestmark = pytest.mark.oracle


def imported(name: str) -> Any:
    """Imports a module, and ignores its warnings; skips the test where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


def drawn(gates: int, *, states: int = 1, peepholes: bool = False, b_hh: bool = True) -> Given:
    """Arrays of a layer, float32."""
    rng = np.random.default_rng(gates)
    shapes = {"x": (T, B, I), "h0": (B, H), "c0": (B, H), "w_ih": (gates * H, I)}
    shapes |= {"w_hh": (gates * H, H), "b_ih": (gates * H,), "b_hh": (gates * H,)}
    shapes["w_ch"] = ((gates - 1) * H,)
    left_out = {"c0": states == 1, "w_ch": not peepholes, "b_hh": not b_hh}
    return {
        k: rng.normal(size=shape).astype(np.float32)
        for k, shape in shapes.items()
        if not left_out.get(k)
    }


# ---------------------------------------------------------------- onnxruntime, for values


def onnx(
    operator: str, given: Given, order: list[int], peepholes: list[int], **attributes: Any
) -> list[Any]:
    """The operator of that name: its gates are ours in that order, and so its peepholes."""
    onnx, runtime = imported("onnx"), imported("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto

    def stacked(a: Any, order: list[int], missing: int = 0) -> Any:
        parts = [*np.split(a, len(a) // H)]
        spare = np.full_like(parts[0], 7.0)  # the block of a gate that is not read
        return np.concatenate([spare if k is None else parts[k] for k in order])[None]

    size = len(order) * H
    biases = [stacked(given.get(b, np.zeros(size, "f")), order) for b in ("b_ih", "b_hh")]
    lengths, w_ch = given.get("lengths"), given.get("w_ch")
    inputs = {
        "X": given["x"],
        "W": stacked(given["w_ih"], order),
        "R": stacked(given["w_hh"], order),
        "B": np.concatenate(biases, axis=1),
        "sequence_lens": None if lengths is None else np.array(lengths, np.int32),
        "initial_h": given["h0"][None],
        "initial_c": given["c0"][None] if "c0" in given else None,
        "P": None if w_ch is None else stacked(w_ch, peepholes),
    }
    if operator != "LSTM":
        del inputs["initial_c"], inputs["P"]
    here = {k: v for k, v in inputs.items() if v is not None}
    outputs = ["Y", "Y_h", "Y_c"][: 3 if operator == "LSTM" else 2]
    node = helper.make_node(
        operator, [k if k in here else "" for k in inputs], outputs, hidden_size=H, **attributes
    )
    kind = {np.dtype("f"): kinds.FLOAT, np.dtype("i"): kinds.INT32}
    graph = helper.make_graph(
        [node], "layer",
        [helper.make_tensor_value_info(k, kind[v.dtype], v.shape) for k, v in here.items()],
        [helper.make_tensor_value_info(k, kinds.FLOAT, None) for k in outputs],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    y, *last = session.run(None, here)
    return [y[:, 0], *(v[0] for v in last)]


def same(found: Any, true: Any, tolerance: float = 1e-5) -> None:
    for a, b in zip(found, true, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def with_lengths(given: Given, lengths: list[int] | None) -> Given:
    return given if lengths is None else {**given, "lengths": np.array(lengths)}


def attributes(reverse: bool, clip: float | None, **others: Any) -> Given:
    way = {"direction": "reverse" if reverse else "forward", **others}
    return way if clip is None else {**way, "clip": clip}


clipped = pytest.mark.parametrize("clip", [None, 0.7], ids=["free", "clip"])


def stepped(step: Callable[..., Any], given: Given, reverse: bool, **options: Any) -> list[Any]:
    """A step of one output and state over a sequence: onnxruntime's clip is our gate_clip."""
    weights = {k: v for k, v in given.items() if k not in ("x", "h0", "c0", "lengths")}
    first = (given["h0"], given["c0"]) if "c0" in given else (given["h0"],)

    def run(x: Any, state: Any) -> Any:
        new = step(x, *state, **weights, **options)
        new = new if isinstance(new, tuple) else (new,)
        return new[0], new

    how = SequenceOptions(lengths=given.get("lengths"), reverse=reverse)
    y, last, _ = by_steps(run, given["x"], first, how)
    return [y, *last]


@both_ways
@ragged
@clipped
@pytest.mark.parametrize("peepholes", [False, True], ids=["plain", "peepholes"])
@pytest.mark.parametrize("coupled", [False, True], ids=["four", "coupled"])
def test_lstm_is_onnx(
    coupled: bool, peepholes: bool, clip: float | None, lengths: Any, reverse: bool
) -> None:
    given = with_lengths(drawn(3 if coupled else 4, states=2, peepholes=peepholes), lengths)
    # Its gates are i, o, f, c and its peepholes i, o, f; coupled, it has the block of f unread.
    orders: Any = ([0, 2, None, 1], [0, 1, None]) if coupled else ([0, 3, 1, 2], [0, 2, 1])
    true = onnx("LSTM", given, *orders, **attributes(reverse, clip, input_forget=int(coupled)))
    options = {"coupled_gates": coupled}
    same(stepped(tg.lstm_step, given, reverse, gate_clip=clip, **options), true)
    if clip is None:
        same(tg.lstm(**given, **options, reverse=reverse), true)


@both_ways
@ragged
@clipped
@pytest.mark.parametrize("reset_after", [False, True])
def test_gru_is_onnx(reset_after: bool, clip: float | None, lengths: Any, reverse: bool) -> None:
    given = with_lengths(drawn(3, b_hh=reset_after), lengths)
    options = {"reset_after": reset_after}
    which = attributes(reverse, clip, linear_before_reset=int(reset_after))
    true = onnx("GRU", given, [1, 0, 2], [], **which)
    same(stepped(tg.gru_step, given, reverse, gate_clip=clip, **options), true)
    if clip is None:
        same(tg.gru(**given, **options, reverse=reverse), true)


@both_ways
@ragged
@clipped
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn_is_onnx(activation: str, clip: float | None, lengths: Any, reverse: bool) -> None:
    given = with_lengths(drawn(1), lengths)
    which = attributes(reverse, clip, activations=[activation.capitalize()])
    true = onnx("RNN", given, [0], [], **which)
    same(stepped(tg.rnn_step, given, reverse, gate_clip=clip, activation=activation), true)
    if clip is None:
        same(tg.rnn(**given, activation=activation, reverse=reverse), true)


# ---------------------------------------------------------------- PyTorch, for gradients


KINDS = ["RNN tanh", "RNN relu", "GRU", "LSTM", "LSTM projected"]


@both_ways
@ragged
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_pytorchs(kind: str, lengths: Any, reverse: bool) -> None:
    """Its layers, packed; its reverse direction is the second half of a bidirectional one."""
    torch = imported("torch")
    torch.manual_seed(0)
    name, *other = kind.split()
    options: Given = {"RNN": {"nonlinearity": other and other[0]}}.get(name, {})
    if other == ["projected"]:
        options["proj_size"] = 2
    layer = getattr(torch.nn, name)(I, H, bidirectional=True, **options).double()
    out, states = (options.get("proj_size", H), 2 if name == "LSTM" else 1)
    rng = np.random.default_rng(1)
    shapes = [(T, B, I), (B, out), (B, H)][: 1 + states]
    arrays = [rng.normal(size=shape) for shape in shapes]
    xs = [torch.tensor(a, requires_grad=True) for a in arrays]
    first = [torch.stack([s, s]) for s in xs[1:]]  # of both directions
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        xs[0], lengths or [T] * B, enforce_sorted=False
    )
    y, last = layer(packed, tuple(first) if states == 2 else first[0])
    y = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=T)[0]
    half = slice(out, 2 * out) if reverse else slice(0, out)
    true = [y[..., half], *(s[int(reverse)] for s in (last if states == 2 else (last,)))]
    gs = [rng.normal(size=v.shape) for v in true]
    suffix = "_l0_reverse" if reverse else "_l0"
    weights = {n: getattr(layer, n + suffix, None) for n in ("weight_ih", "weight_hh", "bias_ih",
                                                             "bias_hh", "weight_hr")}  # fmt: skip
    weights = {n.replace("weight_", "w_").replace("bias_", "b_"): w for n, w in weights.items()}
    weights = {n: w for n, w in weights.items() if w is not None}
    loss = sum((v * torch.tensor(g)).sum() for v, g in zip(true, gs, strict=True))
    wanted = torch.autograd.grad(loss, [*xs, *weights.values()])

    named = dict(zip(("x", "h0", "c0"), arrays, strict=False))
    named |= {n: w.detach().numpy() for n, w in weights.items()}
    ours = {n: tg.tensor(a, requires_grad=True) for n, a in named.items()}
    settings: Given = {"RNN": {"activation": other and other[0]}, "GRU": {"reset_after": True}}
    ys = getattr(tg, name.lower())(
        **ours,
        lengths=None if lengths is None else np.array(lengths),
        reverse=reverse,
        **settings.get(name, {}),
    )
    same([v.numpy() for v in ys], [v.detach().numpy() for v in true], 1e-12)
    found = tg.grad(ys, list(ours.values()), gs)
    same([g.numpy() for g in found], [g.numpy() for g in wanted], 1e-10)


# Every option, row by row: each row is run alone, as long as it is, with nothing masked.


def by_rows(torch: Any, name: str, xs: Given, constants: Given, options: Given) -> list[Any]:
    """A layer in PyTorch's plainest operations: the outputs as ours are."""
    x, lstm = xs["x"], name == "lstm"
    if constants["ids"] is not None:
        x = x[torch.tensor(constants["ids"])]
    first = [xs["h0"], xs["c0"]] if lstm else [xs["h0"]]
    weights = {k: v for k, v in xs.items() if k not in ("x", "h0", "c0")}
    zones = [constants["h_zone"], constants.get("c_zone")][: len(first)]
    every = [[torch.zeros_like(s) for _ in range(x.shape[0])] for s in first]
    last = []
    for b in range(x.shape[1]):
        steps = range(x.shape[0] if constants["lengths"] is None else constants["lengths"][b])
        state = [s[b] for s in first]
        for t in reversed(steps) if options["reverse"] else steps:
            if constants["reset"] is not None and constants["reset"][t, b]:
                state = [torch.zeros_like(s) for s in state]
            mask = 1 if constants["h_mask"] is None else torch.tensor(constants["h_mask"][b])
            new = STEPS[name](torch, x[t, b], state, mask, options, **weights)
            for k, zone in enumerate(zones):
                if zone is not None:
                    share = torch.tensor(np.broadcast_to(zone, (*x.shape[:2], len(new[k])))[t, b])
                    new[k] = share * state[k] + (1 - share) * new[k]
            state = new
            for k, s in enumerate(state):  # without writing into what is differentiated
                rows = every[k][t]
                every[k][t] = torch.cat([rows[:b], s[None], rows[b + 1 :]])
        last.append(state)
    ys = [torch.stack(every[0]), *(torch.stack(s) for s in zip(*last, strict=True))]
    return [*ys, torch.stack(every[1])] if options.get("every_cell") else ys


def rnn(torch: Any, x: Any, state: Any, mask: Any, options: Given, **w: Any) -> list[Any]:
    z = w["w_ih"] @ x + w["w_hh"] @ (mask * state[0]) + w.get("b_ih", 0) + w.get("b_hh", 0)
    return [torch.tanh(z)]


def gru(torch: Any, x: Any, state: Any, mask: Any, options: Given, **w: Any) -> list[Any]:
    (h,) = state
    u_r, u_z, u_n = (w["w_ih"] @ x + w.get("b_ih", 0)).chunk(3)
    w_r, w_z, w_n = w["w_hh"].chunk(3)
    b_r, b_z, b_n = w["b_hh"].chunk(3) if "b_hh" in w else (0, 0, 0)
    m = mask * h
    r, z = torch.sigmoid(u_r + w_r @ m + b_r), torch.sigmoid(u_z + w_z @ m + b_z)
    inner = r * (w_n @ m + b_n) if options["reset_after"] else w_n @ (r * m)
    return [z * h + (1 - z) * torch.tanh(u_n + inner)]


def lstm(torch: Any, x: Any, state: Any, mask: Any, options: Given, **w: Any) -> list[Any]:
    h, c = state
    z = w["w_ih"] @ x + w["w_hh"] @ (mask * h) + w.get("b_ih", 0) + w.get("b_hh", 0)
    if options["coupled_gates"]:
        i, g, o = z.chunk(3)
        p_i, p_o = w["w_ch"].chunk(2) if "w_ch" in w else (0, 0)
        i = torch.sigmoid(i + p_i * c)
        f = 1 - i
    else:
        i, f, g, o = z.chunk(4)
        p_i, p_f, p_o = w["w_ch"].chunk(3) if "w_ch" in w else (0, 0, 0)
        i, f = torch.sigmoid(i + p_i * c), torch.sigmoid(f + p_f * c)
    c = f * c + i * torch.tanh(g)
    if options["cell_clip"] is not None:
        c = torch.clamp(c, -options["cell_clip"], options["cell_clip"])
    h = torch.sigmoid(o + p_o * c) * torch.tanh(c)
    return [w["w_hr"] @ h if "w_hr" in w else h, c]


STEPS: dict[str, Callable[..., list[Any]]] = {"rnn": rnn, "gru": gru, "lstm": lstm}


@pytest.mark.parametrize("name", STEPS)
@settings(max_examples=25)
@given(data=st.data())
def test_every_option_row_by_row(name: str, data: st.DataObject) -> None:
    torch = imported("torch")
    d = HypothesisSampler(data)
    inputs, constants, options = sequence(d, name, *(d.integer(1, 4) for _ in range(4)))
    theirs = {k: torch.tensor(v.copy(), requires_grad=True) for k, v in inputs.items()}
    true = by_rows(torch, name, theirs, constants, options)
    ours = {k: tg.tensor(v, requires_grad=True) for k, v in inputs.items()}
    ys = getattr(tg, name)(**ours, **constants, **options)
    same([y.numpy() for y in ys], [y.detach().numpy() for y in true], 1e-12)
    gs = [np.cos(np.arange(y.size)).reshape(y.shape) for y in ys]
    loss = sum((y * torch.tensor(g)).sum() for y, g in zip(true, gs, strict=True))
    wanted = torch.autograd.grad(loss, list(theirs.values()), allow_unused=True)
    found = tg.grad(ys, list(ours.values()), gs)
    for a, b in zip(found, wanted, strict=True):
        expected = np.zeros(a.shape) if b is None else b.numpy()
        np.testing.assert_allclose(a.numpy(), expected, rtol=1e-9, atol=1e-10)
