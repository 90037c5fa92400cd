"""Runs the command line in this process, and reads what it prints and writes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from tinygrad_rnn.cli import main

Run = Callable[..., str]


def run(*arguments: str, status: int = 0, typed: str = "") -> str:
    """Runs `tinygrad-rnn`. **Returns** what it prints; if it fails, its line on stderr."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "110")
        patch.setattr(sys, "argv", ["tinygrad-rnn", *arguments])
        stdin = SimpleNamespace(buffer=BytesIO(typed.encode()), isatty=lambda: False)
        patch.setattr(sys, "stdin", stdin)
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as left:
            main()
    said = err.getvalue()
    assert left.value.code == status, (out.getvalue(), said)
    if status in (1, 2):
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        return said
    return out.getvalue()


def table(said: str, column: int) -> dict[str, float]:
    """Reads a column of the table that a command has printed."""
    rows = [line.split("│") for line in said.splitlines() if line.startswith("│")]
    return {row[1].strip(): float(row[column].strip(" %")) for row in rows}


def predictions(file: str, out: str = "run") -> list[Any]:
    """Predicts for a file, in lines of JSON."""
    return [json.loads(line) for line in run("predict", out, file, "--json").splitlines()]
