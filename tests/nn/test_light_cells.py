"""Cells with one gate, with one weight a unit, or with gates that read no output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

CELLS = [
    tg.nn.MGUCell,
    tg.nn.JANETCell,
    tg.nn.IndRNNCell,
    tg.nn.SRUCell,
    tg.nn.SLSTMCell,
    tg.nn.MLSTMCell,
    tg.nn.MinGRUCell,
    tg.nn.MinLSTMCell,
    tg.nn.RNNCell,
    tg.nn.GRUCell,
    tg.nn.LSTMCell,
]


def over(cell: Any, x: Any, fused: bool) -> Any:
    def step(state: Any, x: Any) -> Any:
        y, state = cell.step(x, state)
        return state, y

    return tg.scan(step, cell.initial(x[0]), x, lengths=[5, 0, 3], fused=fused)


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_every_cell_in_a_fused_scan_is_itself_step_by_step(kind: Any) -> None:
    cell = kind(3, 4, dtype="float64")
    x = tg.tensor(np.random.default_rng(0).normal(size=(6, 3, 3)), requires_grad=True)
    found = []
    for fused in (False, True):
        state, y = over(cell, x, fused)
        ys = [*(state if isinstance(state, tuple) else (state,)), y]
        loss = sum((tg.cos(v).sum() for v in ys[1:]), tg.cos(ys[0]).sum())
        found.append([*ys, *tg.grad(loss, [x, *cell.parameters()])])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.__name__)
def test_every_cell_learns_in_float32_with_a_batch_of_one(kind: Any) -> None:
    cell = kind(3, 4, bias=False)
    x = tg.randn(1, 3)
    y, state = cell.step(x, cell.initial(x))
    y, state = cell.step(x, state)
    assert y.shape == (1, 4)
    assert y.dtype == np.float32
    y.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == np.float32 for p in cell.parameters())


def test_the_parameters_that_a_cell_does_not_have() -> None:
    names = {kind.__name__: [n for n, _ in kind(3, 4).named_parameters()] for kind in CELLS[:8]}
    assert names["MGUCell"] == names["JANETCell"] == ["weight_ih", "weight_hh", "bias_ih"]
    assert names["SRUCell"] == ["weight_ih", "bias_ih", "weight_c"]
    assert names["MLSTMCell"] == names["MinGRUCell"] == ["weight_ih", "bias_ih"]
    assert tg.nn.IndRNNCell(3, 4).weight_hh.shape == (4,)
    assert tg.nn.SRUCell(3, 4).weight_ih.shape == (16, 3)
    assert tg.nn.SRUCell(4, 4).weight_ih.shape == (12, 4)


def test_janets_beta_and_indrnns_nonlinearity_are_used() -> None:
    x, h = tg.ones((1, 1)), tg.zeros((1, 1))
    w_ih, w_hh = tg.tensor([[0.0], [100.0]]), tg.zeros((2, 1))
    assert tg.janet_step(x, h, w_ih, w_hh, beta=100.0).item() == 1.0
    assert tg.janet_step(x, h, w_ih, w_hh, beta=0.0).item() == 0.5
    cell = tg.nn.JANETCell(1, 1, beta=0.0, bias=False)
    cell.load_state_dict({"weight_ih": w_ih, "weight_hh": w_hh})
    assert cell(x).item() == 0.5
    bounded = tg.nn.IndRNNCell(1, 1, nonlinearity="tanh", bias=False)
    bounded.load_state_dict({"weight_ih": tg.tensor([[100.0]]), "weight_hh": tg.tensor([0.0])})
    assert bounded(x).item() == 1.0
    with pytest.raises(ValueError, match="nonlinearity: expected relu or tanh, got 'gelu'"):
        tg.nn.IndRNNCell(1, 1, nonlinearity="gelu")


def test_a_cell_refuses_the_wrong_features() -> None:
    for kind in CELLS:
        with pytest.raises(tg.ShapeError, match=r"expected 3 features .* got \[2, 5\]"):
            kind(3, 4)(tg.zeros((2, 5)))
