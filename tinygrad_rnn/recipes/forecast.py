"""Forecasting: the distribution of a series' next value, given the past, Pr(x_t | x_1 ... x_{t-1}).

A classical model gives a mean and a volatility (`series`). A recurrent network reads its residuals,
and corrects both: it gives the location and the scale, in units of that volatility, and the degrees
of freedom of Student's t. Its last layer starts at zero, so it starts as the classical model.
Sampled values are fed back to forecast several steps ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from .. import plot
from ..data import DataLoader, PadSequences, TextError, pad_sequence
from ..errors import InvalidValueError
from ..nn import Dropout, Linear, Module, student_t_nll_loss
from ..optim import AdamW, Optimizer
from ..tensor import ops, tree
from ..tensor.creation import arange, as_tensor, ones
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import check_weights, inference
from .charlm import CELLS, check_weights_fit
from .comparison import Comparison, Measure, paired_bootstrap
from .series import (
    FEATURES,
    LEAST,
    Array,
    Filter,
    Panel,
    Series,
    classical_fit,
    lags,
    read_series,
    split,
    stocks,
    unemployment,
)  # fmt: skip
from .settings import Settings, setting
from .task import Task
from .volatility import (
    Fitted,
    constant_gaussian,
    garch,
    linear,
    naive,
    student_cdf,
    student_log_density,
    student_samples,
    weighted_volatility,
)  # fmt: skip

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of a prediction
LEVELS = np.arange(1, 10) / 10  # of the calibration's quantiles
BLOCK = 10  # dates in an item of the comparison: neighbouring ones depend on each other
ORIGINS = 25  # forecasts of several steps in each series, to see whether they are calibrated
HIGHEST_DF = 100.0
WIDTHS = np.exp(np.arange(-40, 41) / 100)  # factors of the scales to choose from
SLOWER = 0.1  # corrections of the mean are learnt slower: it has much more noise than the scale

R2 = "R² of mean"
EXAMPLES = {  # with their periods and units
    "stocks": (stocks, 0, "adjusted close, $"), "unemployment": (unemployment, 12, "rate, %"),
}  # fmt: skip


@dataclass(frozen=True)
class ForecastConfig(Settings):
    """All that determines a training, except its data."""

    example: str = setting("stocks", "Without --data.", one_of=EXAMPLES)
    date: str = setting("date", "The column of dates.")
    value: str = setting("value", "The column of values.")
    series: str = setting("", "The column that names the series; '' for one series a file.")
    covariates: str = setting("", "Columns that are known in advance, with commas between them.")
    period: int = setting(
        0, "Steps of a season, to forecast values; 1 for none; 0 forecasts returns.",
        at_least=0, at_most=100_000,
    )  # fmt: skip
    horizon: int = setting(20, "Steps ahead.", at_least=1, at_most=1000)
    paths: int = setting(1000, "Sampled paths of a forecast.", at_least=2, at_most=10_000)
    cell: str = setting("rnn", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(24, "Units in a layer.", at_least=1)
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    dropout: float = setting(0.2, "Dropout probability.", at_least=0, below=1)
    window: int = setting(120, "Steps in a sequence of the training.", at_least=2, at_most=100_000)
    batch_size: int = setting(16, "Sequences in an update.", at_least=1)
    epochs: int = setting(30, "Passes over the series; --resume may raise it.", at_least=1)
    lr: float = setting(1e-2, "Peak learning rate of AdamW.", above=0)
    weight_decay: float = setting(0.01, "Weight decay of AdamW.", at_least=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    limit: int = setting(0, "Steps of a series to use at most, the last; all, if 0.", at_least=0)
    seed: int = setting(0, "Seed of the weights, dropout and the paths.", at_least=0)


class ForecastModel(Module):
    """Recurrent layers, and a linear map of states and inputs to Student's t-distributions.

    **Arguments** features: of a step. generator: draws weights and masks.
    """

    width: Tensor

    def __init__(self, features: int, config: ForecastConfig, generator: Generator) -> None:
        super().__init__()
        check_weights_fit(_Sizes(config, features), 3)
        self.layers = CELLS[config.cell](
            features, config.hidden_size, num_layers=config.num_layers, generator=generator
        )
        self.dropout = Dropout(config.dropout, generator=generator)
        self.head = Linear(config.hidden_size + features, 3, generator=generator)
        self.head.weight.data[:] = 0
        self.register_buffer("width", ones((1,)))  # of all scales, fitted to the validation
        assert self.head.bias is not None
        self.head.bias.data[:] = [0, 0, 5]  # about 7 degrees of freedom

    def forward(self, x: Tensor, state: Any = None) -> tuple[tuple[Tensor, Tensor, Tensor], Any]:
        """**Returns** location, scale and degrees of freedom, each (T, B); and the state."""
        y, state = self.layers(x, state)
        found = self.head(ops.concat([self.dropout(y), x], axis=2))
        df = 2.05 + ops.clip(ops.softplus(found[:, :, 2]), 0, HIGHEST_DF)
        scale = ops.exp(found[:, :, 1])
        if not self.training:
            scale = self.width * scale
        return (SLOWER * found[:, :, 0], scale, df), state


class _Sizes:
    """The sizes that `check_weights_fit` reads."""

    def __init__(self, config: ForecastConfig, features: int) -> None:
        self.cell, self.hidden_size = config.cell, config.hidden_size
        self.num_layers, self.embedding_dim = config.num_layers, features


@dataclass(frozen=True)
class Filtered:
    """A series after the classical model: its steps from `start` on, where all lags exist."""

    start: int
    x: Any  # (T, F), what the network reads
    mean: Array  # (T,)
    volatility: Array  # (T,)
    residual: Any  # (T,), by the volatility
    states: dict[int, Filter]  # before some steps


@dataclass(frozen=True)
class Forecaster:
    """A model with the classical models of the series, and the scales of the covariates."""

    model: ForecastModel
    fits: dict[str, list[Any]]  # `classical_fit` by series
    known: list[list[float]]  # mean and deviation of each covariate
    period: int
    config: ForecastConfig

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Forecaster:
        """Builds the forecaster from a checkpoint's state."""
        config = ForecastConfig(**state["config"])
        model = ForecastModel(FEATURES + len(state["known"]), config, Generator(config.seed))
        model.load_state_dict(state["chosen"] or state["model"])
        check_weights(model)
        if device is not None:
            model.to(device)
        return cls(model, state["fits"], state["known"], state["period"], config)

    def read(self, path: str | Path) -> list[Series]:
        """Reads series; rows without a value at their ends are to forecast."""
        found = read_series(str(path), replace(self.config, period=self.period), future=True)
        least = max([LEAST, *lags(self.period)]) + 2 if self.period else LEAST + 2
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
            levels = np.quantile(self.levels(one, len(one.values), paths), QUANTILES, axis=0)
            for h, row in enumerate(levels.T):
                values = {
                    f"{100 * q:g}%": float(f"{x:.6g}") for q, x in zip(QUANTILES, row, strict=True)
                }
                when = (
                    {"date": future[h].isoformat(" ").removesuffix(" 00:00:00")} if future else {}
                )
                yield {"series": one.name, **when, "step": h + 1, "quantiles": values}

    def show(self, record: dict[str, Any]) -> str:
        """Shows a line of CSV."""
        name = record["series"]
        if set(name) & set('",\n'):
            name = '"' + name.replace('"', '""') + '"'
        numbers = [f"{x:.6g}" for x in record["quantiles"].values()]
        return ",".join([name, record.get("date", ""), str(record["step"]), *numbers])

    # ------------------------------------------------------------ distributions

    def filtered(self, one: Series, keep: Sequence[int] = ()) -> Filtered:
        """Runs the classical model over a series. **Arguments** keep: steps to keep states of."""
        y, start = one.values, max(lags(self.period), default=0)
        fit = self.fits.get(one.name)
        if len(self.fits) == 1 and not self.config.series:  # whatever its file is called
            [fit] = self.fits.values()
        fit = fit or classical_fit(one, self.period)
        if not fit[1] > 0:
            raise TextError(f"series {one.name!r} follows from its last values without an error")
        model = Filter(fit, y[:start], self.period)
        states, found = {}, []
        for t in range(start, len(y)):
            if t in keep:
                states[t] = model.copies(1)
            mean, volatility, features = model.ahead(one.known[t])
            found.append((mean[0], volatility[0], features[0]))
            model.update(y[t : t + 1], mean)
        states[len(y)] = model
        mean, volatility, features = (np.array(part) for part in zip(*found, strict=True))
        x = np.concatenate([features, self.scaled(one.known[start : len(y)])], axis=1)
        residual = (y[start:] - mean) / volatility
        return Filtered(
            start, x.astype("float32"), mean, volatility, residual.astype("float32"), states
        )

    def scaled(self, known: Array) -> Array:
        """Standardises covariates."""
        if known.shape[1] != len(self.known):
            raise InvalidValueError(f"expected {len(self.known)} covariates, got {known.shape[1]}")
        centre, width = np.array(self.known).reshape(-1, 2).T
        scaled: Array = (known - centre) / width
        return scaled

    def distributions(self, found: Sequence[Filtered]) -> list[tuple[Array, Array, Array]]:
        """Computes location, scale and degrees of freedom of every step of each series."""
        with inference(self.model):
            x = pad_sequence([one.x for one in found]).to(self.model.head.weight.device)
            three = [part.numpy().astype(float) for part in self.model(x)[0]]
        results = []
        for i, one in enumerate(found):
            location, scale, df = (part[: len(one.x), i] for part in three)
            results.append((one.mean + one.volatility * location, one.volatility * scale, df))
        return results

    def sample(self, one: Series, origin: int, horizon: int) -> Array:
        """Samples paths of the steps from an origin on. **Returns** (paths, horizon)."""
        return next(self.samples(one, [origin], horizon))

    def samples(self, one: Series, origins: Sequence[int], horizon: int) -> Iterator[Array]:
        """Samples paths from several origins, in order."""
        count, device = self.config.paths, self.model.head.weight.device
        generator = Generator(self.config.seed)
        found = self.filtered(one, origins)
        read, state = found.start, None
        for origin in origins:
            with inference(self.model):
                if origin > read:
                    x = found.x[read - found.start : origin - found.start, None]
                    _, state = self.model(as_tensor(x, device=device), state)
                    read = origin
                many = (
                    None
                    if state is None
                    else tree.mapped(lambda s: ops.tile(s, (1, count, 1)), state)
                )
                paths = np.empty((count, horizon))
                walk = found.states[origin].copies(count)
                known = one.known[origin : origin + horizon]  # none for steps that are not dated
                for h in range(horizon):
                    now = known[h] if len(known) > h else np.zeros(len(self.known))
                    mean, volatility, features = walk.ahead(now)
                    now = self.scaled(now[None])
                    x = np.concatenate([features, np.repeat(now, count, axis=0)], axis=1)
                    three, many = self.model(
                        as_tensor(x[None].astype("float32"), device=device), many
                    )
                    location, scale, df = (part.numpy()[0].astype(float) for part in three)
                    noise = student_samples(df, generator)
                    paths[:, h] = mean + volatility * (location + scale * noise)
                    walk.update(paths[:, h], mean)
            yield paths

    def levels(self, one: Series, origin: int, paths: Array) -> Array:
        """Returns the values that paths of steps lead to, from a series' value before them."""
        if self.period:
            return paths
        found: Array = one.values[origin - 1] * np.exp(
            np.clip(paths.cumsum(axis=1) / 100, -700, 700)
        )
        return found


class Forecast(Task):
    """Train a forecaster of series, and compare it with GARCH and other models of volatility."""

    recipe, unit, shown = "forecast", "step", "validation -log p {:.4f} nats"
    settings, predictor = ForecastConfig, Forecaster
    kinds: ClassVar = {"fits": dict, "known": list, "period": int}
    quick: ClassVar = {"limit": 500, "epochs": 3, "hidden_size": 8, "paths": 100, "horizon": 5}
    data_help = (
        "CSV, TSV or JSON lines with a column of dates and one of values, the oldest first; "
        "split by date. Several files are several series."
    )
    default = "daily prices of four stocks"
    header = ",".join(["series", "date", "step", *(f"{100 * q:g}%" for q in QUANTILES)])

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
        model = ForecastModel(FEATURES + len(known), config, generator)
        self.forecaster = Forecaster(model, fits, known.tolist(), data.period, config)
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
        super().__init__(data, model, loader, config, generator, device)
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
        """Computes the mean -log p of the validation steps, in nats.

        It first fits the scales' common factor to these steps: noise is learnt by heart a little,
        and years differ.
        """
        model = self.forecaster.model
        model.width = ones((1,), device=model.head.weight.device)
        rows = []
        found = zip(self.steps_of, self.found, self.cuts, strict=True)
        for (one, filtered, (a, b)), three in zip(
            found, self.forecaster.distributions(self.found), strict=True
        ):
            start = filtered.start
            rows.append([one.values[a:b], *(part[a - start : b - start] for part in three)])
        y, location, scale, df = (np.concatenate(part) for part in zip(*rows, strict=True))
        log_p = [student_log_density(y, location, c * scale, df).mean() for c in WIDTHS]
        best = int(np.argmax(log_p))
        model.width = model.width * float(WIDTHS[best])
        return -float(log_p[best])

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
        steps = zip(self.steps_of, self.cuts, strict=True)
        days = sorted({day for one, (_, b) in steps for day in one.dates[b:]})
        block = {day: i // BLOCK for i, day in enumerate(days)}
        likely, errors = (np.zeros((block[days[-1]] + 1, 2)) for _ in range(2))
        for one, (_, b), (mean, log_p) in zip(self.steps_of, self.cuts, fits, strict=True):
            at, y = [block[day] for day in one.dates[b:]], one.values
            variance = y[:b].var()
            np.add.at(likely, at, np.stack([log_p[b:], np.ones(len(at))], axis=1))
            error, total = np.square(y - mean)[b:], np.square(y - y[:b].mean())[b:]
            np.add.at(errors, at, np.stack([error, total], axis=1) / variance)
        comparison.add(system, **{"log p, nats": likely, R2: errors})

    def _calibrate(self, forecaster: Forecaster, comparison: Comparison) -> None:
        """Counts how many values lie in the intervals, one step ahead and several."""
        ranks, later = [], []
        horizon = self.config.horizon
        distributions = forecaster.distributions(self.found)
        for one, found, (_, b), (location, scale, df) in zip(
            self.steps_of, self.found, self.cuts, distributions, strict=True
        ):
            z = (one.values[found.start :] - location) / scale
            ranks.append(student_cdf(z, df)[b - found.start :])
            every = max(1, (len(one.values) - b) // ORIGINS)
            origins = list(range(b, len(one.values), every))
            for origin, paths in zip(
                origins, forecaster.samples(one, origins, horizon), strict=True
            ):
                actual = one.values[origin : origin + horizon]
                if not self.panel.period:
                    paths, actual = paths.cumsum(axis=1), actual.cumsum()
                later.append((paths[:, : len(actual)] < actual).mean(axis=0)[1:])
        self.ranks = np.concatenate(ranks)
        for what, some in (
            ("the next step", self.ranks),
            (f"2 to {horizon} steps ahead", np.concatenate(later)),
        ):
            if len(some):
                shares = [float((np.abs(some - 0.5) <= level / 2).mean()) for level in (0.5, 0.9)]
                comparison.notes.append(
                    f"the 50 % intervals of {what} hold {shares[0]:.1%} of the values, "
                    f"the 90 % intervals {shares[1]:.1%}"
                )

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
        axes[0].tick_params(axis="x", rotation=30)
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

    def state(self) -> dict[str, Any]:
        """Returns the classical models, the scales of the covariates, and the period."""
        one = self.forecaster
        return {"fits": one.fits, "known": one.known, "period": one.period}


def _r_squared(sums: Any) -> Any:
    """1 less the squared errors by those of the mean before the test."""
    return 1 - sums[..., 0] / np.maximum(sums[..., 1], 1e-300)
