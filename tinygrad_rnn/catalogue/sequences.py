"""Rows of what runs over time: scan, the cells' steps and the fused operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import backend, ops
from .build import chosen, row
from .case import Array, Case, Draw, Row, real


def _recurrent(name: str, gates: int, states: int, **options: Sequence[Any]) -> Row:
    """A row for a fused sequence operation, whose reference is its composed twin."""

    def draw(d: Draw) -> Case:
        steps, batch, features, hidden = (d.integer(1, 4) for _ in range(4))
        given = chosen(d, options)
        projected = d.integer(1, 3) if states == 2 and d.one_of([False, True]) else None
        out = projected or hidden
        biases = d.one_of([(), ("b_ih",), ("b_ih", "b_hh")])
        if name == "gru" and not given["reset_after"]:
            biases = biases[:1]
        inputs = {
            "x": real(d, (steps, batch, features)),
            "h0": real(d, (batch, out)),
            **({"c0": real(d, (batch, hidden))} if states == 2 else {}),
            "w_ih": real(d, (gates * hidden, features)),
            "w_hh": real(d, (gates * hidden, out)),
            **{b: real(d, (gates * hidden,)) for b in biases},
            **({"w_hr": real(d, (out, hidden))} if projected else {}),
        }
        lengths = d.one_of([None, np.array([d.integer(0, steps) for _ in range(batch)])])
        empty = dict.fromkeys(("b_ih", "b_hh", *(("w_hr",) if states == 2 else ())))

        def call(f: Any, *xs: Any) -> Any:
            weights = {**empty, **dict(zip(inputs, xs, strict=True))}
            on = None if lengths is None else backend.to_device(lengths)
            return f(**weights, lengths=on, **given)

        return Case(list(inputs.values()), call)

    return row(name, draw, getattr(ops, name).composed)


def _step(name: str, gates: int, states: int, reference: Any, **options: Sequence[Any]) -> Row:
    """A row for one step of a cell."""

    def draw(d: Draw) -> Case:
        batch, features, hidden = (d.integer(1, 3) for _ in range(3))
        given = chosen(d, options)
        inputs = [
            real(d, (batch, features)),
            *(real(d, (batch, hidden)) for _ in range(states)),
            real(d, (gates * hidden, features)),
            real(d, (gates * hidden, hidden)),
            real(d, (gates * hidden,)),
        ]
        return Case(inputs, lambda f, *xs: f(*xs, **given))

    return row(name, draw, reference)


def logistic(x: Array) -> Array:
    """The sigmoid, as books have it."""
    return np.asarray(1 / (1 + np.exp(-x)))


def _rnn_step(x: Array, h: Array, u: Array, w: Array, b: Array, activation: str) -> Array:
    z = x @ u.T + h @ w.T + b
    return np.asarray(np.tanh(z) if activation == "tanh" else np.maximum(z, 0))


def _gru_step(x: Array, h: Array, u: Array, w: Array, b: Array, reset_after: bool) -> Array:
    (u_r, u_z, u_n), (w_r, w_z, w_n), (b_r, b_z, b_n) = (np.split(p, 3) for p in (u, w, b))
    r = logistic(x @ u_r.T + h @ w_r.T + b_r)
    z = logistic(x @ u_z.T + h @ w_z.T + b_z)
    n = np.tanh(x @ u_n.T + b_n + (r * (h @ w_n.T) if reset_after else (r * h) @ w_n.T))
    return np.asarray(z * h + (1 - z) * n)


def _lstm_step(x: Array, h: Array, c: Array, u: Array, w: Array, b: Array) -> tuple[Array, Array]:
    i, f, g, o = np.split(x @ u.T + h @ w.T + b, 4, axis=1)
    c = logistic(f) * c + logistic(i) * np.tanh(g)
    return logistic(o) * np.tanh(c), c


SEQUENCES = [
    _step("rnn_step", 1, 1, _rnn_step, activation=["tanh"]),
    _step("gru_step", 3, 1, _gru_step, reset_after=[False, True]),
    _step("lstm_step", 4, 2, _lstm_step),
    _recurrent("rnn", 1, 1, activation=["tanh"], reverse=[False, True]),
    _recurrent("gru", 3, 1, reset_after=[False, True], reverse=[False, True]),
    _recurrent("lstm", 4, 2, reverse=[False, True]),
]
