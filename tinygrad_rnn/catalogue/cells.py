"""Rows of the cells beyond RNN, GRU and LSTM: their steps, beside their equations in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from .. import nn
from ..tensor import backend
from ..tensor.graph import watch
from ..tensor.ops import maximum
from ..tensor.tensor import Tensor
from .build import chosen, module_row, row
from .case import Array, Case, Draw, Row, positive, real
from .steps import logistic

# ---------------------------------------------------------------- steps


def _step(name: str, shapes: Callable[..., Any], reference: Any, **options: Sequence[Any]) -> Row:
    """A row for a step, whose inputs have the shapes that B, I and H give: the bias last."""

    def draw(d: Draw) -> Case:
        *rest, bias = shapes(*(d.integer(1, 3) for _ in range(3)))
        given, biased = chosen(d, options), d.one_of([True, False])
        inputs = [real(d, shape) for shape in (*rest, *([bias] if biased else []))]
        return Case(inputs, lambda f, *xs: f(*xs, **given))

    return row(name, draw, reference)


def _over(z: Array, count: int) -> list[Array]:
    return np.split(z, count, axis=1)


def _mgu(x: Array, h: Array, u: Array, w: Array, b: Any = 0.0) -> Array:
    (u_f, u_n), (w_f, w_n), (b_f, b_n) = (
        np.split(u, 2),
        np.split(w, 2),
        np.split(b + np.zeros(len(u)), 2),
    )
    f = logistic(x @ u_f.T + h @ w_f.T + b_f)
    return np.asarray((1 - f) * h + f * np.tanh(x @ u_n.T + (f * h) @ w_n.T + b_n))


def _janet(x: Array, h: Array, u: Array, w: Array, b: Any = 0.0, beta: float = 1.0) -> Array:
    s, n = _over(x @ u.T + h @ w.T + b, 2)
    return np.asarray(logistic(s) * h + (1 - logistic(s - beta)) * np.tanh(n))


def _indrnn(
    x: Array, h: Array, u: Array, w: Array, b: Any = 0.0, activation: str = "relu"
) -> Array:
    z = x @ u.T + w * h + b
    return np.asarray(np.tanh(z) if activation == "tanh" else np.maximum(z, 0))


def _sru(x: Array, c: Array, u: Array, v: Array, b: Any = 0.0) -> tuple[Array, Array]:
    b_f, b_r = np.split(b + np.zeros(len(v)), 2)
    (v_f, v_r), parts = np.split(v, 2), _over(x @ u.T, len(u) // c.shape[1])
    f, r = logistic(parts[1] + v_f * c + b_f), logistic(parts[2] + v_r * c + b_r)
    c = f * c + (1 - f) * parts[0]
    return r * c + (1 - r) * (parts[3] if len(parts) == 4 else x), c


def _e(x: Array) -> Array:
    return np.where(x >= 0, x + 0.5, logistic(x))


def _min_gru(x: Array, h: Array, u: Array, b: Any = 0.0) -> Array:
    z, n = _over(x @ u.T + b, 2)
    return np.asarray((1 - logistic(z)) * h + logistic(z) * _e(n))


def _min_lstm(x: Array, h: Array, u: Array, b: Any = 0.0) -> Array:
    f, i, n = _over(x @ u.T + b, 3)
    f, i = logistic(f), logistic(i)
    return np.asarray(f / (f + i) * h + i / (f + i) * _e(n))


def _sequence(name: str, gates: int, step: Any) -> Row:
    """A row for a sequence in parallel, whose reference goes row by row, step by step."""

    def draw(d: Draw) -> Case:
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

        def call(f: Any, x: Any, h: Any, w: Any, b: Any = None) -> Any:
            on = None if lengths is None else backend.to_device(lengths)
            return f(x, h, w, b, on, reverse=reverse)

        return Case(inputs, call)

    def by_steps(x: Array, h: Array, w: Array, b: Any, lengths: Any, reverse: bool) -> Any:
        y, h = np.zeros((*x.shape[:2], h.shape[1])), h.copy()
        for r in range(x.shape[1]):
            times = range(len(x) if lengths is None else int(lengths[r]))
            for t in reversed(times) if reverse else times:
                h[r] = y[t, r] = step(x[t, r : r + 1], h[r : r + 1], w, 0.0 if b is None else b)[0]
        return y, h

    return row(name, draw, by_steps)


def _convolution(x: Array, w: Array) -> Array:
    """Element by element."""
    y, middle = np.zeros((len(x), len(w), *x.shape[2:])), [n // 2 for n in w.shape[2:]]
    for at in np.ndindex(*x.shape[2:]):
        for shift in product(*map(range, w.shape[2:])):
            near = tuple(i + s - m for i, s, m in zip(at, shift, middle, strict=True))
            if all(0 <= i < n for i, n in zip(near, x.shape[2:], strict=True)):
                for b, d, c in np.ndindex(len(x), len(w), x.shape[1]):
                    y[(b, d, *at)] += w[(d, c, *shift)] * x[(b, c, *near)]
    return y


def _conv_lstm(
    x: Array, h: Array, c: Array, u: Array, w: Array, b: Any, v: Any
) -> tuple[Array, Array]:
    z = _convolution(x, u) + _convolution(h, w)
    z = z if b is None else z + b.reshape(-1, *(1 for _ in x.shape[2:]))
    v_i, v_f, v_o = (0.0, 0.0, 0.0) if v is None else v
    i, f, g, o = _over(z, 4)
    c = logistic(f + v_f * c) * c + logistic(i + v_i * c) * np.tanh(g)
    return logistic(o + v_o * c) * np.tanh(c), c


def _draw_conv_lstm(d: Draw) -> Case:
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

    def call(f: Any, x: Any, h: Any, c: Any, u: Any, w: Any, *rest: Any) -> Any:
        return f(x, h, c, u, w, rest[0] if biased else None, rest[-1] if peepholes else None)

    return Case(inputs, call)


def _slstm(
    x: Array, h: Array, c: Array, n: Array, m: Array, u: Array, w: Array, b: Any = 0.0
) -> tuple[Array, ...]:
    """With i and f as they are, and the state brought to the scale that m should have."""
    i, f, z, o = _over(x @ u.T + h @ w.T + b, 4)
    c = logistic(f) * c * np.exp(m) + np.exp(i) * np.tanh(z)
    n = logistic(f) * n * np.exp(m) + np.exp(i)
    m = np.maximum(np.log(logistic(f)) + m, i)
    return logistic(o) * c / n, c / np.exp(m), n / np.exp(m), m


def _draw_slstm(d: Draw) -> Case:
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    state = (batch, hidden)
    shapes = [(4 * hidden, features), (4 * hidden, hidden), (4 * hidden,)]
    x, h, c, m = (real(d, s) for s in ((batch, features), state, state, state))
    u, w, b = (real(d, s) for s in shapes)
    m = _off_the_kink(m, *_over(x @ u.T + h @ w.T + b, 4)[:2])
    return Case([x, h, c, positive(d, state), m, u, w, b], lambda f, *xs: f(*xs))


def _off_the_kink(m: Array, i: Array, f: Array) -> Array:
    """The old scale, moved where the new one would not know whether to follow it or i."""
    near = np.abs(np.log(logistic(f)) + m - i) < 0.01
    return m + 0.1 * near if near.any() else m


def _mlstm(x: Array, c: Array, n: Array, m: Array, u: Array, b: Any = 0.0) -> tuple[Array, ...]:
    """Row by row and head by head, with i and f as they are."""
    batch, heads, width = n.shape
    c, n, m, h = c.copy(), n.copy(), m.copy(), np.zeros((batch, heads, width))
    z = x @ u.T + b
    for r, a in np.ndindex(batch, heads):
        q, k, v, o = (z[r, : 4 * heads * width].reshape(4, heads, width)[p, a] for p in range(4))
        i, f = z[r, 4 * heads * width :].reshape(2, heads)[:, a]
        k, scale = k / np.sqrt(width), np.exp(m[r, a])
        whole = logistic(f) * scale * c[r, a] + np.exp(i) * np.outer(v, k)
        sums = logistic(f) * scale * n[r, a] + np.exp(i) * k
        h[r, a] = logistic(o) * (whole @ q) / max(abs(sums @ q), 1)
        m[r, a] = max(np.log(logistic(f)) + m[r, a], i)
        c[r, a], n[r, a] = whole / np.exp(m[r, a]), sums / np.exp(m[r, a])
    return h.reshape(batch, -1), c, n, m


def _draw_mlstm(d: Draw) -> Case:
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
        """Where the sums' product with q is about as large as the least to divide by."""
        old, new = (part[..., None] for part in (logistic(f) * np.exp(m), np.exp(i)))
        sums = old * n + new * k / np.sqrt(width)
        return np.asarray(np.abs(np.abs((sums * q).sum(axis=-1, keepdims=True)) - 1) < 0.01)

    push = 1.0
    while near_one().any():
        n, push = n + push * q * near_one(), 2 * push
    return Case([x, c, n, m, u, b], lambda f, *xs: f(*xs))


CELLS = [
    _step("mgu_step", lambda b, i, h: [(b, i), (b, h), (2 * h, i), (2 * h, h), (2 * h,)], _mgu),
    _step(
        "janet_step",
        lambda b, i, h: [(b, i), (b, h), (2 * h, i), (2 * h, h), (2 * h,)],
        _janet,
        beta=[0.0, 1.0],
    ),
    _step(
        "indrnn_step",
        lambda b, i, h: [(b, i), (b, h), (h, i), (h,), (h,)],
        _indrnn,
        activation=["relu", "tanh"],
    ),
    _step(
        "sru_step",
        lambda b, i, h: [(b, i), (b, h), ((3 if i == h else 4) * h, i), (2 * h,), (2 * h,)],
        _sru,
    ),
    _step("min_gru_step", lambda b, i, h: [(b, i), (b, h), (2 * h, i), (2 * h,)], _min_gru),
    _step("min_lstm_step", lambda b, i, h: [(b, i), (b, h), (3 * h, i), (3 * h,)], _min_lstm),
    _sequence("min_gru", 2, _min_gru),
    _sequence("min_lstm", 3, _min_lstm),
    row("conv_lstm_step", _draw_conv_lstm, _conv_lstm),
    row("slstm_step", _draw_slstm, _slstm),
    row("mlstm_step", _draw_mlstm, _mlstm),
]

# ---------------------------------------------------------------- modules


def _of_one_state(cell: Any) -> Row:
    """A row for a cell whose state is one Tensor (B, H): its output and its state."""

    def draw(d: Draw) -> Case:
        batch, features, hidden = (d.integer(1, 3) for _ in range(3))
        module = cell(features, hidden, d.one_of([True, False]), dtype="float64")
        inputs = [real(d, (batch, features)), real(d, (batch, hidden))]
        return Case(inputs, lambda _, x, h: module.step(x, h), module)

    return module_row("cell", draw, cell.__name__)


def _stepped(d: Draw, module: Any, x: tuple[int, ...]) -> Case:
    """A cell from its initial state, two steps of it: whatever its state is made of."""

    def call(_: Any, x: Any) -> Any:
        state = module.initial(x[0])
        for x_t in x:
            y, state = module.step(x_t, state)
        return (y, *state)

    given, push = real(d, (2, *x)), 0.1
    while _near_a_kink(call, given):
        given, push = given + push, 2 * push
    return Case([given], call, module)


def _near_a_kink(call: Callable[..., Any], x: Array) -> bool:
    """Whether of two values of about the same size a function of x takes the larger one."""
    gaps: list[Array] = []

    def look(op: Any, _: Any, inputs: list[Any]) -> None:
        if op is maximum:
            gaps.append(np.abs(np.subtract(*map(backend.to_host, inputs))))

    before, watch.forward = watch.forward, look
    try:
        call(None, Tensor(x, device="cpu"))
    finally:
        watch.forward = before
    return any(((gap > 0) & (gap < 0.01)).any() for gap in gaps)


def _conv_lstm_cell(d: Draw) -> Case:
    batch, channels, width = (d.integer(1, 2) for _ in range(3))
    space = d.one_of([(3,), (2, 3)])
    module = nn.ConvLSTMCell(
        channels, width, (3,) * len(space), d.one_of([True, False]), dtype="float64",
        peephole_size=d.one_of([None, space]),
    )  # fmt: skip
    return _stepped(d, module, (batch, channels, *space))


def _slstm_cell(d: Draw) -> Case:
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    biased = d.one_of([True, False])
    return _stepped(d, nn.SLSTMCell(features, hidden, biased, dtype="float64"), (batch, features))


def _mlstm_cell(d: Draw) -> Case:
    batch, features, heads = (d.integer(1, 2) for _ in range(3))
    hidden = heads * d.integer(1, 2)
    module = nn.MLSTMCell(
        features, hidden, d.one_of([True, False]), dtype="float64", num_heads=heads
    )
    return _stepped(d, module, (batch, features))


def _parallel(d: Draw, layer: Any) -> Case:
    steps, batch, features, hidden = (d.integer(1, 4) for _ in range(4))
    lengths = d.one_of([None, [d.integer(0, steps) for _ in range(batch)]])
    batch_first, given = d.one_of([True, False]), d.one_of([True, False])
    module = layer(
        features, hidden, d.one_of([True, False]), batch_first=batch_first,
        reverse=d.one_of([True, False]), dtype="float64",
    )  # fmt: skip
    x = real(d, (batch, steps, features) if batch_first else (steps, batch, features))
    inputs = [x, *([real(d, (batch, hidden))] if given else [])]
    return Case(inputs, lambda _, x, *s: module(x, *s, lengths=lengths), module)


CELL_MODULES = [
    _of_one_state(nn.MGUCell),
    _of_one_state(nn.JANETCell),
    _of_one_state(nn.IndRNNCell),
    _of_one_state(nn.SRUCell),
    _of_one_state(nn.MinGRUCell),
    _of_one_state(nn.MinLSTMCell),
    module_row("cell", _conv_lstm_cell, "ConvLSTMCell"),
    module_row("cell", _slstm_cell, "SLSTMCell"),
    module_row("cell", _mlstm_cell, "MLSTMCell"),
    module_row("layer", lambda d: _parallel(d, nn.MinGRU), "MinGRU"),
    module_row("layer", lambda d: _parallel(d, nn.MinLSTM), "MinLSTM"),
]
