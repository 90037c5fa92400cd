"""The gates of a machine of one bit at each symbol, and the equations that they make of a GRU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nn.utils import activations
from ..tensor.random import Generator
from ..train import inference
from .gates import STEPS, SYMBOLS, Machine, bits, draw, inputs


def gates_of(machine: Machine, ids: NDArray[np.int64]) -> dict[str, Any]:
    """The gates, the candidate and the state at each step: r, z, n and h, (T, B, H)."""
    [found] = activations(machine, lambda: machine(ids))["layer"]
    return {letter: values.numpy() for letter, values in found.items()}


@dataclass(frozen=True)
class Row:
    """A symbol's gates, and how far the GRU's state is from that of the lecture's equation."""

    symbol: str
    meaning: str
    reset: float
    update: float
    off: float


EQUATIONS = {
    ".": "keep: h",
    "!": "RNN: tanh(U x + W h + b)",
    "0": "MLP: tanh(U x + b)",
    "1": "MLP: tanh(U x + b)",
}


def by_symbol(machine: Machine) -> list[Row]:
    """Computes the mean gates for each symbol, over random sentences, and compares equations.

    `off` is the largest difference between the next state and that of the symbol's own equation.
    """
    ids = draw(Generator(99), STEPS, 64)
    values = gates_of(machine, ids)
    before = np.concatenate([np.zeros_like(values["h"][:1]), values["h"][:-1]])
    layer: Any = machine.layer
    size = layer.hidden_size
    u, w, b = (
        p.numpy()[2 * size :] for p in (layer.weight_ih_l0, layer.weight_hh_l0, layer.bias_ih_l0)
    )
    mlp = inputs(ids) @ u.T + b
    states = {".": before, "!": np.tanh(mlp + before @ w.T), "0": np.tanh(mlp), "1": np.tanh(mlp)}
    rows = []
    for i, symbol in enumerate(SYMBOLS):
        here = ids == i
        off = np.abs(values["h"] - states[symbol])[here].max()
        reset, update = (float(values[gate][here].mean()) for gate in "rz")
        rows.append(Row(symbol, EQUATIONS[symbol], reset, update, float(off)))
    return rows


def accuracy(machine: Machine) -> float:
    """Computes the share of right bits, in sentences four times as long as in training."""
    ids = draw(Generator(98), 4 * STEPS, 256)
    with inference(machine):
        found = machine(ids).numpy() > 0
    return float((found == bits(ids)).mean())
