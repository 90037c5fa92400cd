"""The command `tinygrad-rnn train adding`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tinygrad_rnn.cli.app import app
from tinygrad_rnn.train import DivergedError

SMALL = ["train", "adding", "--length", "6", "--hidden-size", "4", "--steps", "3"]


def test_every_cell_is_reported_and_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "adding.png"
    done = CliRunner().invoke(app, [*SMALL, "--plot", str(picture)])
    assert done.exit_code == 0, done.output
    for cell in ("rnn", "gru", "lstm", "mingru"):
        assert f"{cell}  step 3  error " in done.output
    assert done.output.count("not solved in 3 steps") == 4
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cells", "gru,elman"], "not 'elman'"),
        (["--plot", "no/such/folder/x.png"], "cannot write no/such/folder/x.png"),
        (["--plot", "x.jpg"], "end its name in .png, not 'x.jpg'"),
        (["--plot", "."], "end its name in .png, not '.'"),
        (["--plot", "/dev/full"], "end its name in .png"),
        (
            ["--length", "1000000000"],
            "this size (`length`, `hidden_size`, `batch_size`) needs",
        ),
        (["--hidden-size", "1" + "0" * 20], "`hidden_size` must be at most 2,147,483,647"),
    ],
)
def test_mistakes(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, [*SMALL, "--cells", "rnn", *arguments])
    assert isinstance(done.exception, ValueError)
    assert said in str(done.exception)
    assert "step 3" not in done.output  # it is refused before the training


def test_without_the_package_that_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    done = CliRunner().invoke(app, [*SMALL, "--plot", "x.png"])
    assert isinstance(done.exception, ValueError)
    assert "a plot needs the package matplotlib" in str(done.exception)
    assert done.output == ""


def test_a_cell_that_diverges() -> None:
    with np.errstate(all="ignore"):
        done = CliRunner().invoke(app, [*SMALL, "--cells", "gru", "--lr", "1e9"])
    assert isinstance(done.exception, DivergedError)
