"""The checker is checked: what is wrong must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

X = np.array([-0.7, 0.2, 1.3])


def wrong(**rules: Callable[..., Any]) -> Any:
    return tg.Op("wrong", lambda xp, x: xp.tanh(x)).vjp(**rules)


@pytest.mark.parametrize(
    "rule",
    [
        lambda g, y: g * (1 - y),  # a dropped square
        lambda g, y: -g * (1 - y * y),  # a sign
        lambda g, y: g * (1 - y * y) * 1.0001,  # a factor near one
        lambda g: g * 0,  # no gradient
        lambda g, y: (g * (1 - y * y))[::-1],  # each element another's
        lambda g, y: g * (1 - y * y) * (y > -0.5),  # wrong for one element
    ],
)
def test_a_wrong_rule_is_caught(rule: Callable[..., Any]) -> None:
    with pytest.raises(tg.GradcheckError, match="gradcheck: wrong: derivative of order 1"):
        tg.gradcheck(wrong(x=rule), [X])


def test_a_wrong_second_order_is_caught_though_the_first_is_right() -> None:
    def first_order_only(g: Any, y: Any) -> Any:
        constant = y.detach() if isinstance(y, tg.Tensor) else y
        return g * (1 - constant * constant)

    op = wrong(x=first_order_only)
    assert tg.gradcheck(op, [X])
    with pytest.raises(tg.GradcheckError, match="order 2"):
        tg.gradcheck(op, [X], order=2)


def test_a_fused_rule_whose_decomposition_computes_something_else_is_caught() -> None:
    fused = tg.Op(
        "fused", lambda xp, x, *, keep: (xp.tanh(x), None), decomposition=lambda x: tg.sigmoid(x)
    ).vjp(lambda g, y: [g * (1 - y * y)])
    with pytest.raises(tg.GradcheckError, match="order 2"):
        tg.gradcheck(fused, [X], order=2)


def test_parameters_in_a_closure_are_checked_too() -> None:
    layer = tg.nn.Linear(3, 2, dtype="float64")
    assert tg.gradcheck(lambda x, *_: layer(x), [X[None], *layer.parameters()], order=2)


def test_inputs_are_left_as_they_were() -> None:
    x = tg.tensor(X, requires_grad=True)
    tg.gradcheck(tg.tanh, [x], order=2)
    assert x.tolist() == X.tolist()


def test_what_cannot_be_checked_is_said() -> None:
    with pytest.raises(TypeError, match="input 0: expected a float64"):
        tg.gradcheck(tg.tanh, [X.astype(np.float32)])
    with pytest.raises(TypeError, match="input 0: expected a float64"):
        tg.gradcheck(tg.tanh, [tg.tensor(X)])


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x: None, "expected Tensors, or trees of them, to be returned; got NoneType"),
        (lambda x: (x, None), "got NoneType"),
        (lambda x: x.detach().numpy(), "got ndarray"),
        (lambda x: 3.0, "got float"),
        (lambda x: [], "nothing to check"),
        (lambda x: x > 0, "nothing to check"),
        (lambda x: x[:0], "nothing to check"),
        (3, "fn: expected a function, got int"),
    ],
)
def test_a_function_that_gives_nothing_to_check_is_refused(fn: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"gradcheck: .*{words}"):
        tg.gradcheck(fn, [X])


@pytest.mark.parametrize(
    ("inputs", "settings", "words"),
    [
        ([np.zeros(0)], {}, "tanh: nothing to check: expected inputs"),
        (X, {}, "inputs: expected a list of arrays or Tensors, got ndarray"),
        (tg.tensor(X), {}, "inputs: expected a list of arrays or Tensors, got Tensor"),
        (None, {}, "inputs: expected a list"),
        ([[1.0, 2.0]], {}, "input 0: expected a float64"),
        ([X], {"order": 0}, "order: expected 1 or more"),
        ([X], {"order": 1.5}, "order: expected an integer"),
        ([X], {"tolerance": float("nan")}, "tolerance: expected more than 0"),
        ([X], {"tolerance": -1.0}, "tolerance: expected more than 0"),
    ],
)
def test_inputs_and_settings_that_check_nothing_are_refused(
    inputs: Any, settings: Any, words: str
) -> None:
    with pytest.raises(tg.TinygradRnnError, match=f"gradcheck: {words}"):
        tg.gradcheck(tg.tanh, inputs, **settings)


def test_a_function_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to check: expected inputs"):
        tg.gradcheck(lambda: tg.tensor(1.0, "float64"), [])
