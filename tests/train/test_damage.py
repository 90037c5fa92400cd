"""A training whose newest checkpoint is damaged resumes from the one before, and says so.

Where it cannot, one error names the file. Whatever is resumed gives the weights, to the bit, of the
training that was not interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.io import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_rnn.io.checkpoint import _load
from tinygrad_rnn.io.earlier import earlier
from tinygrad_rnn.train import Trainer

from ..io.test_damage import little_memory
from ..io.test_kills import digest
from .test_trainer import trainer

pytestmark = pytest.mark.usefixtures("unsynchronised")

KEEP = 3
STOP, BEFORE, LAST = 7, 6, 12  # steps: of the newest checkpoint, of the one before, of the end
DRAWS = 50 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 2
INDEX = "checkpoint.json"


class Runs(NamedTuple):
    """Folders: of the run to damage and of another one; and the states of a whole run, by step."""

    folder: Path
    other: Path
    states: dict[int, str]


def size_of_head(model: tg.nn.Module) -> float:
    return float((model.head.weight**2).sum().item())


def training(seed: int = 0, **settings: Any) -> Trainer:
    """A training of 12 updates, with an evaluation after every second one."""
    tg.manual_seed(0)  # the default generator is in the state
    return trainer(
        seed, batch=8, **{"epochs": 4, "evaluate_every": 2, "validation": size_of_head} | settings
    )


def stop_at(step: int) -> Callable[[Trainer, Any], None]:
    return lambda run, progress: run.requests.extend([2] * (progress.step == step))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    where = tmp_path_factory.mktemp("runs")
    for name, seed in (("run", 0), ("other", 1)):
        training(seed, callbacks=[stop_at(STOP)]).fit(where / name, quiet=True, keep_last=KEEP)
    assert steps_in(where / "run" / "last") == [STOP, BEFORE, 4]
    whole = training()
    return Runs(where / "run", where / "other", {p.step: digest(whole.state_dict()) for p in whole})


def steps_in(folder: Path) -> list[int]:
    """The steps of all checkpoints in a folder, the newest first; each must be whole."""
    return [_load(folder, path.name)["step"] for path in [folder / INDEX, *earlier(folder)]]


def file_of(folder: Path, entry: str) -> Path:
    """The newest checkpoint's file of an entry, or its index."""
    if entry == INDEX:
        return folder / INDEX
    return folder / json.loads((folder / INDEX).read_text())["files"][entry]["name"]


def resume(folder: Path, states: dict[int, str], begins: int) -> None:
    """Resumes at a step, which must be `begins`, and trains to the end, which must be the same."""
    run = training(seed=9)  # all that it draws comes from the checkpoint
    began: list[int] = []
    run.callbacks = [lambda _, progress: began.append(progress.step)]
    run.fit(folder, resume=True, quiet=True, keep_last=KEEP)
    assert began == list(range(begins + 1, LAST + 1))
    assert digest(run.state_dict()) == states[LAST]
    with warnings.catch_warnings(action="error"):
        assert steps_in(folder / "last") == [LAST, 10, 8]
        assert digest(load_checkpoint(folder / "last")) == states[LAST]
        best = load_checkpoint(folder / "best")
    assert digest(best) == states[best["step"]]
    assert best["best"] == run.best


# ---------------------------------------------------------------- a file of the newest checkpoint

Damage = Callable[[Path, random.Random, Path], object]


def replaced(change: Callable[[bytes, random.Random], bytes]) -> Damage:
    return lambda file, rng, other: file.write_bytes(change(file.read_bytes(), rng))


def flipped(raw: bytes, rng: random.Random) -> bytes:
    changed = bytearray(raw)
    for place in rng.sample(range(len(raw)), rng.randint(1, 3)):
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def erased(raw: bytes, rng: random.Random) -> bytes:
    """A block of zeros, as a disk leaves them; the whole begins and ends as before."""
    begin = rng.randrange(1, len(raw) - 1)
    end = rng.randrange(begin + 1, len(raw))
    zeros = bytes(end - begin)
    return raw[:begin] + (zeros if raw[begin:end] != zeros else b"\1" * len(zeros)) + raw[end:]


def instead(make: Callable[[Path], object]) -> Damage:
    return lambda file, rng, other: (file.unlink(), make(file))


SPOILED: dict[str, Damage] = {
    "missing": lambda file, rng, other: file.unlink(),
    "empty": replaced(lambda raw, rng: b""),
    "cut": replaced(lambda raw, rng: raw[: rng.randrange(1, len(raw))]),
    "bits": replaced(flipped),
    "zeros": replaced(erased),
    "longer": replaced(lambda raw, rng: raw + rng.randbytes(rng.randint(1, 99))),
    "doubled": replaced(lambda raw, rng: raw * 2),
    "garbage": replaced(lambda raw, rng: rng.randbytes(len(raw))),
    "JSON": replaced(lambda raw, rng: json.dumps({"step": 7, "files": [1, None]}).encode()),
    "huge": lambda file, rng, other: os.truncate(file, 1 << rng.randint(31, 40)),
    "another run's": lambda file, rng, other: shutil.copy(other, file),
    "a folder": instead(lambda file: file.mkdir()),
    "a link to nothing": instead(lambda file: file.symlink_to("nothing")),
    "a link to itself": instead(lambda file: file.symlink_to(file.name)),
}
if hasattr(os, "mkfifo"):
    SPOILED["a pipe"] = instead(os.mkfifo)
DRAWN = ("cut", "bits", "zeros", "longer", "garbage", "huge")


def falls_back(folder: Path, runs: Runs, what: str, to: int = BEFORE) -> None:
    """Resumes from an earlier checkpoint, with one warning, which names what is damaged."""
    with warnings.catch_warnings(record=True) as caught, little_memory():
        warnings.simplefilter("always")
        resume(folder, runs.states, to)
    [said] = [str(warning.message) for warning in caught]
    assert re.fullmatch(rf".*{what}.*: loading the one before it, checkpoint\.json\.\d", said), said


def resumes(folder: Path, runs: Runs) -> None:
    """Resumes from the newest checkpoint, in silence."""
    with warnings.catch_warnings(action="error"):
        resume(folder, runs.states, STOP)


def refused(folder: Path, runs: Runs, said: str) -> None:
    """Neither resumes nor changes anything: one error, in one line."""
    before = contents(folder)
    with pytest.raises(CheckpointError, match=said) as caught:
        training().fit(folder, resume=True, quiet=True, keep_last=KEEP)
    assert "\n" not in str(caught.value)
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("entry", [INDEX, "model", "optimizer"])
@pytest.mark.parametrize("how", SPOILED)
def test_a_damaged_file(runs: Runs, tmp_path: Path, how: str, entry: str) -> None:
    rng = random.Random(f"{how} {entry}")
    for draw in range(DRAWS if how in DRAWN else 1):
        folder = tmp_path / str(draw)
        shutil.copytree(runs.folder, folder)
        file = file_of(folder / "last", entry)
        SPOILED[how](file, rng, file_of(runs.other / "last", entry))
        if entry == INDEX and how in ("a folder", "a link to itself"):  # which no save replaces
            with pytest.warns(UserWarning, match="loading the one before it"):
                refused(folder, runs, r"cannot save in .*\(checkpoint\.json\)")
            file.unlink() if file.is_symlink() else file.rmdir()
        what = re.escape(file.name)
        if (how, entry) == ("another run's", INDEX):
            what = r"lacks its file \w+-\w+\.safetensors"
        falls_back(folder, runs, what)


@pytest.mark.parametrize("entry", [INDEX, "model", "optimizer"])
@pytest.mark.parametrize("error", [errno.EACCES, errno.EIO])
def test_a_file_that_cannot_be_read(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, entry: str
) -> None:
    """A disk does not read it, or its owner is another one: root may read all that is there."""
    folder = tmp_path / "run"
    shutil.copytree(runs.folder, folder)
    file, opened = file_of(folder / "last", entry), os.open

    def fails(path: Any, flags: int, *more: Any, **modes: Any) -> int:
        if str(path) == str(file):
            raise OSError(error, os.strerror(error), str(path))
        return opened(path, flags, *more, **modes)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fails)
        if entry != INDEX:
            falls_back(folder, runs, re.escape(file.name))
            return
        with pytest.warns(UserWarning, match=r"cannot read .*: loading the one before"):
            refused(
                folder, runs, r"cannot save in .*\(checkpoint\.json\)"
            )  # or remove which files?
    file.unlink()
    falls_back(folder, runs, re.escape(file.name))


# ---------------------------------------------------------------- what else a folder may hold


def of_future(folder: Path) -> None:
    """The clock was a year ahead at the newest save, and the folder has been copied since."""
    for file in folder.iterdir():
        later = time.time() + 3e7 if file.name == INDEX else time.time() - random.uniform(0, 1e5)
        os.utime(file, (later, later))


def left_by_a_killed_save(folder: Path) -> None:
    """Half an index, half of the arrays, and half an earlier index, under temporary names."""
    for name, of in (
        ("checkpoint.json.tmp", INDEX), ("checkpoint.json.9.tmp", INDEX),
        ("model-0123456789ab.safetensors.tmp", "model"),
        (file_of(folder, "optimizer").name + ".tmp", "optimizer"),
    ):  # fmt: skip
        raw = file_of(folder, of).read_bytes()
        (folder / name).write_bytes(raw[: len(raw) // 2])


def of_a_dead_process(folder: Path) -> None:
    (folder / "checkpoint.lock").write_text("process 4194303 on this machine\n")


def the_users(folder: Path) -> None:
    """Files whose names are like those of a checkpoint."""
    for name in ("checkpoint.json~", "checkpoint.json.old", "model.safetensors", "notes"):
        (folder / name).write_text("of the user")


def damage_the_earlier(folder: Path) -> None:
    for path in earlier(folder):
        path.write_text("damaged")


@pytest.mark.parametrize(
    "change",
    [of_future, left_by_a_killed_save, of_a_dead_process, the_users, damage_the_earlier],
)
def test_what_does_not_matter(runs: Runs, tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs.folder, folder)
    change(folder / "last")
    resumes(folder, runs)
    names = {re.sub(r"\d|-\w+", "", file.name) for file in (folder / "last").iterdir()}
    kept = {"checkpoint.json~", "checkpoint.json.old", "model.safetensors", "notes"}
    assert names - kept == {INDEX, f"{INDEX}.", "optimizer.safetensors"}
    if change is the_users:
        assert all((folder / "last" / name).read_text() == "of the user" for name in kept)


def test_two_damaged_checkpoints(runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs.folder, folder)
    file_of(folder / "last", "model").unlink()
    earlier(folder / "last")[0].write_text("damaged")
    falls_back(folder, runs, r"lacks its file model-\w+\.safetensors", to=4)


def test_none_is_whole(runs: Runs, tmp_path: Path) -> None:
    """The error names what is wrong with the newest one, and what to do."""
    folder = tmp_path / "run"
    shutil.copytree(runs.folder, folder)
    lost = file_of(folder / "last", "optimizer")
    lost.unlink()
    damage_the_earlier(folder / "last")
    refused(folder, runs, rf"lacks its file {lost.name}, and no earlier one there is whole: r")


def test_a_newer_format(runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs.folder, folder)
    index = folder / "last" / INDEX
    index.write_text(index.read_text().replace('"format": 2', '"format": 3', 1))
    falls_back(folder, runs, "has format 3; this version reads format 2")


def test_another_training(runs: Runs, tmp_path: Path) -> None:
    """A whole checkpoint of another model or of other data is an error: nothing is damaged."""
    model = tg.nn.Linear(3, 2)
    state = load_checkpoint(runs.folder / "last")
    others = {
        "model": model.state_dict(), "optimizer": tg.optim.Adam(model.parameters()).state_dict(),
        "position": {"epoch": "first"}, "generators": [], "step": None,
    }  # fmt: skip
    for entry, value in others.items():
        folder = tmp_path / entry
        shutil.copytree(runs.folder, folder)
        save_checkpoint(folder / "last", state | {entry: value}, keep_last=KEEP)
        refused(folder, runs, str(folder / "last"))


def test_a_lock_that_is_none(runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs.folder, folder)
    (folder / "last" / "checkpoint.lock").mkdir()
    refused(folder, runs, r"cannot save in .*checkpoint\.lock")


@pytest.mark.parametrize("lost", ["last", "best"])
def test_a_lost_folder(runs: Runs, tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs.folder, folder)
    shutil.rmtree(folder / lost)
    if lost == "best":  # and no later figure is better
        with pytest.raises(CheckpointError, match="best: there is no such folder"):
            training().load_best(folder)
    else:  # never begin from the beginning, over the best weights
        refused(folder, runs, r"no checkpoint in .*last")


def test_the_best_is_damaged(runs: Runs, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs.folder, folder)
    file = file_of(folder / "best", "model")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=rf"{file.name} is damaged"):
        training().load_best(folder)
    resumes(folder, runs)
