"""Weights rounded to 8 bits: how far that moves a model, and when they are no longer used."""

from __future__ import annotations

import pickle
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import quantize_int8
from tinygrad_rnn.kernels.cpu import functions as cpu

from ..drawing import HypothesisSampler
from .layers import flat
from .test_step import CELLS, cells, drawn, made, native


def generated(layer: Any, x: tg.Tensor) -> np.ndarray[Any, Any]:
    """The outputs of a step at each time."""
    state, ys = None, []
    for t in range(len(x)):
        y, state = layer.step(x[t], state)
        ys.append(y.numpy())
    return np.stack(ys)


@given(data=st.data())
def test_a_weight_moves_by_at_most_half_of_its_rows_scale(data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    w = d.reals((d.integer(1, 5), d.integer(1, 130))).astype("float32")
    w[0] *= d.one_of([0.0, 1.0])
    values, whole, scales = quantize_int8(np, w)
    bound = abs(w).max(axis=1, keepdims=True) / 254
    assert (abs(values - w) <= bound * (1 + 1e-4)).all()
    depth = w.shape[1]
    assert whole.dtype == np.uint8
    assert whole.shape[1] % 64 == 0
    assert (whole[:, depth:] == 128).all()
    back = (whole[:, :depth].astype("float32") - 128) * scales[:, None]
    np.testing.assert_array_equal(back, values)


@cells
def test_200_steps_stay_within_a_hundredth_of_float32(cell: str) -> None:
    """Of weights as they are drawn at first, in two layers; an output is at most 1 (relu: more)."""
    layer, x = made(cell, 32, 64, 2), drawn(200, 1, 32)
    exact, found = generated(layer, x), generated(tg.nn.utils.quantized(layer), x)
    assert 1e-6 < abs(found - exact).max() < 0.01 * max(1, abs(exact).max())


@native
@cells
@given(data=st.data())
def test_whole_numbers_compute_what_the_rounded_weights_do(cell: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    batch, features, hidden, layers = (d.integer(1, n) for n in (5, 150, 150, 2))
    layer = tg.nn.utils.quantized(made(cell, features, hidden, layers))
    x = drawn(batch, features)
    state = layer.step(x)[1]
    quick = layer._at_once(x, state, training=False)
    plain, layer.quantized = layer.quantized, None
    slow = layer._at_once(x, state, training=False)
    assert plain is not None
    # What enters moves by at most its largest over 65024, at random: six deviations of the sums.
    atol = 8 * abs(x.numpy()).max() * np.sqrt((features + hidden) / hidden) / 65024
    differ = False
    for a, b in zip(flat(quick), flat(slow), strict=True):
        differ |= bool((a.numpy() != b.numpy()).any())
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=atol)
    assert differ or hidden < 8  # or else the integers are not used


@native
@pytest.mark.parametrize(("hidden", "used"), [(64, False), (200, True)])
def test_sequences_use_whole_numbers_where_there_are_many_weights(hidden: int, used: bool) -> None:
    layer, x = tg.nn.utils.quantized(made("lstm", 20, hidden, 2)), drawn(30, 2, 20)
    with tg.no_grad():
        quick = layer(x)[0].numpy()
        layer.quantized = None
        slow = layer(x)[0].numpy()
    assert (quick != slow).any() == used
    np.testing.assert_allclose(quick, slow, atol=1e-3)


def test_every_option_and_a_whole_sequence_compute_with_the_rounded_weights() -> None:
    x = drawn(5, 2, 3)
    for cell in CELLS:
        layer = tg.nn.utils.quantized(made(cell, 3, 4, 2))
        np.testing.assert_allclose(generated(layer, x), layer(x)[0].numpy(), atol=1e-4)
    lstm = made("lstm", 3, 4, peephole=True, bidirectional=True, layer_norm=True)
    copy = tg.nn.utils.quantized(lstm)
    found = copy(x)[0].numpy()
    assert (found != lstm(x)[0].numpy()).any()
    lstm.load_state_dict(copy.state_dict())
    np.testing.assert_array_equal(found, lstm(x)[0].numpy())


def test_the_copy_is_frozen_and_the_original_is_as_it_was() -> None:
    model = tg.nn.Sequential(tg.nn.Linear(3, 3), made("gru", 3, 4))
    before = {name: p.numpy().copy() for name, p in model.named_parameters()}
    copy = tg.nn.utils.quantized(model)
    assert not copy.training
    assert model.training
    assert not any(p.requires_grad for p in copy.parameters())
    with pytest.raises(ValueError, match="read-only"):
        copy[1].weight_hh_l0.data[0] = 1
    for name, p in model.named_parameters():
        np.testing.assert_array_equal(p.numpy(), before[name])
    np.testing.assert_array_equal(copy[0].weight.numpy(), before["0.weight"])


@cells
def test_other_weights_are_seen_by_the_next_step(cell: str) -> None:
    layer, other, x = made(cell, 3, 4), made(cell, 3, 4), drawn(3, 2, 3)
    for p in other.parameters():
        p.data = -p.numpy()
    loaded, taken, written = (tg.nn.utils.quantized(layer) for _ in range(3))
    loaded.load_state_dict(other.state_dict())
    np.testing.assert_allclose(generated(loaded, x), generated(other, x), atol=1e-6)
    frozen = tg.nn.utils.quantized(other)
    for name, p in frozen.named_parameters():
        setattr(taken, name, p)
    np.testing.assert_allclose(generated(taken, x), generated(frozen, x), atol=1e-4)
    for copy in (deepcopy(written), written):
        before = generated(copy, x)
        copy.weight_hh_l0.data.setflags(write=True)  # against our advice
        copy.weight_hh_l0.data[...] *= -1
        assert abs(generated(copy, x) - before).max() > 1e-3


@cells
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_does_not_become_a_number(cell: str, bad: float) -> None:
    layer = tg.nn.utils.quantized(made(cell, 3, 4))
    x = drawn(2, 3)
    state = layer.step(x)[1]
    x.data[1, 2] = bad
    y = layer.step(x, state)[0].numpy()
    assert np.isfinite(y[0]).all()
    assert np.isnan(y[1]).any() or bad == np.inf
    x.data[1, 2] = np.nan
    assert np.isnan(layer.step(x, state)[0].numpy()[1]).any()


def test_zeros_are_zeros_and_large_inputs_count() -> None:
    layer = tg.nn.utils.quantized(made("rnn relu", 100, 50, bias=False))
    h = tg.zeros((1, 1, 50))
    assert not layer.step(tg.zeros((1, 100)), h)[0].numpy().any()
    x = drawn(1, 100)
    large, small = (layer.step(x * s, h)[0].numpy() / s for s in (1e20, 1e-20))
    np.testing.assert_allclose(large, small, rtol=1e-3, atol=1e-4)


def test_a_model_without_a_recurrent_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no RNN, GRU or LSTM"):
        tg.nn.utils.quantized(tg.nn.Linear(3, 4))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    layer = made("lstm", 3, 4)
    layer.weight_hh_l0.data[2, 1] = bad
    with pytest.raises(ValueError, match="a weight is infinite or NaN"):
        tg.nn.utils.quantized(layer)


@native
def test_a_pickled_copy_reads_its_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x, seen = tg.nn.utils.quantized(made("lstm", 3, 4)), drawn(3, 2, 3), list[Any]()
    true, plain = generated(layer, x), cpu.native.infer_stack

    def noted(*args: Any) -> Any:
        seen.append(args[-1])
        return plain(*args)

    monkeypatch.setattr(
        cpu, "native", SimpleNamespace(**{**vars(cpu.native), "infer_stack": noted})
    )
    copy = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(generated(copy, x), true)
    assert seen[0][0] is copy.weight_ih_l0.data
    assert not copy.weight_ih_l0.data.flags.writeable
    copy.weight_hh_l0.data.setflags(write=True)  # against our advice
    copy.weight_hh_l0.data[...] *= -1
    assert abs(generated(pickle.loads(pickle.dumps(copy)), x) - true).max() > 1e-3
    assert seen[-1] is None


@native
def test_copies_read_whole_numbers_that_begin_at_cache_lines() -> None:
    layers = [tg.nn.utils.quantized(made("gru", 60, 40)) for _ in range(10)]  # the heap varies
    for copied in (lambda q: q, deepcopy, lambda q: pickle.loads(pickle.dumps(q))):
        for q in map(copied, layers):
            weights, integers = q.quantized[::3], q.quantized[1::3]
            assert weights[0] is q.weight_ih_l0.data
            assert weights[1] is q.weight_hh_l0.data
            assert not any(w.flags.writeable for w in weights)
            assert all(a.ctypes.data % 64 == 0 for a in integers)
