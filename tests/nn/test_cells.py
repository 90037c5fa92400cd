"""Cells are one step of their layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


@pytest.mark.parametrize(
    ("cell", "layer", "options"),
    [
        (tg.nn.RNNCell, tg.nn.RNN, {}),
        (tg.nn.RNNCell, tg.nn.RNN, {"nonlinearity": "relu"}),
        (tg.nn.GRUCell, tg.nn.GRU, {}),
        (tg.nn.GRUCell, tg.nn.GRU, {"reset_after": True}),
        (tg.nn.LSTMCell, tg.nn.LSTM, {}),
    ],
)
def test_a_cell_in_a_loop_is_the_layer(cell: Any, layer: Any, options: Any) -> None:
    one, whole = cell(3, 4, **options), layer(3, 4, **options)
    one.load_state_dict({n.replace("_l0", ""): v for n, v in whole.state_dict().items()})
    x = tg.randn(5, 2, 3)
    y, _ = whole(x)
    state = None
    for t in range(5):
        state = one(x[t], state)
        h = state[0] if isinstance(state, tuple) else state
        np.testing.assert_allclose(h.numpy(), y[t].numpy(), atol=1e-6)


def test_a_new_cell_takes_twenty_lines_at_most_and_is_checked_like_ours() -> None:
    class LightGatedCell(tg.nn.Cell):
        """h' = (1 - z) h + z relu(U x + W h + b), z = sigmoid(U_z x + W_z h + b_z)."""

        gates = 2

        def step(self, x: tg.Tensor, h: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
            a = x @ self.weight_ih.mT + self.bias_ih + h @ self.weight_hh.mT + self.bias_hh
            z, n = a.reshape(len(x), 2, self.hidden_size).unstack(axis=1)
            z = tg.sigmoid(z)
            h = (1 - z) * h + z * tg.softplus(n)
            return h, h

    cell = LightGatedCell(3, 4, dtype="float64")
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(2, 3)), rng.normal(size=(2, 4)), *cell.parameters()]
    assert tg.gradcheck(lambda x, h, *_: cell(x, h), inputs, order=2)


def test_a_cell_without_a_step_says_so() -> None:
    with pytest.raises(TypeError, match=r"defines no step"):
        tg.nn.Cell(3, 4)(tg.zeros((1, 3)))
