"""RNN, GRU, LSTM: the lecture's equations by plain loops, lengths, states, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.cpu import functions as cpu

from ..drawing import HypothesisSampler
from .layers import KINDS, as_state, drawn_layer, flat

Array = Any


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def by_hand(layer: tg.nn.GRU | tg.nn.LSTM | tg.nn.RNN, x: Array) -> Array:
    """The lecture's equations, a row, a step and a gate at a time."""
    p = {name: value.numpy() for name, value in layer.state_dict().items()}
    u, w = p["weight_ih_l0"], p["weight_hh_l0"]
    b = p["bias_ih_l0"] + p.get("bias_hh_l0", 0)
    size = layer.hidden_size
    y = np.zeros((*x.shape[:2], size))
    for row in range(x.shape[1]):
        h = c = np.zeros(size)
        for t in range(x.shape[0]):
            x_t = x[t, row]

            def part(k: int, h: Array, x_t: Array = x_t) -> Array:
                of = slice(k * size, (k + 1) * size)
                return u[of] @ x_t + w[of] @ h + b[of]

            if isinstance(layer, tg.nn.RNN):
                h = np.tanh(part(0, h))
            elif isinstance(layer, tg.nn.GRU):
                reset, update = sigmoid(part(0, h)), sigmoid(part(1, h))
                candidate = np.tanh(part(2, reset * h))
                h = update * h + (1 - update) * candidate
            else:
                i, f, o = sigmoid(part(0, h)), sigmoid(part(1, h)), sigmoid(part(3, h))
                c = f * c + i * np.tanh(part(2, h))
                h = o * np.tanh(c)
            y[t, row] = h
    return y


@pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.GRU, tg.nn.LSTM])
def test_a_layer_is_the_lectures_equation(kind: Any) -> None:
    layer = kind(3, 5, dtype="float64", generator=tg.Generator(0))
    x = np.random.default_rng(0).normal(size=(6, 2, 3))
    np.testing.assert_allclose(layer(tg.tensor(x))[0].numpy(), by_hand(layer, x), rtol=1e-12)


class TestGatesOfTheLecture:
    """A GRU whose gates are forced to 0 and 1 is one of the three cases on the lecture's page."""

    x = np.random.default_rng(1).normal(size=(4, 2, 3))
    h0 = np.random.default_rng(2).normal(size=(1, 2, 5))

    def run(self, reset: bool, update: bool) -> tuple[Array, tg.nn.GRU]:
        layer = tg.nn.GRU(3, 5, dtype="float64", generator=tg.Generator(0))
        for rows, on in ((slice(0, 5), reset), (slice(5, 10), update)):
            layer.weight_ih_l0.data[rows] = layer.weight_hh_l0.data[rows] = 0.0
            layer.bias_ih_l0.data[rows] = 1e3 if on else -1e3
        return layer(tg.tensor(self.x), tg.tensor(self.h0))[0].numpy(), layer

    def test_update_1_keeps_the_state(self) -> None:
        y, _ = self.run(reset=True, update=True)
        np.testing.assert_allclose(y, np.broadcast_to(self.h0, y.shape), rtol=1e-14)

    def test_update_0_reset_1_is_the_standard_rnn(self) -> None:
        y, gru = self.run(reset=True, update=False)
        rnn = tg.nn.RNN(3, 5, dtype="float64")
        rnn.load_state_dict(
            {
                "weight_ih_l0": gru.weight_ih_l0.data[10:],
                "weight_hh_l0": gru.weight_hh_l0.data[10:],
                "bias_ih_l0": gru.bias_ih_l0.data[10:],
                "bias_hh_l0": np.zeros(5),
            }
        )
        np.testing.assert_allclose(y, rnn(tg.tensor(self.x), tg.tensor(self.h0))[0].numpy())

    def test_update_0_reset_0_is_an_mlp_of_the_input(self) -> None:
        y, gru = self.run(reset=False, update=False)
        u, b = gru.weight_ih_l0.data[10:], gru.bias_ih_l0.data[10:]
        np.testing.assert_allclose(y, np.tanh(self.x @ u.T + b))


LAYERS = [
    (tg.nn.RNN, {}),
    (tg.nn.RNN, {"nonlinearity": "relu"}),
    (tg.nn.GRU, {}),
    (tg.nn.GRU, {"reset_after": True}),
    (tg.nn.LSTM, {}),
    (tg.nn.LSTM, {"proj_size": 2}),
]
every_layer = pytest.mark.parametrize(("kind", "options"), LAYERS)


def parts(state: Any) -> list[tg.Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


@every_layer
@given(data=st.data())
def test_each_row_is_what_it_would_be_alone(kind: Any, options: Any, data: st.DataObject) -> None:
    """Rows of any lengths together equal each row alone, cut to its length; an empty row's state
    is its initial one, and its outputs are zero."""
    steps, batch = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    lengths = data.draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch))
    both, deep = data.draw(st.booleans()), data.draw(st.integers(1, 2))
    layer = kind(
        3, 4, deep, bidirectional=both, dtype="float64", generator=tg.Generator(0), **options
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.normal(size=(steps, batch, 3))
    sizes = [4] if kind is not tg.nn.LSTM else [options.get("proj_size", 4), 4]
    first = [rng.normal(size=(deep * (2 if both else 1), batch, n)) for n in sizes]

    def run(rows: Any, steps: int, lengths: Any) -> tuple[Any, list[Any]]:
        state = [tg.tensor(s[:, rows]) for s in first]
        y, last = layer(
            tg.tensor(x[:steps, rows]),
            tuple(state) if len(state) > 1 else state[0],
            lengths=lengths,
        )
        return y.numpy(), [s.numpy() for s in parts(last)]

    y, last = run(slice(None), steps, lengths)
    for row, n in enumerate(lengths):
        np.testing.assert_array_equal(y[n:, row], 0)
        if n == 0:
            alone = [s[:, row : row + 1] for s in first]
        else:
            y_alone, alone = run(slice(row, row + 1), n, None)
            np.testing.assert_allclose(y[:n, row : row + 1], y_alone, atol=1e-12)
        for together, single in zip(last, alone, strict=True):
            np.testing.assert_allclose(together[:, row : row + 1], single, atol=1e-12)


@every_layer
def test_batch_first_only_swaps_the_axes_of_x_and_y(kind: Any, options: Any) -> None:
    first = kind(3, 4, 2, batch_first=True, generator=tg.Generator(0), **options)
    last = kind(3, 4, 2, generator=tg.Generator(0), **options)
    x = tg.randn(5, 2, 3, generator=tg.Generator(1))
    y, state = first(x.swapaxes(0, 1))
    y_, state_ = last(x)
    np.testing.assert_array_equal(y.swapaxes(0, 1).numpy(), y_.numpy())
    for a, b in zip(parts(state), parts(state_), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@every_layer
def test_steps_and_windows_go_on_where_the_last_stopped(kind: Any, options: Any) -> None:
    layer = kind(3, 4, 2, generator=tg.Generator(0), **options)
    x = tg.randn(6, 2, 3, generator=tg.Generator(1))
    whole, end = layer(x)
    head, state = layer(x[:2])
    tail, state = layer(x[2:], state)
    np.testing.assert_allclose(tg.concat([head, tail]).numpy(), whole.numpy(), atol=1e-6)
    state = None
    for t in range(6):
        y, state = layer.step(x[t], state)
        np.testing.assert_allclose(y.numpy(), whole[t].numpy(), atol=1e-6)
        assert not y.requires_grad
    for a, b in zip(parts(state), parts(end), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


def test_truncated_back_propagation_cuts_the_chain_after_tau_steps() -> None:
    """With the state detached between windows, a loss reaches tau steps back and no further."""
    layer = tg.nn.RNN(1, 3, generator=tg.Generator(0))
    x = tg.randn(6, 1, 1, generator=tg.Generator(1), requires_grad=True)
    _, state = layer(x[:4])
    (full,) = tg.grad(layer(x[4:], state)[0][-1].sum(), [x])
    (cut,) = tg.grad(layer(x[4:], state.detach())[0][-1].sum(), [x])
    assert np.all(full.numpy()[:4] != 0)
    assert np.all(cut.numpy()[:4] == 0)
    np.testing.assert_allclose(cut.numpy()[4:], full.numpy()[4:])


def test_dropout_acts_between_layers_in_training_only_and_repeats_with_its_seed() -> None:
    generator = tg.Generator(0)
    layer = tg.nn.LSTM(3, 50, 2, dropout=0.5, generator=generator)
    x, state = tg.randn(4, 2, 3, generator=tg.Generator(1)), generator.state
    a = layer(x)[0].numpy()
    b = layer(x)[0].numpy()
    generator.state = state
    np.testing.assert_array_equal(layer(x)[0].numpy(), a)
    assert np.any(a != b)
    layer.eval()
    np.testing.assert_array_equal(layer(x)[0].numpy(), layer(x)[0].numpy())
    single = tg.nn.LSTM(3, 50, 1, dropout=0.5)
    np.testing.assert_array_equal(single(x)[0].numpy(), single(x)[0].numpy())


def test_names_and_shapes_are_pytorchs() -> None:
    layer = tg.nn.LSTM(3, 5, 2, bidirectional=True, proj_size=2)
    shapes = {name: value.shape for name, value in layer.state_dict().items()}
    assert shapes["weight_ih_l0"] == (20, 3)
    assert shapes["weight_ih_l1_reverse"] == (20, 4)
    assert shapes["weight_hh_l0_reverse"] == (20, 2)
    assert shapes["weight_hr_l1"] == (2, 5)
    assert shapes["bias_hh_l1"] == (20,)
    assert len(shapes) == 4 * 5


def test_a_gru_with_one_bias_refuses_two_and_names_the_remedy() -> None:
    ours, pytorchs = tg.nn.GRU(3, 4), tg.nn.GRU(3, 4, reset_after=True)
    with pytest.raises(tg.nn.StateDictError, match=r"'bias_hh_l0' .*GRU\(reset_after=True\)"):
        ours.load_state_dict(pytorchs.state_dict())
    model = tg.nn.Sequential(tg.nn.Linear(3, 3), tg.nn.GRUCell(3, 4))
    state = {**model.state_dict(), "1.bias_hh": np.zeros(12)}
    with pytest.raises(tg.nn.StateDictError, match=r"reset_after=True"):
        model.load_state_dict(state)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: m(tg.zeros((5, 2, 4))), tg.ShapeError, r"x: expected 3 features .*\[5, 2, 4\]"),
        (lambda m: m(tg.zeros((2, 2, 2, 3))), tg.ShapeError, r"x: expected \(T, B, features\)"),
        (lambda m: m(tg.zeros((0, 2, 3))), tg.ShapeError, "none empty"),
        (lambda m: m("text"), TypeError, "expected a Tensor, got str"),
        (lambda m: m(tg.zeros((5, 2, 3), dtype="float64")), TypeError, "x.astype.'float32'"),
        (lambda m: m(tg.zeros((5, 2, 3), dtype="int64")), TypeError, "got int64"),
        (lambda m: m(tg.zeros((5, 2, 3)), tg.zeros((1, 2, 4))), tg.ShapeError, "state: expected"),
        (lambda m: m(tg.zeros((5, 2, 3)), lengths=[1]), tg.ShapeError, "2 integers"),
        (lambda m: m(tg.zeros((5, 2, 3)), lengths=[1.0, 2.0]), tg.ShapeError, "2 integers"),
        (
            lambda m: m(tg.zeros((5, 2, 3)), lengths=[1, 6]),
            tg.ShapeError,
            r"lengths\[1\] = 6 is outside 0..5",
        ),
        (
            lambda m: m(tg.zeros((5, 2, 3)), lengths=[-1, 5]),
            tg.ShapeError,
            r"lengths\[0\] = -1 is outside 0..5",
        ),
        (lambda m: m(tg.zeros((5, 2), dtype="int64")), TypeError, "embedding.weight, ids=x"),
        (lambda m: m(tg.zeros((5, 3)), ids=[[0.0]]), TypeError, "ids: expected integers, .*astype"),
        (lambda m: m(tg.zeros((5, 3)), ids=[1]), tg.ShapeError, r"expected \(T, B\), .* got \[1\]"),
        (lambda m: m(tg.zeros((5, 3)), ids=tg.zeros((0, 2), dtype=int)), tg.ShapeError, "empty"),
        (lambda m: m(tg.zeros((5, 2, 3)), ids=[[1]]), tg.ShapeError, r"a table \(V, features\)"),
        (lambda m: m(tg.zeros((5, 4)), ids=[[1]]), tg.ShapeError, "x: expected 3 features"),
    ],
)
def test_wrong_input_is_told_what_was_expected(
    call: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=f"LSTM: .*{words}"):
        call(tg.nn.LSTM(3, 4))


@pytest.mark.parametrize("way", ["native", "reference"])
def test_rows_outside_a_table_are_refused(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "reference":
        monkeypatch.setattr(cpu, "native", None)
    for outside in (5, -1, -6):
        with pytest.raises(IndexError, match=f"LSTM: ids: .*{outside} is outside 0 to 4"):
            tg.nn.LSTM(3, 4)(tg.zeros((5, 3)), ids=[[0], [outside]])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: tg.nn.LSTM(0, 4), "input_size: expected an integer from 1 up, got 0"),
        (lambda: tg.nn.GRU(3, 4.5), "hidden_size: .* got 4.5"),
        (lambda: tg.nn.RNN(3, 4, dropout=1.0), "dropout: expected a probability"),
        (lambda: tg.nn.RNN(3, 4, nonlinearity="sine"), "nonlinearity: .*'tanh'.* got 'sine'"),
        (lambda: tg.nn.LSTM(3, 4, proj_size=4), "less than hidden_size 4"),
        (
            lambda: tg.nn.GRU(3, 4, bidirectional=True).step(tg.zeros((1, 3))),
            "cannot run one step at a time",
        ),
    ],
)
def test_wrong_arguments_are_named(build: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


# ---------------------------------------------------------------- one sequence, and arrays


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_one_sequence_is_a_batch_of_one(kind: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    layer = drawn_layer(d, kind, tg.Generator(0)).eval()
    steps, rows = d.integer(1, 4), layer.num_layers * layer.directions
    x = tg.tensor(d.reals((steps, 3)), requires_grad=True)
    sizes = layer.cells[0].sizes
    state = [tg.tensor(d.reals((rows, n))) for n in sizes] if d.one_of([True, False]) else None
    length = d.one_of([None, d.integer(0, steps)])
    reset = d.one_of([None, d.reals((steps,)) > 0.5])
    batch = 0 if layer.batch_first else 1
    one = layer(x, as_state(state), lengths=length, reset=reset, return_states=True)
    many = layer(
        x.expand_dims(axis=batch),
        as_state(state and [s.expand_dims(axis=1) for s in state]),
        lengths=None if length is None else [length],
        reset=None if reset is None else np.expand_dims(reset, batch),
        return_states=True,
    )
    for a, b in zip(flat(one), flat(many), strict=True):
        assert a.ndim == b.ndim - 1
        np.testing.assert_array_equal(a.numpy().ravel(), b.numpy().ravel())
    if length == 0:  # then nothing depends on x
        return
    found, true = (tg.grad(sum((y * y).sum() for y in flat(ys)), [x])[0] for ys in (one, many))
    np.testing.assert_allclose(found.numpy(), true.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.GRU, tg.nn.LSTM])
def test_arrays_are_read_in_the_dtype_of_the_weights(kind: Any) -> None:
    layer, x = kind(3, 4), np.random.default_rng(0).normal(size=(5, 2, 3))
    expected = layer(tg.tensor(x, dtype="float32"))[0].numpy()
    for array in (x, x.astype("float32"), x.tolist()):
        np.testing.assert_array_equal(layer(array)[0].numpy(), expected)
    with pytest.raises(TypeError, match="rows of a table are read by"):
        layer(np.ones((5, 2, 3), int))
    with pytest.raises(tg.ShapeError, match=r"state: expected \[1, 4\] .* got \[1, 2, 4\]"):
        layer(x[:, 0], tg.zeros((1, 2, 4)))
