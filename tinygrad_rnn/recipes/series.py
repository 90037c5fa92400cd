"""Time series, split by date."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from ..data.series import Series
from ..data.tables import TableError
from .classical import lags, linear_fit

VALIDATION, TEST = 0.1, 0.2  # of the dates, the last ones
LEAST = 40  # steps to learn from, in each series
LEAST_HELD_OUT = 5  # steps for validation, and as many for the test


class Cut(NamedTuple):
    """The values or returns of a series, and the steps at which validation and test begin."""

    steps: Series
    validation: int
    test: int


@dataclass(frozen=True)
class Panel:
    """Series to learn from and to test with.

    **Arguments** period: steps of a season; 0 for returns. ends: where training and validation end.
    unit: of the values, or what they are.
    """

    series: list[Series]
    period: int
    ends: tuple[datetime, datetime]
    unit: str

    def cuts(self) -> list[Cut]:
        """Returns what is forecast of each series, cut by date."""
        steps = self.series if self.period else [one.returns() for one in self.series]
        return [
            Cut(one, *(sum(day < end for day in one.dates) for end in self.ends)) for one in steps
        ]


def split(series: Sequence[Series], period: int, unit: str, limit: int = 0) -> Panel:
    """Splits series by date: the first 70 % of all dates to learn from, the last 20 % for the test.

    **Arguments** limit: the most steps of a series to use, the last ones; all, if 0. **Raises**
    TableError for a series that is too short, or two of the same name.
    """
    if limit:
        series = [
            Series(s.name, s.dates[-limit:], s.values[-limit:], s.known[-limit:]) for s in series
        ]
    if len({one.name for one in series}) < len(series):
        names = [one.name for one in series]
        doubled = next(name for name in names if names.count(name) > 1)
        raise TableError(f"two series are named {doubled!r}: rename one, or name the column that "
                         "tells series apart by --series")  # fmt: skip
    days = sorted({day for one in series for day in one.dates})
    first, second = (
        days[min(len(days) - 1, round(part * len(days)))]
        for part in (1 - VALIDATION - TEST, 1 - TEST)
    )
    panel = Panel(list(series), period, (first, second), unit)
    for one, a, b in panel.cuts():
        least = LEAST + max(lags(period), default=0)
        if a < least or min(b - a, len(one.values) - b) < LEAST_HELD_OUT:
            raise TableError(
                f"series {one.name!r} is too short: {a} steps before {first:%Y-%m-%d} to learn "
                f"from, {b - a} for validation and {len(one.values) - b} from {second:%Y-%m-%d} on "
                f"for the test; expected at least {least}, {LEAST_HELD_OUT} and {LEAST_HELD_OUT}"
            )
        _, deviation = linear_fit(one, period, a)
        if not deviation > 1e-9 * (np.abs(one.values[:a]).max() + 1e-300):
            raise TableError(
                f"series {one.name!r} follows from its last values without an error before "
                f"{first:%Y-%m-%d}: there is nothing to learn"
            )
    return panel
