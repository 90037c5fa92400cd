"""Derivatives where there is hardly one: the conventions. Those that PyTorch has: test_torch.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

INF = math.inf


@pytest.mark.parametrize("a", [-2.0, 0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("b", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, -1.0])
def test_the_hessian_of_a_power_is_symmetric(a: float, b: float) -> None:
    with np.errstate(all="ignore"):
        (aa, ab), (ba, bb) = (
            [v.item() for v in row]
            for row in tg.hessian(tg.pow, *(tg.tensor(v, "float64") for v in (a, b)))
        )
    np.testing.assert_allclose(ab, ba)
    if a > 0:
        first, log = a ** (b - 1), math.log(a)
        np.testing.assert_allclose(
            [aa, ab, bb], [b * (b - 1) * a ** (b - 2), first * (1 + b * log), a**b * log**2]
        )
    elif a == 0 and b >= 0:  # there the exponent counts as a constant
        assert bb == 0
        assert b == 0.5 or ab == 0


@pytest.mark.parametrize(
    ("fn", "at"),
    [
        (tg.linalg.norm, [0.0, 0.0]),
        (lambda x: tg.linalg.norm(x, 2.5), [0.0, 0.0]),
        (lambda x: tg.linalg.norm(x, 0.5), [0.0, 2.0]),
        (tg.std, [1.0, 1.0]),
        (tg.logsumexp, [-INF, -INF]),
        (lambda x: tg.atan2(x[0], x[1]), [0.0, 0.0]),
        (lambda x: tg.logaddexp(x[0], x[1]), [-INF, -INF]),
        (lambda x: x[0] ** x[1], [0.0, 0.0]),
        (lambda x: x[0] ** x[1], [0.0, 1.0]),
        (lambda x: tg.floor(x).sum() + tg.sign(x).sum() + (x // 2).sum(), [0.0, 1.0]),
    ],
)
def test_derivatives_of_every_order_are_numbers(fn: Any, at: list[float]) -> None:
    """No NaN enters a sum of losses at such a point, nor any of its derivatives."""
    x = tg.tensor(np.array(at), requires_grad=True)
    y = fn(x)
    with np.errstate(all="ignore"):
        for _ in range(3):
            (g,) = tg.grad(y, [x], create_graph=True)
            assert np.isfinite(g.detach().numpy()).all()
            y = g.sum() if g.requires_grad else (g * x).sum()


def test_steps_have_a_gradient_of_zero_and_comparisons_none() -> None:
    x = tg.tensor([0.5, 1.0], requires_grad=True)
    for name in ("floor", "ceil", "trunc", "round", "sign"):
        x.grad = None
        getattr(tg, name)(x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [0.0, 0.0]
    assert not (x > 0).requires_grad
    assert not tg.argmax(x).requires_grad
