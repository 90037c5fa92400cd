"""Plots: attention weights, and gradient norms over time."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..recipes import SettingError

PIXELS, SIDE = 50e6, 60_000  # upper bounds of a plot: long sequences get a lower resolution


def draw_attention(
    path: Path, source: Sequence[str], target: Sequence[str], weights: NDArray[Any]
) -> None:
    """Plots attention weights: a row for each target symbol, a column for each source symbol.

    **Raises** SettingError if the package matplotlib is missing, or the file cannot be written.
    """
    figure_of = picture_maker()
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

    **Raises** SettingError if the package matplotlib is missing, or the file cannot be written.
    """
    figure = picture_maker()(figsize=(12, 4), layout="constrained")
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


def check_picture(path: Path) -> None:
    """Refuses a file that cannot become a plot, before the work that it would show.

    **Raises** SettingError if the package matplotlib is missing, the name does not end in `.png`,
    or the file cannot be written.
    """
    picture_maker()
    if path.suffix.lower() != ".png":
        raise SettingError(f"a plot is a PNG file: end its name in .png, not {str(path)!r}")
    try:
        there = path.exists()
        if there and not path.is_file():
            raise SettingError(f"cannot write {path}: it is not a regular file")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        if not there:
            path.unlink()
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}") from None


def picture_maker() -> Callable[..., Any]:
    """Returns matplotlib's Figure. **Raises** SettingError if the package is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SettingError(
            "a plot needs the package matplotlib: pip install 'tinygrad_rnn[plot]'"
        ) from None
    factory: Callable[..., Any] = Figure
    return factory


def _save(figure: Any, path: Path) -> None:
    width, height = figure.get_size_inches()
    dpi = min(150.0, (PIXELS / (width * height)) ** 0.5, SIDE / max(width, height))
    try:
        with warnings.catch_warnings(record=True) as messages:
            warnings.simplefilter("always")
            figure.savefig(path, format="png", dpi=dpi)
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}") from None
    if any("missing from font" in str(warning.message) for warning in messages):
        print(f"{path}: the font lacks letters, and shows them as boxes", file=sys.stderr)


def _label(symbol: str) -> str:
    """Makes blanks visible, and escapes what matplotlib would read as a formula."""
    return symbol.replace(" ", "␣").replace("$", r"\$")
