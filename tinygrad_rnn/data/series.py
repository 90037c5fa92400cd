"""Time series: values by date with known covariates, from tables and from installed data sets."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .datasets import TextError
from .sets import SETS
from .tables import Table

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Values by date, and covariates that are known in advance.

    **Arguments** dates: (N + F,), of the N values and of F steps to forecast. values: (N,). known:
    (N + F, K).
    """

    name: str
    dates: list[datetime]
    values: Array
    known: Array

    def returns(self) -> Series:
        """Returns the log returns in percent, 100 log(x_t / x_{t-1}).

        >>> days = [datetime(2020, 1, 1), datetime(2020, 1, 2)]
        >>> Series("a", days, np.array([100.0, 101.0]), np.zeros((2, 0))).returns().values.round(3)
        array([0.995])
        """
        returns = 100 * np.diff(np.log(self.values))
        return Series(self.name, self.dates[1:], returns, self.known[1:])


def read_series(path: str, config: Any, future: bool = False) -> list[Series]:
    """Reads the series of a table, and checks them.

    **Arguments** config: names the columns; its period says whether values must be above 0. future:
    whether the last rows of a series may lack values: they are to forecast. **Raises** TableError.
    """
    table = Table.read(path)
    rows: dict[str, list[int]] = {}
    names = table.texts(config.series) if config.series else [Path(path).stem] * len(table)
    for i, name in enumerate(names):
        rows.setdefault(name, []).append(i)
    found = []
    for name, at in rows.items():
        places = [table.places[i] for i in at]
        part = replace(table, rows=[table.rows[i] for i in at], places=places)
        found.append(_one_series(part, name, config, future))
        if (found[0].dates[0].tzinfo is None) is not (found[-1].dates[0].tzinfo is None):
            raise part.error(0, config.date, "some dates have a time zone, and others none")
    return found


def _one_series(table: Table, name: str, config: Any, future: bool) -> Series:
    dates, count = table.dates(config.date), len(table)
    while future and count > 1 and table.rows[count - 1].get(config.value) in (None, "", " "):
        count -= 1
    past = replace(table, rows=table.rows[:count], places=table.places[:count])
    values = np.array(past.numbers(config.value))
    if not config.period and (values <= 0).any():
        at = int(np.argmax(values <= 0))
        raise past.error(
            at, config.value, f"returns need values above 0, got {values[at]:g}: --period 1 "
            "forecasts the values themselves",
        )  # fmt: skip
    if (values == values[0]).all() and count > 1:
        raise past.error(
            0, config.value, f"series {name!r} is constant: every value is {values[0]:g}: leave "
            "it out",
        )  # fmt: skip
    columns = [column.strip() for column in config.covariates.split(",") if column.strip()]
    known = np.array([table.numbers(column) for column in columns]).T.reshape(len(table), -1)
    return Series(name, dates, values, known)


def stocks() -> list[Series]:
    """Reads daily adjusted closes, 2000 to 2013. **Raises** TextError if they are not installed.

    Without Facebook's, of which there are only 196 days.
    """
    text = _decompressed(SETS["stocks"].read("_data/stocks.csv.gz"))
    by_name: dict[str, list[tuple[datetime, float]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        day = datetime.fromisoformat(row["Date"])
        by_name.setdefault(row["Ticker"], []).append((day, float(row["Adj Close"])))
    return [
        Series(name, [d for d, _ in rows], np.array([x for _, x in rows]), np.zeros((len(rows), 0)))
        for name, rows in ((name, sorted(rows)) for name, rows in by_name.items())
        if len(rows) > 1000
    ]


def _decompressed(raw: bytes) -> str:
    try:
        return gzip.decompress(raw).decode()
    except (OSError, EOFError, UnicodeDecodeError):
        raise TextError(
            f"the prices are damaged: install them by `{SETS['stocks'].command}`"
        ) from None


def unemployment() -> list[Series]:
    """Reads the monthly unemployment rate of the USA in percent, 1948 to 2016, not adjusted.

    **Raises** TextError if the package is not installed.
    """
    text = SETS["stocks"].read("_data/unemployment1948.csv").decode()
    dates: list[datetime] = []
    values = []
    for row in csv.reader(io.StringIO(text)):
        if row[0].isdigit():
            dates += [datetime(int(row[0]), month, 1) for month in range(1, 13)]
            values += [float(x) for x in row[1:13]]
    known = np.zeros((len(values), 0))
    return [Series("unemployment", dates, np.array(values), known)]
