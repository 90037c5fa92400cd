"""Forecasting: trains a `Forecaster`, and compares it with classical models of the same steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .. import plot
from ..data import DataLoader, PadSequences
from ..data.series import Array, read_series
from ..nn import Module, student_t_nll_loss
from ..optim import AdamW, Optimizer
from ..tensor import ops
from ..tensor.creation import arange, as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .comparison import Comparison, Measure, paired_bootstrap, share
from .forecaster import EXAMPLES, ForecastConfig, Forecaster
from .series import Panel, classical_fit, split
from .task import Task
from .volatility import (
    Fitted,
    constant_gaussian,
    garch,
    linear,
    naive,
    student_cdf,
    student_log_density,
    weighted_volatility,
)

LEVELS = np.arange(1, 10) / 10  # of the calibration's quantiles
BLOCK = 10  # dates in an item of the comparison: neighbouring ones depend on each other
ORIGINS = 300  # forecasts of several steps, to see whether they are calibrated
R2 = "R² of mean"


class Forecast(Task):
    """Train a probabilistic forecaster of time series, and compare it with GARCH and others."""

    recipe, unit, shown = "forecast", "step", "validation -log p {:.4f} nats"
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
        self.panel, self.steps_of = data, data.steps()
        self.cuts = [data.cuts(one) for one in self.steps_of]
        fits: dict[str, list[Any]] = {}
        for one, (a, _) in zip(self.steps_of, self.cuts, strict=True):
            fits[one.name] = classical_fit(one, data.period, a)
        pairs = zip(self.steps_of, self.cuts, strict=True)
        training = np.concatenate([one.known[:a] for one, (a, _) in pairs])
        spread = training.std(axis=0)
        known = np.stack([training.mean(axis=0), np.where(spread > 0, spread, 1)], axis=1)
        self.forecaster = Forecaster(config, generator, fits, known.tolist(), data.period)
        self.found = [self.forecaster.filtered(one) for one in self.steps_of]
        samples = [
            (one.x[at : min(at + config.window, a - one.start)],
             one.residual[at : min(at + config.window, a - one.start)])
            for one, (a, _) in zip(self.found, self.cuts, strict=True)
            for at in range(0, a - one.start, max(1, config.window // 2))
        ]  # fmt: skip
        loader = DataLoader(
            samples, config.batch_size, shuffle=True, generator=generator,
            collate=PadSequences(sequences=2), lengths=[len(x) for x, _ in samples],
        )  # fmt: skip
        super().__init__(data, self.forecaster, loader, generator, device)
        self.symbols = sum(a - one.start for one, (a, _) in zip(self.found, self.cuts, strict=True))

    def optimizer_of(self, model: Module) -> Optimizer:
        """Creates AdamW, which shrinks the weights: the noise has little to teach."""
        config = self.config
        return AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes -log p of the residuals, and their number."""
        x, lengths, residuals = batch
        (location, scale, df), _ = model(x)
        losses = student_t_nll_loss(location, residuals, scale, df, reduction="none")
        ends = as_tensor(lengths, device=losses.device)
        inside = arange(len(losses), device=losses.device)[:, None] < ends
        count = int(np.sum(lengths))
        return ops.where(inside, losses, 0).sum() / count, count

    def evaluate(self, quick: bool = False) -> float:
        """Computes the mean -log p of the validation steps, in nats."""
        fits = zip(self.fitted(self.forecaster), self.cuts, strict=True)
        return -float(np.concatenate([log_p[a:b] for (_, log_p), (a, b) in fits]).mean())

    def fitted(self, forecaster: Forecaster) -> list[Fitted]:
        """Returns the mean and the log-likelihood of every step of each series."""
        results = []
        all_of = zip(self.steps_of, self.found, forecaster.distributions(self.found), strict=True)
        for one, filtered, (location, scale, df) in all_of:
            unknown = np.full(filtered.start, np.nan)
            y = one.values[filtered.start :]
            log_p = student_log_density(y, location, scale, df)
            results.append((np.append(unknown, location), np.append(unknown, log_p)))
        return results

    def compare(self) -> Comparison:
        """Compares the log-likelihoods of the test's steps, each given all steps before it."""
        period, config = self.panel.period, self.config
        comparison = Comparison(
            f"blocks of {BLOCK} dates",
            [Measure("log p, nats", shown="{:.4f}"), Measure(R2, _r_squared, "{:.3f}")],
        )
        y_ends = [(one.values, b) for one, (_, b) in zip(self.steps_of, self.cuts, strict=True)]
        self._add("constant Gaussian", [constant_gaussian(y, b) for y, b in y_ends], comparison)
        if period:
            self._add("last value", [naive(y, b, 1) for y, b in y_ends], comparison)
            if period > 1:
                found = [naive(y, b, period) for y, b in y_ends]
                self._add("seasonal naive", found, comparison)
            self._add(
                "linear",
                [
                    linear(one, b, period)
                    for one, (_, b) in zip(self.steps_of, self.cuts, strict=True)
                ],
                comparison,
            )
        else:
            found = [weighted_volatility(y, b) for y, b in y_ends]
            self._add("weighted volatility", found, comparison)
            fits = [garch(y, b) for y, b in y_ends]
            known = [fit for fit in fits if fit is not None]
            if len(known) == len(fits):
                self._add("GARCH(1,1), t", known, comparison)
            else:
                comparison.notes.append(
                    "GARCH(1,1) needs the package arch: pip install 'tinygrad_rnn[baselines]'"
                )
        forecaster = self.predicting()
        self._add(config.cell, self.fitted(forecaster), comparison)
        self._calibrate(forecaster, comparison)
        self._judge_mean(comparison)
        return comparison

    def _add(self, system: str, fits: Sequence[Fitted], comparison: Comparison) -> None:
        """Adds a system's sums over blocks of dates."""
        block = self._blocks(BLOCK)
        likely, errors = (np.zeros((max(block.values()) + 1, 2)) for _ in range(2))
        for one, (_, b), (mean, log_p) in zip(self.steps_of, self.cuts, fits, strict=True):
            at, y = [block[day] for day in one.dates[b:]], one.values
            variance = y[:b].var()
            np.add.at(likely, at, np.stack([log_p[b:], np.ones(len(at))], axis=1))
            error, total = np.square(y - mean)[b:], np.square(y - y[:b].mean())[b:]
            np.add.at(errors, at, np.stack([error, total], axis=1) / variance)
        comparison.add(system, **{"log p, nats": likely, R2: errors})

    def _calibrate(self, forecaster: Forecaster, comparison: Comparison) -> None:
        """Counts how many values lie in the intervals, one step ahead and several."""
        horizon = self.config.horizon
        block = self._blocks(max(BLOCK, horizon))
        near: list[tuple[int, Array]] = []  # blocks, and the ranks of values in forecasts
        later: list[tuple[int, Array]] = []
        distributions = forecaster.distributions(self.found)
        for one, found, (_, b), (location, scale, df) in zip(
            self.steps_of, self.found, self.cuts, distributions, strict=True
        ):
            z = (one.values[found.start :] - location) / scale
            ranks = student_cdf(z, df)[b - found.start :]
            near += zip([block[day] for day in one.dates[b:]], ranks[:, None], strict=True)
            count = max(2, ORIGINS // len(self.steps_of))
            every = max(1, (len(one.values) - b) // count)
            origins = list(range(b, len(one.values), every))
            for origin, paths in zip(
                origins, forecaster.samples(one, origins, horizon), strict=True
            ):
                actual = one.values[origin : origin + horizon]
                if not self.panel.period:
                    paths, actual = paths.cumsum(axis=1), actual.cumsum()
                ranks = (paths[:, : len(actual)] < actual).mean(axis=0)[1:]
                later.append((block[one.dates[origin]], ranks))
        self.ranks = np.concatenate([ranks for _, ranks in near])
        comparison.notes += _coverage("the next step", near)
        if horizon > 1:
            comparison.notes += _coverage(f"2 to {horizon} steps ahead", later)

    def _blocks(self, size: int) -> dict[Any, int]:
        """Numbers the blocks of dates in the test. **Returns** the block of each date."""
        steps = zip(self.steps_of, self.cuts, strict=True)
        days = sorted({day for one, (_, b) in steps for day in one.dates[b:]})
        return {day: i // size for i, day in enumerate(days)}

    def _judge_mean(self, comparison: Comparison) -> None:
        """Says whether the mean can be predicted."""
        names = list(comparison.systems)
        ours, constant = (comparison.systems[name][R2] for name in (names[-1], names[0]))
        low, high = paired_bootstrap(ours, constant, _r_squared)
        what = "values" if self.panel.period else "returns"
        known = "is predictable" if low > 0 else "is not predictable from their past"
        comparison.notes.append(
            f"the mean of these {what} {known}: R² above that of a constant by {low:+.3f} to "
            f"{high:+.3f}" + ("" if low > 0 else "; what is predictable is how far they spread")
        )

    def draw(self, path: Path, comparison: Comparison) -> None:
        """Draws a fan of the first series, and the calibration of all."""
        forecaster, horizon = self.predicting(), self.config.horizon
        one, steps, (_, b) = self.panel.series[0], self.steps_of[0], self.cuts[0]
        origin = max(b, len(steps.values) - horizon)
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
        counts = [
            sum(ends) for ends in zip(
                *((a, b - a, len(one.values) - b)
                  for one, (a, b) in zip(self.steps_of, self.cuts, strict=True)), strict=True,
            )
        ]  # fmt: skip
        names = [one.name for one in self.steps_of]
        shown = ", ".join(names[:6]) + ", ..." * (len(names) > 6)
        return (
            f"{'values' if self.panel.period else 'returns in %'} of {shown}: {counts[0]:,} to "
            f"learn from, {counts[1]:,} for validation from {self.panel.ends[0]:%Y-%m-%d}, "
            f"{counts[2]:,} for the test from {self.panel.ends[1]:%Y-%m-%d}"
        )


def _r_squared(sums: Any) -> Any:
    """1 less the squared errors by those of the mean before the test."""
    return 1 - sums[..., 0] / np.maximum(sums[..., 1], 1e-300)


def _coverage(what: str, items: Sequence[tuple[int, Array]]) -> list[str]:
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
    return [
        f"the 50 % intervals of {what} hold {shares[0]} of the values, "
        f"the 90 % intervals {shares[1]}"
    ]
