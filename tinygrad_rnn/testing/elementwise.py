"""OpInfos of elementwise operations: a domain for each input, away from kinks and poles."""

from __future__ import annotations

import math

import numpy as np

from ..tensor import backend
from .builders import constant, elementwise, op_info
from .op_info import (
    Array,
    Domain,
    Sample,
    Sampler,
    away_from_zero,
    broadcastable,
    distinct,
    laid_out,
    off_the_steps,
    positive,
    real,
    shape,
)


def logistic(x: Array) -> Array:
    """The sigmoid, as books have it."""
    return np.asarray(1 / (1 + np.exp(-x)))


def within(low: float, high: float) -> Domain:
    """Reals between two bounds."""
    return lambda d, s: laid_out(d, low + (d.reals(s) + 3) * ((high - low) / 6))


def between(d: Sampler, shape: tuple[int, ...]) -> Array:
    """Reals at least 0.1 from those that `distinct` draws."""
    return laid_out(d, distinct(d, shape) + 0.1)


def flags(d: Sampler, shape: tuple[int, ...]) -> Array:
    """Zeros and ones, infinities and what is no number."""
    drawn = d.reals(shape)
    return laid_out(d, np.where(drawn > 1, np.inf, np.where(drawn < -1, np.nan, drawn > 0)))


def _remainder(d: Sampler) -> Sample:
    whole = shape(d)
    b = away_from_zero(d, broadcastable(d, whole))
    a = np.asarray(off_the_steps(d, whole) * b)  # the quotient is no integer
    return Sample([a, b], lambda f, a, b: f(a, b))


def _clip(d: Sampler) -> Sample:
    x = distinct(d, shape(d))
    if d.one_of([False, True]):
        low, high = d.one_of([None, -0.3, 0.3]), d.one_of([None, 0.5])
        return Sample([x], lambda f, x: f(x, low, high))
    bounds = [np.asarray(np.full(broadcastable(d, x.shape), v)) for v in (-0.3, 0.5)]
    return Sample([x, *bounds], lambda f, x, low, high: f(x, low, high))


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
        return Sample([x, real(d, broadcastable(d, x.shape))], lambda f, a, b: f(a, b))
    return Sample([x], lambda f, a: f(a, exponent))


_erf = np.vectorize(math.erf, otypes=[float])


ELEMENTWISE = [
    # one input
    elementwise("alias", real, reference=lambda x: x),
    elementwise("negative", real),
    elementwise("abs", away_from_zero),
    elementwise("square", real),
    elementwise("sqrt", positive),
    elementwise("rsqrt", positive, reference=lambda x: 1 / np.sqrt(x)),
    elementwise("exp", real),
    elementwise("exp2", real),
    elementwise("expm1", real),
    elementwise("log", positive),
    elementwise("log2", positive),
    elementwise("log10", positive),
    elementwise("log1p", within(-0.8, 3)),
    elementwise("sin", real),
    elementwise("cos", real),
    elementwise("tan", within(-1.2, 1.2)),
    elementwise("asin", within(-0.8, 0.8)),
    elementwise("acos", within(-0.8, 0.8)),
    elementwise("atan", real),
    elementwise("sinh", real),
    elementwise("cosh", real),
    elementwise("tanh", real),
    elementwise("asinh", real),
    elementwise("acosh", within(1.3, 4)),
    elementwise("atanh", within(-0.8, 0.8)),
    elementwise("erf", real, reference=_erf),
    # activations
    elementwise("sigmoid", real, reference=logistic),
    elementwise("relu", away_from_zero, reference=lambda x: np.maximum(x, 0)),
    elementwise("softplus", real, reference=lambda x: np.log1p(np.exp(x))),
    elementwise("log_sigmoid", real, reference=lambda x: np.log(logistic(x))),
    elementwise(
        "leaky_relu",
        away_from_zero,
        reference=lambda x, negative_slope: np.maximum(x, negative_slope * x),
        negative_slope=[0.01, 0.3],
    ),
    elementwise(
        "elu",
        away_from_zero,
        reference=lambda x, alpha: np.where(x > 0, x, alpha * (np.exp(x) - 1)),
        alpha=[1.0, 0.5],
    ),
    elementwise("gelu", real, reference=lambda x: x * (1 + _erf(x / np.sqrt(2))) / 2),
    elementwise("silu", real, reference=lambda x: x * logistic(x)),
    elementwise(
        "hard_sigmoid",
        within(-2.9, 2.9),
        reference=lambda x: np.clip(x / 6 + 0.5, 0, 1),
    ),
    # several inputs
    elementwise("add", real, real),
    elementwise("subtract", real, real),
    elementwise("multiply", real, real),
    elementwise("divide", real, away_from_zero),
    op_info("pow", _pow, np.power),
    op_info("where", _where),
    elementwise("logaddexp", real, real),
    elementwise("atan2", away_from_zero, away_from_zero),
    elementwise("maximum", distinct, between),
    elementwise("minimum", distinct, between),
    op_info("remainder", _remainder),
    op_info("clip", _clip),
    # in steps
    elementwise("sign", away_from_zero),
    elementwise("floor", off_the_steps),
    elementwise("ceil", off_the_steps),
    elementwise("trunc", off_the_steps),
    elementwise("round", off_the_steps),
    op_info("floor_divide", _remainder),
    # constants
    constant("equal", distinct, distinct),
    constant("not_equal", distinct, distinct),
    constant("less", distinct, distinct),
    constant("less_equal", distinct, distinct),
    constant("greater", distinct, distinct),
    constant("greater_equal", distinct, distinct),
    constant("logical_and", flags, flags),
    constant("logical_or", flags, flags),
    constant("logical_xor", flags, flags),
    constant("logical_not", flags),
    constant("isfinite", flags),
    constant("isnan", flags),
    constant("zeros_like", real, dtype=[None, "int64"]),
    constant("ones_like", real, dtype=[None, "int64"]),
    constant("full_like", real, fill_value=[2.5], dtype=[None, "int64"]),
]
