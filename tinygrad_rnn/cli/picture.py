"""A picture of attention: a row for each symbol written, a column for each symbol read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..recipes import SettingError


def draw_attention(
    path: Path, source: Sequence[str], target: Sequence[str], weights: NDArray[Any]
) -> None:
    """Writes a picture of weights (target, source).

    **Raises** SettingError if the package matplotlib is missing, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise SettingError(
            "a picture needs the package matplotlib: pip install 'tinygrad_rnn[plot]'"
        ) from None
    width, height = 1.5 + 0.3 * len(source), 1.5 + 0.3 * len(target)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(weights, cmap="Greys", vmin=0, vmax=1)
    axes.set_xticks(range(len(source)), [_label(s) for s in source], rotation=90)
    axes.set_yticks(range(len(target)), [_label(s) for s in target])
    axes.xaxis.tick_top()
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise SettingError(f"cannot write {path}: {error.strerror}") from None


def _label(symbol: str) -> str:
    """A symbol such that blanks show and nothing is taken for a formula."""
    return symbol.replace(" ", "␣").replace("$", r"\$")
