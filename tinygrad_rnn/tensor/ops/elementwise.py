"""Elementwise operations, each with its rule."""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from ..backend import Array
from ..conversion import DType, check_cast, number_dtype
from ..operation import Op, operation

__all__ = [
    "abs", "acos", "acosh", "add", "alias", "asin", "asinh", "astype", "atan", "atan2", "atanh",
    "ceil", "clip", "cos", "cosh", "divide", "elu", "equal", "erf", "exp", "exp2", "expm1",
    "floor", "floor_divide", "full_like", "gelu", "greater", "greater_equal", "hard_sigmoid",
    "isfinite", "isnan", "leaky_relu", "less", "less_equal", "log", "log10", "log1p", "log2",
    "log_sigmoid", "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor",
    "maximum", "minimum", "multiply", "negative", "not_equal", "ones_like", "pow", "relu",
    "remainder", "round", "rsqrt", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "sqrt",
    "square", "subtract", "tan", "tanh", "trunc", "where", "zeros_like",
]  # fmt: skip

LN2, LN10 = math.log(2), math.log(10)

# ---------------------------------------------------------------- one input

alias = Op("alias", lambda xp, x: x).vjp(x=lambda g: g)
negative = Op("negative", lambda xp, x: -x).vjp(x=lambda g: -g)
abs = Op("abs", lambda xp, x: xp.abs(x)).vjp(x=lambda xp, g, x: g * xp.sign(x))
square = Op("square", lambda xp, x: x * x).vjp(x=lambda g, x: g * (2 * x))
sqrt = Op("sqrt", lambda xp, x: xp.sqrt(x)).vjp(x=lambda g, y: g * 0.5 / y)
exp = Op("exp", lambda xp, x: xp.exp(x)).vjp(x=lambda g, y: g * y)
exp2 = Op("exp2", lambda xp, x: xp.exp2(x)).vjp(x=lambda g, y: g * (y * LN2))
expm1 = Op("expm1", lambda xp, x: xp.expm1(x)).vjp(x=lambda g, y: g * (y + 1))
log = Op("log", lambda xp, x: xp.log(x)).vjp(x=lambda g, x: g / x)
log2 = Op("log2", lambda xp, x: xp.log2(x)).vjp(x=lambda g, x: g / (x * LN2))
log10 = Op("log10", lambda xp, x: xp.log10(x)).vjp(x=lambda g, x: g / (x * LN10))
log1p = Op("log1p", lambda xp, x: xp.log1p(x)).vjp(x=lambda g, x: g / (1 + x))

sin = Op("sin", lambda xp, x: xp.sin(x)).vjp(x=lambda xp, g, x: g * xp.cos(x))
cos = Op("cos", lambda xp, x: xp.cos(x)).vjp(x=lambda xp, g, x: -g * xp.sin(x))
tan = Op("tan", lambda xp, x: xp.tan(x)).vjp(x=lambda g, y: g * (1 + y * y))
asin = Op("asin", lambda xp, x: xp.asin(x)).vjp(x=lambda xp, g, x: g / xp.sqrt(1 - x * x))
acos = Op("acos", lambda xp, x: xp.acos(x)).vjp(x=lambda xp, g, x: -g / xp.sqrt(1 - x * x))
atan = Op("atan", lambda xp, x: xp.atan(x)).vjp(x=lambda g, x: g / (1 + x * x))
sinh = Op("sinh", lambda xp, x: xp.sinh(x)).vjp(x=lambda xp, g, x: g * xp.cosh(x))
cosh = Op("cosh", lambda xp, x: xp.cosh(x)).vjp(x=lambda xp, g, x: g * xp.sinh(x))
tanh = Op("tanh", lambda xp, x: xp.tanh(x)).vjp(x=lambda g, y: g * (1 - y * y))
asinh = Op("asinh", lambda xp, x: xp.asinh(x)).vjp(x=lambda xp, g, x: g / xp.sqrt(x * x + 1))
acosh = Op("acosh", lambda xp, x: xp.acosh(x)).vjp(x=lambda xp, g, x: g / xp.sqrt(x * x - 1))
atanh = Op("atanh", lambda xp, x: xp.atanh(x)).vjp(x=lambda g, x: g / (1 - x * x))


@operation
def rsqrt(xp: ModuleType, x: Array) -> Array:
    """1 / sqrt(x).

    >>> import tinygrad_rnn as tg
    >>> tg.rsqrt(tg.tensor([4.0, 0.25]))
    tensor([0.5, 2. ])
    """
    return 1 / xp.sqrt(x)


def _polynomial(x: Array, *coefficients: float) -> Array:
    """A polynomial by Horner's rule, its highest power first."""
    y = coefficients[0]
    for c in coefficients[1:]:
        y = y * x + c
    return y


@operation
def erf(xp: ModuleType, x: Array) -> Array:
    """The error function 2 / sqrt(pi) * integral from 0 to x of exp(-t^2) (Cody 1969).

    >>> import tinygrad_rnn as tg
    >>> tg.erf(tg.tensor([0.0, 10.0]))
    tensor([0., 1.])
    """
    a = xp.minimum(xp.abs(x), 6)  # from there on it is 1, and squares cannot overflow
    near = x * _polynomial(
        a * a, 1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2,
        3.77485237685302021e2, 3.20937758913846947e3,
    ) / _polynomial(
        a * a, 1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3,
        2.84423683343917062e3,
    )  # fmt: skip
    far = 1 - xp.exp(-a * a) * _polynomial(
        a, 2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0,
        6.61191906371416295e1, 2.98635138197400131e2, 8.81952221241769090e2,
        1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3,
    ) / _polynomial(
        a, 1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2,
        1.62138957456669019e3, 3.29079923573345963e3, 4.36261909014324716e3,
        3.43936767414372164e3, 1.23033935480374942e3,
    )  # fmt: skip
    return xp.where(a < 0.46875, near, xp.sign(x) * far)


rsqrt.vjp(x=lambda g, y: g * -0.5 * (y * y * y))
erf.vjp(x=lambda xp, g, x: g * xp.exp(-x * x) * (2 / math.sqrt(math.pi)))

# ---------------------------------------------------------------- activations


@operation
def sigmoid(xp: ModuleType, x: Array) -> Array:
    """The logistic function 1 / (1 + exp(-x)), by tanh: it cannot overflow.

    >>> import tinygrad_rnn as tg
    >>> tg.sigmoid(tg.tensor([-200.0, 0.0, 200.0]))
    tensor([0. , 0.5, 1. ])
    """
    y = xp.tanh(x * 0.5)
    y *= 0.5
    y += 0.5
    return y


@operation
def relu(xp: ModuleType, x: Array) -> Array:
    """max(x, 0); its derivative at 0 is 0.

    >>> import tinygrad_rnn as tg
    >>> tg.relu(tg.tensor([-2.0, 3.0]))
    tensor([0., 3.])
    """
    return xp.maximum(x, 0)


@operation
def softplus(xp: ModuleType, x: Array) -> Array:
    """log(1 + exp(x)), without overflow.

    >>> import tinygrad_rnn as tg
    >>> tg.softplus(tg.tensor([200.0]))
    tensor([200.])
    """
    return xp.logaddexp(x, 0)


@operation
def log_sigmoid(xp: ModuleType, x: Array) -> Array:
    """log(sigmoid(x)), exact where sigmoid(x) would round to zero.

    >>> import tinygrad_rnn as tg
    >>> tg.log_sigmoid(tg.tensor([-200.0]))
    tensor([-200.])
    """
    return -xp.logaddexp(-x, 0)


@operation
def leaky_relu(xp: ModuleType, x: Array, *, negative_slope: float = 0.01) -> Array:
    """x where it is positive, negative_slope * x elsewhere (Maas et al. 2013).

    >>> import tinygrad_rnn as tg
    >>> tg.leaky_relu(tg.tensor([-2.0, 3.0]), negative_slope=0.5)
    tensor([-1.,  3.])
    """
    return xp.where(x > 0, x, x * negative_slope)


@operation
def elu(xp: ModuleType, x: Array, *, alpha: float = 1.0) -> Array:
    """x where it is positive, alpha * (exp(x) - 1) elsewhere (Clevert et al. 2015).

    >>> import tinygrad_rnn as tg
    >>> tg.elu(tg.tensor([-100.0, 0.0, 2.0]))
    tensor([-1.,  0.,  2.])
    """
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


@operation
def gelu(xp: ModuleType, x: Array) -> Array:
    """x times the normal distribution's share below x, by erf (Hendrycks and Gimpel 2016).

    >>> import tinygrad_rnn as tg
    >>> tg.gelu(tg.tensor([0.0, 10.0]))
    tensor([ 0., 10.])
    """
    return x * _normal_share(x)


@operation
def silu(xp: ModuleType, x: Array) -> Array:
    """x * sigmoid(x), also called swish (Elfwing et al. 2018).

    >>> import tinygrad_rnn as tg
    >>> tg.silu(tg.tensor([0.0, 200.0]))
    tensor([  0., 200.])
    """
    return x * sigmoid(x)


@operation
def hard_sigmoid(xp: ModuleType, x: Array) -> Array:
    """A piecewise linear sigmoid: x / 6 + 1 / 2, clipped to [0, 1].

    >>> import tinygrad_rnn as tg
    >>> tg.hard_sigmoid(tg.tensor([-3.0, 0.0, 1.5, 4.0]))
    tensor([0.  , 0.5 , 0.75, 1.  ])
    """
    return xp.clip(x / 6 + 0.5, 0, 1)


def _normal_share(x: Any) -> Any:
    """How much of the standard normal distribution lies below x."""
    return 0.5 * (1 + erf(x * math.sqrt(0.5)))


def _normal_density(xp: ModuleType, x: Any) -> Any:
    return xp.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))


def _in_silu(g: Any, x: Any, y: Any) -> Any:
    return g * (y + sigmoid(x) * (1 - y))


sigmoid.vjp(x=lambda g, y: g * (y * (1 - y)))
relu.vjp(x=lambda xp, g, y: xp.where(y > 0, g, 0))
softplus.vjp(x=lambda g, x: g * sigmoid(x))
log_sigmoid.vjp(x=lambda g, x: g * sigmoid(-x))
leaky_relu.vjp(x=lambda xp, g, x, negative_slope: xp.where(x > 0, g, g * negative_slope))
elu.vjp(x=lambda xp, g, x, y, alpha: xp.where(x > 0, g, g * (y + alpha)))
gelu.vjp(x=lambda xp, g, x: g * (_normal_share(x) + x * _normal_density(xp, x)))
silu.vjp(x=_in_silu)
hard_sigmoid.vjp(x=lambda xp, g, x: xp.where(xp.abs(x) < 3, g / 6, 0))

# ---------------------------------------------------------------- two and three inputs


def _float32(a: Any, b: Any) -> Any:
    """a; as float32 where a and b are numbers of Python, which NumPy would take for float64."""
    return np.float32(a) if {type(a), type(b)} in ({float}, {float, int}) else a


add = Op("add", lambda xp, a, b: a + b).vjp(a=lambda g: g, b=lambda g: g)
subtract = Op("subtract", lambda xp, a, b: a - b).vjp(a=lambda g: g, b=lambda g: -g)
multiply = Op("multiply", lambda xp, a, b: a * b).vjp(a=lambda g, b: g * b, b=lambda g, a: g * a)
divide = Op("divide", lambda xp, a, b: a / b).vjp(
    a=lambda g, b: g / b, b=lambda g, y, b: -g * y / b
)
where = Op("where", lambda xp, condition, a, b: xp.where(condition, _float32(a, b), b)).vjp(
    a=lambda xp, g, condition: xp.where(condition, g, 0),
    b=lambda xp, g, condition: xp.where(condition, 0, g),
)
atan2 = Op("atan2", lambda xp, a, b: xp.atan2(a, b)).vjp(
    a=lambda g, a, b: g * b * reciprocal(a * a + b * b),
    b=lambda g, a, b: -g * a * reciprocal(a * a + b * b),
)


def reciprocal(x: Any) -> Any:
    """1 / x; 0, and constant, where x is 0: what lengths and deviations are divided by at kinks."""
    zero = x == 0
    return where(zero, 0, 1 / where(zero, 1, x))


logaddexp = Op("logaddexp", lambda xp, a, b: xp.logaddexp(a, b)).vjp(
    a=lambda xp, g, a, b: g * sigmoid(_lead(xp, a, b)),
    b=lambda xp, g, a, b: g * sigmoid(_lead(xp, b, a)),
)


def _lead(xp: ModuleType, a: Any, b: Any) -> Any:
    """a - b; -inf wherever a is, for it has no share in any sum."""
    return xp.where(a == -math.inf, -math.inf, a - b)


remainder = Op("remainder", lambda xp, a, b: xp.remainder(a, b)).vjp(
    a=lambda g: g, b=lambda xp, g, a, b: -g * xp.floor_divide(a, b)
)


@operation
def maximum(xp: ModuleType, a: Array, b: Array) -> Array:
    """The elementwise maximum; equal elements share the gradient evenly.

    >>> import tinygrad_rnn as tg
    >>> tg.maximum(tg.tensor([1.0, 5.0]), 3.0)
    tensor([3., 5.])
    """
    return xp.maximum(a, b)


@operation
def minimum(xp: ModuleType, a: Array, b: Array) -> Array:
    """The elementwise minimum; equal elements share the gradient evenly.

    >>> import tinygrad_rnn as tg
    >>> tg.minimum(tg.tensor([1.0, 5.0]), 3.0)
    tensor([1., 3.])
    """
    return xp.minimum(a, b)


def _to_winner(xp: ModuleType, g: Any, wins: Any, ties: Any) -> Any:
    return xp.where(ties, g * 0.5, xp.where(wins, g, 0))


maximum.vjp(
    a=lambda xp, g, a, b: _to_winner(xp, g, a > b, a == b),
    b=lambda xp, g, a, b: _to_winner(xp, g, b > a, a == b),
)
minimum.vjp(
    a=lambda xp, g, a, b: _to_winner(xp, g, a < b, a == b),
    b=lambda xp, g, a, b: _to_winner(xp, g, b < a, a == b),
)


@operation
def clip(xp: ModuleType, x: Array, min: Array | None = None, max: Array | None = None) -> Array:
    """Clips x to bounds; at a bound the gradient is that of x.

    **Arguments** min, max: numbers, arrays or Tensors that broadcast to x, with min at most max;
    None for no bound.

    >>> import tinygrad_rnn as tg
    >>> tg.clip(tg.tensor([-2.0, 0.5, 2.0]), -1, 1)
    tensor([-1. ,  0.5,  1. ])
    """
    if isinstance(min, (int, float)) and isinstance(max, (int, float)) and not min <= max:
        raise ValueError("min is above max")
    return xp.clip(x, min, max)


clip.vjp(
    x=lambda xp, g, x, y: xp.where(x == y, g, 0),
    min=lambda xp, g, x, min: xp.where(x < min, g, 0),
    max=lambda xp, g, x, max: xp.where(x > max, g, 0),
)


def _pow_in_base(xp: ModuleType, g: Any, a: Any, b: Any) -> Any:
    if isinstance(b, int | float):
        return g * b * a ** (b - 1) if b != 0 else xp.zeros_like(g)
    zero = a == 0
    b = xp.where(xp.logical_and(zero, b >= 1), getattr(b, "array", b), b)  # constant, see below
    edge = xp.logical_and(zero, b == 0)  # there 0 * 0 ** -1 is meant to be 0
    return xp.where(edge, 0, g * b * xp.where(edge, 1, a) ** (b - 1))


def _pow_in_exponent(xp: ModuleType, g: Any, y: Any, a: Any, b: Any) -> Any:
    """A power of 0 does not change with its exponent: y * log(0) is meant to be 0."""
    if isinstance(a, int | float) and a != 0:  # among them integers beyond 64 bits
        return g * y * (math.log(a) if a > 0 else math.nan)
    edge = xp.logical_and(a == 0, b >= 0)
    return g * y * xp.log(xp.where(edge, 1, a))


pow = Op("pow", lambda xp, a, b: a**b).vjp(a=_pow_in_base, b=_pow_in_exponent)

# ---------------------------------------------------------------- in steps: their gradient is 0


def flat(xp: ModuleType, g: Any) -> Any:
    """The rule of what is constant between its jumps."""
    return xp.zeros_like(g)


sign = Op("sign", lambda xp, x: xp.sign(x)).vjp(x=flat)
floor = Op("floor", lambda xp, x: xp.floor(x)).vjp(x=flat)
ceil = Op("ceil", lambda xp, x: xp.ceil(x)).vjp(x=flat)
trunc = Op("trunc", lambda xp, x: xp.trunc(x)).vjp(x=flat)
round = Op("round", lambda xp, x, *, decimals=0: xp.round(x, decimals)).vjp(x=flat)
floor_divide = Op("floor_divide", lambda xp, a, b: a // b).vjp(a=flat, b=flat)

# ---------------------------------------------------------------- without a gradient

equal = Op("equal", lambda xp, a, b: a == b)
not_equal = Op("not_equal", lambda xp, a, b: a != b)
less = Op("less", lambda xp, a, b: a < b)
less_equal = Op("less_equal", lambda xp, a, b: a <= b)
greater = Op("greater", lambda xp, a, b: a > b)
greater_equal = Op("greater_equal", lambda xp, a, b: a >= b)
logical_and = Op("logical_and", lambda xp, a, b: xp.logical_and(a, b))
logical_or = Op("logical_or", lambda xp, a, b: xp.logical_or(a, b))
logical_xor = Op("logical_xor", lambda xp, a, b: xp.logical_xor(a, b))
logical_not = Op("logical_not", lambda xp, x: xp.logical_not(x))
isfinite = Op("isfinite", lambda xp, x: xp.isfinite(x))
isnan = Op("isnan", lambda xp, x: xp.isnan(x))


def _given(dtype: DType) -> np.dtype[Any] | None:
    """A dtype that was asked for, checked; None stands for the input's."""
    return None if dtype is None else number_dtype(dtype)


def _fitting(value: Any, dtype: np.dtype[Any]) -> Any:
    """Checks that the dtype of the input holds the fill value."""
    check_cast(np.asarray(value).dtype, dtype, "full_like: fill_value")
    return value


zeros_like = Op("zeros_like", lambda xp, x, *, dtype=None: xp.zeros_like(x, _given(dtype)))
ones_like = Op("ones_like", lambda xp, x, *, dtype=None: xp.ones_like(x, _given(dtype)))
full_like = Op(
    "full_like",
    lambda xp, x, *, fill_value, dtype=None: xp.full_like(
        x, fill_value if dtype else _fitting(fill_value, x.dtype), _given(dtype)
    ),
)

# ---------------------------------------------------------------- to another dtype

_to_real = Op("astype", lambda xp, x, *, dtype: x.astype(dtype)).vjp(x=lambda g: g)
_to_other = Op("astype", lambda xp, x, *, dtype: x.astype(dtype))


def astype(x: Array, dtype: DType) -> Array:
    """Converts x to another dtype; the result is a constant if that is not a real floating dtype.

    The backward pass keeps the higher of both precisions; a leaf's gradient has the leaf's dtype.

    >>> import tinygrad_rnn as tg
    >>> tg.astype(tg.tensor([1.5, 2.5]), "int64").numpy()
    array([1, 2])
    """
    dtype = number_dtype(dtype, "astype")
    real = dtype.kind == "f"
    return _to_real(x, dtype=dtype) if real else _to_other(x, dtype=dtype)
