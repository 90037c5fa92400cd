"""Systems compared on the same held-out items, as a table of figures and of their differences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .bootstrap import Figure, paired_bootstrap, share
from .settings import SettingError


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


def confusion_table(labels: Sequence[str], counts: NDArray[np.int64]) -> str:
    r"""Writes a confusion matrix: a row for each true label, a column for each predicted one.

    >>> print(confusion_table(["no", "yes"], np.array([[5, 1], [0, 12]])))
    true \ found  no  yes
    no             5    1
    yes            0   12
    """
    head = "true \\ found"
    width = max(len(head), *map(len, labels))
    widths = [max(len(label), len(str(counts.max()))) for label in labels]
    rows = [(head, labels), *zip(labels, counts.astype(str).tolist(), strict=True)]
    return "\n".join(
        f"{name:{width}}  " + "  ".join(f"{x:>{w}}" for x, w in zip(cells, widths, strict=True))
        for name, cells in rows
    )
