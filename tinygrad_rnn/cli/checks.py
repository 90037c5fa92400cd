"""`tinygrad-rnn gradcheck` and `info`: check derivatives, and describe the installation."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
import typer

from .. import __version__, kernels, testing
from ..errors import GradcheckError
from ..tensor import backend, cuda
from .options import Device, on

T = TypeVar("T")
LINE_EVERY = 5.0  # seconds, where there is no bar


def gradcheck(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A Python file: check the cells that it defines, instead of this package.",
            metavar="[FILE]",
            show_default=False,
        ),
    ] = None,
    device: Device = None,
    seed: Annotated[int, typer.Option(help="Seed of the cases.", min=0)] = 0,
) -> None:
    """Check all derivatives, or your cells', to third order, against finite differences."""
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    console = Console(highlight=False)
    infos = testing.op_infos() if file is None else testing.cells_of(str(file))
    table = Table("name", "kind", title="worst errors", title_justify="left")
    for order in ("first", "second", "third"):
        table.add_column(f"{order} order", justify="right")
    failures: list[str] = []
    name = backend.default_device() if device is None else device
    with on(device):
        shown = track(infos, "checking", console=console) if console.is_terminal else _told(infos)
        for info in shown:
            try:
                errors = [f"{error:.1e}" for error in info.check(seed, name)]
            except GradcheckError as error:
                failures.append(f"{info.name}: {error}")
                errors = ["failed"]
            table.add_row(info.name, info.kind, *errors)
    console.print(table)
    for failure in failures:
        console.print(failure, markup=False)
    console.print(f"{len(infos) - len(failures)} of {len(infos)} pass on {name} with seed {seed}")
    raise typer.Exit(1 if failures else 0)


def _told(infos: Sequence[T]) -> Iterator[T]:
    """Yields the operations to check, and says on stderr how many are done, every few seconds."""
    last = time.monotonic()
    for done, info in enumerate(infos):
        if time.monotonic() - last >= LINE_EVERY:
            last = time.monotonic()
            print(f"checked {done} of {len(infos)}", file=sys.stderr, flush=True)
        yield info


def info() -> None:
    """Show versions, devices, and which kernels are active and why."""
    backend.parse(backend.default_device())  # raises if the environment names no device
    lines = {
        "tinygrad_rnn": __version__,
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "NumPy": np.__version__,
        "CuPy": _cupy(),
        "devices": ", ".join(_devices()),
        "default": backend.default_device(),
        "kernels": kernels.describe(),
    }
    for name, value in lines.items():
        print(f"{name:12}  {value}")


def _cupy() -> str:
    if missing := cuda.why_not():
        return f"no: {missing}"
    return str(backend.platforms["cuda"]().__version__)


def _devices() -> list[str]:
    if cuda.why_not():
        return ["cpu"]
    runtime = backend.platforms["cuda"]().cuda.runtime
    names = [
        runtime.getDeviceProperties(i)["name"].decode() for i in range(runtime.getDeviceCount())
    ]
    return ["cpu", *(f"cuda:{i} ({name})" for i, name in enumerate(names))]
