"""Forecasting: trains a `Forecaster` of time series (many to many, one step ahead).

`forecast_model.py` has the network, `forecast_distribution.py` its distributions and samples, and
`forecast_table.py` the baselines.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .. import plot
from ..data import DataLoader, PadSequences
from ..data.series import read_series
from ..nn import student_t_nll_loss
from ..nn.lengths import within_rows
from ..tensor import ops
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .classical import classical_fit
from .comparison import Comparison
from .forecast_model import EXAMPLES, ForecastConfig
from .forecast_table import against_classical, calibration, judged_mean
from .forecaster import Forecaster
from .series import Panel, split
from .task import Task
from .volatility import Fitted, student_log_density

LEVELS = np.arange(1, 10) / 10  # of the calibration's quantiles


class Forecast(Task):
    """Train a probabilistic forecaster of time series, and compare it with GARCH and others."""

    recipe, unit, figure = "forecast", "step", "validation -log p {:.4f} nats"
    settings, predictor = ForecastConfig, Forecaster
    quick: ClassVar = {"limit": 500, "epochs": 3, "hidden_size": 8, "paths": 100, "horizon": 5}
    data_help = (
        "CSV, TSV or JSON lines with a column of dates and one of values, the oldest first; "
        "split by date. Several files are several series."
    )
    default = "daily prices of four stocks"

    @classmethod
    def read(cls, files: Sequence[str], config: Any) -> Panel:
        """Reads series, and splits them by date."""
        if files:
            series = [one for path in files for one in read_series(path, config)]
            return split(series, config.period, config.value, config.limit)
        example, period, unit = EXAMPLES[config.example]
        return split(example(), config.period or period, unit, config.limit)

    def __init__(self, data: Panel, config: ForecastConfig, device: str | None = None) -> None:
        generator = Generator(config.seed)
        self.panel, self.cuts = data, data.cuts()
        fits = {one.name: classical_fit(one, data.period, a) for one, a, _ in self.cuts}
        training = np.concatenate([one.known[:a] for one, a, _ in self.cuts])
        spread = training.std(axis=0)
        known = np.stack([training.mean(axis=0), np.where(spread > 0, spread, 1)], axis=1)
        self.forecaster = Forecaster(config, generator, fits, known.tolist(), data.period)
        self.found = [self.forecaster.filtered(one) for one, _, _ in self.cuts]
        ends = [a - one.start for one, (_, a, _) in zip(self.found, self.cuts, strict=True)]
        samples = [
            (one.x[:end][at : at + config.window], one.residual[:end][at : at + config.window])
            for one, end in zip(self.found, ends, strict=True)
            for at in range(0, end, max(1, config.window // 2))
        ]
        loader = DataLoader(
            samples, config.batch_size, shuffle=True, generator=generator,
            collate=PadSequences(sequences=2), lengths=[len(x) for x, _ in samples],
        )  # fmt: skip
        super().__init__(data, self.forecaster, loader, generator, device)
        self.symbols = sum(ends)

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes -log p of the residuals, and their number."""
        x, lengths, residuals = batch
        (location, scale, df), _ = model(x)
        losses = student_t_nll_loss(location, residuals, scale, df, reduction="none")
        inside = within_rows(losses, as_tensor(lengths, device=losses.device))
        count = int(np.sum(lengths))
        return ops.where(inside, losses, 0).sum() / count, count

    def evaluate(self, quick: bool = False) -> float:
        """Computes the mean -log p of the validation steps, in nats."""
        fits = zip(self.fitted(self.forecaster), self.cuts, strict=True)
        return -float(np.concatenate([log_p[a:b] for (_, log_p), (_, a, b) in fits]).mean())

    def fitted(self, forecaster: Forecaster) -> list[Fitted]:
        """Returns the mean and the log-likelihood of every step of each series."""
        results = []
        distributions = forecaster.distributions(self.found)
        for cut, found, (location, scale, df) in zip(
            self.cuts, self.found, distributions, strict=True
        ):
            unknown = np.full(found.start, np.nan)
            log_p = student_log_density(cut.steps.values[found.start :], location, scale, df)
            results.append((np.append(unknown, location), np.append(unknown, log_p)))
        return results

    def compare(self) -> Comparison:
        """Compares the log-likelihoods of the test's steps, each given all steps before it."""
        forecaster, cuts, period = self.predicting(), self.cuts, self.panel.period
        comparison = against_classical(cuts, period, self.config.cell, self.fitted(forecaster))
        notes, self.ranks = calibration(cuts, forecaster, self.found)
        comparison.notes += [*notes, judged_mean(comparison, period)]
        return comparison

    def draw(self, path: Path, comparison: Comparison) -> None:
        """Draws a fan of the first series, and the calibration of all."""
        forecaster, horizon = self.predicting(), self.config.horizon
        one, (steps, _, test) = self.panel.series[0], self.cuts[0]
        origin = max(test, len(steps.values) - horizon)
        paths = forecaster.sample(steps, origin, horizon)
        shift = len(one.values) - len(steps.values)
        paths = forecaster.levels(one, origin + shift, paths)[:, : len(steps.values) - origin]
        at = origin + shift
        past = slice(max(0, at - 4 * horizon), at)
        figure, axes = plot.panels(1, 2, 11, 4.2)
        times = np.array(one.dates[past.start : at + paths.shape[1]], "datetime64[s]")
        plot.fan(
            paths, one.values[past], one.values[at:], times=times, xlabel="date",
            ylabel=f"{one.name}: {self.panel.unit}", ax=axes[0],
        )  # fmt: skip
        below = self.ranks[None] < LEVELS[:, None]
        plot.calibration(np.repeat(LEVELS, len(self.ranks)), below.ravel(), ax=axes[1])
        plot.save(figure, path)

    def describe(self) -> str:
        """The data in a line."""
        counts = np.sum([(a, b - a, len(one.values) - b) for one, a, b in self.cuts], axis=0)
        names = [one.name for one, _, _ in self.cuts]
        shown = ", ".join(names[:6]) + ", ..." * (len(names) > 6)
        return (
            f"{'values' if self.panel.period else 'returns in %'} of {shown}: {counts[0]:,} to "
            f"learn from, {counts[1]:,} for validation from {self.panel.ends[0]:%Y-%m-%d}, "
            f"{counts[2]:,} for the test from {self.panel.ends[1]:%Y-%m-%d}"
        )
