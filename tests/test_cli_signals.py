"""On a signal a training saves an intact checkpoint, and prints the command that resumes it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tinygrad_rnn.cli import loop, main
from tinygrad_rnn.io import load_checkpoint, save_checkpoint

from .test_cli import COMMAND, ENVIRONMENT, TEXT, TIMEOUT, TINY

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX systems")
CHARLM = ["train", "charlm", "--text", "text.txt", *TINY, "--steps", "10000000", "--out", "run"]
TASK = ["train", "task", "copy", "--hidden-size", "8", "--steps", "10000000", "--out", "run"]


def hear() -> None:
    """Ends at SIGHUP by default, also where the tests run under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def started(
    folder: Path, arguments: list[str], preexec_fn: Callable[[], None] = hear
) -> subprocess.Popen[str]:
    """Starts a training, and waits for its first line of progress."""
    (folder / "text.txt").write_text(TEXT, "utf-8")
    process = subprocess.Popen(
        [*COMMAND, *arguments], cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, encoding="utf-8", preexec_fn=preexec_fn,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step 100/"):
            return process
    raise AssertionError(process.communicate())


def stopped(folder: Path, process: subprocess.Popen[str], status: int, again: str) -> None:
    """Asserts that the training stopped on the signal, and saved its step."""
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (status, "")
    at = re.search(r"stopped after step (\d+) of 10000000 and saved; to resume:\n(.*)\n$", out)
    assert at is not None
    assert at[2] == again
    assert load_checkpoint(folder / "run")["step"] == int(at[1]) >= 100


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_asks_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path, CHARLM)
    process.send_signal(number)
    stopped(tmp_path, process, 128 + number, "tinygrad-rnn train charlm --out run --resume")


def test_signals_of_a_system_that_sends_two(tmp_path: Path) -> None:
    process = started(tmp_path, TASK)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    again = "tinygrad-rnn train task copy --out run --resume"
    stopped(tmp_path, process, 128 + signal.SIGHUP, again)


def test_nohup(tmp_path: Path) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = started(tmp_path, CHARLM, preexec_fn=ignore)
    process.send_signal(signal.SIGHUP)
    assert process.stdout is not None
    assert any(line.startswith("step 200/") for line in process.stdout)  # it was not heard
    process.send_signal(signal.SIGTERM)
    again = "tinygrad-rnn train charlm --out run --resume"
    stopped(tmp_path, process, 128 + signal.SIGTERM, again)


def test_a_reader_that_goes(tmp_path: Path) -> None:
    process = started(tmp_path, CHARLM)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # as `head` does; it is found out at the next line
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=TIMEOUT) == 1
    assert load_checkpoint(tmp_path / "run")["step"] >= 100


def test_a_second_ctrl_c_while_saving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It interrupts immediately; the checkpoint is the previous one."""
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    monkeypatch.chdir(tmp_path)
    saves: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def save(folder: Path, state: Mapping[str, Any], **options: Any) -> None:
        saves.append(state["step"])
        if len(saves) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        save_checkpoint(folder, state, **options)
        if len(saves) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop.io, "save_checkpoint", save)
    monkeypatch.setattr(sys, "argv", ["tinygrad-rnn", *CHARLM])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    assert capsys.readouterr().err == ""
    assert saves == [0, 100, 100]
    assert load_checkpoint("run")["step"] == 100
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("command", ["generate x", "train memory"])
def test_ctrl_c_where_nothing_is_saved(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tinygrad_rnn.recipes.runs.load_checkpoint", interrupt)
    monkeypatch.setattr("tinygrad_rnn.cli.memory._learn", interrupt)
    monkeypatch.setattr(sys, "argv", ["tinygrad-rnn", *command.split()])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 130
    assert capsys.readouterr().err == ""
