"""The distribution of a series' next value, given the past: Pr(x_t | x_1 ... x_{t-1}).

A classical model (`classical.py`) gives a mean and a volatility, and a recurrent network
(`forecast_model.py`) corrects both. Sampled values are fed back to forecast several steps ahead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..data import TextError, pad_sequence
from ..data.series import Array, Series
from ..errors import InvalidValueError
from ..tensor import ops, tree
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..train import inference
from .classical import FEATURES, Filter, classical_fit, lags
from .forecast_model import ForecastConfig, ForecastModel
from .predictor import Predictor
from .volatility import student_samples


@dataclass(frozen=True)
class Filtered:
    """A series after the classical model: its steps from `start` on, where all lags exist."""

    start: int
    x: Any  # (T, F), what the network reads
    mean: Array  # (T,)
    volatility: Array  # (T,)
    residual: Any  # (T,), by the volatility
    states: dict[int, Filter]  # before some steps


class ForecastDistribution(Predictor):
    """The network, with the classical models and the covariates' scales."""

    settings = ForecastConfig
    kinds: ClassVar = {"fits": {str: [(list, float)]}, "known": [[float]], "period": int}
    fits: dict[str, list[Any]]  # `classical_fit` by series
    known: list[list[float]]  # mean and deviation of each covariate
    period: int

    def build(self, generator: Generator) -> ForecastModel:
        """Builds the model."""
        return ForecastModel(FEATURES + len(self.known), self.config, generator)

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

    def network(self, x: Any, state: Any = None) -> tuple[list[Array], Any]:
        """Runs the network over steps (T, B, F).

        **Returns** location, scale and degrees of freedom, (T, B) each, in units of the classical
        model's volatility; and the state.
        """
        with inference(self.model):
            parts, state = self.model(as_tensor(x, device=self.device), state)
        return [part.numpy().astype(float) for part in parts], state

    def distributions(self, found: Sequence[Filtered]) -> list[tuple[Array, Array, Array]]:
        """Computes location, scale and degrees of freedom of every step of each series."""
        three, _ = self.network(pad_sequence([one.x for one in found]))
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
        count, generator = self.config.paths, Generator(self.config.seed)
        found = self.filtered(one, origins)
        read, state = found.start, None
        for origin in origins:
            if origin > read:
                x = found.x[read - found.start : origin - found.start, None]
                _, state = self.network(x, state)
                read = origin
            many = tree.mapped(lambda s: ops.tile(s, (1, count, 1)), state)
            walk, paths = found.states[origin].copies(count), np.empty((count, horizon))
            known = np.zeros((horizon, len(self.known)))  # of steps that are not dated
            dated = one.known[origin : origin + horizon]
            known[: len(dated)] = dated
            for h in range(horizon):
                mean, volatility, features = walk.ahead(known[h])
                now = self.scaled(known[[h] * count])
                x = np.concatenate([features, now], axis=1)[None]
                (location, scale, df), many = self.network(x.astype("float32"), many)
                noise = student_samples(df[0], generator)
                paths[:, h] = mean + volatility * (location[0] + scale[0] * noise)
                walk.update(paths[:, h], mean)
            yield paths
