"""Runs `tinygrad-rnn`: as a process of its own, or in this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.cli import main

COMMAND = [sys.executable, "-c", "from tinygrad_rnn.cli import main; main()"]
SOURCES = str(Path(tg.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": SOURCES, "COLUMNS": "90", "PYTHONWARNINGS": "error"}
TIMEOUT = 300  # seconds, of a command that takes one or two on an idle machine

SIGNALS_ITSELF = """
import os
from tinygrad_rnn.cli import main
from tinygrad_rnn.train.display import Lines
update = Lines.update
def update_and_signal(display, progress):
    update(display, progress)
    if progress.step == {step}:
        os.kill(os.getpid(), {number})
Lines.update = update_and_signal
main()
"""


def signals_itself(number: signal.Signals, step: int) -> list[str]:
    """COMMAND, whose process sends itself a signal after an update, however fast it runs."""
    return [sys.executable, "-c", SIGNALS_ITSELF.format(step=step, number=int(number))]


def run_process(
    folder: Path, *arguments: str, status: int = 0, given: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder. **Arguments** given: its input."""
    raw = subprocess.run(
        [*COMMAND, *arguments], cwd=folder, env=ENVIRONMENT, input=given, capture_output=True,
        timeout=TIMEOUT,
    )  # fmt: skip
    done = subprocess.CompletedProcess(
        raw.args, raw.returncode, raw.stdout.decode(), raw.stderr.decode()
    )
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def mistake(done: subprocess.CompletedProcess[str]) -> str:
    """The one line in which a command failed."""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def run_here(*arguments: str, typed: str = "") -> tuple[Any, str, str]:
    """Runs a command in this process. **Returns** its exit status, stdout and stderr."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["tinygrad-rnn", *arguments])
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=BytesIO(typed.encode())))
        with pytest.raises(SystemExit) as left:
            main()
    return left.value.code, out.getvalue(), err.getvalue()
