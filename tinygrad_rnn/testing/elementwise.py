"""OpInfos of elementwise operations: a domain for each input, away from kinks and poles."""

from __future__ import annotations

import numpy as np

from ..tensor import backend
from .builders import applied, constant, elementwise, op_info
from .op_info import (
    Array,
    Domain,
    Sample,
    Sampler,
    away_from_integers,
    away_from_zero,
    broadcastable,
    distinct,
    laid_out,
    positive,
    real,
    shape,
)


def within(low: float, high: float) -> Domain:
    """Reals between two bounds."""
    return lambda d, s: laid_out(d, low + (d.reals(s) + 3) * ((high - low) / 6))


def between(d: Sampler, shape: tuple[int, ...]) -> Array:
    """Reals at least 0.1 from those that `distinct` draws."""
    return laid_out(d, distinct(d, shape) + 0.1)


def flags(d: Sampler, shape: tuple[int, ...]) -> Array:
    """Zeros, ones, infinities and NaN."""
    drawn = d.reals(shape)
    return laid_out(d, np.where(drawn > 1, np.inf, np.where(drawn < -1, np.nan, drawn > 0)))


def _remainder(d: Sampler) -> Sample:
    whole = shape(d)
    b = away_from_zero(d, broadcastable(d, whole))
    a = np.asarray(away_from_integers(d, whole) * b)  # the quotient is no integer
    return applied(a, b)


def _clip(d: Sampler) -> Sample:
    x = distinct(d, shape(d))
    if d.one_of([False, True]):
        low, high = d.one_of([None, -0.3, 0.3]), d.one_of([None, 0.5])
        return Sample([x], lambda f, x: f(x, low, high))
    bounds = [np.asarray(np.full(broadcastable(d, x.shape), v)) for v in (-0.3, 0.5)]
    return applied(x, *bounds)


def _where(d: Sampler) -> Sample:
    whole = shape(d)
    condition = np.asarray(d.reals(whole) > 0)
    inputs = [real(d, broadcastable(d, whole)), real(d, whole)]
    return Sample(inputs, lambda f, a, b: f(backend.to_device(condition), a, b))


def _pow(d: Sampler) -> Sample:
    base = d.one_of([2, 0.5, None, None, None])
    if base is not None:
        return Sample([real(d, shape(d))], lambda f, b: f(base, b))
    x = positive(d, shape(d))
    exponent = d.one_of([2, 3, -1, 0.5, 0, 1, None])
    if exponent is None:
        return applied(x, real(d, broadcastable(d, x.shape)))
    return Sample([x], lambda f, a: f(a, exponent))


# Of one input, by where they are smooth.
UNARY: dict[Domain, str] = {
    real: "alias negative square exp exp2 expm1 sin cos atan sinh cosh tanh asinh erf sigmoid "
    "softplus log_sigmoid gelu silu",
    positive: "sqrt rsqrt log log2 log10",
    away_from_zero: "abs relu sign",
    away_from_integers: "floor ceil trunc round",
    within(-0.8, 0.8): "asin acos atanh",
    within(-0.8, 3): "log1p",
    within(-1.2, 1.2): "tan",
    within(1.3, 4): "acosh",
    within(-2.9, 2.9): "hard_sigmoid",
}
COMPARISONS = "equal not_equal less less_equal greater greater_equal"

ELEMENTWISE = [
    *(elementwise(name, domain) for domain, names in UNARY.items() for name in names.split()),
    elementwise("leaky_relu", away_from_zero, negative_slope=[0.01, 0.3]),
    elementwise("elu", away_from_zero, alpha=[1.0, 0.5]),
    # several inputs
    *(elementwise(name, real, real) for name in ("add", "subtract", "multiply", "logaddexp")),
    elementwise("divide", real, away_from_zero),
    elementwise("atan2", away_from_zero, away_from_zero),
    *(elementwise(name, distinct, between) for name in ("maximum", "minimum")),
    op_info("pow", _pow),
    op_info("where", _where),
    op_info("remainder", _remainder),
    op_info("floor_divide", _remainder),
    op_info("clip", _clip),
    # constants
    *(constant(name, distinct, distinct) for name in COMPARISONS.split()),
    *(constant(f"logical_{name}", flags, flags) for name in ("and", "or", "xor")),
    *(constant(name, flags) for name in ("logical_not", "isfinite", "isnan")),
    constant("zeros_like", real, dtype=[None, "int64"]),
    constant("ones_like", real, dtype=[None, "int64"]),
    constant("full_like", real, fill_value=[2.5], dtype=[None, "int64"]),
]
