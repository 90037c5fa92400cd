"""Cells that the package does not have."""

from __future__ import annotations

from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class MinimalGatedCell(nn.Cell):
    """A cell of one's own."""

    gates = 2

    def step(self, x: Any, h: Any) -> Any:
        f, n = (x @ self.weight_ih.mT + self.bias_ih).reshape(len(x), 2, -1).unstack(1)
        u_f, u_n = self.weight_hh.reshape(2, self.hidden_size, -1)
        f = tg.sigmoid(f + h @ u_f.mT)
        h = (1 - f) * h + f * tg.tanh(n + (f * h) @ u_n.mT)
        return h, h


class Counting(nn.Module):
    """A cell whose state is a dict with integers, and begins with ones."""

    output_size = 3

    def initial(self, x: Any) -> Any:
        ones = tg.ones((len(x), 3))
        return {"sum": ones, "steps": tg.zeros((len(x),), dtype="int64")}

    def step(self, x: Any, state: Any) -> Any:
        total, steps = state["sum"] * 0.5 + x, state["steps"] + 1
        return total / steps.expand_dims(1).astype("float32"), {"sum": total, "steps": steps}
