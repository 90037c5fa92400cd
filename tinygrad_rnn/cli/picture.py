"""Plots: attention weights, and gradient norms over time."""

from __future__ import annotations

import itertools
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
    font = families("".join([*source, *target]))
    axes.set_xticks(range(len(source)), [_label(s) for s in source], rotation=90, fontfamily=font)
    axes.set_yticks(range(len(target)), [_label(s) for s in target], fontfamily=font)
    axes.xaxis.tick_top()
    _save(figure, path)


def draw_adding(path: Path, results: Mapping[str, Any]) -> None:
    """Plots the results of each cell: gradient norms over time, and errors over updates.

    **Raises** ValueError if the package matplotlib is missing, or the file cannot be written.
    """
    figure = figure_class()(figsize=(12, 4), layout="constrained")
    before, after, errors = figure.subplots(1, 3)
    styles = itertools.cycle(["-", "--", ":", "-."])
    for cell, learned in results.items():
        style = {"label": cell, "linestyle": next(styles)}  # curves may lie on each other
        before.plot(learned.before, **style)
        after.plot(learned.after, **style)
        errors.plot(list(learned.errors), list(learned.errors.values()), **style)
    for axes, title in ((before, "before training"), (after, "after training")):
        axes.set(title=title, xlabel="t", ylabel="|dL/dh_t|", yscale="log")
    errors.set(title="held-out mean squared error", xlabel="updates", yscale="log")
    figure.legend(*errors.get_legend_handles_labels(), loc="outside right upper")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    if not save_figure(figure, path):
        print(
            f"hint: {path} shows some letters as boxes: no installed font has them; install one "
            "that does, such as Noto Sans CJK",
            file=sys.stderr,
        )


def families(text: str) -> list[str]:
    """Returns the fonts that have the letters of a text: matplotlib's default, and others."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font  # get_font keeps its files open

    fonts = font_manager.fontManager
    default = font_manager.FontProperties()
    missing = {ord(c) for c in text if not c.isspace()}
    missing -= {*FT2Font(fonts.findfont(default)).get_charmap()}
    names = [default.get_name()]
    for entry in fonts.ttflist:  # reading them takes time: only if letters are missing
        if not missing:
            break
        if "Last Resort" in entry.name:  # it has a box for every letter
            continue
        if found := missing & {*FT2Font(entry.fname).get_charmap()}:
            names.append(entry.name)
            missing -= found
    return names


def _label(symbol: str) -> str:
    """Makes blanks visible, and escapes what matplotlib would read as a formula."""
    return symbol.replace(" ", "␣").replace("$", r"\$")
