"""`tinygrad-rnn train gates` and `parallel`: the GRU's gates; sequential or parallel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from .. import plot
from ..io import lock_checkpoint
from ..recipes import GatesConfig, ParallelConfig
from ..recipes import gates as machine
from ..recipes import parallel as scans
from ..recipes.gates_table import accuracy, by_symbol, gates_of
from .options import Device, Out, Resume, on, options
from .studies import Results, report, show_table, write_log


@options(GatesConfig(), quick=machine.QUICK)
def gates(
    *,
    settings: dict[str, Any],
    out: Out = Path("runs/gates"),
    resume: Resume = False,
) -> None:
    """Show what a GRU's gates do: once set to 0 and 1 by hand, once learned."""
    config = GatesConfig(**settings)
    with lock_checkpoint(out):
        results = Results(out, "gates", config, settings, resume)
        config = results.config
        runs: dict[str, Callable[[], machine.Machine]] = {
            "set by hand": machine.forced,
            "learned": lambda: machine.learned(config)[0],
        }
        ids = machine.encode(config.sentence)
        found = {
            name: results.of(name, partial(_gates, build, ids)) for name, build in runs.items()
        }
    header = ["gates", "symbol", "reset", "update", "next h, by the lecture", "off by"]
    rows = [[name, *row] for name, one in found.items() for row in one["rows"]]
    shown = [
        [name, symbol, f"{r:.2f}", f"{z:.2f}", meaning, f"{off:.0e}"]
        for name, symbol, meaning, r, z, off in rows
    ]
    show_table("a machine of one bit", header, shown)
    for name, one in found.items():
        print(f"{name}: {one['accuracy']:.2%} of the bits are right, in sentences of 120 symbols")
    write_log(out / "log.csv", ["gates", "symbol", "equation", "reset", "update", "off by"], rows)

    def draw(path: Path) -> None:
        figure, panels = plot.panels(len(found), 1, 2.5 + 0.28 * len(config.sentence), 7)
        for (name, one), ax in zip(found.items(), panels, strict=True):
            plot.activations(one["parts"], symbols=config.sentence, title=f"gates {name}", ax=ax)
        plot.save(figure, path)

    report(out, "gates", draw)


def _gates(build: Callable[[], machine.Machine], ids: Any) -> dict[str, Any]:
    built = build()
    values = gates_of(built, ids)
    return {
        "rows": [list(asdict(row).values()) for row in by_symbol(built)],
        "accuracy": accuracy(built),
        "parts": {letter: part[:, 0].tolist() for letter, part in values.items()},
    }


# ---------------------------------------------------------------- parallel


@options(ParallelConfig(), quick=scans.QUICK)
def parallel(
    *,
    settings: dict[str, Any],
    device: Device = None,
    out: Out = Path("runs/parallel"),
    resume: Resume = False,
) -> None:
    """Compare the time and accuracy of an LSTM and a minGRU, which runs all steps at once."""
    config = ParallelConfig(**settings)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in scans.WAYS}
    with on(device), lock_checkpoint(out):
        results = Results(out, "parallel", config, settings, resume)
        config = results.config
        steps = config.all_lengths
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
    show_table(
        "temporal order",
        header,
        [[f"{t}", w, f"{ms:.1f}", f"{x:.1%}", f"{n}", f"{s:.0f}"] for t, w, ms, x, n, s in rows],
    )
    write_log(out / "log.csv", header, rows)

    def draw(path: Path) -> None:
        figure, (times, quality) = plot.panels(1, 2, 12, 4.5)
        series = {way: (steps, [one["ms"] for one in ones]) for way, ones in found.items()}
        labels: dict[str, Any] = {"xlabel": "sequence length T (steps)", "xscale": "log"}
        plot.curves(
            series, ylabel="time of an update (ms)", yscale="log", title="time", ax=times, **labels
        )
        series = {way: (steps, [100 * one["wrong"] for one in ones]) for way, ones in found.items()}
        title = f"quality after at most {config.steps} updates"
        plot.curves(series, ylabel="wrong sequences (%)", title=title, ax=quality, **labels)
        plot.save(figure, path)

    report(out, "parallel", draw)
