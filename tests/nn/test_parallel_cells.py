"""The minimal cells: in parallel they are what they are step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

RNG = np.random.default_rng(0)
PAIRS = [(tg.nn.MinGRUCell, tg.nn.MinGRU), (tg.nn.MinLSTMCell, tg.nn.MinLSTM)]
pairs = pytest.mark.parametrize(("cell", "layer"), PAIRS)


@pairs
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, [37, 0, 5]])
def test_parallel_is_sequential_with_gradients(
    cell: Any, layer: Any, reverse: bool, lengths: Any
) -> None:
    whole = layer(3, 4, reverse=reverse, dtype="float64")
    one = cell(3, 4, dtype="float64")
    one.load_state_dict(whole.state_dict())
    x = tg.tensor(3 * RNG.normal(size=(37, 3, 3)), requires_grad=True)
    h = tg.tensor(RNG.normal(size=(3, 4)), requires_grad=True)  # negative ones among them

    def step(h: Any, x: Any) -> Any:
        y, h = one.step(x, h)
        return h, y

    last, y = tg.scan(step, h, x, reverse=reverse, lengths=lengths)
    parallel, end = whole(x, h, lengths=lengths)
    np.testing.assert_allclose(parallel.numpy(), y.numpy(), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(end.numpy(), last.numpy(), rtol=1e-12, atol=1e-13)
    found = tg.grad((parallel**3).sum() + end.sum(), [x, h, *whole.parameters()])
    true = tg.grad((y**3).sum() + last.sum(), [x, h, *one.parameters()])
    for a, b in zip(found, true, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


@pairs
def test_gates_that_are_shut_for_long_stay_exact_in_float32(cell: Any, layer: Any) -> None:
    """A product of 2,000 shares of e^-8 is no number: its logarithm is."""
    whole = layer(1, 1, bias=False)
    rows = [[8.0], [1.0]] if layer is tg.nn.MinGRU else [[-8.0], [8.0], [1.0]]
    whole.load_state_dict({"weight_ih": tg.tensor(rows)})
    y, _ = whole(tg.ones((2000, 1, 1)), tg.full((1, 1), 100.0))
    np.testing.assert_allclose(y.numpy()[2:, 0, 0], 1.5, rtol=1e-4)
    y.sum().backward()
    assert np.isfinite(whole.weight_ih.grad.numpy()).all()


@pairs
def test_one_step_batch_first_and_a_step_for_generation(cell: Any, layer: Any) -> None:
    whole = layer(3, 4, batch_first=True)
    x = tg.randn(2, 5, 3)
    y, h = whole(x)
    assert y.shape == (2, 5, 4)
    state = None
    for t in range(5):
        alone, end = whole(x[:, t : t + 1], state)
        state = end
        np.testing.assert_allclose(alone[:, 0].numpy(), y[:, t].numpy(), rtol=1e-5, atol=1e-6)
    stepped, _ = whole.step(x[:, 0], whole.initial(x))
    np.testing.assert_allclose(stepped.numpy(), y[:, 0].numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(h.numpy(), y[:, -1].numpy())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f: f(tg.zeros((2, 3))), r"expected \(T, B, features\), none empty; got \[2, 3\]"),
        (lambda f: f(tg.zeros((0, 2, 3))), r"none empty; got \[0, 2, 3\]"),
        (lambda f: f(tg.zeros((5, 2, 4))), r"expected 3 features"),
        (lambda f: f(tg.zeros((5, 2, 3)), tg.zeros((1, 4))), r"state: expected \[2, 4\]"),
        (lambda f: f(tg.zeros((5, 2, 3)), lengths=[1]), r"lengths: expected 2 integers"),
        (lambda f: f(tg.zeros((5, 2, 3)), lengths=[1, 6]), r"lengths\[1\] = 6 is outside 0..5"),
    ],
)
def test_what_is_wrong_is_said(call: Any, words: str) -> None:
    with pytest.raises(tg.ShapeError, match=words):
        call(tg.nn.MinGRU(3, 4))
