"""`tinygrad-rnn train memory`, `gates` and `parallel`: cells compared in trainings of their own."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from .. import plot
from ..io import CheckpointError
from ..io.lock import lock_checkpoint
from ..recipes import GatesConfig, Memory, MemoryConfig, ParallelConfig, SettingError
from ..recipes import gates as machine
from ..recipes import memory as recall
from ..recipes import parallel as scans
from ..recipes.settings import check
from .options import Device, Out, Resume, on, options

Quick = Annotated[bool, typer.Option("--quick", help="Small trainings, which end in a minute.")]
RESULTS = "results.json"


class Results:
    """The results of a study's trainings, in a folder: a study that resumes skips those.

    Each training is a function of its settings and its seed, so that one that was interrupted, and
    starts again, ends as if it had not been.
    """

    def __init__(self, out: Path, command: str, settings: dict[str, Any], resume: bool) -> None:
        self.path, self.command, self.settings = out / RESULTS, command, settings
        self.found: dict[str, Any] = {}
        if self.path.exists() and not resume:
            raise CheckpointError(
                f"{out} holds results already: add --resume to continue, or choose another --out"
            )
        if self.path.exists():
            saved = json.loads(self.path.read_text("utf-8"))
            if (saved["command"], saved["settings"]) != (command, settings):
                raise CheckpointError(
                    f"the results in {out} are not those of train {command} with these settings: "
                    "type the same ones to resume, or choose another --out"
                )
            self.found = saved["results"]
        out.mkdir(parents=True, exist_ok=True)

    def of(self, key: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns the result of a training: one that was saved, or that of running it now."""
        if key not in self.found:
            self.found[key] = run()
            state = {"command": self.command, "settings": self.settings, "results": self.found}
            pending = self.path.with_suffix(".new")
            pending.write_text(json.dumps(state), "utf-8")
            os.replace(pending, self.path)
        result: dict[str, Any] = self.found[key]
        return result


def _listed(name: str, typed: str, known: Any) -> list[str]:
    """Splits names at commas. **Raises** SettingError for an unknown one."""
    names = [one.strip() for one in typed.split(",")]
    for one in names:
        check(name, one, str, one_of=known)
    return names


def _show(title: str, header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i < 2 else "right")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False, emoji=False).print(table)


def _write(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _drawing() -> bool:
    """Whether a picture can be drawn; says how, if not."""
    import importlib.util

    if importlib.util.find_spec("matplotlib") is not None:
        return True
    print("a picture needs pip install 'tinygrad_rnn[plot]'")
    return False


# ---------------------------------------------------------------- memory

QUICK_MEMORY: dict[str, Any] = {"length": 10, "hidden_size": 24, "steps": 200}


@options(MemoryConfig(), "length", "hidden_size", "batch_size", "steps", "lr", "clip", "seed")
def memory(
    *,
    problems: Annotated[str, typer.Option(help="Problems, separated by commas.")] = ",".join(
        recall.PROBLEMS
    ),
    cells: Annotated[str, typer.Option(help="Recurrent cells, separated by commas.")] = ",".join(
        recall.CELLS
    ),
    trials: Annotated[int, typer.Option(help="Trainings of each, with other seeds.")] = 3,
    settings: dict[str, Any],
    quick: Quick = False,
    device: Device = None,
    out: Out = Path("runs/memory"),
    resume: Resume = False,
) -> None:
    """Compare cells on problems with long dependencies, and see how far gradients reach."""
    check("trials", trials, at_least=1)
    names, kinds = (
        _listed("problems", problems, recall.PROBLEMS),
        _listed("cells", cells, recall.CELLS),
    )
    if quick:
        settings, trials = {**QUICK_MEMORY, **settings}, min(trials, 1)
    base = MemoryConfig(**settings)
    with on(device), lock_checkpoint(out):
        results = Results(out, "memory", asdict(base), resume)
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for name, cell, trial in product(names, kinds, range(trials)):
            config = MemoryConfig(
                **{**settings, "problem": name, "cell": cell, "seed": base.seed + 2 * trial}
            )
            key = f"{name} {cell} {config.seed}"
            one = results.of(key, partial(_learn, config))
            found.setdefault((name, cell), []).append(one)
            print(f"{key}: {_outcome(one)}", flush=True)
        short = {"steps": 100} if quick else {}
        burst = results.of("explosion", lambda: asdict(recall.explosion(**short)))
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
                recall.PROBLEMS[name].paper if cell == "lstm" else "",
            ]
        )
    header = ["problem", "cell", "solved", "sequences", "wrong", "seconds", "LSTM in 1997"]
    _show(f"{base.length} steps; solved: at most 1 % of {recall.HELD_OUT:,} wrong", header, rows)
    for remedy, share in burst["wrong"].items():
        print(f"an exploding gradient, {remedy}: {share:.1%} wrong after {_updates(burst)} updates")
    _write(
        out / "log.csv",
        ["problem", "cell", "trial", "step", "wrong"],
        [
            [name, cell, trial, step, share]
            for (name, cell), trainings in found.items()
            for trial, one in enumerate(trainings)
            for step, share in one["errors"]
        ],
    )
    print(f"log in {out / 'log.csv'}")
    if _drawing():
        _draw_memory(out / "memory.png", names[0], kinds, found, burst)
        print(f"picture in {out / 'memory.png'}")


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


# ---------------------------------------------------------------- gates

SENTENCE = "1..!.!!.0..!.1.0!!!."
QUICK_GATES: dict[str, Any] = {"steps": 150, "restarts": 2}


@options(GatesConfig())
def gates(
    *,
    sentence: Annotated[
        str, typer.Option(help="Symbols to read: . keeps the bit, ! inverts it, 0 and 1 set it.")
    ] = SENTENCE,
    settings: dict[str, Any],
    quick: Quick = False,
    out: Out = Path("runs/gates"),
    resume: Resume = False,
) -> None:
    """Show what a GRU's gates do: set to 0 and 1 by hand, and as it learns them."""
    config = GatesConfig(**({**QUICK_GATES, **settings} if quick else settings))
    ids = machine.encode(sentence)
    runs: dict[str, Callable[[], machine.Machine]] = {
        "set by hand": machine.forced,
        "learned": lambda: machine.learned(config)[0],
    }
    with lock_checkpoint(out):
        results = Results(out, "gates", {**asdict(config), "sentence": sentence}, resume)
        found = {
            name: results.of(name, partial(_gates, build, ids)) for name, build in runs.items()
        }
    header = ["gates", "symbol", "reset", "update", "next h, by the lecture", "off by"]
    rows = [[name, *row] for name, one in found.items() for row in one["rows"]]
    shown = [
        [name, symbol, f"{r:.2f}", f"{z:.2f}", meaning, f"{off:.0e}"]
        for name, symbol, meaning, r, z, off in rows
    ]
    _show("a machine of one bit", header, shown)
    for name, one in found.items():
        print(f"{name}: {one['accuracy']:.2%} of the bits are right, in sentences of 120 symbols")
    _write(out / "log.csv", ["gates", "symbol", "equation", "reset", "update", "off by"], rows)
    print(f"log in {out / 'log.csv'}")
    if _drawing():
        figure, panels = plot.panels(len(found), 1, 2.5 + 0.28 * len(sentence), 7)
        for (name, one), ax in zip(found.items(), panels, strict=True):
            plot.activations(one["parts"], symbols=sentence, title=f"gates {name}", ax=ax)
        plot.save(figure, out / "gates.png")
        print(f"picture in {out / 'gates.png'}")


def _gates(build: Callable[[], machine.Machine], ids: Any) -> dict[str, Any]:
    built = build()
    values = machine.gates_of(built, ids)
    return {
        "rows": [list(asdict(row).values()) for row in machine.by_symbol(built)],
        "accuracy": machine.accuracy(built),
        "parts": {letter: part[:, 0].tolist() for letter, part in values.items()},
    }


# ---------------------------------------------------------------- parallel

QUICK_PARALLEL: dict[str, Any] = {"hidden_size": 16, "batch_size": 16, "steps": 20}


@options(ParallelConfig())
def parallel(
    *,
    lengths: Annotated[
        str | None,
        typer.Option(
            help="Steps of the sequences, separated by commas.", show_default="32,...,512"
        ),
    ] = None,
    settings: dict[str, Any],
    quick: Quick = False,
    device: Device = None,
    out: Out = Path("runs/parallel"),
    resume: Resume = False,
) -> None:
    """Compare an LSTM, step by step, with a minGRU by a scan: time and quality by length."""
    config = ParallelConfig(**({**QUICK_PARALLEL, **settings} if quick else settings))
    typed = lengths or ("16,32" if quick else "32,64,128,256,512")
    try:
        steps = [int(one) for one in typed.split(",")]
    except ValueError:
        raise SettingError(
            f"`lengths` must be numbers separated by commas, not {typed!r}"
        ) from None
    for length in steps:
        check("lengths", length, at_least=10)
        config.refuse_too_large(length)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in scans.WAYS}
    with on(device), lock_checkpoint(out):
        results = Results(out, "parallel", {**asdict(config), "lengths": steps}, resume)
        for length, way in product(steps, scans.WAYS):
            one = results.of(f"{length} {way}", partial(scans.compare, way, length, config))
            found[way].append(one)
            print(
                f"{length} steps, {way}: {one['ms']:.1f} ms an update, {one['wrong']:.1%} wrong "
                f"after {one['steps']} updates, {one['seconds']:.0f} s",
                flush=True,
            )
    header = ["steps", "way", "ms an update", "wrong", "updates", "seconds"]
    rows: list[list[Any]] = [
        [length, way, one["ms"], one["wrong"], one["steps"], one["seconds"]]
        for way, ones in found.items()
        for length, one in zip(steps, ones, strict=True)
    ]
    rows.sort(key=lambda row: row[0])
    _show(
        "temporal order",
        header,
        [[f"{t}", w, f"{ms:.1f}", f"{x:.1%}", f"{n}", f"{s:.0f}"] for t, w, ms, x, n, s in rows],
    )
    _write(out / "log.csv", header, rows)
    print(f"log in {out / 'log.csv'}")
    if _drawing():
        figure, (times, quality) = plot.panels(1, 2, 12, 4.5)
        series = {way: (steps, [one["ms"] for one in ones]) for way, ones in found.items()}
        labels: dict[str, Any] = {"xlabel": "sequence length T (steps)", "xscale": "log"}
        plot.curves(
            series, ylabel="time of an update (ms)", yscale="log", title="time", ax=times, **labels
        )
        series = {way: (steps, [100 * one["wrong"] for one in ones]) for way, ones in found.items()}
        title = f"quality after at most {config.steps} updates"
        plot.curves(series, ylabel="wrong sequences (%)", title=title, ax=quality, **labels)
        plot.save(figure, out / "parallel.png")
        print(f"picture in {out / 'parallel.png'}")
