"""The extended LSTM's cells: what their stabiliser is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


def run(cell: Any, x: Any) -> Any:
    state, ys = cell.initial(x[0]), []
    for x_t in x:
        y, state = cell.step(x_t, state)
        ys.append(y)
    return tg.stack(ys), state


@pytest.mark.parametrize("kind", [tg.nn.SLSTMCell, tg.nn.MLSTMCell])
@pytest.mark.parametrize("scale", [1e3, -1e3])
def test_gates_far_beyond_what_exp_can_hold(kind: Any, scale: float) -> None:
    cell = kind(2, 4)
    cell.bias_ih.data = np.full(cell.bias_ih.shape, scale, np.float32)
    y, _ = run(cell, tg.randn(20, 3, 2))
    y.sum().backward()
    assert np.isfinite(y.numpy()).all()
    assert all(np.isfinite(p.grad.numpy()).all() for p in cell.parameters())


def test_an_empty_memory_takes_what_comes_however_little_its_gate_lets_in() -> None:
    """At the first step i / i is 1, also where i is nothing beside f."""
    cell = tg.nn.SLSTMCell(2, 1)
    cell.bias_ih.data = np.array([-1000.0, 0, 0, 0], np.float32)
    x = tg.randn(3, 2, requires_grad=True)
    z, o = (x @ cell.weight_ih[2:].mT).unstack(axis=1)
    y, _ = cell.step(x, cell.initial(x))
    true = tg.sigmoid(o) * tg.tanh(z)
    np.testing.assert_allclose(y[:, 0].numpy(), true.numpy(), rtol=1e-6)
    (a,), (b,) = (tg.grad(v.sum(), [x]) for v in (y, true))
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)


@pytest.mark.parametrize("kind", [tg.nn.SLSTMCell, tg.nn.MLSTMCell])
def test_outputs_do_not_depend_on_the_scale_that_a_state_is_held_at(kind: Any) -> None:
    cell = kind(2, 4, dtype="float64")
    x = tg.tensor(np.random.default_rng(0).normal(size=(4, 3, 2)))
    _, state = run(cell, x)
    *rest, c, n, m = state
    scale = np.log(2.0)
    y, _ = cell.step(x[0], (*rest, c, n, m))
    other, _ = cell.step(x[0], (*rest, c / 2, n / 2, m + scale))
    np.testing.assert_allclose(y.numpy(), other.numpy(), rtol=1e-12)


def test_heads_are_cells_beside_each_other() -> None:
    both, one = (tg.nn.MLSTMCell(3, n, num_heads=n // 2, dtype="float64") for n in (4, 2))
    w, b = (p.numpy() for p in (both.weight_ih, both.bias_ih))
    x = tg.tensor(np.random.default_rng(0).normal(size=(5, 2, 3)))
    y, _ = run(both, x)
    for head in range(2):
        rows = [4 * part + 2 * head + i for part in range(4) for i in range(2)] + [
            16 + head,
            18 + head,
        ]
        one.load_state_dict({"weight_ih": w[rows], "bias_ih": b[rows]})
        alone, _ = run(one, x)
        np.testing.assert_allclose(alone.numpy(), y.numpy()[..., 2 * head : 2 * head + 2])


def test_heads_that_do_not_divide_the_features_are_refused() -> None:
    with pytest.raises(ValueError, match="num_heads: expected a divisor of hidden_size 4, got 3"):
        tg.nn.MLSTMCell(2, 4, num_heads=3)
