"""Truncated back-propagation, and what can be seen inside of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.nn.utils import activations, detach, gate_saturation, gradient_flow, truncated

from .layers import Array, flat

rng = np.random.default_rng(0)


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (2, 2), (2, 3), (2, 6), (3, 4), (4, 99), (99, 99)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_window_reaches_exactly_k2_steps_back(k1: int, k2: int, axis: int) -> None:
    """Outputs are those of the whole sequence; gradients end k2 steps before the window's end."""
    layer = tg.nn.LSTM(3, 4, 2, dtype="float64", batch_first=axis == 1)
    x = tg.tensor(rng.normal(size=(7, 7, 3)), requires_grad=True)
    whole, end = layer(x)
    news, state = [], None
    for new, y, state in truncated(layer, x, k1, k2, axis=axis):
        (g,) = tg.grad(y.sum(), [x])
        reached = np.flatnonzero(np.moveaxis(g.numpy(), axis, 0).any(axis=(1, 2)))
        assert reached[0] == max(0, new.stop - k2)
        assert reached[-1] == new.stop - 1
        assert not any(part.requires_grad for part in flat(state))
        news.append(y)
    assert [y.shape[axis] for y in news] == [len(range(7)[i : i + k1]) for i in range(0, 7, k1)]
    np.testing.assert_allclose(tg.concat(news, axis=axis).numpy(), whole.numpy(), atol=1e-12)
    for a, b in zip(flat(state), end, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-12)


def test_a_window_of_a_model_that_reads_an_array_begins_from_a_given_state() -> None:
    class Model(tg.nn.Module):
        def __init__(self) -> None:
            self.embed, self.rnn = tg.nn.Embedding(5, 3), tg.nn.GRU(3, 4)

        def forward(self, ids: Any, state: Any) -> Any:
            return self.rnn(self.embed(ids), state)

    model, ids = Model(), rng.integers(0, 5, (6, 2))
    first = tg.randn(1, 2, 4)
    whole, _ = model(ids, first)
    found = [y for _, y, _ in truncated(model, ids, 4, state=first)]
    np.testing.assert_allclose(tg.concat(found).numpy(), whole.numpy(), atol=1e-6)
    assert list(truncated(model, ids[:0], 4)) == []


@pytest.mark.parametrize(("k1", "k2"), [(0, 1), (3, 2), (1.5, 2), (-1, None), (True, 2), ("2", 2)])
def test_wrong_windows_are_refused_at_once(k1: Any, k2: Any) -> None:
    with pytest.raises(ValueError, match=r"1 <= k1 <= k2 .*got k1="):
        truncated(tg.nn.RNN(3, 4), tg.zeros((5, 2, 3)), k1, k2)


def backwards() -> list[Any]:
    both = {"input_size": 2, "hidden_size": 3, "bidirectional": True}
    layers: list[Any] = [kind(**both) for kind in (tg.nn.RNN, tg.nn.GRU, tg.nn.LSTM)]
    layers.append(tg.nn.Recurrent(lambda n: tg.nn.GRUCell(n, 3), 2, bidirectional=True))
    layers += [kind(2, 3, reverse=True) for kind in (tg.nn.MinGRU, tg.nn.MinLSTM)]
    return [*layers, tg.nn.Sequential(layers[0]), layers[0].forward, layers[0].__call__]


@pytest.mark.parametrize("run", backwards())
def test_what_runs_backwards_has_no_windows(run: Any) -> None:
    with pytest.raises(tg.InvalidValueError, match="also runs backwards, and needs the end"):
        truncated(run, tg.zeros((10, 1, 2)), 4)


def test_a_model_may_run_backwards_over_another_axis() -> None:
    words, layer = tg.nn.GRU(2, 3, bidirectional=True), tg.nn.GRU(3, 4)

    def run(x: tg.Tensor, state: Any) -> Any:
        read = [words(letters)[1].mean(axis=0) for letters in x.unstack()]
        return layer(tg.stack(read), state)

    x = tg.randn(5, 6, 1, 2)
    found = tg.concat([y for _, y, _ in truncated(run, x, 2)])
    np.testing.assert_allclose(found.numpy(), run(x, None)[0].numpy(), atol=1e-6)


def test_an_axis_that_is_not_that_of_time_is_refused() -> None:
    x = tg.randn(4, 4, 3)
    for layer in (tg.nn.GRU(3, 2, batch_first=True), tg.nn.MinGRU(3, 2, batch_first=True)):
        with pytest.raises(
            tg.InvalidValueError, match=r"axis: expected 1, .* MinGRU|GRU with batch_"
        ):
            truncated(layer, x, 2)
        list(truncated(layer, x, 2, axis=-2))
    with pytest.raises(tg.InvalidValueError, match="axis: expected 0, the time axis of RNN with"):
        truncated(tg.nn.RNN(3, 2), x, 2, axis=1)
    for wrong, axis in ((x, 3), (x, 0.0), (x, True), ([1.0], 0)):
        with pytest.raises(tg.InvalidValueError, match="axis: expected one of x"):
            truncated(tg.nn.RNN(3, 2), wrong, 2, axis=axis)  # type: ignore[arg-type]


def test_detach_cuts_states_of_all_forms() -> None:
    x = tg.ones((2,), requires_grad=True) * 2
    assert detach(None) is None
    assert not detach(x).requires_grad
    assert [part.requires_grad for part in detach((x, x))] == [False, False]


# ---------------------------------------------------------------- gradient flow


@pytest.mark.parametrize("options", [{}, {"zoneout": 0.4}, {"layer_norm": True}])
def test_gradient_flow_is_what_differences_of_every_state_say(options: Any) -> None:
    """A state is moved by running to it, moving it, and going on from there."""
    layer = tg.nn.LSTM(3, 2, dtype="float64", generator=tg.Generator(0), **options).eval()
    x, ws = tg.tensor(rng.normal(size=(5, 2, 3))), tg.tensor(rng.normal(size=(5, 2, 2)))
    h_flow, c_flow = gradient_flow(layer, lambda: (layer(x)[0] * ws).sum())[""]
    assert h_flow.shape == c_flow.shape == (1, 5)
    for t in range(5):
        _, (h, c) = layer(x[: t + 1])
        states = [tg.tensor(s.numpy(), requires_grad=True) for s in (h, c)]
        here = (states[0][0] * ws[t]).sum()
        later = (layer(x[t + 1 :], tuple(states))[0] * ws[t + 1 :]).sum() if t < 4 else 0.0
        for flow, g in zip((h_flow, c_flow), tg.grad(here + later, states), strict=True):
            np.testing.assert_allclose(flow[0, t].item(), np.linalg.norm(g.numpy()), atol=1e-10)


def test_gradient_flow_of_a_whole_model_in_depth_directions_and_lengths() -> None:
    layer = tg.nn.GRU(3, 4, 2, bidirectional=True, zoneout=0.2, generator=tg.Generator(0))
    head = tg.nn.Linear(8, 1)
    model, x = tg.nn.ModuleList([layer, head]), tg.randn(6, 2, 3, generator=tg.Generator(1))

    def loss() -> tg.Tensor:
        y, _ = layer(x, lengths=[6, 3])
        value: tg.Tensor = head(y)[2].sum()
        return value

    (name, flow), *others = gradient_flow(model, loss).items()
    assert name == "0"
    assert not others
    assert flow.shape == (4, 6)
    assert np.all(flow.numpy()[2, 3:] == 0), "the upper layer, forwards: nothing later is in y[2]"
    assert np.all(flow.numpy()[3, :2] == 0), "backwards: nothing earlier is in y[2]"
    assert np.all(flow.numpy()[:2] > 0)
    assert all(p.grad is None for p in model.parameters())
    alone = gradient_flow(layer, lambda: layer(x, lengths=[0, 3])[0][:, 0].sum())[""]
    assert np.all(alone.numpy() == 0), "an empty row hands nothing on"


def test_a_probe_leaves_no_trace_and_says_what_it_misses() -> None:
    layer, x = tg.nn.RNN(3, 4), tg.zeros((5, 2, 3))
    with pytest.raises(ZeroDivisionError):
        gradient_flow(layer, lambda: layer(x)[0].sum() / (1 // 0))
    assert layer.captured is None
    with pytest.raises(ValueError, match="Linear has no recurrent layer"):
        gradient_flow(tg.nn.Linear(1, 1), lambda: x)
    with pytest.raises(ValueError, match="ran no recurrent layer"):
        gradient_flow(layer, lambda: x.sum())
    with pytest.raises(TypeError, match="expected an RNN, GRU or LSTM, got Linear"):
        gate_saturation(tg.nn.Linear(1, 1), x)  # type: ignore[arg-type]


# ---------------------------------------------------------------- gates


def shut(layer: Any, gate: int, value: float, suffix: str = "_l0") -> None:
    """Forces one gate."""
    n = layer.hidden_size
    getattr(layer, f"bias_ih{suffix}").data[gate * n : (gate + 1) * n] = value


@pytest.mark.parametrize(
    ("kind", "letters", "options"),
    [
        (tg.nn.GRU, "rzn", {}),
        (tg.nn.GRU, "rzn", {"reset_after": True, "layer_norm": True}),
        (tg.nn.LSTM, "ifgo", {}),
        (tg.nn.LSTM, "ifgo", {"peephole": True, "proj_size": 2, "zoneout": 0.1}),
        (tg.nn.LSTM, "igo", {"coupled_gates": True}),
        (tg.nn.RNN, "h", {}),
    ],
)
def test_the_gate_that_is_forced_is_the_one_that_saturates(
    kind: Any, letters: str, options: Any
) -> None:
    x = tg.randn(5, 3, 3, generator=tg.Generator(0))
    for index, letter in enumerate(letters):
        for value, expected in ((99.0, (0.0, 1.0)), (-99.0, (1.0, 0.0))):
            layer = kind(3, 4, 2, generator=tg.Generator(0), **options)
            shut(layer, index, value, "_l1")
            found = gate_saturation(layer, x)
            assert set(found) == set(letters)
            assert found[letter][1] == expected
            assert all(max(found[other][0]) < 1 for other in letters)


def test_saturation_counts_valid_steps_from_the_states_they_begin_from() -> None:
    """The shares are those of gates by hand, a row, a direction and a step at a time."""
    layer = tg.nn.RNN(3, 4, bidirectional=True, dtype="float64", zoneout=0.3, learn_initial=True)
    for p in layer.parameters():
        p.data = p.numpy() * 2 + 0.3
    x, lengths = rng.normal(size=(6, 2, 3)), [6, 2]
    reset = rng.normal(size=(6, 2)) > 0.5
    _, _, states = layer.eval()(tg.tensor(x), lengths=lengths, reset=reset, return_states=True)
    found = gate_saturation(layer.train(), tg.tensor(x), lengths=lengths, reset=reset, margin=0.4)
    assert layer.training
    for way, suffix in enumerate(("_l0", "_l0_reverse")):
        p: dict[str, Array] = {
            n: getattr(layer, n + suffix).numpy()
            for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "h0")
        }
        values = []
        for b, length in enumerate(lengths):
            for t in range(length):
                begins = reset[t, b] if not way else t + 1 < length and reset[t + 1, b]
                before = t + 1 if way else t - 1
                inside = 0 <= before < length and not begins
                h = states.numpy()[way, before, b] if inside else p["h0"]
                u = p["weight_ih"] @ x[t, b] + p["bias_ih"] + p["bias_hh"]
                values.append(np.tanh(u + p["weight_hh"] @ h))
        low, high = (np.mean(np.array(values) < -0.6), np.mean(np.array(values) > 0.6))
        np.testing.assert_allclose(found["h"][way], (low, high))


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_activations_are_those_of_single_steps(kind: str) -> None:
    layer = getattr(tg.nn, kind)(3, 4, 2, dtype="float64", dropout=0.5)
    x = tg.tensor(rng.normal(size=(5, 2, 3)))
    lengths = [5, 3]
    rows = activations(layer, lambda: layer(x, lengths=lengths))[""]
    assert layer.training
    assert [list(row) for row in rows] == [
        {"RNN": ["h"], "GRU": [*"rznh"], "LSTM": [*"ifgohc"]}[kind]
    ] * 2
    layer.eval()
    _, _, states = layer(x, lengths=lengths, return_states=True)
    parts = dict(zip("hc", states if isinstance(states, tuple) else [states], strict=False))
    for index, row in enumerate(rows):
        for letter, every in parts.items():
            np.testing.assert_allclose(row[letter].numpy(), every[index].numpy(), atol=1e-12)
        for values in row.values():
            assert not values[3:, 1].numpy().any()
        before = np.concatenate([np.zeros((1, 2, 4)), row["h"].numpy()[:-1]])[:3]
        a = {letter: values.numpy()[:3] for letter, values in row.items()}
        if kind == "GRU":
            np.testing.assert_allclose(a["h"], a["z"] * before + (1 - a["z"]) * a["n"], atol=1e-12)
        if kind == "LSTM":
            np.testing.assert_allclose(a["h"], a["o"] * np.tanh(a["c"]), atol=1e-12)


def test_activations_of_a_model_that_runs_step_by_step_and_of_a_cell_of_one_s_own() -> None:
    layer = tg.nn.Recurrent(tg.nn.MinGRUCell(3, 4))
    x = tg.randn(5, 2, 3)

    def run() -> None:
        state = None
        for t in range(5):
            _, state = layer(x[t : t + 1], state)

    [steps] = activations(layer, run)[""]
    [whole] = activations(layer, lambda: layer(x))[""]
    assert [*steps] == ["h"]
    np.testing.assert_allclose(steps["h"].numpy(), whole["h"].numpy(), atol=1e-6)
    with pytest.raises(ValueError, match=r"run\(\) ran no recurrent layer"):
        activations(layer, lambda: None)
    with pytest.raises(ValueError, match="no recurrent layer to capture"):
        activations(tg.nn.Linear(2, 3), lambda: None)
