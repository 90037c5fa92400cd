"""`tinygrad-rnn train adding`: which cells learn long dependencies, and how far gradients reach."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import plot as plots
from ..recipes import SOLVED, Adding, AddingConfig
from ..recipes.adding import CELLS
from ..recipes.settings import check
from .options import Device, on, options


@dataclass
class Learned:
    """The result of a cell's training."""

    errors: dict[int, float]  # mean squared error by step
    before: list[float]  # |dL/dh_t| for each t, before the training
    after: list[float]
    seconds: float


@options(AddingConfig(), "length", "hidden_size", "batch_size", "steps", "lr", "clip", "seed")
def adding(
    *,
    cells: Annotated[
        str, typer.Option(help="Recurrent cells, separated by commas.")
    ] = "rnn,gru,lstm,mingru",
    settings: dict[str, Any],
    device: Device = None,
    plot: Annotated[
        Path | None, typer.Option(help="PNG file for a plot of gradient norms and errors.")
    ] = None,
) -> None:
    """Compare cells on the adding problem: sum two numbers that are far apart in a sequence."""
    names = [cell.strip() for cell in cells.split(",")]
    for name in names:
        check("cells", name, str, one_of=CELLS)
    configs = [AddingConfig(cell=name, **settings) for name in names]
    if plot is not None:
        plots.check_file(plot)
    print(f"{configs[0].length} steps; always predicting 1 has an error of {1 / 6:.3f}")
    with on(device):
        results = {config.cell: _learn(config) for config in configs}
    width = max(map(len, results))
    for cell, learned in results.items():
        step, error = list(learned.errors.items())[-1]
        words = f"solved in {step} steps" if error < SOLVED else f"not solved in {step} steps"
        print(f"{cell:{width}}  error {error:.5f}  {words}, {learned.seconds:.0f} s")
    if plot is not None:
        _draw(plot, results)
        print(f"plot in {plot}")


def _learn(config: AddingConfig) -> Learned:
    """Trains until the error is far below SOLVED, or for all steps."""
    training, started = Adding(config), time.monotonic()
    errors, before = {0: training.evaluate()}, training.gradient_norms()
    for progress in training:
        if progress.validation is not None:
            errors[progress.step] = progress.validation
            print(
                f"{config.cell}  step {progress.step}  error {progress.validation:.5f}", flush=True
            )
            if progress.validation < SOLVED / 5:
                break
    return Learned(errors, before, training.gradient_norms(), time.monotonic() - started)


def _draw(path: Path, results: dict[str, Learned]) -> None:
    figure, (before, after, errors) = plots.panels(1, 3, 13, 4)
    for axes, when in ((before, "before"), (after, "after")):
        flows = {name: getattr(learned, when) for name, learned in results.items()}
        plots.gradient_flow(flows, title=f"{when} training", ax=axes)
    curves = {n: (list(a.errors), list(a.errors.values())) for n, a in results.items()}
    plots.curves(
        curves, xlabel="updates", ylabel="held-out mean squared error", yscale="log", ax=errors
    )
    plots.save(figure, path)
