"""Programs as users write them run, learn, and pass `mypy --strict`."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
PROGRAMS = ["classifier", "tagger", "forecast"]  # tests/train runs the first


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_tagger(tmp_path: Path) -> None:
    program = runpy.run_path(str(FOLDER / "tagger.py"))
    assert program["accuracy"] > 0.95
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 101


def test_a_forecast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t = np.arange(400)
    noise = np.random.default_rng(0).normal(0, 0.05, len(t))
    rows = [f"{value:.4f}" for value in 5 + np.sin(t / 3) + noise]
    (tmp_path / "series.csv").write_text("\n".join(["value", *rows]))
    monkeypatch.setattr(sys, "argv", ["forecast.py", "series.csv"])
    program = runpy.run_path(str(FOLDER / "forecast.py"))
    assert program["error"] < 0.3 * program["last"]


def test_strict_types() -> None:
    """Of the programs alone: the package is checked by itself."""
    pytest.importorskip("mypy")
    files = [str(FOLDER / f"{name}.py") for name in PROGRAMS]
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *files]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
