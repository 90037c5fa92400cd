"""Forecasts users' series: reads their tables, and gives quantiles of the steps after them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data import TextError
from ..data.series import Array, Series, read_series
from .classical import lags
from .forecast_distribution import ForecastDistribution
from .series import LEAST

QUANTILES = {f"{100 * q:g}%": q for q in (0.05, 0.25, 0.5, 0.75, 0.95)}  # of a prediction


class Forecaster(ForecastDistribution):
    """Forecasts series."""

    header = ",".join(["series", "date", "step", *QUANTILES])

    def read(self, path: str | Path) -> list[Series]:
        """Reads series; rows without a value at their ends are to forecast."""
        found = read_series(str(path), replace(self.config, period=self.period), future=True)
        least = max([LEAST, *lags(self.period)]) + 2
        for one in found:
            future = len(one.dates) - len(one.values)
            if len(one.values) < least:
                raise TextError(
                    f"{path}: series {one.name!r} is too short: {len(one.values)} values; "
                    f"expected at least {least} to forecast from"
                )
            if self.known and not future:
                raise TextError(
                    f"{path}: series {one.name!r} ends with a value: the model needs the known "
                    f"covariates ({self.config.covariates}) of the steps to forecast: append rows "
                    f"with them, and with an empty {self.config.value!r}"
                )
        return found

    def predict(self, series: Sequence[Series]) -> Iterator[dict[str, Any]]:
        """Predicts quantiles of the steps after each series."""
        for one in series:
            steps = one if self.period else one.returns()
            future = one.dates[len(one.values) :]
            paths = self.sample(steps, len(steps.values), len(future) or self.config.horizon)
            paths = self.levels(one, len(one.values), paths)
            for h, row in enumerate(np.quantile(paths, [*QUANTILES.values()], axis=0).T):
                values = [float(f"{x:.6g}") for x in row]
                quantiles = dict(zip(QUANTILES, values, strict=True))
                record = {"series": one.name, "step": h + 1, "quantiles": quantiles}
                if future:
                    record["date"] = future[h].isoformat(" ").removesuffix(" 00:00:00")
                yield record

    def show(self, record: dict[str, Any]) -> str:
        """Shows a line of CSV."""
        numbers = [f"{x:.6g}" for x in record["quantiles"].values()]
        line = io.StringIO()
        fields = [record["series"], record.get("date", ""), record["step"], *numbers]
        csv.writer(line, lineterminator="\n").writerow(fields)
        return line.getvalue().removesuffix("\n")

    def levels(self, one: Series, origin: int, paths: Array) -> Array:
        """Returns the values that paths of steps lead to, from a series' value before them."""
        if self.period:
            return paths
        logs = np.clip(paths.cumsum(axis=1) / 100, -700, 700)
        found: Array = one.values[origin - 1] * np.exp(logs)
        return found
