"""`tinygrad-rnn gradcheck` and `info`: check derivatives, and describe the installation."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Annotated

import numpy as np
import typer

from .. import kernels, testing
from ..errors import GradcheckError
from ..tensor import backend, cuda
from .options import Device, on


def gradcheck(
    device: Device = None,
    seed: Annotated[int, typer.Option(help="Seed of the cases.", min=0)] = 0,
) -> None:
    """Check all derivatives, to third order, against finite differences."""
    from rich.console import Console
    from rich.progress import track
    from rich.table import Table

    console = Console(highlight=False)
    infos = testing.op_infos()
    table = Table("name", "kind", title="worst errors", title_justify="left")
    for order in ("first", "second", "third"):
        table.add_column(f"{order} order", justify="right")
    failures: list[str] = []
    name = backend.default_device() if device is None else device
    with on(device):
        for info in track(infos, "checking", console=console, disable=not console.is_terminal):
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


def info() -> None:
    """Show versions, devices, and which kernels are active and why."""
    backend.parse(backend.default_device())  # raises if the environment names no device
    lines = {
        "tinygrad_rnn": _version("tinygrad_rnn"),
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "NumPy": np.__version__,
        "CuPy": _cupy(),
        "devices": ", ".join(_devices()),
        "default": backend.default_device(),
        "kernels": kernels.describe(),
    }
    for name, value in lines.items():
        print(f"{name:12}  {value}")


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed (running from its sources)"


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
