"""Densities: the Gaussian and Student's t; and the models that `forecast` is compared with.

Each model returns the mean and the log-likelihood of every step, given the steps before it. Its
parameters are those of the steps before the test.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.series import Array, Series
from ..errors import needs
from ..tensor.random import Generator
from .classical import lags, linear_fit, regressors
from .settings import SettingError

NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)
DECAY = 0.94  # of the weights in `weighted_volatility`
log_gamma = np.vectorize(math.lgamma, otypes=[float])
Fitted = tuple[Array, Array]  # the mean and the log-likelihood of each step


def normal_log_density(y: Any, mean: Any, deviation: Any) -> Any:
    """log N(y; mean, deviation^2)."""
    return -np.square((y - mean) / deviation) / 2 - np.log(deviation) - math.log(2 * math.pi) / 2


def student_log_density(y: Any, location: Any, scale: Any, df: Any) -> Any:
    """The log-density of Student's t-distribution.

    >>> float(round(student_log_density(0.0, 0.0, 1.0, 1.0), 4))  # -log(pi)
    -1.1447
    """
    constant = log_gamma((df + 1) / 2) - log_gamma(df / 2) - np.log(df * math.pi) / 2
    z = (y - location) / scale
    return constant - (df + 1) / 2 * np.log1p(z * z / df) - np.log(scale)


def student_cdf(z: Array, df: Array) -> Array:
    """P(T <= z) for Student's t-distribution with df degrees of freedom.

    With z = sqrt(df) tan(a) the density becomes cos(a)^(df - 1), up to a constant; the integral is
    that of Gauss and Legendre.

    >>> student_cdf(np.array([0.0, 1.0, -2.015]), np.array([3.0, 1.0, 5.0])).round(4)
    array([0.5 , 0.75, 0.05])
    """
    angle = np.arctan(np.abs(z) / np.sqrt(df))
    inside = np.cos(angle[..., None] * (NODES + 1) / 2) ** (df[..., None] - 1)
    total = np.cos(np.pi / 2 * (NODES + 1) / 2) ** (df[..., None] - 1)
    half = angle * (inside @ WEIGHTS) / (np.pi / 2 * (total @ WEIGHTS)) / 2
    found: Array = 0.5 + np.sign(z) * half
    return found


def student_samples(df: Array, generator: Generator) -> Array:
    """Draws from Student's t-distribution, by the polar method of Bailey (1994)."""
    radius = (1 - generator.random(df.shape)) ** (-2 / df) - 1
    found: Array = np.sqrt(df * radius) * np.cos(2 * np.pi * generator.random(df.shape))
    return found


def constant_gaussian(y: Array, end: int) -> Fitted:
    """One Gaussian for all steps."""
    mean = np.full(len(y), y[:end].mean())
    return mean, normal_log_density(y, mean, y[:end].std())


def weighted_volatility(y: Array, end: int) -> Fitted:
    """A Gaussian whose variance is an exponentially weighted mean of squares (RiskMetrics 1996).

    variance_t = 0.94 variance_{t-1} + 0.06 (y_{t-1} - mean)^2
    """
    mean = np.full(len(y), y[:end].mean())
    square, variance = np.square(y - mean), np.empty(len(y))
    floor = 1e-6 * square[:end].mean()
    now = square[:end].mean()
    for t in range(len(y)):
        variance[t] = max(now, floor)
        now = DECAY * now + (1 - DECAY) * square[t]
    return mean, normal_log_density(y, mean, np.sqrt(variance))


def garch(y: Array, end: int) -> Fitted:
    """GARCH(1,1) with Student's t (Bollerslev 1987), by the package arch.

    **Raises** SettingError without the package (extra `baselines`).
    """
    with needs("arch", "GARCH(1,1)", "pip install 'tinygrad_rnn[baselines]'", SettingError):
        from arch import arch_model

    def model(values: NDArray[np.float64]) -> Any:
        return arch_model(values, mean="Constant", vol="GARCH", p=1, q=1, dist="t", rescale=False)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parameters = model(y[:end]).fit(disp="off", show_warning=False).params
        deviation = np.asarray(model(y).fix(parameters).conditional_volatility)
    mean, df = np.full(len(y), parameters["mu"]), float(parameters["nu"])
    # The package's t has variance 1; a t of scale 1 has df / (df - 2).
    scale = deviation * math.sqrt((df - 2) / df)
    return mean, student_log_density(y, mean, scale, df)


def naive(y: Array, end: int, lag: int) -> Fitted:
    """A Gaussian around the value so many steps before: a season, or one step."""
    mean = np.concatenate([np.full(lag, y[:end].mean()), y[:-lag]])
    return mean, normal_log_density(y, mean, np.std((y - mean)[lag:end]))


def linear(one: Series, end: int, period: int) -> Fitted:
    """A Gaussian around a linear function of values a step and a season before, and covariates."""
    y = one.values
    coefficients, deviation = linear_fit(one, period, end)
    unknown = np.full(max(lags(period)), y[:end].mean())
    mean = np.concatenate([unknown, regressors(one, period) @ coefficients])
    return mean, normal_log_density(y, mean, deviation)
