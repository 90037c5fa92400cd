"""Forecasts compared with classical models of the same steps, and how well they are calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.series import Array
from . import volatility
from .bootstrap import paired_bootstrap, share
from .comparison import Comparison, Measure
from .forecast_distribution import Filtered, ForecastDistribution
from .series import Cut

BLOCK = 10  # dates in an item of the comparison: neighbouring ones depend on each other
ORIGINS = 300  # forecasts of several steps, to see whether they are calibrated
LIKELIHOOD, R2 = "log p, nats", "R² of mean"


def against_classical(
    cuts: Sequence[Cut], period: int, name: str, ours: Sequence[volatility.Fitted]
) -> Comparison:
    """Compares the log-likelihoods of the test's steps, each given all steps before it.

    **Arguments** period: steps of a season; 0 for returns. name, ours: of the network, and its mean
    and log-likelihood of every step of each series.
    """
    comparison = Comparison(
        f"blocks of {BLOCK} dates",
        [Measure(LIKELIHOOD, shown="{:.4f}"), Measure(R2, _r_squared, "{:.3f}")],
    )
    values = [(one.values, test) for one, _, test in cuts]
    systems: dict[str, Sequence[volatility.Fitted]] = {
        "constant Gaussian": [volatility.constant_gaussian(y, test) for y, test in values]
    }
    if period:
        systems["last value"] = [volatility.naive(y, test, 1) for y, test in values]
        if period > 1:
            systems["seasonal naive"] = [volatility.naive(y, test, period) for y, test in values]
        systems["linear"] = [volatility.linear(one, test, period) for one, _, test in cuts]
    else:
        systems["weighted volatility"] = [
            volatility.weighted_volatility(y, test) for y, test in values
        ]
        with comparison.optional():
            systems["GARCH(1,1), t"] = [volatility.garch(y, test) for y, test in values]
    for system, fitted in {**systems, name: ours}.items():
        comparison.add(system, **_sums(cuts, fitted))
    return comparison


def _sums(cuts: Sequence[Cut], fitted: Sequence[volatility.Fitted]) -> dict[str, Array]:
    """Adds up a system's log-likelihoods and squared errors over blocks of dates."""
    block = _blocks(cuts, BLOCK)
    likely, errors = (np.zeros((max(block.values()) + 1, 2)) for _ in range(2))
    for (one, _, test), (mean, log_p) in zip(cuts, fitted, strict=True):
        at, y = [block[day] for day in one.dates[test:]], one.values
        np.add.at(likely, at, np.stack([log_p[test:], np.ones(len(at))], axis=1))
        error, total = np.square(y - mean)[test:], np.square(y - y[:test].mean())[test:]
        np.add.at(errors, at, np.stack([error, total], axis=1) / y[:test].var())
    return {LIKELIHOOD: likely, R2: errors}


def _blocks(cuts: Sequence[Cut], size: int) -> dict[Any, int]:
    """Numbers the blocks of dates in the test. **Returns** the block of each date."""
    days = sorted({day for one, _, test in cuts for day in one.dates[test:]})
    return {day: i // size for i, day in enumerate(days)}


def _r_squared(sums: Any) -> Any:
    """1 less the squared errors by those of the mean before the test."""
    return 1 - sums[..., 0] / np.maximum(sums[..., 1], 1e-300)


def judged_mean(comparison: Comparison, period: int) -> str:
    """Says whether the mean can be predicted."""
    names = list(comparison.systems)
    ours, constant = (comparison.systems[name][R2] for name in (names[-1], names[0]))
    low, high = paired_bootstrap(ours, constant, _r_squared)
    what = "values" if period else "returns"
    known = "is predictable" if low > 0 else "is not predictable from their past"
    return (
        f"the mean of these {what} {known}: R² above that of a constant by {low:+.3f} to "
        f"{high:+.3f}" + ("" if low > 0 else "; what is predictable is how far they spread")
    )


# ---------------------------------------------------------------- calibration


def calibration(
    cuts: Sequence[Cut], forecaster: ForecastDistribution, filtered: Sequence[Filtered]
) -> tuple[list[str], Array]:
    """Counts how many of the test's values lie in the intervals, one step ahead and several.

    **Returns** what to say of them, and the ranks of the values in the forecasts of one step.
    """
    horizon = forecaster.config.horizon
    block = _blocks(cuts, max(BLOCK, horizon))
    near: list[tuple[int, Array]] = []  # blocks, and the ranks of values in forecasts
    later: list[tuple[int, Array]] = []
    distributions = forecaster.distributions(filtered)
    for (one, _, test), found, (location, scale, df) in zip(
        cuts, filtered, distributions, strict=True
    ):
        z = (one.values[found.start :] - location) / scale
        ranks = volatility.student_cdf(z, df)[test - found.start :]
        near += zip([block[day] for day in one.dates[test:]], ranks[:, None], strict=True)
        every = max(1, (len(one.values) - test) // max(2, ORIGINS // len(cuts)))
        origins = list(range(test, len(one.values), every))
        for origin, paths in zip(origins, forecaster.samples(one, origins, horizon), strict=True):
            actual = one.values[origin : origin + horizon]
            if not forecaster.period:
                paths, actual = paths.cumsum(axis=1), actual.cumsum()
            ranks = (paths[:, : len(actual)] < actual).mean(axis=0)[1:]
            later.append((block[one.dates[origin]], ranks))
    notes = [coverage("the next step", near)]
    if horizon > 1:
        notes.append(coverage(f"2 to {horizon} steps ahead", later))
    return notes, np.concatenate([ranks for _, ranks in near])


def coverage(what: str, items: Sequence[tuple[int, Array]]) -> str:
    """Says how many values lie in the intervals, with the 95 % interval of each share.

    **Arguments** items: the block of each forecast, and the ranks of the values that came.
    """
    shares = []
    for level in (0.5, 0.9):
        sums = np.zeros((max(block for block, _ in items) + 1, 2))
        for block, ranks in items:
            sums[block] += (np.abs(ranks - 0.5) <= level / 2).sum(), len(ranks)
        held = share(sums.sum(axis=0))
        low, high = paired_bootstrap(sums, np.zeros_like(sums))  # of the share minus 0
        shares.append(f"{held:.1%} ({low:.1%} to {high:.1%})")
    return (
        f"the 50 % intervals of {what} hold {shares[0]} of the values, "
        f"the 90 % intervals {shares[1]}"
    )
