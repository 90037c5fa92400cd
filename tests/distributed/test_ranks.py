"""Several ranks give what one process gives, and never hang."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.distributed import communication

from ..strict import strict_device

ROOT = Path(__file__).parents[2]
TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(60))
# Open MPI starts neither root's programs nor more ranks than cores, if it is not told to.
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
SMALL = "--hidden-size 8 --embedding-dim 4 --batch-size 5 --bptt 7 --steps"


def run(ranks: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a Python program on several ranks."""
    pytest.importorskip("mpi4py")
    beside = str(Path(sys.executable).parent)
    mpiexec = shutil.which("mpiexec", path=beside) or shutil.which("mpiexec")
    assert mpiexec, "mpi4py is installed, and no mpiexec: pip install mpich"
    start = [mpiexec, "-n", str(ranks)] if ranks > 1 else []
    paths = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return subprocess.run(
        [*start, sys.executable, *command],
        env={**os.environ, **OPEN_MPI, "PYTHONPATH": paths, communication.TIMEOUT: "200"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("ranks", [2, 4])
def test_all_recipes_train_as_on_one_rank(ranks: int) -> None:
    done = run(ranks, "-m", "tests.distributed.equality")
    assert done.returncode == 0, done.stderr
    assert "all equal" in done.stdout, done.stdout


@pytest.mark.parametrize("ranks", [2, 3])
def test_what_ranks_do_apart_and_together(ranks: int, tmp_path: Path) -> None:
    done = run(ranks, "-m", "tests.distributed.features", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all checks pass\n"


@pytest.mark.parametrize("ranks", [2, 3])
def test_drawn_trainings_of_ragged_rows_are_those_of_one_rank(ranks: int) -> None:
    done = run(ranks, "-m", "tests.distributed.drawn", "0", "12")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "all equal\n"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("die", r"Killed \(signal 9\)|signal 9 \(Killed\)"),  # MPICH's words, Open MPI's
        ("freeze", "of 3 waited 4 s in a sum for rank 2: dead, frozen or slower; the job ends"),
        ("raise", "ValueError: of the last rank"),
        ("end", "of 3 waited 4 s in a sum for rank 2: dead, frozen or slower; the job ends"),
    ],
)
def test_a_rank_that_fails_ends_the_job(how: str, said: str) -> None:
    done = run(3, "tests/distributed/failing.py", how)
    assert done.returncode != 0
    assert re.search(said, done.stdout + done.stderr), done.stdout + done.stderr
    assert "waited 200 s" not in done.stderr


def charlm(ranks: int, out: Path, steps: int, *more: str) -> str:
    """Trains on the command line."""
    text = out.parent / "text.txt"
    text.write_text(TEXT)
    command = f"-m tinygrad_rnn train charlm --text {text} --out {out} {SMALL} {steps}"
    done = run(ranks, *command.split(), *more)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_trains_resumes_and_refuses(tmp_path: Path) -> None:
    two, one = tmp_path / "two", tmp_path / "one"
    shown = charlm(2, two, 5)
    assert "2 ranks divide each batch" in shown
    assert shown.count("saved in") == 1
    assert [path.name for path in two.iterdir() if path.is_dir()] == []
    shutil.copytree(two, one)
    for ranks, folder in ((1, one), (2, two)):  # each stream continues, on whichever rank it is
        charlm(ranks, folder, 9, "--resume")
    ours, theirs = (tg.io.load_checkpoint(folder) for folder in (two, one))
    assert ours["step"] == theirs["step"] == 9
    for a, b in zip(ours["hidden"], theirs["hidden"], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)
    for name, weight in theirs["model"].items():
        np.testing.assert_allclose(ours["model"][name], weight, rtol=0, atol=1e-5)
    again = f"-m tinygrad_rnn train charlm --text {tmp_path / 'text.txt'} --out {two}"
    done = run(2, *again.split())
    assert done.returncode != 0
    assert done.stderr.count("holds a checkpoint already: add --resume") == 1


SIGNALLED = """
import os, signal
from tinygrad_rnn.cli import main
from tinygrad_rnn.train import Trainer

update = Trainer._update

def signalled(trainer):
    if (trainer.step, trainer.communicator.rank) == (3, 1):
        os.kill(os.getpid(), signal.SIGTERM)
    return update(trainer)

Trainer._update = signalled
main()
"""


def test_a_signal_to_another_rank_is_in_the_exit_status(tmp_path: Path) -> None:
    """A script that runs the command sees that the training is not finished."""
    (tmp_path / "text.txt").write_text(TEXT)
    command = f"train charlm --text {tmp_path}/text.txt --out {tmp_path}/run {SMALL} 99"
    done = run(2, "-c", SIGNALLED, *command.split())
    assert done.returncode == 128 + signal.SIGTERM, done.stderr
    assert "stopped after step 4 of 99 and saved" in done.stdout
    assert tg.io.load_checkpoint(tmp_path / "run")["step"] == 4


def test_studies_of_several_trainings_are_refused(tmp_path: Path) -> None:
    done = run(2, *f"-m tinygrad_rnn train memory --out {tmp_path}".split())
    assert done.returncode != 0
    assert done.stderr.count("train memory makes several trainings, which ranks do not div") == 1


def test_data_are_divided_among_at_most_as_many_ranks_as_they_have_rows() -> None:
    loader = tg.data.DataLoader(range(10), 4, collate=list)
    loader.shard(2, 3)
    assert list(loader) == [[2], [6], None]
    with pytest.raises(tg.InvalidValueError, match="5 processes divide batches of 4: raise"):
        loader.shard(0, 5)
    with pytest.raises(tg.InvalidValueError, match="rank: expected 0 to size - 1 = 1, got 2"):
        tg.data.Streams(np.arange(9), 2, 3).shard(2, 2)
    stream = tg.data.DataLoader(iter_of(7), 3, collate=list)
    stream.shard(1, 2)
    assert list(stream) == [[1], [4], None]


class iter_of:
    """An iterable without a length."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(range(self.count))


class Two(tg.distributed.Communicator):
    """Two ranks that do the same."""

    size = 2

    def sum(self, array):  # type: ignore[no-untyped-def]
        array *= 2
        return array

    def gather(self, value):  # type: ignore[no-untyped-def]
        return [value, value]


def test_data_that_cannot_be_divided_are_refused() -> None:
    model = tg.nn.Linear(1, 1)
    with pytest.raises(tg.InvalidTypeError, match="2 ranks divide each batch: expected a DataL"):
        tg.train.Trainer(
            model, [1], lambda m, b: 0, tg.optim.SGD(model.parameters(), 0.1), steps=1,
            communicator=Two(),
        )  # fmt: skip


def test_gradients_stay_on_their_device() -> None:
    with strict_device() as name:
        w = tg.ones((3,), device=name, requires_grad=True)
        v = tg.ones((2,), requires_grad=True)
        (w * w).sum().backward()
        assert tg.distributed.average_gradients([w, v], 4, 1.5, ranks=Two()) == (8.0, 1.5)
        assert v.grad is None
        assert w.grad is not None
        assert w.grad.device == w.device == name
        assert w.grad.tolist() == [2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((None,), "expected a list of tensors"),
        (([1.0],), "expected leaf tensors, got 1.0"),
        (([tg.zeros(1)], -1), "count: expected 0 or more, got -1"),
        (([tg.zeros(1)], 1, tg.zeros((2,))), "means: expected scalars"),
    ],
)
def test_wrong_arguments(arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=said):
        tg.distributed.average_gradients(*arguments)  # type: ignore[arg-type]


def test_a_launcher_without_a_fitting_mpi_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    find = communication._of_this_process.__wrapped__
    for name in communication.LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    assert find().size == 1
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    assert find().size == 1
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    monkeypatch.setenv(communication.TIMEOUT, "soon")
    with pytest.raises(tg.InvalidValueError, match="expected seconds above 0, got 'soon'"):
        find()
    monkeypatch.setenv(communication.TIMEOUT, "9")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(tg.InvalidValueError, match=r"mpi4py .*: pip install 'tinygrad_rnn\[mpi\]'"):
        find()


def test_mpiexec_of_another_mpi_is_an_error() -> None:
    """As of Open MPI, while mpi4py is MPICH's: each process would be alone."""
    program = "import os; os.environ['OMPI_COMM_WORLD_SIZE'] = '3'; import tinygrad_rnn as tg; "
    done = run(1, "-c", program + "tg.distributed.communicator()")
    assert "mpiexec started 3 processes, but mpi4py sees 1: it belongs to another" in done.stderr
