"""OpInfos of the cells beyond RNN, GRU and LSTM: their steps, sequences and modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import nn
from ..tensor import backend
from .builders import applied, chosen, module_info, op_info
from .kinks import nearest
from .op_info import Array, OpInfo, Sample, Sampler, positive, real

# ---------------------------------------------------------------- steps


def logistic(x: Array) -> Array:
    """The sigmoid, as books have it."""
    return np.asarray(1 / (1 + np.exp(-x)))


def _step(name: str, shapes: Callable[..., Any], **options: Sequence[Any]) -> OpInfo:
    """An OpInfo for a step, whose inputs have the shapes that B, I and H give: the bias last."""

    def draw(d: Sampler) -> Sample:
        *rest, bias = shapes(*(d.integer(1, 3) for _ in range(3)))
        given, biased = chosen(d, options), d.one_of([True, False])
        inputs = [real(d, shape) for shape in (*rest, *([bias] if biased else []))]
        return applied(*inputs, **given)

    return op_info(name, draw)


def _sequence(name: str, gates: int) -> OpInfo:
    """An OpInfo for a sequence in parallel."""

    def draw(d: Sampler) -> Sample:
        steps, batch, features, hidden = (d.integer(1, 4) for _ in range(4))
        lengths = d.one_of([None, np.array([d.integer(0, steps) for _ in range(batch)])])
        reverse, biased = d.one_of([False, True]), d.one_of([False, True])
        shapes = [(steps, batch, features), (batch, hidden), (gates * hidden, features)]
        x, h, w, *b = (real(d, s) for s in (*shapes, *([(gates * hidden,)] if biased else [])))
        while np.abs(x @ w[-hidden:].T + (b[0][-hidden:] if b else 0.0)).min() < 1e-3:
            x, w = x + 0.05, w + 0.05  # off the kink of e(n) at 0
        if lengths is not None and d.one_of([False, True]):
            x[np.arange(steps)[:, None] >= lengths] = np.nan
        inputs = [x, h, w, *b]

        def call(f: Callable[..., Any], x: Any, h: Any, w: Any, b: Any = None) -> Any:
            on = None if lengths is None else backend.to_device(lengths)
            return f(x, h, w, b, on, reverse=reverse)

        return Sample(inputs, call)

    return op_info(name, draw)


def _draw_conv_lstm(d: Sampler) -> Sample:
    batch, channels, width = (d.integer(1, 2) for _ in range(3))
    space = d.one_of([(d.integer(1, 4),), (d.integer(1, 3), d.integer(1, 3))])
    u, w = (tuple(d.one_of([1, 3]) for _ in space) for _ in range(2))
    biased, peepholes = d.one_of([False, True]), d.one_of([False, True])
    inputs = [
        real(d, (batch, channels, *space)),
        *(real(d, (batch, width, *space)) for _ in range(2)),
        real(d, (4 * width, channels, *u)),
        real(d, (4 * width, width, *w)),
        *([real(d, (4 * width,))] if biased else []),
        *([real(d, (3, width, *space))] if peepholes else []),
    ]

    def call(f: Callable[..., Any], x: Any, h: Any, c: Any, u: Any, w: Any, *rest: Any) -> Any:
        return f(x, h, c, u, w, rest[0] if biased else None, rest[-1] if peepholes else None)

    return Sample(inputs, call)


def _draw_slstm(d: Sampler) -> Sample:
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    state = (batch, hidden)
    shapes = [(4 * hidden, features), (4 * hidden, hidden), (4 * hidden,)]
    x, h, c, m = (real(d, s) for s in ((batch, features), state, state, state))
    u, w, b = (real(d, s) for s in shapes)
    m = _off_the_kink(m, *np.split(x @ u.T + h @ w.T + b, 4, axis=1)[:2])
    return applied(x, h, c, positive(d, state), m, u, w, b)


def _off_the_kink(m: Array, i: Array, f: Array) -> Array:
    """The old scale, moved away from the kink of the new one, the maximum of it and i."""
    near = np.abs(np.log(logistic(f)) + m - i) < 0.01
    return m + 0.1 * near if near.any() else m


def _draw_mlstm(d: Sampler) -> Sample:
    batch, features, heads, width = (d.integer(1, n) for n in (2, 3, 2, 3))
    rows = 4 * heads * width + 2 * heads
    states = [(batch, heads, width, width), (batch, heads, width), (batch, heads)]
    shapes = [(batch, features), *states, (rows, features), (rows,)]
    x, c, n, m, u, b = (real(d, s) for s in shapes)
    z = x @ u.T + b
    q, k = z[:, : 2 * heads * width].reshape(batch, 2, heads, width).swapaxes(0, 1)
    i, f = z[:, 4 * heads * width :].reshape(batch, 2, heads).swapaxes(0, 1)
    m = _off_the_kink(m, i, f)

    def near_one() -> Array:
        """Marks products of the sums with q that are near the lower bound of the denominator."""
        old, new = (part[..., None] for part in (logistic(f) * np.exp(m), np.exp(i)))
        sums = old * n + new * k / np.sqrt(width)
        return np.asarray(np.abs(np.abs((sums * q).sum(axis=-1, keepdims=True)) - 1) < 0.01)

    push = 1.0
    while near_one().any():
        n, push = n + push * q * near_one(), 2 * push
    return applied(x, c, n, m, u, b)


CELLS = [
    _step("mgu_step", lambda b, i, h: [(b, i), (b, h), (2 * h, i), (2 * h, h), (2 * h,)]),
    _step(
        "janet_step",
        lambda b, i, h: [(b, i), (b, h), (2 * h, i), (2 * h, h), (2 * h,)],
        beta=[0.0, 1.0],
    ),
    _step(
        "indrnn_step",
        lambda b, i, h: [(b, i), (b, h), (h, i), (h,), (h,)],
        activation=["relu", "tanh"],
    ),
    _step(
        "sru_step",
        lambda b, i, h: [(b, i), (b, h), ((3 if i == h else 4) * h, i), (2 * h,), (2 * h,)],
    ),
    _step("min_gru_step", lambda b, i, h: [(b, i), (b, h), (2 * h, i), (2 * h,)]),
    _step("min_lstm_step", lambda b, i, h: [(b, i), (b, h), (3 * h, i), (3 * h,)]),
    _sequence("min_gru", 2),
    _sequence("min_lstm", 3),
    op_info("conv_lstm_step", _draw_conv_lstm),
    op_info("slstm_step", _draw_slstm),
    op_info("mlstm_step", _draw_mlstm),
]

# ---------------------------------------------------------------- modules


def _of_one_state(d: Sampler, cell: Any) -> Sample:
    """A cell whose state is one Tensor (B, H): its output and its state."""
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    module = cell(features, hidden, d.one_of([True, False]), dtype="float64")
    inputs = [real(d, (batch, features)), real(d, (batch, hidden))]
    return Sample(inputs, lambda _, x, h: module.step(x, h), module)


def _stepped(d: Sampler, module: Any, x: tuple[int, ...]) -> Sample:
    """Two steps of a cell from its initial state, a tuple of Tensors."""

    def call(_: object, x: Any) -> Any:
        state = module.initial(x[0])
        for x_t in x:
            y, state = module.step(x_t, state)
        return (y, *state)

    given, push = real(d, (2, *x)), 0.1
    while nearest(partial(call, None), given)["maximum"] < 0.01:
        given, push = given + push, 2 * push
    return Sample([given], call, module)


def _conv_lstm_cell(d: Sampler) -> Sample:
    batch, channels, width = (d.integer(1, 2) for _ in range(3))
    space = d.one_of([(3,), (2, 3)])
    module = nn.ConvLSTMCell(
        channels, width, (3,) * len(space), d.one_of([True, False]), dtype="float64",
        peephole_size=d.one_of([None, space]),
    )  # fmt: skip
    return _stepped(d, module, (batch, channels, *space))


def _slstm_cell(d: Sampler) -> Sample:
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    biased = d.one_of([True, False])
    return _stepped(d, nn.SLSTMCell(features, hidden, biased, dtype="float64"), (batch, features))


def _mlstm_cell(d: Sampler) -> Sample:
    batch, features, heads = (d.integer(1, 2) for _ in range(3))
    hidden = heads * d.integer(1, 2)
    module = nn.MLSTMCell(
        features, hidden, d.one_of([True, False]), dtype="float64", num_heads=heads
    )
    return _stepped(d, module, (batch, features))


def _parallel(d: Sampler, layer: Any) -> Sample:
    steps, batch, features, hidden = (d.integer(1, 4) for _ in range(4))
    lengths = d.one_of([None, [d.integer(0, steps) for _ in range(batch)]])
    batch_first, given = d.one_of([True, False]), d.one_of([True, False])
    module = layer(
        features, hidden, d.one_of([True, False]), batch_first=batch_first,
        reverse=d.one_of([True, False]), dtype="float64",
    )  # fmt: skip
    x = real(d, (batch, steps, features) if batch_first else (steps, batch, features))
    inputs = [x, *([real(d, (batch, hidden))] if given else [])]
    return Sample(inputs, lambda _, x, *s: module(x, *s, lengths=lengths), module)


ONE_STATE = nn.MGUCell, nn.JANETCell, nn.IndRNNCell, nn.SRUCell, nn.MinGRUCell, nn.MinLSTMCell

CELL_MODULES = [
    *(module_info(cell.__name__, _of_one_state, cell, kind="cell") for cell in ONE_STATE),
    module_info("ConvLSTMCell", _conv_lstm_cell, kind="cell"),
    module_info("SLSTMCell", _slstm_cell, kind="cell"),
    module_info("MLSTMCell", _mlstm_cell, kind="cell"),
    module_info("MinGRU", _parallel, nn.MinGRU),
    module_info("MinLSTM", _parallel, nn.MinLSTM),
]
