"""Hooks on gradients, and the search for the operation that made the first NaN."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import observers


def leaf(*values: float) -> tg.Tensor:
    return tg.tensor(np.array(values), requires_grad=True)


def test_a_hook_sees_the_complete_gradient_once_and_may_replace_it() -> None:
    x, seen = leaf(1.0, 2.0), []
    h = x * 3.0
    h.register_hook(lambda g: seen.append(g.tolist()))
    (h.sum() + (h * h).sum()).backward()
    assert seen == [[7.0, 13.0]]
    remove = x.register_hook(lambda g: tg.zeros((2,), dtype="float64"))
    (x * 2).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [21.0, 39.0]
    remove()
    (x * 2).sum().backward()
    assert x.grad.tolist() == [23.0, 41.0]


def test_a_hook_stays_on_a_leaf_that_an_optimizer_changes() -> None:
    x, seen = leaf(1.0), []
    x.register_hook(lambda g: seen.append(g.item()))
    optimizer = tg.optim.SGD([x], lr=0.1)
    for _ in range(3):
        (x * 5).sum().backward()
        optimizer.step()
    assert seen == [5.0, 5.0, 5.0]


def test_a_hook_stays_on_a_leaf_that_moves_and_can_be_removed_then() -> None:
    x, seen = leaf(1.0), []
    remove = x.register_hook(lambda g: seen.append(g.dtype.name))
    x.move_("float32")
    x.data = np.ones(1)
    (x * 5).sum().backward()
    remove(), remove()
    (x * 5).sum().backward()
    assert seen == ["float32"]


def test_a_hook_that_holds_its_own_tensor_goes_with_it() -> None:
    before = len(observers.hooked)
    x = leaf(1.0)
    y = x * 2
    for value in (x, y):
        value.register_hook(lambda g, value=value: g * value.detach())
    y.sum().backward()
    del x, y, value
    gc.collect()
    assert len(observers.hooked) == before


def test_a_hook_in_a_differentiable_backward_pass_is_differentiated() -> None:
    x = leaf(2.0)
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = tg.grad(y.sum(), [x], create_graph=True)  # 2 x, times x
    (gg,) = tg.grad(g.sum(), [x])
    assert (g.item(), gg.item()) == (8.0, 8.0)


def test_hooks_keep_no_graph_alive() -> None:
    before = len(observers.hooked)
    y = leaf(1.0) * 2
    y.register_hook(lambda g: None)
    assert len(observers.hooked) == before + 1
    del y
    gc.collect()
    assert len(observers.hooked) == before
    with pytest.raises(tg.GraphError, match="does not require"):
        tg.zeros((1,)).register_hook(lambda g: None)


def test_the_operation_that_makes_the_first_nan_is_named_with_its_line() -> None:
    x = leaf(0.0, 1.0)
    with tg.detect_anomaly(), np.errstate(all="ignore"):
        tg.exp(x)
        with pytest.raises(tg.AnomalyError, match=r"'log' returned .* infinite \(.*tg.log\(x\)"):
            tg.log(x)
        with pytest.raises(tg.AnomalyError, match="'divide' returned a value that is no number"):
            tg.tensor(0.0) / 0.0
    with np.errstate(all="ignore"):
        tg.log(x)  # not detected outside the block


def test_in_the_backward_pass_the_line_is_that_of_the_forward_pass() -> None:
    x = leaf(0.0, 1.0)
    with tg.detect_anomaly(), np.errstate(all="ignore"):
        y = tg.sqrt(x)  # here
        with pytest.raises(tg.AnomalyError, match=r"backward of 'sqrt': .*x is infinite .*# here"):
            (y * 2).sum().backward()


def test_what_was_wrong_already_is_nobodys_fault() -> None:
    x, y = tg.tensor([np.nan, 1.0]), tg.tensor([np.inf, 1.0])
    with tg.detect_anomaly(), np.errstate(all="ignore"):
        assert np.isnan(tg.exp(x).numpy()[0])
        assert np.isinf((y * 2).numpy()[0])
        with pytest.raises(tg.AnomalyError, match="'subtract' returned a value that is no number"):
            y - y


def test_a_mask_of_infinities_is_nobodys_fault() -> None:
    """Attention gives the scores of padding -inf, which softmax makes 0."""
    x = leaf(1.0, 2.0)
    with tg.detect_anomaly(), np.errstate(all="ignore"):
        scores = tg.where(tg.tensor([True, False]), x, -np.inf)
        weights = tg.softmax(scores, axis=0)
        assert weights.tolist() == [1.0, 0.0]
        (weights * x).sum().backward()
        with pytest.raises(tg.AnomalyError, match="'log' returned a value that is no number"):
            tg.log(tg.where(tg.tensor([True, False]), -x, -np.inf))
