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


def test_a_fused_rule_whose_twin_computes_something_else_is_caught() -> None:
    fused = tg.Op(
        "fused", lambda xp, x, *, keep: (xp.tanh(x), None), composed=lambda x: tg.sigmoid(x)
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
