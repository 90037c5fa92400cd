"""`tinygrad-rnn train memory`: which cells learn long dependencies, and how far gradients reach."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from .. import plot
from ..io import lock_checkpoint
from ..recipes import Memory, MemoryConfig
from ..recipes import memory as recall
from ..recipes.explosion import EXPLODING, explosion
from ..recipes.problems import PROBLEMS
from ..recipes.settings import check
from .options import Device, Out, Resume, on, options
from .studies import Results, listed, report, show_table, write_log


@options(
    *(MemoryConfig(), "length", "hidden_size", "num_layers", "batch_size"),
    *("steps", "lr", "clip", "seed"),
    quick=recall.QUICK,
)
def memory(
    *,
    problems: Annotated[str, typer.Option(help="Problems, separated by commas.")] = ",".join(
        PROBLEMS
    ),
    cells: Annotated[str, typer.Option(help="Recurrent cells, separated by commas.")] = ",".join(
        recall.CELLS
    ),
    trials: Annotated[
        int | None,
        typer.Option(help="Trainings of each cell, with different seeds.", show_default="2"),
    ] = None,
    settings: dict[str, Any],
    device: Device = None,
    out: Out = Path("runs/memory"),
    resume: Resume = False,
) -> None:
    """Compare cells on problems with long dependencies, and see how far gradients reach."""
    trials = 2 if trials is None else trials
    check("trials", trials, at_least=1)
    names, kinds = (
        listed("problems", problems, PROBLEMS),
        listed("cells", cells, recall.CELLS),
    )
    base = MemoryConfig(**settings)
    with on(device), lock_checkpoint(out):
        results = Results(out, "memory", base, settings, resume)
        base = results.config
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for name, cell, trial in product(names, kinds, range(trials)):
            config = replace(base, problem=name, cell=cell, seed=base.seed + 2 * trial)
            key = f"{name} {cell} {config.seed}"
            one = results.of(key, partial(_learn, config))
            found.setdefault((name, cell), []).append(one)
            print(f"{key}: {_outcome(one)}", flush=True)
        updates = min(base.steps, EXPLODING)
        burst = results.of("explosion", lambda: asdict(explosion(steps=updates)))
    rows = []
    for (name, cell), trainings in found.items():
        solved = [one["solved"] for one in trainings if one["solved"]]
        wrong = median(one["errors"][-1][1] for one in trainings)
        rows.append(
            [
                name,
                cell,
                f"{len(solved)} of {trials}",
                f"{int(median(solved)) * base.batch_size:,}" if solved else "-",
                f"{wrong:.1%}",
                f"{sum(one['seconds'] for one in trainings):.0f}",
                PROBLEMS[name].paper if cell == "lstm" else "",
            ]
        )
    header = ["problem", "cell", "solved", "sequences", "wrong", "seconds", "LSTM in 1997"]
    show_table(
        f"{base.length} steps; solved: at most 1 % of {recall.HELD_OUT:,} wrong", header, rows
    )
    for remedy, share in burst["wrong"].items():
        print(f"an exploding gradient, {remedy}: {share:.1%} wrong after {_updates(burst)} updates")
    write_log(
        out / "log.csv",
        ["problem", "cell", "trial", "step", "wrong"],
        [
            [name, cell, trial, step, share]
            for (name, cell), trainings in found.items()
            for trial, one in enumerate(trainings)
            for step, share in one["errors"]
        ],
    )
    report(out, "memory", lambda path: _draw_memory(path, names[0], kinds, found, burst))


def _updates(burst: dict[str, Any]) -> int:
    return len(next(iter(burst["losses"].values())))


def _outcome(one: dict[str, Any]) -> str:
    step, share = one["errors"][-1]
    how = "solved" if one["solved"] else f"not solved ({share:.1%} wrong)"
    return f"{how} in {step} steps, {one['seconds']:.0f} s"


def _learn(config: MemoryConfig) -> dict[str, Any]:
    """Trains until the problem is solved, or for all steps."""
    training, started = Memory(config), time.monotonic()
    before, errors, solved = training.gradient_norms(), [[0, training.evaluate()]], 0
    for progress in training:
        if progress.validation is not None:
            errors.append([progress.step, progress.validation])
            if progress.validation <= recall.SOLVED:
                solved = progress.step
                break
    return {
        "errors": errors,
        "solved": solved,
        "before": before,
        "after": training.gradient_norms(),
        "seconds": time.monotonic() - started,
    }


def _draw_memory(
    path: Path,
    problem: str,
    cells: list[str],
    found: dict[tuple[str, str], list[dict[str, Any]]],
    burst: dict[str, Any],
) -> None:
    """Draws how far gradients reach, before and after training; an explosion, and its remedies."""
    figure, (before, after, norms, losses) = plot.panels(2, 2, 12, 8)
    labels: dict[str, Any] = {
        "xlabel": "distance to the last step, T - t (steps)",
        "ylabel": "norm of dL/dh_t",
        "yscale": "log",
    }
    for ax, when in ((before, "before"), (after, "after")):
        flows = {cell: found[problem, cell][0][when] for cell in cells}
        plot.curves(_by_distance(flows), title=f"{problem}, {when} training", ax=ax, **labels)
    plot.curves(_by_distance(burst["norms"]), title="an exploding gradient", ax=norms, **labels)
    plot.curves(
        {name: _smooth(values) for name, values in burst["losses"].items()},
        title="its training",
        xlabel="updates",
        ylabel="cross-entropy (nats), mean of 50 updates",
        ax=losses,
    )
    plot.save(figure, path)


def _by_distance(flows: dict[str, list[float]]) -> dict[str, Any]:
    """Norms by their distance to the last step; 0 has no logarithm."""
    return {
        name: tuple(zip(*((len(n) - 1 - t, v) for t, v in enumerate(n) if v > 0), strict=True))
        for name, n in flows.items()
        if any(n)
    }


def _smooth(values: list[float], window: int = 50) -> list[float]:
    window = min(window, len(values))
    return [sum(values[i : i + window]) / window for i in range(len(values) - window + 1)]
