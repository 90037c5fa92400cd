"""Programs as users write them run, learn, and pass `mypy --strict`."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
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


@pytest.mark.oracle
def test_a_script_of_pytorch_and_its_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    theirs = runpy.run_path(str(FOLDER / "reviews_torch.py"))
    ours = runpy.run_path(str(FOLDER / "reviews.py"))
    assert len(ours["losses"]) == 30
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=0, atol=1e-5)
    assert np.mean(ours["losses"][-10:]) < 0.9 * np.mean(ours["losses"][:10])
    assert tg.io.load_checkpoint("checkpoint")["epoch"] == 2


def test_a_port_of_keras_fit(tmp_path: Path) -> None:
    program = runpy.run_path(str(FOLDER / "fit.py"))
    assert program["history"][-1]["validation"] < 0.3
    assert program["predicted"].tolist() == program["y"][:5].tolist()
    program["trainer"].load_best("checkpoints")


def output_of(*command: str) -> str:
    """Runs a program and returns its output."""
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    ).stdout


def test_a_loop_on_several_ranks(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    program = [sys.executable, str(FOLDER / "ranks.py")]
    alone = output_of(*program)
    assert output_of(MPIEXEC, "-n", "3", *program) == alone
    assert alone.count("epoch") == 3
    assert set(tg.load("model.safetensors")) == set(tg.nn.GRU(3, 3).state_dict())


@pytest.mark.oracle
def test_trainings_on_a_cluster_of_dask() -> None:
    pytest.importorskip("dask.distributed")
    rows = output_of(sys.executable, str(FOLDER / "elsewhere.py")).splitlines()
    losses = [float(row.split("loss ")[1]) for row in rows]
    assert [row.split(":")[0] for row in rows] == ["lr 0.1", "lr 0.01", "lr 0.001"]
    assert min(losses) == losses[1] < 0.01


@pytest.mark.oracle
def test_a_search_by_optuna_prunes_and_resumes() -> None:
    pytest.importorskip("optuna")
    program = [sys.executable, "-W", "ignore", str(FOLDER / "search.py")]
    for trials in (6, 9):
        first, best = output_of(*program, str(trials)).splitlines()
        assert first.startswith(f"{trials} trials, ")
        assert "hidden" in best
    assert int(first.split(", ")[1].split()[0]) > 0  # pruned


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("porting", ("reviews_torch", "reviews", "keras_fit", "fit")),
        ("scaling", ("ranks", "elsewhere", "search")),
    ],
)
def test_the_page_shows_these_programs(page: str, names: tuple[str, ...]) -> None:
    text = (ROOT / f"docs/{page}.md").read_text("utf-8")
    for name in names:
        assert f"```python\n{(FOLDER / f'{name}.py').read_text('utf-8')}```" in text


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
