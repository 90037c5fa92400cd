"""The commands `tinygrad-rnn train memory`, `gates` and `parallel`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tinygrad_rnn.cli import memory as command
from tinygrad_rnn.cli.app import app
from tinygrad_rnn.train import DivergedError

MEMORY = "memory --quick --problems adding,reber --hidden-size 4 --steps 3"
COMMANDS = {
    "memory": MEMORY,
    "gates": "gates --quick --steps 3",
    "parallel": "parallel --quick --steps 2",
}
MORE = {"memory": " --problems adding,reber --trials 1"}  # what results do not hold
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return lambda line, *more: CliRunner().invoke(app, ["train", *line.split(), *more])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_study_prints_a_table_and_writes_a_log_and_a_picture(name: str, run: Run) -> None:
    done = run(COMMANDS[name])
    assert done.exit_code == 0, done.output
    folder = Path("runs") / name
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    ways = {"memory": "cell", "gates": "gates", "parallel": "way"}[name]
    for way in {row[ways] for row in rows}:
        assert way in done.output
    again = run(COMMANDS[name])
    assert "holds results already: add --resume" in str(again.exception)
    resumed = run(COMMANDS[name], "--resume")
    assert resumed.exit_code == 0
    table = done.output[done.output.index("━") :]
    assert table == resumed.output[resumed.output.index("━") :]
    plain = run(name + MORE.get(name, ""), "--resume")  # the other settings are the saved ones
    assert table == plain.output[plain.output.index("━") :]
    other = run(COMMANDS[name], "--resume", "--seed", "9")
    assert "`seed` is 9, but 0 in the results: leave it out to resume" in str(other.exception)
    (folder / "results.json").write_text('{"command": "gates"}')
    broken = run(COMMANDS[name], "--resume")
    assert "results.json is damaged: delete it" in str(broken.exception)


def test_a_study_that_is_interrupted_continues(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(MEMORY, "--out", "whole")
    assert whole.exit_code == 0
    learn, calls = command._learn, []

    def stop(config: Any) -> Any:
        calls.append(config.cell)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return learn(config)

    monkeypatch.setattr(command, "_learn", stop)
    run(MEMORY, "--out", "parts")
    assert len(json.loads(Path("parts/results.json").read_text())["results"]) == 2
    assert run(MEMORY, "--out", "parts", "--resume").exit_code == 0
    assert len(calls) == 9  # of eight trainings the third twice
    assert Path("parts/log.csv").read_text() == Path("whole/log.csv").read_text()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("memory --cells gru,elman", "not 'elman'"),
        ("memory --problems sums", "not 'sums'"),
        ("memory --trials 0", "`trials` must be at least 1"),
        ("memory --problems reber,adding,reber", "`problems` names reber twice"),
        ("memory --cells rnn,rnn", "`cells` names rnn twice"),
        ("parallel --lengths 16,32,16", "`lengths` names 16 twice"),
        (
            "memory --length 1000000000",
            "size (`length`, `hidden_size`, `num_layers`, `batch_size`) needs",
        ),
        ("memory --hidden-size 1" + "0" * 20, "`hidden_size` must be at most 2,147,483,647"),
        ("gates --sentence 1x", "`sentence` must consist of the symbols . ! 0 1"),
        ("parallel --lengths 16,x", "`lengths` must be numbers separated by commas"),
        ("parallel --lengths 1", "`lengths` must be at least 10"),
        ("parallel --lengths 1000000000", "sequences of these `lengths` needs"),
    ],
)
def test_mistakes(line: str, said: str, run: Run) -> None:
    done = run(line)
    assert isinstance(done.exception, ValueError), done.output
    assert said in str(done.exception)
    assert not Path("runs").exists()  # it is refused before the training


def test_without_the_package_that_draws(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = run(COMMANDS["gates"])
    assert done.exit_code == 0
    assert "a picture needs pip install 'tinygrad_rnn[plot]'" in done.output
    assert "matplotlib.figure" not in done.output
    assert sys.modules  # nothing else needs the package


def test_a_training_that_diverges(run: Run) -> None:
    with np.errstate(all="ignore"):
        done = run(MEMORY, "--cells", "gru", "--lr", "1e30")
    assert isinstance(done.exception, DivergedError)
