"""Elementwise operations: each with its rule beside it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import Array
from ..graph import Op, operation

__all__ = [
    "abs", "add", "alias", "astype", "divide", "equal", "exp", "greater", "greater_equal",
    "less", "less_equal", "log", "logical_not", "multiply", "negative", "not_equal",
    "ones_like", "pow", "relu", "sigmoid", "sign", "softplus", "sqrt", "square", "subtract",
    "tanh", "where", "zeros_like",
]  # fmt: skip

# ---------------------------------------------------------------- one input

alias = Op("alias", lambda xp, x: x).vjp(x=lambda g: g)
negative = Op("negative", lambda xp, x: -x).vjp(x=lambda g: -g)
abs = Op("abs", lambda xp, x: xp.abs(x)).vjp(x=lambda xp, g, x: g * xp.sign(x))
square = Op("square", lambda xp, x: x * x).vjp(x=lambda g, x: g * (2 * x))
sqrt = Op("sqrt", lambda xp, x: xp.sqrt(x)).vjp(x=lambda g, y: g * 0.5 / y)
exp = Op("exp", lambda xp, x: xp.exp(x)).vjp(x=lambda g, y: g * y)
log = Op("log", lambda xp, x: xp.log(x)).vjp(x=lambda g, x: g / x)
tanh = Op("tanh", lambda xp, x: xp.tanh(x)).vjp(x=lambda g, y: g * (1 - y * y))


@operation
def sigmoid(xp: Any, x: Array) -> Array:
    """The logistic function 1 / (1 + exp(-x)), by tanh: it cannot overflow."""
    return xp.tanh(x * 0.5) * 0.5 + 0.5


@operation
def relu(xp: Any, x: Array) -> Array:
    """max(x, 0); its derivative at 0 is 0."""
    return xp.maximum(x, 0)


@operation
def softplus(xp: Any, x: Array) -> Array:
    """log(1 + exp(x)), without overflow."""
    return xp.logaddexp(x, 0)


sigmoid.vjp(x=lambda g, y: g * (y * (1 - y)))
relu.vjp(x=lambda g, y: g * (y > 0))
softplus.vjp(x=lambda g, x: g * sigmoid(x))

# ---------------------------------------------------------------- two and three inputs

add = Op("add", lambda xp, a, b: a + b).vjp(a=lambda g: g, b=lambda g: g)
subtract = Op("subtract", lambda xp, a, b: a - b).vjp(a=lambda g: g, b=lambda g: -g)
multiply = Op("multiply", lambda xp, a, b: a * b).vjp(a=lambda g, b: g * b, b=lambda g, a: g * a)
divide = Op("divide", lambda xp, a, b: a / b).vjp(
    a=lambda g, b: g / b,
    b=lambda g, y, b: -g * y / b,
)
where = Op("where", lambda xp, condition, a, b: xp.where(condition, a, b)).vjp(
    a=lambda xp, g, condition: xp.where(condition, g, 0),
    b=lambda xp, g, condition: xp.where(condition, 0, g),
)


def _pow_in_base(xp: Any, g: Any, a: Any, b: Any) -> Any:
    if isinstance(b, int | float):
        return g * b * a ** (b - 1) if b != 0 else xp.zeros_like(g)
    return g * b * a ** xp.where(b == 0, b, b - 1)  # where b is 0 the power is constant


def _pow_in_exponent(xp: Any, g: Any, y: Any, a: Any) -> Any:
    return g * y * xp.log(xp.where(a == 0, xp.ones_like(a), a))  # y is 0 where a is


pow = Op("pow", lambda xp, a, b: a**b).vjp(a=_pow_in_base, b=_pow_in_exponent)

# ---------------------------------------------------------------- without a gradient

equal = Op("equal", lambda xp, a, b: a == b)
not_equal = Op("not_equal", lambda xp, a, b: a != b)
less = Op("less", lambda xp, a, b: a < b)
less_equal = Op("less_equal", lambda xp, a, b: a <= b)
greater = Op("greater", lambda xp, a, b: a > b)
greater_equal = Op("greater_equal", lambda xp, a, b: a >= b)
logical_not = Op("logical_not", lambda xp, x: xp.logical_not(x))
sign = Op("sign", lambda xp, x: xp.sign(x))
zeros_like = Op("zeros_like", lambda xp, x: xp.zeros_like(x))
ones_like = Op("ones_like", lambda xp, x: xp.ones_like(x))

# ---------------------------------------------------------------- to another dtype

_to_real = Op("astype", lambda xp, x, *, dtype: x.astype(dtype)).vjp(x=lambda g: g)
_to_other = Op("astype", lambda xp, x, *, dtype: x.astype(dtype))


def astype(x: Any, dtype: Any) -> Any:
    """x in another dtype; constant where that is none of real numbers.

    The cotangent comes back in the higher precision: a leaf takes it in its own.

    >>> import tinygrad_rnn as tg
    >>> tg.astype(tg.tensor([1.5, 2.5]), "int64").numpy()
    array([1, 2])
    """
    real = np.dtype(dtype).kind == "f"
    return _to_real(x, dtype=dtype) if real else _to_other(x, dtype=dtype)
