"""Plots: attention weights, and gradient norms over time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..train.logs import figure_class, save_figure


def draw_attention(
    path: Path, source: Sequence[str], target: Sequence[str], weights: NDArray[Any]
) -> None:
    """Plots attention weights: a row for each target symbol, a column for each source symbol.

    **Raises** ValueError if the package matplotlib is missing, or the file cannot be written.
    """
    figure_of = figure_class()
    width, height = 1.5 + 0.3 * len(source), 1.5 + 0.3 * len(target)
    figure = figure_of(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(weights, cmap="Greys", vmin=0, vmax=1)
    axes.set_xticks(range(len(source)), [_label(s) for s in source], rotation=90)
    axes.set_yticks(range(len(target)), [_label(s) for s in target])
    axes.xaxis.tick_top()
    _save(figure, path)


def draw_adding(path: Path, results: Mapping[str, Any]) -> None:
    """Plots the results of each cell: gradient norms over time, and errors over updates.

    **Raises** ValueError if the package matplotlib is missing, or the file cannot be written.
    """
    figure = figure_class()(figsize=(12, 4), layout="constrained")
    before, after, errors = figure.subplots(1, 3)
    for cell, learned in results.items():
        before.plot(learned.before)
        after.plot(learned.after)
        errors.plot(list(learned.errors), list(learned.errors.values()), label=cell)
    for axes, title in ((before, "before training"), (after, "after training")):
        axes.set(title=title, xlabel="t", ylabel="|dL/dh_t|", yscale="log")
    errors.set(title="held-out mean squared error", xlabel="updates", yscale="log")
    errors.legend()
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    if not save_figure(figure, path):
        print(f"{path}: the font lacks letters, and shows them as boxes", file=sys.stderr)


def _label(symbol: str) -> str:
    """Makes blanks visible, and escapes what matplotlib would read as a formula."""
    return symbol.replace(" ", "␣").replace("$", r"\$")
