"""The picture of a training: its loss, its validation figure, and the comparison with others."""

from __future__ import annotations

import re
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import plot
from .comparison import Comparison

if TYPE_CHECKING:
    from .trainer import RecipeTrainer


def draw_training(training: RecipeTrainer, comparison: Comparison | None, path: Path) -> None:
    """Draws the losses, the figures and the comparison, if there is one, as a PNG file."""
    figure, panels = plot.panels(1, 3 if comparison else 2, 14 if comparison else 10, 4)
    draw_history(training, *panels[:2])
    if comparison is not None:
        if comparison.measures[0].name == f"bits/{training.unit}":  # as the validation figure
            draw_levels(comparison, panels[1])
        draw_differences(comparison, panels[2])
    plot.save(figure, path)


def draw_history(training: RecipeTrainer, losses: Any, figures: Any) -> None:
    """Draws the loss, and the validation figure, by update. **Arguments** losses, figures: Axes."""
    name = re.sub(r" \{.*?\}", "", training.figure)
    loss = "training loss (nats)"
    for axes, key, label in ((losses, "loss", loss), (figures, "validation", name)):
        known = [(one["step"], one[key]) for one in training.history if key in one]
        plot.curves(
            {label: tuple(zip(*known, strict=True))}, xlabel="updates", ylabel=label, ax=axes
        )


def draw_differences(comparison: Comparison, axes: Any) -> None:
    """Draws the first measure's differences: a line from low to high for each other system."""
    *others, ours = comparison.systems
    measure = comparison.measures[0]
    for row, other in enumerate(others):
        axes.plot(comparison.gain(ours, other, measure), [row, row], color="black", marker="|")
    axes.axvline(0, color="0.5", linestyle=":")
    axes.set_yticks(range(len(others)), others)
    axes.set_ylim(len(others) - 0.5, -0.5)
    axes.set(title=f"{ours} minus others (95 %)", xlabel=f"difference in {measure.name}")


def draw_levels(comparison: Comparison, axes: Any) -> None:
    """Draws the others' first figures as horizontal lines, beside our falling curve."""
    name, shown = comparison.measures[0].name, comparison.measures[0].shown
    *others, (_, ours) = comparison.figures().items()
    for (system, figures), dashes in zip(others, cycle(("--", ":", "-.")), strict=False):
        level = figures[name]
        axes.axhline(level, color="black", linewidth=1, linestyle=dashes)
        side = int(level > ours[name])  # where the curve is far away
        axes.annotate(
            f"{system}: {shown.format(level)}", (side, level), (3 - 6 * side, 3),
            ha="right" if side else "left", fontsize="small",
            xycoords=("axes fraction", "data"), textcoords="offset points",
        )  # fmt: skip
