"""A row for every cell, layer and loss: drawn sizes, options, lengths and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .build import chosen
from .case import Case, Draw, Row, distinct, real, shape


def module_row(kind: str, build: Callable[[Draw], Case], name: str) -> Row:
    """A row for a cell or a layer, which the case holds: there is no function to hand over."""
    return Row(name, kind, lambda: None, build)


def _cell(d: Draw, cell: Any, states: int, **options: Sequence[Any]) -> Case:
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    given = chosen(d, options)
    if given["layer_norm"]:
        features, hidden = WIDE, WIDE
        _tame(given)
    hidden = max(hidden, given.get("proj_size", 0) + 1)
    module = cell(features, hidden, bias=d.one_of([True, False]), dtype="float64", **given)
    _spread(module, d)
    out = given.get("proj_size") or hidden
    inputs = [
        real(d, (batch, features)),
        *(real(d, (batch, n)) for n in (out, hidden)[:states]),
    ]
    return Case(inputs, lambda _, x, *s: module(x, s if states > 1 else s[0]), module)


WIDE = 8


def _tame(given: dict[str, Any]) -> None:
    """Where few numbers are normalised, all may lie so close together that differences fail."""
    few = ("proj_size", "recurrent_dropout", "weight_dropout")
    given.update({name: 0 for name in few if name in given})


def _spread(module: nn.Module, d: Draw) -> None:
    """Gives all parameters drawn values, those that begin with zeros or ones, too.

    Gains are small: where normalised layers follow upon each other, curvature multiplies.
    """
    for name, p in module.named_parameters():
        p.data = p.numpy() * (0.3 if name.startswith("gain") else 1) + 0.2 * d.reals(p.shape)


STACKING: dict[str, Sequence[Any]] = {
    "batch_first": [False, True],
    "dropout": [0.0, 0.4],
    "dropout_same_mask": [False, True],
    "zoneout": [0.0, 0.3],
    "merge": ["concat", "sum", "mean", "mul", None],
}
FUSED: dict[str, Sequence[Any]] = {
    "bias": [True, False],
    "recurrent_dropout": [0.0, 0.4],
    "weight_dropout": [0.0, 0.4],
    "layer_norm": [False, True],
    "learn_initial": [False, True],
}
ACTIVATIONS: dict[str, Sequence[Any]] = {
    "activation": ["tanh", "softplus"],
    "recurrent_activation": ["sigmoid", "softplus"],
}
LSTM: dict[str, Sequence[Any]] = {  # without cell_clip: where c is near it, differences fail
    "peephole": [False, True],
    "coupled_gates": [False, True],
    "proj_size": [0, 1],
    **ACTIVATIONS,
}


def _layer(d: Draw, build: Callable[..., Any], **options: Sequence[Any]) -> Case:
    """A drawn stack: options, layers, directions, lengths with empty rows, resets, masks."""
    steps, batch, features, hidden = d.integer(1, 3), d.integer(1, 3), d.integer(1, 3), 2
    given = chosen(d, {**STACKING, **options})
    both, deep = d.one_of([True, False]), d.integer(1, 2)
    if given.get("layer_norm"):
        features, hidden, steps, deep = WIDE, WIDE, min(steps, 2), 1
        _tame(given)
    given["residual"] = given["merge"] is not None and d.one_of([True, False])
    generator = Generator(d.integer(0, 9))
    module = build(
        features, hidden, num_layers=deep, bidirectional=both, generator=generator, **given
    )
    _spread(module, d)
    if d.one_of([True, False]):
        module.eval()
    masks = generator.state
    begin = module.begin(0, Tensor(np.zeros((batch, features))))
    sizes = [p.shape[1] for p in (begin if isinstance(begin, tuple) else (begin,))]
    x = real(d, (batch, steps, features) if given["batch_first"] else (steps, batch, features))
    rows, known = deep * (2 if both else 1), d.one_of([True, False])
    inputs = [x, *(real(d, (rows, batch, n)) for n in sizes if known)]
    lengths = d.one_of([None, [d.integer(0, steps) for _ in range(batch)]])
    reset = d.one_of([None, d.reals(x.shape[:2]) > 0.5])
    return_states = d.one_of([True, False])

    def call(_: Any, x: Any, *state: Any) -> Any:
        generator.state = masks  # the same masks at every call
        first = None if not known else state if len(sizes) > 1 else state[0]
        given = {"lengths": lengths, "reset": reset, "return_states": return_states}
        return tuple(_flat(module(x, first, **given)))

    return Case(inputs, call, module)


def _flat(values: Any) -> list[Any]:
    """The tensors in tuples of tuples."""
    return [v for part in values for v in _flat(part)] if isinstance(values, tuple) else [values]


def _recurrent(features: int, hidden: int, **options: Any) -> nn.Recurrent:
    """Layers of a cell with two parts of a state, of which neither is the output."""

    class Cell(nn.Cell):
        gates = 2
        output_size = hidden

        def initial(self, x: Any) -> Any:
            h = super().initial(x)
            return h, h + 0.5

        def step(self, x: Any, state: Any) -> Any:
            h, s = state
            a, b = (x @ self.weight_ih.mT + h @ self.weight_hh.mT).reshape(len(x), 2, -1).unstack(1)
            h = (h + s * a).tanh()
            return h * b, (h, s * 0.5 + b.sigmoid())

    def made(size: int) -> Cell:
        return Cell(size, hidden, bias=False, dtype="float64", generator=options["generator"])

    return nn.Recurrent(made, features, **options)


def _simple(d: Draw, build: Callable[[int], Any]) -> Case:
    features = d.integer(1, 4)
    module = build(features)
    return Case([real(d, (*shape(d, most=2), features))], lambda _, x: module(x), module)


def _layer_norm(d: Draw) -> Case:
    features = d.integer(2, 4)  # of one feature nothing is left
    module = nn.LayerNorm(features, dtype="float64")
    x = distinct(d, (d.integer(1, 3), features))
    return Case([x], lambda _, x: module(x), module)


def _embedding(d: Draw) -> Case:
    symbols = d.integer(2, 4)
    padding = d.one_of([None, 0])
    module = nn.Embedding(symbols, d.integer(1, 3), padding, dtype="float64")
    ids = np.array([[d.integer(0, symbols - 1)] * 2, [0, d.integer(0, symbols - 1)]])
    frozen = 0 if padding is None else 1  # finite differences would move the padding's vector
    return Case([real(d, (1,))], lambda _, x: x * module(np.maximum(ids, frozen)), module)


def _dropout(d: Draw) -> Case:
    generator = Generator(d.integer(0, 9))
    module, masks = nn.Dropout(d.one_of([0.0, 0.5]), generator=generator), generator.state

    def call(_: Any, x: Any) -> Any:
        generator.state = masks
        return module(x)

    return Case([real(d, shape(d))], call)


def _class_loss(d: Draw, loss: Callable[..., Any], **options: Sequence[Any]) -> Case:
    whole, classes = shape(d, most=2, smallest=1), d.integer(1, 4)
    targets = np.array(d.reals(whole) > 0, dtype=np.int64) * (classes - 1)
    chosen = {name: d.one_of(values) for name, values in options.items()}
    return Case([real(d, (*whole, classes))], lambda _, x: loss(x, targets, **chosen))


def _pair_loss(d: Draw, loss: Callable[..., Any]) -> Case:
    whole = shape(d, smallest=1)
    reduction = d.one_of(["mean", "sum", "none"])
    inputs = [real(d, whole), real(d, whole)]
    return Case(inputs, lambda _, x, t: loss(x, t, reduction=reduction))


def _layer_row(build: Callable[..., Any], name: str, **options: Sequence[Any]) -> Row:
    if name != "Recurrent":
        options["dtype"] = ["float64"]
    return module_row("layer", lambda d: _layer(d, build, **options), name)


REDUCTIONS = ("mean", "sum", "none")

NETWORKS = [
    module_row(
        "cell",
        lambda d: _cell(d, nn.RNNCell, 1, nonlinearity=["tanh", "sin"], layer_norm=[False, True]),
        "RNNCell",
    ),
    *(
        module_row(
            "cell",
            lambda d, r=r: _cell(  # type: ignore[misc]
                d, nn.GRUCell, 1, reset_after=[r], layer_norm=[False, True], **ACTIVATIONS
            ),
            f"GRUCell{' reset_after' if r else ''}",
        )
        for r in (False, True)
    ),
    module_row(
        "cell", lambda d: _cell(d, nn.LSTMCell, 2, layer_norm=[False, True], **LSTM), "LSTMCell"
    ),
    _layer_row(nn.RNN, "RNN", nonlinearity=["tanh", "sin"], **FUSED),
    _layer_row(nn.GRU, "GRU", **FUSED, **ACTIVATIONS),
    _layer_row(nn.GRU, "GRU reset_after", reset_after=[True], **FUSED, **ACTIVATIONS),
    _layer_row(nn.LSTM, "LSTM", **FUSED, **LSTM),
    _layer_row(_recurrent, "Recurrent"),
    module_row("layer", lambda d: _simple(d, lambda n: nn.Linear(n, 2, dtype="float64")), "Linear"),
    module_row("layer", _layer_norm, "LayerNorm"),
    module_row("layer", _embedding, "Embedding"),
    module_row("layer", _dropout, "Dropout"),
    module_row(
        "loss",
        lambda d: _class_loss(
            d,
            nn.cross_entropy,
            ignore_index=(-100, 0),
            label_smoothing=(0.0, 0.1),
            reduction=REDUCTIONS,
        ),
        "cross_entropy",
    ),
    module_row(
        "loss",
        lambda d: _class_loss(d, nn.nll_loss, ignore_index=(-100, 0), reduction=REDUCTIONS),
        "nll_loss",
    ),
    module_row("loss", lambda d: _pair_loss(d, nn.mse_loss), "mse_loss"),
    module_row(
        "loss",
        lambda d: _pair_loss(d, nn.binary_cross_entropy_with_logits),
        "binary_cross_entropy_with_logits",
    ),
]
