"""Systems compared on the same held-out items: their figures, and the intervals of differences.

A figure is a function of the sums of statistics over items: accuracy, of right answers and items;
F1, of entities found, given and common; perplexity, of log-probabilities and words. The interval
is that of the paired bootstrap (Efron and Tibshirani 1993, section 16): it draws items with
replacement, the same ones for both systems.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidValueError
from ..tensor.random import Generator
from .settings import SettingError

SAMPLES = 2000  # of the bootstrap
AT_A_TIME = 100  # of them in memory

Figure = Callable[[NDArray[np.float64]], Any]  # sums (..., k) -> figures (...)


def share(sums: NDArray[np.float64]) -> Any:
    """The first sum divided by the second, such as right answers by items; 0 if both are 0."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1e-300)


def f1(sums: NDArray[np.float64]) -> Any:
    """F1, of the numbers of right, found and true entities."""
    return 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1e-300)


def perplexity(sums: NDArray[np.float64]) -> Any:
    """exp(-log P / n), of log-probabilities in nats and numbers of symbols."""
    return np.exp(-share(sums))


def bits(sums: NDArray[np.float64]) -> Any:
    """-log2 P / n, of log-probabilities in nats and numbers of symbols."""
    return -share(sums) / np.log(2)


def block_sums(size: int, *statistics: ArrayLike) -> NDArray[np.float64]:
    """Adds up statistics of neighbouring symbols, (N,) each, over blocks of a size.

    >>> block_sums(2, [0.5, 0.25, 1.0], [1, 1, 1]).tolist()
    [[0.75, 2.0], [1.0, 1.0]]
    """
    columns = [np.asarray(x, np.float64) for x in statistics]
    starts = np.arange(0, len(columns[0]), size)
    return np.stack([np.add.reduceat(x, starts) for x in columns], axis=1)


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, figure: Figure = share, samples: int = SAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Estimates the 95 % interval of figure(a) - figure(b), over items drawn with replacement.

    **Arguments** a, b: (N, k) statistics of the same N items, of two systems. figure: of sums.

    >>> right = np.ones((400, 2))
    >>> wrong = right * [[0, 1]]
    >>> paired_bootstrap(right, wrong)
    (1.0, 1.0)
    >>> half = np.stack([np.arange(400) % 2, np.ones(400)], axis=1)
    >>> low, high = paired_bootstrap(half, wrong)
    >>> 0.44 < low < 0.46 and 0.54 < high < 0.56
    True
    """
    one, two = (np.asarray(x, np.float64) for x in (a, b))
    if one.ndim != 2 or one.shape != two.shape or not len(one):
        raise InvalidValueError(
            "paired_bootstrap: expected statistics (N, k) of the same items, got shapes "
            f"{list(one.shape)} and {list(two.shape)}"
        )
    generator, items, differences = Generator(seed), len(one), []
    for _ in range(0, samples, AT_A_TIME):
        drawn = generator.integers(0, items, (AT_A_TIME, items))
        drawn += items * np.arange(AT_A_TIME)[:, None]  # a range of its own for each sample
        counts = np.bincount(drawn.ravel(), minlength=AT_A_TIME * items).reshape(AT_A_TIME, items)
        differences.append(figure(counts @ one) - figure(counts @ two))
    low, high = np.quantile(np.concatenate(differences), [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Measure:
    """A figure with its name, and how to write it.

    **Arguments** shown: a format, such as `{:.1%}`; of differences, it gets a sign.
    """

    name: str
    figure: Figure = share
    shown: str = "{:.1%}"

    def difference(self, value: float) -> str:
        """Formats a difference with its sign."""
        return self.shown.replace("{:", "{:+").format(value)


@dataclass
class Comparison:
    """Systems with their statistics of each held-out item; the last one is ours.

    >>> comparison = Comparison("sentences", [Measure("accuracy")])
    >>> comparison.add("majority", accuracy=[[0, 1], [1, 1]])
    >>> comparison.add("lstm", accuracy=[[1, 1], [1, 1]])
    >>> comparison.figures()
    {'majority': {'accuracy': 0.5}, 'lstm': {'accuracy': 1.0}}
    """

    items: str  # what they are
    measures: list[Measure]
    notes: list[str] = field(default_factory=list)  # below the table
    systems: dict[str, dict[str, NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, system: str, **statistics: ArrayLike) -> None:
        """Adds a system. **Arguments** statistics: (N, k) for each measure, by its name."""
        self.systems[system] = {n: np.asarray(x, np.float64) for n, x in statistics.items()}

    @contextmanager
    def optional(self) -> Iterator[None]:
        """Opens a block that may need a package: if it is missing, a note says what to install."""
        try:
            yield
        except SettingError as error:
            self.notes.append(str(error))

    def figures(self) -> dict[str, dict[str, float]]:
        """Computes the figures of each system."""
        return {
            system: {m.name: float(m.figure(found[m.name].sum(axis=0))) for m in self.measures}
            for system, found in self.systems.items()
        }

    def rows(self) -> list[list[str]]:
        """Formats a row for each system: its figures, and the intervals of ours minus its."""
        ours = list(self.systems)[-1]
        rows = []
        for system, figures in self.figures().items():
            row = [system]
            for measure in self.measures:
                row.append(measure.shown.format(figures[measure.name]))
                interval = () if system == ours else self.gain(ours, system, measure)
                row.append(" to ".join(map(measure.difference, interval)))
            rows.append(row)
        return rows

    def gain(self, ours: str, other: str, measure: Measure) -> tuple[float, float]:
        """Estimates the interval of a system's figure minus another's."""
        a, b = (self.systems[name][measure.name] for name in (ours, other))
        return paired_bootstrap(a, b, measure.figure)

    def count(self) -> int:
        """Returns the number of items."""
        return len(next(iter(self.systems.values()))[self.measures[0].name])
