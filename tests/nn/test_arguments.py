"""Every layer's constructor takes what it is meant to be given, and names what it is not."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

CELL = {"input_size": 3, "hidden_size": 4}
PAIR = {"query_size": 4, "memory_size": 3}

# The arguments that each layer cannot do without.
NEEDED: dict[str, dict[str, Any]] = {
    "AdditiveAttention": PAIR,
    "Attention": PAIR,
    "BatchNorm1d": {"num_features": 3},
    "Conv1d": {"in_channels": 2, "out_channels": 4, "kernel_size": 3},
    "Conv2d": {"in_channels": 2, "out_channels": 4, "kernel_size": 3},
    "Bridge": {"encoder": nn.GRU(3, 4), "decoder": nn.LSTM(3, 4)},
    "CRF": {"num_tags": 3},
    "ConvLSTMCell": {"input_channels": 2, "hidden_channels": 3, "kernel_size": (3, 3)},
    "CoverageAttention": PAIR,
    "Decoder": {
        "embedding": nn.Embedding(5, 4),
        "layers": nn.GRU(4, 4),
        "attention": nn.DotAttention(4),
    },
    "DotAttention": {"size": 3},
    "Dropout": {},
    "Embedding": {"num_embeddings": 5, "embedding_dim": 3},
    "Encoder": {"embedding": nn.Embedding(5, 3), "layers": nn.GRU(3, 4)},
    "GeneralAttention": PAIR,
    **{
        name: {}
        for name in nn.__all__
        if name.endswith("Loss") or name in ("Flatten", "GELU", "ReLU", "SiLU", "Sigmoid", "Tanh")
    },
    "LayerNorm": {"features": 3},
    "Linear": {"in_features": 3, "out_features": 2},
    "LocationAttention": PAIR,
    "MultiHeadAttention": PAIR,
    "Pointer": {"features": 3},
    "Recurrent": {"cell": lambda n: nn.GRUCell(n, 4), "input_size": 3},
    "Seq2Seq": {
        "encoder": nn.Encoder(nn.Embedding(5, 3), nn.GRU(3, 4)),
        "decoder": nn.Decoder(nn.Embedding(5, 4), nn.GRU(4, 4), nn.DotAttention(4)),
    },
}
LAYERS = sorted(
    name
    for name in nn.__all__
    if isinstance(kind := getattr(nn, name), type)
    and issubclass(kind, nn.Module)
    and name not in ("Identity", "Module", "ModuleDict", "ModuleList", "Sequential")
)

ODD = [object(), int, nn.Linear, lambda: 0, tg.add, 1j, b"ab", "", "x", {}, [], [[1]], (0.5, "x"),
       np.ones(2), tg.ones((2,))]  # fmt: skip
REALS = [0.5, 1.0, 2.5, -0.5, np.nan, np.inf, -np.inf]

# By the kind of an argument, what it is never meant to be.
INDEX = [*ODD, *REALS, True, False, np.int64(2)]
SIZE = [*INDEX, None, 0, -1]
NUMBER = [*ODD, None, np.nan, np.inf, True, False]
RATE = [*NUMBER, 1, 1.0, 1.5, -0.5, -1]
FLAG = [*ODD, *REALS, None, 0, 1, np.True_]
PART = [*ODD, *REALS, 0, 1, True]
NAME = [*ODD, *REALS, 0, True, ["tanh"], "tanhh"]
FUNCTION = [*(v for v in NAME if not inspect.isfunction(v)), None, lambda a, b: a, tg.add]
TABLE: dict[str, list[Any]] = {
    "approximate": [*NAME, None],
    "activation": [*FUNCTION, "add", "where", "isnan", "zeros_like", "sum", nn.Dropout],
    "attention": PART,
    "beta": NUMBER,
    "blank": INDEX,
    "bridge": [v for v in PART if not callable(v) or isinstance(v, type)],
    "cell": [*REALS, *(v for v in ODD if v is not int), None, 0, nn.GRUCell],
    "cell_clip": [*(v for v in NUMBER if v is not None), 0, -1.0],
    "dilation": [*SIZE, (0,), (1, 1, 1), (1.0, 1.0)],
    "decoder": [*PART, None, nn.Linear(1, 1)],
    "delta": [*NUMBER, 0, -1.0],
    "device": [*ODD, *REALS, 0, True, "gpu"],
    "dtype": ["float31", "int64", "bool", "complex64", "", -1, 0.5, object(), int, [], b"ab"],
    "embedding": [*PART, None],
    "encoder": [*PART, None, nn.Linear(1, 1)],
    "end_dim": INDEX,
    "eps": [*NUMBER, -1e-5],
    "forget_bias": NUMBER,
    "forbidden": [None, 3, [3], [(0, 3)], [(0, -1)], [(None, None)], [(0,)], [(0.0, 1)], "ab"],
    "generator": [*PART, np.random.default_rng(0)],
    "ignore_index": INDEX,
    "groups": [*SIZE, 3],
    "Conv1d.kernel_size": [*SIZE, (3, 3), ()],
    "Conv2d.kernel_size": [*SIZE, (3,), (3, 0)],
    "kernel_size": [*SIZE, 2, (2, 3), (3, 2), (3, 0), (), (-1, 3), (3.0, 3)],
    "label_smoothing": [*NUMBER, 1.5, -0.5],
    "layers": [*PART, None, nn.Linear(1, 1), nn.GRU(3, 4, batch_first=True)],
    "merge": NAME,
    "momentum": [v for v in NUMBER if v is not None],
    "nonlinearity": [*FUNCTION, "multiply"],
    "normalize": [*NAME, None],
    "padding": [*INDEX, None, -1, "full", (-1,), (1, 1, 1)],
    "padding_idx": [*INDEX, 5, -6],
    "pos_weight": [v for v in ODD if not isinstance(v, (list, np.ndarray, tg.Tensor))],
    "peephole_size": [*INDEX, 0, -1, (3,), (3, 0), (3, 3, 3)],
    "proj_size": [*INDEX, None, 4, 5, -1],
    "reduction": [*NAME, None, "max"],
    "recurrent_activation": [*FUNCTION, "maximum"],
    "shared_axis": INDEX,
    "start_dim": INDEX,
    "stride": [*SIZE, (0,), (1, 1, 1), (1.0, 1.0)],
    "weight": [*(v for v in ODD if not isinstance(v, (np.ndarray, tg.Tensor)) and v != []), 1.5],
    "zoneout": [*RATE, (), ("x", 0.1), (0.1, 1.0)],
}


def wrong(layer: str, argument: str) -> list[Any]:
    """What a layer's argument is never meant to be, by its name or by its annotation."""
    for name in (f"{layer}.{argument}", argument):
        if name in TABLE:
            return TABLE[name]
    annotation = inspect.signature(getattr(nn, layer)).parameters[argument].annotation
    values = {"int": SIZE, "int | None": [*INDEX, 0, -1], "bool": FLAG, "float": RATE}
    return values[annotation]


EVERY = [
    (layer, argument)
    for layer in LAYERS
    for argument in inspect.signature(getattr(nn, layer)).parameters
]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_can_be_made(layer: str) -> None:
    getattr(nn, layer)(**NEEDED.get(layer, CELL))


@pytest.mark.parametrize(("layer", "argument"), EVERY)
def test_arguments_that_cannot_be_meant_are_named(layer: str, argument: str) -> None:
    for value in wrong(layer, argument):
        refused((layer, argument), value)


JUNK = st.none() | st.text() | st.complex_numbers() | st.lists(st.integers(), min_size=4)
DRAWN: dict[str, st.SearchStrategy[Any]] = {
    "int": JUNK | st.integers(max_value=0) | st.floats() | st.booleans(),
    "bool": JUNK | st.integers() | st.floats(),
    "float": JUNK | st.floats(max_value=-1e-300) | st.floats(min_value=1.0) | st.booleans(),
}


@given(st.data())
def test_drawn_arguments_that_cannot_be_meant_are_named(data: st.DataObject) -> None:
    layer = data.draw(st.sampled_from(LAYERS))
    parameters = inspect.signature(getattr(nn, layer)).parameters
    kinds = {n: p.annotation for n, p in parameters.items() if n not in TABLE}
    argument = data.draw(st.sampled_from([n for n, kind in kinds.items() if kind in DRAWN] or [""]))
    if argument:
        refused((layer, argument), data.draw(DRAWN[kinds[argument]]))


def refused(of: tuple[str, str], value: Any) -> None:
    """Holds a constructor to naming an argument, its own error, and the class or a part of it."""
    layer, argument = of
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of old names of dtypes
        with pytest.raises(tg.TinygradRnnError) as caught:
            getattr(nn, layer)(**{**NEEDED.get(layer, CELL), argument: value})
    assert argument in str(caught.value), (value, caught.value)
    if argument not in ("device", "cell"):
        assert layer in str(caught.value), (value, caught.value)


@pytest.mark.parametrize("size", [3, (3, 3)])
def test_one_kernel_size_is_for_all_axes(size: Any) -> None:
    h, _ = nn.ConvLSTMCell(3, 4, size)(tg.zeros((2, 3, 5, 6)))
    assert h.shape == (2, 4, 5, 6)
    line = nn.ConvLSTMCell(3, 4, 3, peephole_size=(7,))
    assert line.kernel_size == (3,)
    assert line(tg.zeros((2, 3, 7)))[0].shape == (2, 4, 7)


def test_layers_of_other_sizes_are_refused_when_they_are_made() -> None:
    with pytest.raises(
        tg.InvalidValueError, match=r"Recurrent: cell: .*one size.* hidden_size 3 and 4: "
    ):
        nn.Recurrent(lambda n: nn.GRUCell(n, 7 - n), 4, 2)
    nn.Recurrent(lambda n: nn.GRUCell(n, 4), 4, 2, bidirectional=True)


@pytest.mark.parametrize("number", [1001, 10**7, 2**63])
def test_absurd_numbers_of_layers_are_refused_before_one_is_made(number: int) -> None:
    made = []

    def cell(features: int) -> nn.GRUCell:
        made.append(features)
        return nn.GRUCell(features, 4)

    for layer in (lambda n: nn.LSTM(3, 4, n), lambda n: nn.Recurrent(cell, 3, num_layers=n)):
        with pytest.raises(ValueError, match=f"num_layers: .* from 1 to 1000, got {number}"):
            layer(number)
    assert not made
