"""Pictures: what attention looked at, and how far back gradients go."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..recipes import SettingError

PIXELS, SIDE = 50e6, 60_000  # of a picture at most: long sequences are drawn smaller


def draw_attention(
    path: Path, source: Sequence[str], target: Sequence[str], weights: NDArray[Any]
) -> None:
    """Writes a picture of weights: a row for each symbol written, a column for each one read.

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


def draw_adding(path: Path, found: Mapping[str, Any]) -> None:
    """Writes a picture of what became of each cell: gradients over time, errors over steps.

    **Raises** SettingError if the package matplotlib is missing, or the file cannot be written.
    """
    figure = picture_maker()(figsize=(12, 4), layout="constrained")
    before, after, errors = figure.subplots(1, 3)
    for cell, learned in found.items():
        before.plot(learned.before)
        after.plot(learned.after)
        errors.plot(list(learned.errors), list(learned.errors.values()), label=cell)
    for axes, title in ((before, "before training"), (after, "after training")):
        axes.set(title=title, xlabel="t", ylabel="|dL/dh_t|", yscale="log")
    errors.set(title="held-out mean squared error", xlabel="updates", yscale="log")
    errors.legend()
    _save(figure, path)


def check_picture(path: Path) -> None:
    """Refuses a picture that could not be written, before the work that it is to show.

    **Raises** SettingError if the package matplotlib is missing, the name does not end in `.png`,
    or the file cannot be written.
    """
    picture_maker()
    if path.suffix.lower() != ".png":
        raise SettingError(f"a picture is written as PNG: end its name in .png, not {str(path)!r}")
    try:
        there = path.exists()
        if there and not path.is_file():
            raise SettingError(f"cannot write {path}: it is no regular file")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        if not there:
            path.unlink()
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}") from None


def picture_maker() -> Callable[..., Any]:
    """Matplotlib's figures. **Raises** SettingError if the package is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SettingError(
            "a picture needs the package matplotlib: pip install 'tinygrad_rnn[plot]'"
        ) from None
    made: Callable[..., Any] = Figure
    return made


def _save(figure: Any, path: Path) -> None:
    width, height = figure.get_size_inches()
    dpi = min(150.0, (PIXELS / (width * height)) ** 0.5, SIDE / max(width, height))
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            figure.savefig(path, format="png", dpi=dpi)
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}") from None
    if any("missing from font" in str(warning.message) for warning in said):
        print(f"{path}: the font lacks letters, which are shown as boxes", file=sys.stderr)


def _label(symbol: str) -> str:
    """A symbol such that blanks show and nothing is taken for a formula."""
    return symbol.replace(" ", "␣").replace("$", r"\$")
