"""Inference: a step, a sequence: the same, whichever way they take; what is refused, and seen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels.cpu import functions as cpu

from ..drawing import HypothesisSampler
from .layers import flat

native = pytest.mark.skipif(cpu.native is None, reason=cpu.describe())

CELLS: dict[str, Callable[..., Any]] = {
    "rnn tanh": tg.nn.RNN,
    "rnn relu": lambda *a, **k: tg.nn.RNN(*a, nonlinearity="relu", **k),
    "gru": tg.nn.GRU,
    "gru reset_after": lambda *a, **k: tg.nn.GRU(*a, reset_after=True, **k),
    "lstm": tg.nn.LSTM,
}
cells = pytest.mark.parametrize("cell", CELLS)


def made(cell: str, *sizes: int, **options: Any) -> Any:
    return CELLS[cell](*sizes, generator=tg.Generator(0), **options)


def drawn(*shape: int, dtype: str = "float32", seed: int = 1) -> tg.Tensor:
    return tg.randn(*shape, generator=tg.Generator(seed)).astype(dtype)


def begun(layer: Any, x: tg.Tensor) -> Any:
    """A state that a step went into."""
    return layer.step(x)[1]


@native
@cells
@given(data=st.data())
def test_plain_layers_take_the_short_way_which_is_the_long_one(
    cell: str, data: st.DataObject
) -> None:
    d = HypothesisSampler(data)
    batch, features, hidden, layers = (d.integer(1, n) for n in (20, 40, 40, 3))
    dtype = d.one_of(["float32", "float64"])
    layer = made(cell, features, hidden, layers, bias=d.one_of([True, False]), dtype=dtype)
    layer.train(d.one_of([True, False]))
    x = drawn(4, batch, features, dtype=dtype)
    y, state = layer.step(x[0])
    ys = [y]
    for t in range(1, 4):
        assert layer._at_once(x[t], state, training=False) is not None
        y, state = layer.step(x[t], state)
        assert not y.requires_grad
        ys.append(y)
    whole, last = layer.eval()(x)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for a, b in zip([tg.stack(ys), *flat(state)], [whole, *flat(last)], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance)


@native
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_weights_may_lie_anywhere(batch: int, dtype: str) -> None:
    rng = np.random.default_rng(0)

    def at(offset: int, *shape: int) -> Any:
        """An array that begins so many elements after another would."""
        room = rng.normal(size=offset + int(np.prod(shape))).astype(dtype) / 16
        return room[offset:].reshape(shape)

    for hidden in (128, 144, 150):
        for offset in range(17):
            x, h = at(0, batch, 160), at(0, 1, batch, hidden)
            w_ih, w_hh = at(offset, hidden, 160), at(offset, hidden, hidden)
            y, *_ = kernels.infer_stack("rnn_relu", 1, x, h, None, (w_ih, w_hh))
            expected = np.maximum(x @ w_ih.T + h[0] @ w_hh.T, 0)
            np.testing.assert_allclose(y, expected, atol=1e-5 if dtype == "float32" else 1e-13)


@native
@cells
@given(data=st.data())
def test_a_sequence_in_inference_takes_the_short_way_to_the_same_bits(
    cell: str, data: st.DataObject
) -> None:
    d = HypothesisSampler(data)
    steps, batch, features, hidden, layers = (d.integer(1, n) for n in (40, 9, 40, 40, 3))
    if d.one_of([False, True]):  # so large that threads split the hidden units
        batch, hidden = 2, 150
    dtype, batch_first = d.one_of(["float32", "float64"]), d.one_of([True, False])
    layer = made(cell, features, hidden, layers, batch_first=batch_first, dtype=dtype)
    x = drawn(batch, steps, features, dtype=dtype)
    state = begun(layer, x[:, 0]) if d.one_of([True, False]) else None
    if not batch_first:
        x = x.swapaxes(0, 1)
    time_first = x.swapaxes(0, 1) if batch_first else x
    assert layer._at_once(time_first, state, training=True) is not None
    threads = tg.get_num_threads()
    tg.set_num_threads(d.integer(1, 3))
    expected = layer(x, state)
    with tg.no_grad():
        found = layer(x, state)
    tg.set_num_threads(threads)
    for a, b in zip(flat(found), flat(expected), strict=True):
        assert b.requires_grad
        assert not a.requires_grad
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())


CALLS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"bidirectional": True}, {}),
    ({"residual": True}, {}),
    ({"learn_initial": True}, {}),
    ({}, {"lengths": [1, 3]}),
    ({}, {"reset": np.eye(4, 2) > 0}),
    ({}, {"ids": np.arange(8).reshape(4, 2) % 4}),
    ({}, {"return_states": True}),
]


@cells
@pytest.mark.parametrize(("options", "more"), CALLS)
def test_whatever_is_asked_for_is_there_in_inference(
    cell: str, options: dict[str, Any], more: dict[str, Any]
) -> None:
    layer = made(cell, 5, 5, 2, **options)
    for name, p in layer.named_parameters():
        if name.startswith(("h0", "c0")):
            p.data = p.numpy() + 0.5
    x = drawn(4, 5) if "ids" in more else drawn(4, 2, 5)
    expected = layer(x, **more)
    with tg.no_grad():
        found = layer(x, **more)
    for a, b in zip(flat(found), flat(expected), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


@cells
@pytest.mark.parametrize("mask", ["dropout", "recurrent_dropout", "weight_dropout"])
def test_masks_are_drawn_in_training_mode_whoever_differentiates(cell: str, mask: str) -> None:
    layer, x = made(cell, 5, 5, 2, **{mask: 0.5}), drawn(4, 2, 5)
    with tg.no_grad():
        assert (layer(x)[0] != layer(x)[0]).any()
        layer.eval()
        assert (layer(x)[0] == layer(x)[0]).all()


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((cell, {"zoneout": 0.2}) for cell in CELLS),
    *((cell, {"residual": True}) for cell in CELLS),
    *((cell, {"layer_norm": True}) for cell in CELLS),
    ("gru", {"activation": "relu"}),
    ("lstm", {"recurrent_activation": tg.tanh}),
    ("lstm", {"proj_size": 3}),
    ("lstm", {"peephole": True}),
    ("lstm", {"coupled_gates": True}),
    ("lstm", {"cell_clip": 0.1}),
]


@pytest.mark.parametrize(("cell", "options"), OPTIONS)
def test_what_is_more_than_plain_takes_the_long_way(cell: str, options: dict[str, Any]) -> None:
    layer = made(cell, 3, 4, 2, **options).eval()
    x = drawn(3, 2, 3)
    state = begun(layer, x[0])
    assert layer._at_once(x[1], state, training=False) is None
    for t in (1, 2):
        y, state = layer.step(x[t], state)
    np.testing.assert_allclose(y.numpy(), layer(x)[0][-1].numpy(), atol=1e-6)


def test_an_option_that_is_set_later_is_seen() -> None:
    layer, x = made("gru", 3, 4), drawn(2, 3)
    state = begun(layer, x)
    before = layer.step(x, state)[0].numpy()
    layer.zoneout = 0.5
    mixed = 0.5 * (before + state[0].numpy())
    np.testing.assert_allclose(layer.step(x, state)[0].numpy(), mixed, atol=1e-6)


# ---------------------------------------------------------------- mistakes

WRONG: list[Callable[[Any, tg.Tensor, Any], Any]] = [
    lambda layer, x, s: layer.step(x.numpy(), s),
    lambda layer, x, s: layer.step(x[:, :2], s),
    lambda layer, x, s: layer.step(x[0], s),
    lambda layer, x, s: layer.step(x[None], s),
    lambda layer, x, s: layer.step(x.astype("float64"), s),
    lambda layer, x, s: layer.step(x.astype("int64"), s),
    lambda layer, x, s: layer.step(x[:1], s),
    lambda layer, x, s: layer.step(x[:0], s),
    lambda layer, x, s: layer.step(x, s[0]),
    lambda layer, x, s: layer.step(x, (s[0], s[1][:, :, :2])),
    lambda layer, x, s: layer.step(x, (s[0][:1], s[1][:1])),
    lambda layer, x, s: layer.step(x, (*s, s[0])),
    lambda layer, x, s: layer.step(x, (s[0], None)),
    lambda layer, x, s: layer.step(x, (s[0].numpy(), s[1])),
    lambda layer, x, s: layer.step(x, (s[0], s[1].numpy())),
    lambda layer, x, s: layer.step(x, (s[0].astype("float64"), s[1])),
    lambda layer, x, s: layer.step(x, "state"),
]


SEQUENCES: list[Callable[[Any, tg.Tensor, Any], Any]] = [
    lambda layer, x, s: layer(x.numpy(), s),
    lambda layer, x, s: layer(x[:, :, :2], s),
    lambda layer, x, s: layer(x[0], s),
    lambda layer, x, s: layer(x[:0], s),
    lambda layer, x, s: layer(x[:, :1], s),
    lambda layer, x, s: layer(x.astype("float64"), s),
    lambda layer, x, s: layer(x, s[0]),
    lambda layer, x, s: layer(x, (s[0], None)),
    lambda layer, x, s: layer(x, (None, s[1])),
    lambda layer, x, s: layer(x, (None, None)),
    lambda layer, x, s: layer(x, (s[0], s[1][:1])),
    lambda layer, x, s: layer(x, (s[0], s[1].astype("float64"))),
    lambda layer, x, s: layer(x, "state"),
]


MISTAKES = [*((call, (2, 3)) for call in WRONG), *((call, (5, 2, 3)) for call in SEQUENCES)]


@pytest.mark.parametrize("wrong", range(len(MISTAKES)))
def test_what_is_wrong_is_answered_as_the_long_way_does(
    wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    call, shape = MISTAKES[wrong]
    layer, x = made("lstm", 3, 4, 2), drawn(*shape)
    state = begun(layer, drawn(2, 3))

    def answer() -> tuple[type, str]:
        try:
            with tg.no_grad():
                found = flat(call(layer, x, state))
        except Exception as error:
            return type(error), str(error)
        return tuple, str([(v.dtype, v.shape) for v in found])

    short = answer()
    monkeypatch.setattr(type(layer), "_at_once", lambda *_, **__: None)
    assert short == answer()


def test_both_directions_have_no_next_step() -> None:
    with pytest.raises(ValueError, match="a bidirectional layer cannot run one step"):
        made("gru", 3, 4, bidirectional=True).step(drawn(2, 3))


def test_a_wrong_weight_is_said_to_be_wrong() -> None:
    layer, x = made("gru", 3, 4), drawn(2, 3)
    state = begun(layer, x)
    layer.weight_hh_l0 = tg.nn.Parameter(tg.zeros((12, 5)))
    with pytest.raises(tg.ShapeError, match="w_hh"):
        layer.step(x, state)


def test_reference_kernels_run_everything_if_so_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = made("lstm", 3, 4), drawn(2, 3)
    state = begun(layer, x)
    y = layer.step(x, state)[0].numpy()
    monkeypatch.setattr(cpu, "native", None)
    assert layer._at_once(x, state, training=False) is None
    np.testing.assert_allclose(layer.step(x, state)[0].numpy(), y, atol=1e-6)


def test_a_detector_of_anomalies_sees_each_operation() -> None:
    layer, x = made("gru", 3, 4), drawn(2, 3)
    state = begun(layer, x)
    bad = tg.tensor(np.full((2, 3), np.inf, "float32"))
    with tg.detect_anomaly(), np.errstate(all="ignore"), pytest.raises(tg.AnomalyError):
        layer.step(bad, state)


# ---------------------------------------------------------------- what is new, and whose it is


def written(layer: Any) -> None:
    for p in layer.parameters():
        p.data[...] *= -1


def assigned(layer: Any) -> None:
    for p in layer.parameters():
        p.data = -p.numpy()


def loaded(layer: Any) -> None:
    layer.load_state_dict({name: -p.numpy() for name, p in layer.named_parameters()})


def replaced(layer: Any) -> None:
    for name, p in list(layer.named_parameters()):
        setattr(layer, name, tg.nn.Parameter(-p.detach()))


def learned(layer: Any) -> None:
    layer(drawn(3, 2, 3))[0].sum().backward()
    tg.optim.SGD(layer.parameters(), lr=1.0).step()


@cells
@pytest.mark.parametrize("change", [written, assigned, loaded, replaced, learned])
def test_changed_weights_are_seen_by_the_next_step(
    cell: str, change: Callable[[Any], None]
) -> None:
    layer, x = made(cell, 3, 4, 2), drawn(2, 3)
    state = begun(layer, x)
    before = layer.step(x, state)[0].numpy()
    change(layer)
    after = layer.step(x, state)[0].numpy()
    assert abs(after - before).max() > 1e-3
    np.testing.assert_allclose(after, layer(x[None], state)[0][0].numpy(), atol=1e-6)


def test_results_share_no_memory_with_each_other_or_with_what_was_given() -> None:
    layer, x = made("lstm", 3, 4, 2), drawn(2, 3)
    state = begun(layer, x)
    h, c = (part.numpy().copy() for part in state)
    y, after = layer.step(x, state)
    kept = [part.numpy().copy() for part in after]
    y.data[...] = 7
    again = layer.step(x, state)[1]
    for a, b in zip([*after, *again], [*kept, *kept], strict=True):
        np.testing.assert_array_equal(a.numpy(), b)
    for part in after:
        part.data[...] = 7
    np.testing.assert_array_equal(state[0].numpy(), h)
    np.testing.assert_array_equal(state[1].numpy(), c)


@cells
def test_threads_at_once_have_their_own_states(cell: str) -> None:
    layer, x = made(cell, 40, 40, 2), drawn(50, 3, 40)
    expected = layer(x)[0].numpy()
    found: dict[int, Any] = {}

    def generate(i: int) -> None:
        state, ys = None, []
        for t in range(50):
            y, state = layer.step(x[t], state)
            ys.append(y.numpy())
        found[i] = np.stack(ys)

    threads = [threading.Thread(target=generate, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        np.testing.assert_allclose(found[i], expected, atol=1e-5)
