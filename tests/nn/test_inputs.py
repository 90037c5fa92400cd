"""What a layer is called with and cannot take is named: inputs, states, lengths, resets, ids."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.tensor import tree
from tinygrad_rnn.testing import MODULES, OpInfo, SeededSampler

f = tg.zeros


def of(dtype: str, *shape: int) -> tg.Tensor:
    return tg.zeros(shape, dtype=dtype)


LAYERS: dict[str, Any] = {
    "RNN": nn.RNN(3, 4),
    "GRU": nn.GRU(3, 4, 2, layer_norm=True),
    "LSTM": nn.LSTM(3, 4, 2, bidirectional=True),
    "Recurrent": nn.Recurrent(nn.GRUCell(3, 4)),
    "MinGRU": nn.MinGRU(3, 4),
    "MinLSTM": nn.MinLSTM(3, 4),
}
CELLS: dict[str, Any] = {
    "RNNCell": nn.RNNCell(3, 4),
    "LSTMCell": nn.LSTMCell(3, 4),
    "SLSTMCell": nn.SLSTMCell(3, 4),
    "MGUCell": nn.MGUCell(3, 4),
    "MLSTMCell": nn.MLSTMCell(3, 4),
}
X = [None, 3, "x", [[[1.0, 2.0]]], np.zeros((5, 2, 4), "f"),
     np.zeros((5, 2, 3), int), object(), f(()), f((3,)),
     f((5, 2, 4)), f((5, 2, 3, 1)), f((0, 2, 3)), f((5, 0, 3)), f((5, 2, 0)),
     of("int64", 5, 2, 3), of("bool", 5, 2, 3), of("complex64", 5, 2, 3)]  # fmt: skip
STATES = [0, 0.5, "x", [], (), (None,), (None, None), (f((1, 2, 4)), None), {"h": f((1, 2, 4))},
          f((4,)), f((1, 3, 4)), f((1, 2, 5)), (f((1, 2, 4)),) * 5]  # fmt: skip
LENGTHS = [3, "x", [5], [5, 5, 5], [5.0, 5.0], [-1, 5], [6, 5], [True, False], [None, 5],
           np.array([[5, 5]]), [np.nan, 5], [2**40, 1], object()]  # fmt: skip
RESETS = [0, 1, "x", [1, 0], True, np.zeros((5, 2), int), np.zeros((2, 5), bool), f((5, 2)),
          object()]  # fmt: skip
IDS = [3, "x", [0, 1], np.zeros((5, 2)), np.zeros((5, 2), bool), np.full((5, 2), 9),
       np.full((5, 2), -1), np.full((5, 2), 2**40), np.zeros((0, 2), int), object()]  # fmt: skip


def refused(run: Any, *words: str) -> None:
    """Holds a call to the package's own error, whether or not a graph is recorded."""
    for mode in (tg.no_grad, nullcontext):
        with mode(), pytest.raises(tg.TinygradRnnError) as caught:
            run()
        for word in words:
            assert word in str(caught.value)


@pytest.mark.parametrize("name", LAYERS)
def test_inputs_that_no_layer_takes_are_named(name: str) -> None:
    layer, x = LAYERS[name], f((5, 2, 3))
    for wrong in X:
        refused(lambda wrong=wrong: layer(wrong), name, "x: ")
    for wrong in STATES:
        refused(lambda wrong=wrong: layer(x, wrong), name, "state")
    for wrong in LENGTHS:
        refused(lambda wrong=wrong: layer(x, lengths=wrong))
    if name.startswith("Min"):
        return
    for wrong in RESETS:
        refused(lambda wrong=wrong: layer(x, reset=wrong))
    for wrong in IDS:
        refused(lambda wrong=wrong: layer(f((4, 3)), ids=wrong))


@pytest.mark.parametrize("name", CELLS)
def test_inputs_that_no_cell_takes_are_named(name: str) -> None:
    cell, x = CELLS[name], f((2, 3))
    for wrong in [f((5, 2, 3)), *X]:
        refused(lambda wrong=wrong: cell(wrong), name, "x: ")
    for wrong in [f((1, 2, 4)), *STATES]:
        refused(lambda wrong=wrong: cell(x, wrong), name, "state")


OTHERS: dict[str, tuple[Any, Any]] = {
    "Linear": (nn.Linear(3, 2), (5, 3)),
    "LayerNorm": (nn.LayerNorm(3), (5, 3)),
    "BatchNorm1d": (nn.BatchNorm1d(3), (5, 3)),
    "Conv1d": (nn.Conv1d(3, 2, 2), (1, 3, 5)),
    "CRF": (nn.CRF(3), (5, 2, 3)),
    **{name: (layer, (5, 2, 3)) for name, layer in LAYERS.items()},
    **{name: (cell, (2, 3)) for name, cell in CELLS.items()},
}


@pytest.mark.parametrize("name", OTHERS)
def test_tensors_of_other_reals_than_the_parameters_are_refused(name: str) -> None:
    layer, shape = OTHERS[name]
    arguments = (np.zeros((5, 2), int),) if name == "CRF" else ()
    for dtype in ("float64", "float16"):
        x = of(dtype, *shape)
        refused(
            lambda x=x: layer(x, *arguments), name, f"float32 as the parameters are, got {dtype}"
        )


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_states_are_of_reals_and_come_in_any_precision(name: str) -> None:
    layer, x = getattr(nn, name)(3, 4), tg.ones((5, 2, 3))
    parts = 2 if name == "LSTM" else 1

    def state(part: Any) -> Any:
        return (part,) * parts if parts > 1 else part

    for dtype in ("int64", "bool", "complex64"):
        refused(lambda dtype=dtype: layer(x, state(of(dtype, 1, 2, 4))), name, f"got {dtype}")
    expected, _ = layer(x, state(tg.ones((1, 2, 4))))
    for h in (np.ones((1, 2, 4)), np.ones((1, 2, 4), "f2"), of("float64", 1, 2, 4) + 1):
        y, _ = layer(x, state(h))
        assert y.dtype == "float32"
        np.testing.assert_array_equal(y.numpy(), expected.numpy())


def test_a_cell_takes_a_state_of_numpy_and_converts_its_precision() -> None:
    cell, x = nn.LSTMCell(3, 4), tg.ones((2, 3))
    plain = cell(x, (tg.ones((2, 4)), tg.zeros((2, 4))))
    given = cell(x, [np.ones((2, 4)), np.zeros((2, 4), "f")])
    for a, b in zip(plain, given, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), strict=True)


@pytest.mark.parametrize(("features", "units"), [(3, 0), (0, 4), (0, 0)])
@pytest.mark.parametrize(("name", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
def test_operations_need_a_feature_and_a_unit(
    name: str, gates: int, features: int, units: int
) -> None:
    states = [f((2, units))] * (2 if name == "lstm" else 1)
    weights = f((gates * units, features)), f((gates * units, units))
    with pytest.raises(tg.ShapeError, match="at least one feature"):
        getattr(tg, name)(f((5, 2, features)), *states, *weights)


def test_what_is_handed_on_between_parts_is_what_they_gave() -> None:
    attention, query = nn.AdditiveAttention(4, 4), f((2, 3, 4))
    decoder = nn.Decoder(nn.Embedding(5, 4), nn.GRU(4, 4), nn.DotAttention(4))
    model = nn.Seq2Seq(nn.Encoder(nn.Embedding(5, 3), nn.GRU(3, 4)), decoder)
    bridge = nn.Bridge(nn.GRU(3, 4), nn.LSTM(3, 5))
    for wrong in (None, 3, "x", f((5, 3, 4)), np.zeros((5, 3, 4)), object()):
        refused(
            lambda wrong=wrong: attention.attend(query, wrong),
            "the result of prepare_memory(memory)",
        )
        refused(
            lambda wrong=wrong: decoder([[1, 1]], wrong), "the result of prepare_memory(memory)"
        )
        refused(lambda wrong=wrong: bridge((wrong,)), "Bridge: state")
    refused(lambda: bridge((f((1, 2, 4)), f((1, 2, 4)))), "Bridge: state: expected 1 part")
    for wrong in (3, [1, 2], [[]]):
        refused(
            lambda wrong=wrong: model([[1, 1]], wrong, teacher_forcing_ratio=0.5), "Seq2Seq: target"
        )


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_float64_target_gives_float32_weights_their_gradient(kind: Any) -> None:
    """Of a loss an array takes the prediction's dtype; in arithmetic it widens the result."""
    layer, x = kind(3, 4, generator=tg.Generator(0)), np.ones((5, 2, 3), "f")
    target = np.linspace(0, 1, 40).reshape(5, 2, 4)
    found = []
    for distance, dtype in (
        (nn.mse_loss, "float32"),
        (lambda a, b: tg.square(a - b).mean(), "float64"),
    ):
        layer.zero_grad()
        y, state = layer(x)
        loss = distance(y, target) + sum(distance(h, target[:1]) for h in tree.leaves(state))
        assert loss.dtype == dtype
        loss.backward()
        found.append(layer.weight_hh_l0.grad.numpy())
        assert found[-1].dtype == "float32"
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6)


SEVERAL = [info for info in MODULES if info.kind in ("layer", "loss") and info.name != "Recurrent"]


@pytest.mark.parametrize("info", SEVERAL, ids=lambda info: info.name)
@given(seed=st.integers(0, 2**16), place=st.integers(0, 3))
def test_one_float64_tensor_among_float32_ones_widens_no_result_silently(
    info: OpInfo, seed: int, place: int
) -> None:
    sample = info.draw(SeededSampler(seed))
    count = len(sample.inputs)
    if info.kind == "layer" and count < 2:
        return
    if sample.module is not None:
        sample.module.to("float32")
    xs = [
        tg.tensor(x, "float64" if i == place % count else "float32")
        for i, x in enumerate(sample.inputs)
    ]
    try:
        found = tree.leaves(sample.call(info.function, *xs))
    except tg.InvalidTypeError:
        return
    if info.kind == "loss":
        assert {y.dtype for y in found} == {xs[0].dtype}
    else:
        assert {y.dtype.name for y in found if y.dtype.kind == "f"} <= {"float32"}


def test_a_layer_fed_with_a_recurrent_layers_outputs_names_the_output() -> None:
    with pytest.raises(
        tg.InvalidTypeError, match=r"Linear: x: .* a tuple of 2: .*y, state = layer"
    ):
        nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2))(f((5, 2, 3)))


def test_a_cell_without_a_step_says_what_to_define() -> None:
    with pytest.raises(tg.InvalidTypeError, match=r"cell: Linear has no step .* define step\(self"):
        nn.Recurrent(nn.Linear(3, 4))  # type: ignore[arg-type]
