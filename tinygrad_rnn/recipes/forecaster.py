"""The distribution of a series' next value, given the past: Pr(x_t | x_1 ... x_{t-1}).

A classical model (`classical.py`) gives a mean and a volatility, and a recurrent network
(`forecast_model.py`) corrects both. Sampled values are fed back to forecast several steps ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ..data import TextError, pad_sequence
from ..data.series import Array, Series, read_series
from ..errors import InvalidValueError
from ..tensor import ops, tree
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..train import inference
from .classical import FEATURES, Filter, classical_fit, lags
from .forecast_model import ForecastConfig, ForecastModel
from .predictor import Predictor
from .series import LEAST
from .volatility import student_samples

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of a prediction


@dataclass(frozen=True)
class Filtered:
    """A series after the classical model: its steps from `start` on, where all lags exist."""

    start: int
    x: Any  # (T, F), what the network reads
    mean: Array  # (T,)
    volatility: Array  # (T,)
    residual: Any  # (T,), by the volatility
    states: dict[int, Filter]  # before some steps


class Forecaster(Predictor):
    """Forecasts series: a model, with the classical models and the covariates' scales."""

    settings = ForecastConfig
    header = ",".join(["series", "date", "step", *(f"{100 * q:g}%" for q in QUANTILES)])
    kinds: ClassVar = {"fits": {str: [(list, float)]}, "known": [[float]], "period": int}
    fits: dict[str, list[Any]]  # `classical_fit` by series
    known: list[list[float]]  # mean and deviation of each covariate
    period: int

    def build(self, generator: Generator) -> ForecastModel:
        """Builds the model."""
        return ForecastModel(FEATURES + len(self.known), self.config, generator)

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
                record = {"series": one.name, "step": h + 1, "quantiles": values}
                if future:
                    record["date"] = future[h].isoformat(" ").removesuffix(" 00:00:00")
                yield record

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
            x = pad_sequence([one.x for one in found]).to(self.device)
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
        count, device = self.config.paths, self.device
        generator = Generator(self.config.seed)
        found = self.filtered(one, origins)
        read, state = found.start, None
        for origin in origins:
            with inference(self.model):
                if origin > read:
                    x = found.x[read - found.start : origin - found.start, None]
                    _, state = self.model(as_tensor(x, device=device), state)
                    read = origin
                many = state
                if state is not None:
                    many = tree.mapped(lambda s: ops.tile(s, (1, count, 1)), state)
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
