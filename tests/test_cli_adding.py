"""`tinygrad-rnn train adding`, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tinygrad_rnn.cli.app import app
from tinygrad_rnn.recipes import SettingError

SMALL = ["train", "adding", "--length", "6", "--hidden", "4", "--steps", "3"]


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
    ],
)
def test_mistakes(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, [*SMALL, "--cells", "rnn", *arguments])
    assert isinstance(done.exception, SettingError)
    assert said in str(done.exception)
