"""A row for every cell, layer and loss: drawn sizes, options, lengths and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..tensor.random import Generator
from .case import Case, Draw, Row, distinct, real, shape
from .structured import STRUCTURED


def module_row(kind: str, build: Callable[[Draw], Case], name: str) -> Row:
    """A row for a cell or a layer, which the case holds: there is no function to hand over."""
    return Row(name, kind, lambda: None, build)


def _cell(d: Draw, cell: Any, states: int, **options: Any) -> Case:
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    module = cell(features, hidden, bias=d.one_of([True, False]), dtype="float64", **options)
    inputs = [real(d, (batch, features)), *(real(d, (batch, hidden)) for _ in range(states))]
    return Case(inputs, lambda _, x, *s: module(x, s if states > 1 else s[0]), module)


def _layer(d: Draw, layer: Any, states: int, **options: Any) -> Case:
    """A drawn stack: layers, directions, lengths with empty rows, masks between layers."""
    steps, batch, features, hidden = (d.integer(1, 3) for _ in range(4))
    projected = d.integer(0, hidden - 1) if states == 2 else 0
    both, deep, batch_first = d.one_of([True, False]), d.integer(1, 2), d.one_of([True, False])
    generator = Generator(d.integer(0, 9))
    module = layer(
        features, hidden, deep, bias=d.one_of([True, False]), dtype="float64",
        batch_first=batch_first, bidirectional=both, dropout=d.one_of([0.0, 0.4]),
        generator=generator, **options, **({"proj_size": projected} if projected else {}),
    )  # fmt: skip
    masks = generator.state
    rows = deep * (2 if both else 1)
    sizes = [projected or hidden, hidden][:states]
    x = real(d, (batch, steps, features) if batch_first else (steps, batch, features))
    given = d.one_of([True, False])
    inputs = [x, *(real(d, (rows, batch, n)) for n in sizes if given)]
    lengths = d.one_of([None, [d.integer(0, steps) for _ in range(batch)]])

    def call(_: Any, x: Any, *state: Any) -> Any:
        generator.state = masks  # the same masks at every call
        y, last = module(x, (state if states > 1 else state[0]) if given else None, lengths=lengths)
        return (y, *last) if states > 1 else (y, last)

    return Case(inputs, call, module)


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


REDUCTIONS = ("mean", "sum", "none")

NETWORKS = [
    module_row("cell", lambda d: _cell(d, nn.RNNCell, 1), "RNNCell"),
    module_row("cell", lambda d: _cell(d, nn.GRUCell, 1), "GRUCell"),
    module_row("cell", lambda d: _cell(d, nn.GRUCell, 1, reset_after=True), "GRUCell reset_after"),
    module_row("cell", lambda d: _cell(d, nn.LSTMCell, 2), "LSTMCell"),
    module_row("layer", lambda d: _layer(d, nn.RNN, 1), "RNN"),
    module_row("layer", lambda d: _layer(d, nn.GRU, 1), "GRU"),
    module_row("layer", lambda d: _layer(d, nn.GRU, 1, reset_after=True), "GRU reset_after"),
    module_row("layer", lambda d: _layer(d, nn.LSTM, 2), "LSTM"),
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
    *STRUCTURED,
]
