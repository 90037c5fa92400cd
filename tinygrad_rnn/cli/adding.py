"""`tinygrad-rnn train adding`: which cell learns to remember, and how far gradients reach."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..recipes import SOLVED, Adding, AddingConfig
from .device import Device, on
from .picture import check_picture, draw_adding


@dataclass
class Learned:
    """What became of a cell."""

    errors: dict[int, float]  # mean squared error by step
    before: list[float]  # |dL/dh_t| for each t, before the training
    after: list[float]
    seconds: float


def adding(
    cells: Annotated[
        str, typer.Option(help="Which ones, with commas between.")
    ] = "rnn,gru,lstm,mingru",
    length: Annotated[int, typer.Option(help="Steps of a sequence.")] = AddingConfig.length,
    hidden: Annotated[int, typer.Option(help="Units.")] = AddingConfig.hidden,
    steps: Annotated[int, typer.Option(help="Updates at most.")] = AddingConfig.steps,
    lr: Annotated[float, typer.Option(help="Adam's learning rate at its peak.")] = AddingConfig.lr,
    seed: Annotated[int, typer.Option(help="Fixes weights and sequences.")] = AddingConfig.seed,
    device: Device = None,
    plot: Annotated[
        Path | None, typer.Option(help="A PNG of gradient norms over time, and of errors.")
    ] = None,
) -> None:
    """Find out which cells learn the adding problem: two numbers, far apart, to be remembered."""
    configs = [
        AddingConfig(cell.strip(), length, hidden, steps=steps, lr=lr, seed=seed)
        for cell in cells.split(",")
    ]
    if plot is not None:
        check_picture(plot)
    print(f"{length} steps; always answering 1 leaves an error of {1 / 6:.3f}")
    with on(device):
        found = {config.cell: _learn(config) for config in configs}
    width = max(map(len, found))
    for cell, learned in found.items():
        step, error = list(learned.errors.items())[-1]
        words = f"solved in {step} steps" if error < SOLVED else f"not solved in {step} steps"
        print(f"{cell:{width}}  error {error:.5f}  {words}, {learned.seconds:.0f} s")
    if plot is not None:
        draw_adding(plot, found)
        print(f"drawn in {plot}")


def _learn(config: AddingConfig) -> Learned:
    """Trains until the problem is solved well, or the steps are over."""
    run, started = Adding(config), time.monotonic()
    errors, before = {0: run.evaluate()}, run.gradient_norms()
    for progress in run:
        if progress.heldout is not None:
            errors[progress.step] = progress.heldout
            print(f"{config.cell}  step {progress.step}  error {progress.heldout:.5f}", flush=True)
            if progress.heldout < SOLVED / 5:
                break
    return Learned(errors, before, run.gradient_norms(), time.monotonic() - started)
