"""What it takes to have a library: the time of a process that imports it, and its space on disk."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from statistics import median

LIBRARIES = ("tinygrad_rnn", "numpy", "autograd", "jax", "torch")
HERE = Path(__file__).parents[1]  # where we are, if we are not installed


def seconds(statement: str) -> float:
    """How long a Python lives that runs a statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, cwd=HERE)
    return time.perf_counter() - start


def requirements(name: str) -> list[str]:
    """The names of what a library requires, extras aside."""
    try:
        given = Distribution.from_name(name).requires or []
    except PackageNotFoundError:
        given = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["dependencies"]
    plain = [r for r in given if "extra ==" not in r]
    return [re.match(r"[\w.-]+", r)[0].lower().replace("-", "_") for r in plain]  # type: ignore


def files(name: str) -> list[Path]:
    """The files of an installed library, less what Python compiles of them."""
    try:
        every = [Path(f.locate()) for f in Distribution.from_name(name).files or []]
    except PackageNotFoundError:
        every = list((HERE / name).rglob("*")) if name == LIBRARIES[0] else []
    return [f for f in every if f.suffix != ".pyc" and f.is_file()]


def with_requirements(name: str) -> set[str]:
    """A library, what it requires, what that requires, and so on, as far as it is installed."""
    found, waiting = set(), [name]
    while waiting:
        name = waiting.pop()
        if name not in found and files(name):
            found.add(name)
            waiting += requirements(name)
    return found


def megabytes(*names: str) -> float:
    """The space of libraries."""
    return sum(f.stat().st_size for name in names for f in files(name)) / 1e6


def measure(given: argparse.Namespace) -> None:
    """Prints the table; the processes take turns."""
    statements = {"(no import)": "pass", **{name: f"import {name}" for name in LIBRARIES}}
    for statement in statements.values():
        seconds(statement)  # what is compiled once, and what the disk has to fetch
    turns = [{n: seconds(s) for n, s in statements.items()} for _ in range(given.rounds)]
    print(f"{'':<15}{'min':>9}{'median':>11}{'to ours':>9}{'itself':>11}{'all it needs':>14}")
    figures = []
    for name in statements:
        times = [turn[name] for turn in turns]
        ratio = min(times) / min(turn[LIBRARIES[0]] for turn in turns)
        own, whole = megabytes(name), megabytes(*with_requirements(name))
        figures.append({"library": name, "min": min(times), "ratio": ratio, "MB": [own, whole]})
        print(
            f"{name:<15}{min(times) * 1e3:>6,.0f} ms{median(times) * 1e3:>8,.0f} ms{ratio:>9.2f}"
            f"{own:>8,.1f} MB{whole:>11,.1f} MB"
        )
    if given.json:
        Path(given.json).write_text(json.dumps(figures, indent=2))
