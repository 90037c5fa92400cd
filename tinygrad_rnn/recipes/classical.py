"""The classical model of a time series, which the network of `forecast` corrects.

A mean, linear in earlier values and in covariates, and the volatility of a GARCH(1,1). A path of
samples walks on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.series import Array, Series

SLOW = 0.99  # decay of the weights in a second, slower volatility
ALPHAS = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.13, 0.17, 0.22, 0.3)  # of `garch_fit`
PERSISTENCES = (0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998)
TAILS = 6.0  # degrees of freedom with which it fits
LOWEST = 1e-4  # of a variance, in units of the training data's
CLIP = 5.0  # the largest standardised residual that the network reads
FEATURES = 4  # that the network reads, besides the known covariates


def lags(period: int) -> list[int]:
    """Returns the lags of the linear mean: of a season and of the last step; none for returns.

    >>> lags(12), lags(1), lags(0)
    ([1, 12, 13], [1, 2], [])
    """
    return sorted({1, period, period + 1}) if period else []


def regressors(one: Series, period: int) -> Array:
    """Returns what the mean of a step is linear in: 1, the values at `lags`, and the covariates.

    A row for each value from the longest lag on.

    >>> from datetime import datetime
    >>> days = [datetime(2020, 1, day) for day in (1, 2, 3)]
    >>> regressors(Series("a", days, np.array([5.0, 6.0, 7.0]), np.zeros((3, 1))), 1)
    array([[1., 6., 5., 0.]])
    """
    y, start = one.values, max(lags(period), default=0)
    past = [y[start - lag : len(y) - lag] for lag in lags(period)]
    known = one.known[start : len(y)]
    return np.concatenate([np.stack([np.ones(len(y) - start), *past], axis=1), known], axis=1)


def linear_fit(one: Series, period: int, end: int | None = None) -> tuple[Array, float]:
    """Fits the mean of a step, linear in its `regressors`, by least squares on the steps to `end`.

    **Returns** the coefficients, and the standard deviation of the residuals.
    """
    start = max(lags(period), default=0)
    x, y = regressors(one, period)[: None if end is None else end - start], one.values[start:end]
    coefficients: Array = np.linalg.lstsq(x, y, rcond=1e-10)[0].astype(float)
    return coefficients, float(np.std(y - x @ coefficients))


def garch_fit(residual: Array) -> tuple[float, float]:
    """Fits the volatility of residuals of variance 1, a GARCH(1,1) whose mean variance is 1.

    variance_t = (1 - p) + a residual_{t-1}^2 + (p - a) variance_{t-1}

    **Returns** a and the persistence p of the greatest likelihood on a grid, with Student's t.
    """
    a, p = (grid.ravel() for grid in np.meshgrid(ALPHAS, PERSISTENCES))
    variance, score = np.ones(len(a)), np.zeros(len(a))
    for square in np.square(residual):
        odds = np.log1p(square / ((TAILS - 2) * variance))
        score -= (TAILS + 1) / 2 * odds + np.log(variance) / 2
        variance = (1 - p) + a * square + (p - a) * variance
    best = int(score.argmax())
    return float(a[best]), float(p[best])


def classical_fit(one: Series, period: int, end: int | None = None) -> list[Any]:
    """Fits a series on the steps to `end`: what `Filter` takes, as a checkpoint can hold it."""
    coefficients, deviation = linear_fit(one, period, end)
    start = max(lags(period), default=0)
    residual = (one.values[start:] - regressors(one, period) @ coefficients)[
        : None if end is None else end - start
    ]
    return [coefficients.tolist(), deviation, *garch_fit(residual / max(deviation, 1e-300))]


class Filter:
    """The classical model at a step of some paths: its mean, its volatility, and what it has seen.

    **Arguments** fit: as `classical_fit` returns it. before: the first values, as many as the
    longest lag. paths: that start alike.
    """

    def __init__(self, fit: Sequence[Any], before: Array, period: int, paths: int = 1) -> None:
        coefficients, self.deviation, self.alpha, self.persistence = fit
        self.coefficients = np.asarray(coefficients)
        self.lags = lags(period)
        self.recent = np.tile(before, (paths, 1))
        self.fast, self.slow = np.ones(paths), np.ones(paths)
        self.last = np.zeros(paths)  # the last residual, by the volatility before it

    def copies(self, paths: int) -> Filter:
        """Returns the same state of one path for several."""
        copy = object.__new__(Filter)
        vars(copy).update(vars(self))
        for name in ("recent", "fast", "slow", "last"):
            setattr(copy, name, np.repeat(getattr(self, name), paths, axis=0))
        return copy

    def ahead(self, known: Array) -> tuple[Array, Array, Array]:
        """Returns the mean and the volatility of the next step, (P,), and features of it (P, F).

        **Arguments** known: the covariates of the step, (K,).
        """
        constant, past, rest = np.split(self.coefficients, [1, 1 + len(self.lags)])
        mean = np.full(len(self.fast), constant[0] + known @ rest)
        for coefficient, lag in zip(past, self.lags, strict=True):
            mean = mean + coefficient * self.recent[:, -lag]
        near = np.clip(self.last, -CLIP, CLIP)
        features = [np.log(self.fast) / 2, np.log(self.slow / self.fast) / 2, near, np.abs(near)]
        return mean, self.deviation * np.sqrt(self.fast), np.stack(features, axis=1)

    def update(self, y: Array, mean: Array) -> None:
        """Takes in the values of the step, (P,), whose mean `ahead` has returned."""
        residual = (y - mean) / self.deviation
        self.last = residual / np.sqrt(self.fast)
        square = np.minimum(np.square(residual), 1e8)
        a, p = self.alpha, self.persistence
        self.fast = np.maximum((1 - p) + a * square + (p - a) * self.fast, LOWEST)
        self.slow = np.maximum(SLOW * self.slow + (1 - SLOW) * square, LOWEST)
        if self.lags:
            self.recent = np.concatenate([self.recent[:, 1:], y[:, None]], axis=1)
