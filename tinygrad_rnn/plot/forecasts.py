"""Forecasts: fan charts of sampled paths, and whether probabilities are calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..errors import InvalidValueError, ShapeError, public
from .canvas import COLORS, add_legend, array_of, axes_of, name_axes, points_of

DATE = 45  # points of a date's label
NORMAL = 1.96  # standard errors on either side of a 95 % interval


@public
def fan(
    samples: ArrayLike,
    past: ArrayLike | None = None,
    actual: ArrayLike | None = None,
    *,
    times: ArrayLike | None = None,
    levels: Sequence[float] = (0.5, 0.9),
    xlabel: str = "step t",
    ylabel: str = "value",
    ax: Any = None,
) -> Any:
    """Draws a forecast: the median and central intervals of sampled paths, after the past.

    **Arguments** samples: (paths, H). past: (N,), the observations before. actual: (H,), those of
    the forecast's steps. times: (N + H,), positions or dates; steps from the forecast on, if None.
    levels: the probabilities of the intervals. xlabel, ylabel: with their units. ax: the Axes to
    draw in. **Returns** the Figure.

    >>> import numpy as np
    >>> paths = np.random.default_rng(0).normal(size=(200, 5)).cumsum(axis=1)
    >>> figure = fan(paths, past=[0.3, -0.1, 0.0])
    >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    ['90 % interval', '50 % interval', 'median', 'past']
    """
    paths = array_of("fan: samples", samples, 2)
    before = np.empty(0) if past is None else array_of("fan: past", past, 1)
    steps = paths.shape[1]
    when = np.arange(-len(before) + 1, steps + 1) if times is None else np.asarray(times)
    if len(when) != len(before) + steps:
        raise ShapeError(
            f"fan: times: expected {len(before)} of the past and {steps} of the forecast, got "
            f"{len(when)}"
        )
    if not levels or not all(0 < level < 1 for level in levels):
        raise InvalidValueError(
            f"fan: levels: expected probabilities between 0 and 1, got {levels!r}"
        )
    figure, axes = axes_of(ax, 8, 4)
    later = when[len(before) :]
    for i, level in enumerate(sorted(levels, reverse=True)):
        low, high = np.quantile(paths, [(1 - level) / 2, (1 + level) / 2], axis=0)
        look = {"color": COLORS[0], "alpha": 0.2 + 0.2 * i, "linewidth": 0}
        axes.fill_between(later, low, high, label=f"{100 * level:g} % interval", **look)
    axes.plot(later, np.median(paths, axis=0), "--", color=COLORS[0], label="median")
    if len(before):
        axes.plot(when[: len(before)], before, "-", color="black", linewidth=1, label="past")
    if actual is not None:
        line = array_of("fan: actual", actual, 1)
        axes.plot(later[: len(line)], line, ":", color=COLORS[1], marker=".", label="actual")
    name_axes(axes, xlabel, ylabel)
    if when.dtype.kind == "M":
        _date_ticks(axes)
    axes.grid(alpha=0.3, linewidth=0.5)
    add_legend(axes)
    return figure


def _date_ticks(axes: Any) -> None:
    """Labels as many dates as there is room for."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    places = AutoDateLocator(minticks=2, maxticks=max(3, int(points_of(axes)[0] / DATE)))
    axes.xaxis.set_major_locator(places)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(places))


@public
def calibration(
    probabilities: ArrayLike, outcomes: ArrayLike, *, bins: int = 10, ax: Any = None
) -> Any:
    """Draws how often events occur by the probability that was predicted for them.

    A calibrated forecast lies on the diagonal. For a forecast's intervals, pass the levels of its
    quantiles and whether the value was below them. Bars are 95 % intervals.

    **Arguments** probabilities: (N,), in [0, 1]. outcomes: (N,), whether the events occurred. bins:
    of equal width; not used where there are fewer different probabilities. ax: the Axes to draw in.
    **Returns** the Figure.

    >>> figure = calibration([0.1, 0.1, 0.9, 0.9], [False, False, True, True])
    >>> figure.axes[0].get_xlabel()
    'predicted probability'
    """
    p = array_of("calibration: probabilities", probabilities, 1).astype("float64")
    hit = array_of("calibration: outcomes", outcomes, 1).astype("float64")
    if p.shape != hit.shape:
        raise ShapeError(
            f"calibration: outcomes: expected one for each of the {len(p)} probabilities, got "
            f"{len(hit)}"
        )
    if p.min() < 0 or p.max() > 1:
        raise InvalidValueError("calibration: probabilities: expected numbers in [0, 1]")
    if type(bins) is not int or bins < 1:
        raise InvalidValueError(f"calibration: bins: expected a positive number, got {bins!r}")
    groups: Any = p if len(np.unique(p)) <= bins else np.minimum((p * bins).astype(int), bins - 1)
    _, which, count = np.unique(groups, return_inverse=True, return_counts=True)
    predicted, observed = (np.bincount(which, values) / count for values in (p, hit))
    error = NORMAL * np.sqrt(observed * (1 - observed) / count)
    figure, axes = axes_of(ax, 4.8, 4.8)
    axes.plot([0, 1], [0, 1], ":", color="grey", label="calibrated")
    axes.errorbar(
        predicted, observed, yerr=error, color=COLORS[0], marker="o", capsize=3, label="observed"
    )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    name_axes(axes, "predicted probability", "observed frequency")
    axes.grid(alpha=0.3, linewidth=0.5)
    add_legend(axes, loc="upper left")
    return figure
