"""Two trainings at a time are killed beside a reader: no state is lost or damaged.

Every state that is ever read is, bit for bit, that of the run that was not interrupted, after as
many steps. The profile `deep` kills 200 times.
"""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.cli import main
from tinygrad_rnn.io import (
    CheckpointError,
    has_checkpoint,
    load_checkpoint,
    lock_checkpoint,
    save_checkpoint,
)
from tinygrad_rnn.io.checkpoint import _load
from tinygrad_rnn.io.earlier import earlier
from tinygrad_rnn.recipes import (
    CharLMConfig,
    CharLMTraining,
    TranslateConfig,
    TranslationTraining,
)
from tinygrad_rnn.recipes import trainer as recipe_trainer
from tinygrad_rnn.recipes.trainer import RecipeTrainer
from tinygrad_rnn.train import Trainer

from ..test_cli import COMMAND, TIMEOUT, signals_itself

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills as POSIX does")

KEEP = 3
KILLS = 200 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 4
TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(60))
SIZES = {"hidden_size": 8, "embedding_dim": 4, "batch_size": 4}
CONFIG = CharLMConfig(**SIZES, bptt=8, dropout=0.2, steps=100_000)  # type: ignore[arg-type]
PROGRAM = """
import sys
from tests.io.test_kills import run_training
run_training(sys.argv[1])
"""
ROOT = str(Path(tg.__file__).parents[1])
ENVIRONMENT = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}


def run_training(folder: str) -> None:
    """Trains, and saves after every step, as a user's program may."""
    try:
        with lock_checkpoint(folder):
            if has_checkpoint(folder):
                run = CharLMTraining.resume(load_checkpoint(folder), TEXT)
            else:
                run = CharLMTraining(TEXT, CONFIG)
            print("began", flush=True)
            for _ in run:
                if run.step % 3 == 0:
                    save_checkpoint(f"{folder}/best", run.checkpoint(), verify=True)
                save_checkpoint(folder, run.checkpoint(), keep_last=KEEP)
    except CheckpointError as error:
        print(f"refused: {error}", flush=True)
        sys.exit(2)


def digest(state: dict[str, Any]) -> str:
    """Returns the digest of a state."""

    def plain(value: Any) -> Any:
        if isinstance(value, tg.Tensor):
            value = value.numpy()
        if isinstance(value, np.ndarray):
            return [str(value.dtype), value.shape, value.tobytes().hex()]
        if isinstance(value, dict):
            return {str(key): plain(v) for key, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, list | tuple) else value

    return hashlib.sha256(json.dumps(plain(state), sort_keys=True).encode()).hexdigest()


class Uninterrupted:
    """The digests of a training's states, and the step of the best one so far, by step."""

    def __init__(self, run: Trainer) -> None:
        self.run = run
        self.digests = [digest(self.state())]
        self.best = [0]

    def state(self) -> dict[str, Any]:
        run = self.run
        return run.checkpoint() if isinstance(run, RecipeTrainer) else run.state_dict()

    def __getitem__(self, step: int) -> str:
        while len(self.digests) <= step:
            next(self.run)
            self.digests.append(digest(self.state()))
            self.best.append(self.run.step if self.run.improved else self.best[-1])
        return self.digests[step]


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def check_earlier(folder: Path, step: int, expected: Uninterrupted, saves: int) -> None:
    """The kept states are those of the steps before.

    A kill can leave the newest twice, or the oldest one too many.
    """
    steps = [step]
    for path in earlier(folder):
        state = own(_load(folder, path.name))
        assert digest(state) == expected[state["step"]]
        steps.append(state["step"])
    assert steps == sorted(steps, reverse=True)
    assert len(set(steps)) >= min(KEEP, saves)
    assert len(steps) <= KEEP + 2


def own(state: dict[str, Any]) -> dict[str, Any]:
    """Returns a state without what the command adds."""
    return {name: value for name, value in state.items() if name not in ("command", "sources")}


def check_kept(folder: Path, step: int, expected: Uninterrupted) -> None:
    """The kept states are those of the steps before, and the best is one of every third step."""
    check_earlier(folder, step, expected, saves=step)
    if has_checkpoint(folder / "best"):
        best = load_checkpoint(folder / "best")
        assert best["step"] % 3 == 0
        assert step - 3 < best["step"] <= step + 1
        assert digest(best) == expected[best["step"]]


def test_killed_trainings(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    folder, rng, expected = (
        tmp_path / "run",
        random.Random(0),
        Uninterrupted(CharLMTraining(TEXT, CONFIG)),
    )
    step = reads = refused = 0
    for _ in range(KILLS):
        lives = [start(folder), start(folder)]
        for life in lives:
            request.addfinalizer(life.kill)
        first = [life.stdout.readline() for life in lives]  # type: ignore[union-attr]
        holders = [life for life, line in zip(lives, first, strict=True) if line == "began\n"]
        assert len(holders) == 1, first
        [other] = [life for life in lives if life not in holders]
        refused += other.wait(TIMEOUT) == 2
        assert re.search(rf"process {holders[0].pid} on .* saves there", "".join(first))
        until = time.monotonic() + rng.uniform(0, 0.5)
        while time.monotonic() < until:
            if has_checkpoint(folder):
                state = load_checkpoint(folder)
                assert state["step"] >= step
                step, reads = state["step"], reads + 1
                assert digest(state) == expected[step]
        holders[0].send_signal(signal.SIGKILL)
        assert holders[0].wait(TIMEOUT) == -signal.SIGKILL, holders[0].stderr
        for life in lives:
            life.communicate()
        if has_checkpoint(folder):
            state = load_checkpoint(folder)
            assert state["step"] >= step
            step = state["step"]
            assert digest(state) == expected[step]
        check_kept(folder, step, expected)
    run = CharLMTraining.resume(load_checkpoint(folder), TEXT)
    for _ in range(3):
        next(run)
        for place in (folder, tmp_path / "fresh"):
            save_checkpoint(place, run.checkpoint(), keep_last=KEEP)
    assert digest(load_checkpoint(folder)) == expected[step + 3]
    shutil.rmtree(folder / "best")
    left, fresh = (
        sorted(re.split(r"-|\.\d", file.name)[0] for file in place.iterdir())
        for place in (folder, tmp_path / "fresh")
    )
    assert left == fresh  # nothing of a killed save is left
    assert refused == KILLS
    print(f"{KILLS} kills, {reads} reads, {step} steps")


def trainer() -> Trainer:
    """Creates a training that evaluates after every update."""
    tg.manual_seed(0)  # the default generator is in the state
    generator = tg.Generator(0)
    model = tg.nn.Sequential(
        tg.nn.Linear(1, 4, generator=generator), tg.nn.Dropout(0.2, generator=generator),
        tg.nn.Linear(4, 1, generator=generator),
    )  # fmt: skip
    data = tg.data.DataLoader(
        [[n / 9] for n in range(10)], 3, shuffle=True, generator=generator, collate=tg.tensor
    )

    def loss(model: tg.nn.Module, batch: tg.Tensor) -> tg.Tensor:
        return tg.nn.mse_loss(model(batch), 2 * batch)

    return Trainer(
        model, data, loss, tg.optim.Adam(model.parameters()), steps=100_000, evaluate_every=1,
        validation=data, on_nan="rollback",
    )  # fmt: skip


def fit(folder: str) -> None:
    """Trains with `fit`, which saves `last` and `best`."""
    run = trainer()
    run.callbacks = [lambda _, progress: tell(progress.step - 1)]
    run.fit(folder, resume=True, quiet=True, keep_last=KEEP)


PAIRS = [(f"{n} and {m}", f"{m} und {n}") for n in range(4) for m in range(4)]
SETTINGS = {
    "hidden_size": 6, "embedding_dim": 3, "batch_size": 2, "steps": 100_000, "num_layers": 2,
    "teacher_forcing": "constant:0.9",
}  # fmt: skip


def train_translate(folder: str) -> None:
    """Runs the command, which evaluates after every update."""
    recipe_trainer.EVALUATE_EVERY = 1
    TranslationTraining.sample = lambda training: tell(training.step) or ""  # type: ignore
    for name, texts in zip(("source", "target"), zip(*PAIRS, strict=True), strict=True):
        Path(f"{folder}.{name}").write_text("\n".join(texts) + "\n", encoding="utf-8")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    options += [f"--source={folder}.source", f"--target={folder}.target"]
    sys.argv[1:] = [
        "train", "translate", f"--out={folder}", "--best", f"--keep-last={KEEP}", "--verify",
        *(["--resume"] if has_checkpoint(folder) else options),
    ]  # fmt: skip
    main()


def tell(step: int) -> None:
    """Reports a step that has been saved."""
    print(f"saved {step}", flush=True)


def translation() -> TranslationTraining:
    config = TranslateConfig(**SETTINGS)  # type: ignore[arg-type]
    training = TranslationTraining(PAIRS, config)
    training.every = 1
    return training


@pytest.mark.parametrize(
    ("program", "training", "last", "best"),
    [(fit, trainer, "last", "best"), (train_translate, translation, ".", "best")],
)
def test_killed_runs(
    tmp_path: Path, request: pytest.FixtureRequest, program: Any, training: Any, last: str,
    best: str,
) -> None:  # fmt: skip
    """Whenever a run is killed, it has saved all but the last update, and resumes bit for bit."""
    rng, step, whole = random.Random(2), 0, Uninterrupted(training())
    folder, saved = tmp_path / "run" / last, tmp_path / "run" / best
    call = f"import sys; from tests.io.test_kills import {program.__name__} as program; "
    for last_kill in [False] * (KILLS - 1) + [True]:
        with open(tmp_path / "output", "w", encoding="utf-8") as output:
            life = subprocess.Popen(
                [sys.executable, "-c", call + "program(sys.argv[1])", str(tmp_path / "run")],
                cwd=ROOT, env=ENVIRONMENT, stdout=output,
            )  # fmt: skip
        request.addfinalizer(life.kill)
        while life.poll() is None and not (
            any(steps_told(tmp_path / "output")) if last_kill else lock_of(folder, life.pid)
        ):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        assert life.poll() is None
        life.kill()
        life.wait(TIMEOUT)
        told = steps_told(tmp_path / "output")
        if has_checkpoint(folder):
            state = own(load_checkpoint(folder))
            assert state["step"] >= max([step, *told])  # nothing is lost
            step = state["step"]
            assert digest(state) == whole[step]
            check_earlier(folder, step, whole, saves=step + 1)
        if has_checkpoint(saved):
            state = own(load_checkpoint(saved))
            assert digest(state) == whole[state["step"]]
            assert whole[step + 1]
            assert state["step"] in whole.best[step : step + 2]
        else:
            assert step == 0
    assert step
    print(f"{KILLS} kills, {step} steps")


def steps_told(output: Path) -> list[int]:
    """The steps that a program has reported as saved."""
    return [int(step) for step in re.findall(r"^saved (\d+)\n", output.read_text("utf-8"), re.M)]


def lock_of(folder: Path, process: int) -> bool:
    """Whether a process has locked a folder."""
    try:
        return f"process {process} " in (folder / "checkpoint.lock").read_text()
    except FileNotFoundError:
        return False


def write(folder: Path, first: int) -> Iterator[int]:
    """Saves repeatedly in a child process. **Yields** its id."""
    if child := os.fork():
        yield child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return
    status, i = 1, first
    try:
        while True:
            i += 1
            try:
                save_checkpoint(folder, state_of(i))
            except CheckpointError as error:
                if not re.search(r"process saves there|process \d+ on \S+ saves there", str(error)):
                    print(error, flush=True)
                    break
    finally:
        os._exit(status)


def state_of(i: int) -> dict[str, Any]:
    return {
        "step": i,
        "model": {"w": np.full(20 + i % 7, float(i))},
        "optimizer": {"m": np.full(3000, float(i))},
    }


def test_killed_writers(tmp_path: Path) -> None:
    """Two programs save in one folder without coordination."""
    rng, reads = random.Random(1), 0
    save_checkpoint(tmp_path, state_of(0))
    for kill in range(5 * KILLS):
        writers = [write(tmp_path, 10**6 * kill), write(tmp_path, 10**6 * kill + 10**5)]
        children = [next(writer) for writer in writers]
        until = time.monotonic() + rng.uniform(0, 0.1)
        while time.monotonic() < until:
            state, reads = load_checkpoint(tmp_path), reads + 1
            assert digest(state) == digest(state_of(state["step"]))
        for child, writer in zip(children, writers, strict=True):
            assert os.waitpid(child, os.WNOHANG) == (0, 0)  # it is still at work
            next(writer, None)
        state = load_checkpoint(tmp_path)
        assert digest(state) == digest(state_of(state["step"]))
    save_checkpoint(tmp_path, state_of(1))
    assert len(list(tmp_path.iterdir())) == 3
    print(f"{5 * KILLS} times two kills, {reads} reads")


def test_two_trainings_of_one_folder(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """The second one is refused in one line, and the first one can be resumed after a kill."""
    (tmp_path / "text.txt").write_text(TEXT)
    sizes = [f"--{name.replace('_', '-')}={n}" for name, n in SIZES.items()]
    sizes += ["--text=text.txt", "--bptt=8", "--steps=300", "--keep-last=2", "--best"]

    def train(*options: str, command: Sequence[str] = COMMAND) -> subprocess.Popen[str]:
        life = subprocess.Popen(
            [*command, "train", "charlm", *options],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        request.addfinalizer(life.kill)
        return life

    first = train(*sizes, "--out", "run", command=signals_itself(signal.SIGSTOP, 130))
    change = os.waitid(os.P_PID, first.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert change is not None
    assert change.si_code == os.CLD_STOPPED
    for options in (["--resume"], sizes):
        second = train(*options, "--out", "run")
        out, err = second.communicate(timeout=TIMEOUT)
        assert (second.returncode, out) == (2, "")
        assert re.fullmatch(
            rf"error: cannot save in run: process {first.pid} on .* saves there; .*\n", err
        )
    first.kill()
    first.communicate()
    whole, resumed = train(*sizes, "--out", "whole"), train("--out", "run", "--resume", "--best")
    ends = [life.communicate(timeout=TIMEOUT)[0] for life in (whole, resumed)]
    results = [[line for line in end.splitlines() if line.startswith("held-out")] for end in ends]
    assert len(results[0]) == 1
    assert results[0] == results[1]
    for name in (".", "best"):
        states = [load_checkpoint(tmp_path / run / name) for run in ("whole", "run")]
        assert digest(states[0]) == digest(states[1])
