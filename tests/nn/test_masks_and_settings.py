"""Masks and settings of options: drawn in order, drawn again, saved, named, refused."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

from ..drawing import HypothesisSampler
from .layers import KINDS, Array, as_state, drawn_call, drawn_layer, flat

every_kind = pytest.mark.parametrize("kind", KINDS)


# ---------------------------------------------------------------- masks


@every_kind
@given(data=st.data())
def test_the_same_seed_gives_the_same_masks_and_checkpoints_draw_them_again(
    kind: str, data: st.DataObject
) -> None:
    d, generator = HypothesisSampler(data), tg.Generator(0)
    layer = drawn_layer(d, kind, generator)
    x, state, options = drawn_call(d, layer)
    masks = generator.state

    def run(keep: bool) -> list[Array]:
        generator.state = masks
        given = tg.tensor(x, requires_grad=True)

        def loss(x: tg.Tensor) -> tg.Tensor:
            y: tg.Tensor = flat(layer(x, as_state(state), **options))[0]
            return (y * y).sum()

        y = loss(given) if keep else tg.checkpoint(loss, given, generators=[generator])
        return [y.numpy(), *(g.numpy() for g in tg.grad(y, [given, *layer.parameters()]))]

    first = run(keep=True)
    for again in (run(keep=True), run(keep=False)):
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
    layer.eval()
    state_before = generator.state
    ys = [layer(tg.tensor(x), as_state(state), **options)[0].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*ys)
    assert generator.state == state_before, "evaluation draws nothing"


def test_masks_are_drawn_in_the_documented_order() -> None:
    """Dropout below; zoneout of h, of c; weights; recurrent: one after the other from the seed."""
    generator = tg.Generator(0)
    p = {"dropout": 0.5, "zoneout": (0.2, 0.3), "weight_dropout": 0.4, "recurrent_dropout": 0.6}
    layer = tg.nn.LSTM(3, 4, 2, dtype="float64", generator=generator, dropout_same_mask=True, **p)
    x = tg.randn(5, 2, 3, generator=tg.Generator(1)).astype("float64")
    state = generator.state
    y, _ = layer(x)
    generator.state = state
    for k in range(2):
        if k:
            x = x * tg.tensor(generator.keep_mask((1, 2, 4), 0.5) / 0.5)
        h_zone, c_zone = (tg.tensor(~generator.keep_mask((5, 2, 4), q) * 1.0) for q in (0.2, 0.3))
        w_hh = getattr(layer, f"weight_hh_l{k}") * tg.tensor(
            generator.keep_mask((16, 4), 0.4) / (1 - 0.4)
        )
        h_mask = tg.tensor(generator.keep_mask((2, 4), 0.6) / (1 - 0.6))
        zeros = tg.zeros((2, 4), dtype="float64")
        names = ("weight_ih", "bias_ih", "bias_hh")
        w_ih, b_ih, b_hh = (getattr(layer, f"{name}_l{k}") for name in names)
        x, _, _ = tg.lstm(
            x, zeros, zeros, w_ih, w_hh, b_ih, b_hh,
            h_mask=h_mask, h_zone=h_zone, c_zone=c_zone,
        )  # fmt: skip
    np.testing.assert_allclose(y.numpy(), x.numpy(), rtol=1e-12)


def test_recurrent_dropout_has_one_mask_for_all_steps_and_zoneout_one_for_each() -> None:
    layer = tg.nn.RNN(3, 200, zoneout=0.5, generator=tg.Generator(0))
    x = tg.randn(3, 1, 3, generator=tg.Generator(1))
    y = layer(x)[0].numpy()
    kept = [(y[t] == y[t - 1]).mean() for t in (1, 2)]
    assert all(0.4 < share < 0.6 for share in kept)
    assert np.any((y[1] == y[0]) != (y[2] == y[1]))

    layer = tg.nn.RNN(3, 200, recurrent_dropout=0.5, generator=tg.Generator(0))
    h = tg.ones((1, 1, 200), requires_grad=True)
    y, _ = layer(x[:1], h)
    (g,) = tg.grad(y.sum(), [h])
    assert 0.4 < (g.numpy() == 0).mean() < 0.6


# ---------------------------------------------------------------- saving, names, errors


@every_kind
@given(data=st.data())
def test_options_go_through_save_and_load(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    d = HypothesisSampler(data)
    layer = drawn_layer(d, kind, tg.Generator(0)).eval()
    path = tmp_path_factory.mktemp("save") / "layer.safetensors"
    tg.save(path, layer.state_dict())
    cell = layer.cells[0]
    own = [n for n in inspect.signature(type(cell)).parameters if n in vars(cell)]
    options = {name: getattr(cell, name) for name in own if name != "input_size"}
    names = ("num_layers", "batch_first", "bidirectional", "zoneout", "merge", "residual")
    options |= {name: getattr(layer, name) for name in (*names, "learn_initial")}
    other = KINDS[kind](3, dtype="float64", **options).eval()
    other.load_state_dict(tg.load(path))
    x, state, arguments = drawn_call(d, layer)
    ours, theirs = (flat(m(tg.tensor(x), as_state(state), **arguments)) for m in (layer, other))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_parameters_of_options_are_named_as_the_others_are() -> None:
    layer = tg.nn.LSTM(
        3, 5, proj_size=2, peephole=True, layer_norm=True, coupled_gates=True, learn_initial=True
    )
    shapes = {name: value.shape for name, value in layer.state_dict().items()}
    assert shapes == {
        "weight_ih_l0": (15, 3), "weight_hh_l0": (15, 2), "bias_ih_l0": (15,),
        "bias_hh_l0": (15,), "gain_ih_l0": (15,), "gain_hh_l0": (15,), "weight_hr_l0": (2, 5),
        "weight_ch_l0": (10,), "gain_c_l0": (5,), "bias_c_l0": (5,), "h0_l0": (2,), "c0_l0": (5,),
    }  # fmt: skip


def test_forget_bias_opens_the_forget_gate_from_the_start() -> None:
    def bias(**options: Any) -> Array:
        return tg.nn.LSTM(3, 2, generator=tg.Generator(0), **options).bias_ih_l0.numpy()

    np.testing.assert_allclose(bias(forget_bias=1.0) - bias(), [0, 0, 1, 1, 0, 0, 0, 0], atol=1e-6)
    coupled = bias(forget_bias=1.0, coupled_gates=True) - bias(coupled_gates=True)
    np.testing.assert_allclose(coupled, [-1, -1, 0, 0, 0, 0], atol=1e-6)


def test_layers_describe_what_is_not_as_it_is_by_default() -> None:
    layer = tg.nn.LSTM(3, 5, 2, merge="sum", bidirectional=True, peephole=True, weight_dropout=0.5)
    assert repr(layer) == (
        "LSTM(3, 5, num_layers=2, bidirectional=True, weight_dropout=0.5, peephole=True, "
        "merge='sum')"
    )
    assert repr(tg.nn.GRUCell(3, 5, layer_norm=True)) == "GRUCell(3, 5, layer_norm=True)"


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda: tg.nn.LSTM(3, 4, zoneout=1.0), ValueError, "zoneout: expected a probability"),
        (lambda: tg.nn.LSTM(3, 4, zoneout=(0.1,)), ValueError, "each of the 2 parts.* got 1"),
        (lambda: tg.nn.GRU(3, 4, zoneout=(0.1, 0.2)), ValueError, "each of the 1 parts.* got 2"),
        (lambda: tg.nn.RNN(3, 4, merge="add"), ValueError, "merge: expected concat, .*got 'add'"),
        (lambda: tg.nn.RNN(3, 4, residual=True, merge=None), ValueError, "excludes merge=None"),
        (lambda: tg.nn.RNN(3, 4, recurrent_dropout=-1), ValueError, "recurrent_dropout: expected"),
        (lambda: tg.nn.GRU(3, 4, weight_dropout=1), ValueError, "weight_dropout: expected"),
        (lambda: tg.nn.LSTM(3, 4, cell_clip=0), ValueError, "cell_clip: expected a bound above 0"),
        (lambda: tg.nn.LSTM(3, 4, bias=False, forget_bias=1.0), ValueError, "excludes bias=False"),
        (lambda: tg.nn.LSTM(3, 4, peephole=1), TypeError, "peephole: expected True or False"),
        (lambda: tg.nn.LSTM(3, 4, layer_norm="yes"), TypeError, "layer_norm: expected True or"),
        (lambda: tg.nn.GRU(3, 4, activation="tan h"), ValueError, "activation: .* got 'tan h'"),
        (lambda: tg.nn.LSTMCell(3, 4, proj_size=4), ValueError, "LSTMCell: proj_size"),
        (lambda: tg.nn.RNN(3, 4)(tg.zeros((5, 2, 3)), reset=[1, 0]), tg.ShapeError, r"\[5, 2\]"),
        (
            lambda: tg.nn.RNN(3, 4, batch_first=True)(
                tg.zeros((2, 5, 3)), reset=np.zeros((5, 2), bool)
            ),
            tg.ShapeError,
            r"shape \[2, 5\]",
        ),
        (
            lambda: tg.nn.RNN(3, 4)(tg.zeros((5, 2, 3)), reset=np.zeros((5, 2))),
            tg.ShapeError,
            r"reset.astype\(bool\)",
        ),
    ],
)  # fmt: skip
def test_wrong_options_are_named_with_what_to_type_instead(
    build: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        build()


def test_modules_of_ones_own_describe_their_plain_options() -> None:
    class Model(tg.nn.Module):
        def __init__(self, size: int, layers: int = 1, words: object = None, scale: object = None):
            self.size, self.layers, self.words = size, layers, {"a": 1}
            self.scale = tg.ones((2,))

    assert repr(Model(3)) == "Model(3)"
    assert repr(Model(3, layers=2)) == "Model(3, layers=2)"
