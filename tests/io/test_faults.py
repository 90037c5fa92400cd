"""Every system call of a save fails in turn: no checkpoint is lost that the folder held before."""

import ctypes
import errno
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.io import CheckpointError, load_checkpoint, save_checkpoint
from tinygrad_rnn.io.checkpoint import _load
from tinygrad_rnn.io.earlier import earlier
from tinygrad_rnn.train import CSVLog, Progress

KEEP = 2
CALLS = (
    "write", "fsync", "rename", "open64", "close", "unlink", "read", "opendir", "readdir64",
    "mkdir", "ftruncate64", "lseek64", "stat64", "lstat64", "fstat64", "flock", "ioctl",
    "posix_fadvise64",
)  # fmt: skip


def state(step: int) -> dict[str, Any]:
    """Returns a state; the file of the entry "fixed" is the same for all."""
    return {
        "step": step,
        "model": {"w": np.full(20_000, float(step))},
        "optimizer": {"m": np.full(100, float(step))},
        "fixed": {"c": np.arange(5.0)},
    }


def step_of(found: dict[str, Any]) -> int:
    """Returns the step of an intact state."""
    step = int(found["step"])
    assert (found["model"]["w"] == step).all()
    assert (found["optimizer"]["m"] == step).all()
    return step


def steps_in(folder: Path) -> list[int]:
    """Returns the steps of the checkpoints in a folder, all of which must be intact."""
    with warnings.catch_warnings(action="error"):
        newest = load_checkpoint(folder)
    return [step_of(newest), *(step_of(_load(folder, path.name)) for path in earlier(folder))]


def prepare(where: Path) -> dict[bool, Path]:
    """Saves two checkpoints in two folders, and leaves the files of a killed save in one."""
    folders = {True: where / "killed", False: where / "clean"}
    for folder in folders.values():
        for step in (1, 2):
            save_checkpoint(folder, state(step), keep_last=KEEP)
    save_checkpoint(where / "other", state(7))
    for file in (where / "other").iterdir():
        shutil.copy(file, folders[True] / (file.name + ".tmp" * file.name.endswith(".json")))
    return folders


def kinds(folder: Path) -> list[str]:
    """Returns the names of the files in a folder, without digests and numbers."""
    return sorted(re.split(r"-|\.\d", file.name)[0] for file in folder.iterdir())


def run(where: str, library: str) -> None:
    """Saves with a fault at each call in turn. **Prints** how often each call failed."""
    shim, calls = ctypes.CDLL(library), ctypes.c_int()
    shim.faults_disarm.restype = ctypes.c_char_p
    folder, fresh, failures = Path(where) / "run", Path(where) / "fresh", dict[str, int]()
    for step in (1, 2, 4):
        save_checkpoint(fresh, state(step), keep_last=KEEP)
    files, folders = kinds(fresh), prepare(Path(where))
    for code, later, leftovers in [
        (errno.EIO, False, False), (errno.EIO, False, True), (errno.EIO, True, True),
        (errno.ENOSPC, False, False), (errno.ENOSPC, True, True), (0, False, True),
    ]:  # fmt: skip
        for number in range(1000):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(folders[leftovers], folder)
            message = ""
            shim.faults_arm(number, code, later)
            try:
                save_checkpoint(folder, state(3), keep_last=KEEP, verify=number % 2 == 0)
            except CheckpointError as error:
                message = str(error)
            name = shim.faults_disarm(ctypes.byref(calls)).decode()
            at = f"{name}, call {number}, error {code}, {later=}, {leftovers=}: {message}"
            try:
                steps = steps_in(folder)
                assert steps[:2] in ([[3, 2]] if not message else [[3, 2], [2, 1], [2, 2]]), steps
                assert 1 in steps or 3 in steps, steps
                assert "\n" not in message
                assert "saves there" not in message
                save_checkpoint(folder, state(4), keep_last=KEEP)
                assert steps_in(folder) == [4, steps[0]]
                assert kinds(folder) == files
            except (CheckpointError, AssertionError) as error:
                raise AssertionError(at) from error
            if not name:
                break
            failures[name] = failures.get(name, 0) + 1
    print(failures)
    for name, begin in FILES.items():
        write_with_faults(shim, Path(where) / name, begin)


Write = Callable[[int], object]  # of the update of a number


def weights_at(path: Path) -> Write:
    return lambda step: tg.save(path, {"w": np.full(20_000, float(step))})


def log_at(path: Path) -> Write:
    log = CSVLog(path)
    return lambda step: log(None, Progress(step, None, float(step), None, 0.1, 1))


def running_log_at(path: Path) -> Write:
    write = log_at(path)
    write(2)
    return write


FILES = {"w.safetensors": weights_at, "resumed.csv": log_at, "running.csv": running_log_at}


def write_with_faults(shim: Any, path: Path, begin: Callable[[Path], Write]) -> None:
    """Writes a file with a fault at each call in turn: it has the old contents, or the new."""
    write, contents = (log_at if path.suffix == ".csv" else begin)(path), list[bytes]()
    for step in (1, 2, 3):
        write(step)
        contents.append(path.read_bytes())
    for code, later in [(errno.EIO, False), (errno.ENOSPC, True), (0, False)]:
        for number in range(1000):
            path.write_bytes(contents[1])
            write, message = begin(path), ""
            shim.faults_arm(number, code, later)
            try:
                write(3)
            except CheckpointError as error:
                message = str(error)
            name = shim.faults_disarm(ctypes.byref(ctypes.c_int())).decode()
            at = f"{path.name}: {name}, call {number}, error {code}, {later=}: {message}"
            found = path.read_bytes()
            assert found == contents[2] or message, at
            assert found in contents[1:] or (path.suffix, code) == (".csv", 0), at  # half a row
            assert found.startswith(contents[1]) or begin is weights_at, at
            assert "\n" not in message, at
            left = [file for file in path.parent.iterdir() if file.name.startswith(path.name + ".")]
            assert not left or later or name == "unlink", at
            for file in left:
                file.unlink()
            write(3)
            assert path.read_bytes() == contents[2], at
            if not name:
                break


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="needs Linux and gcc"
)
def test_every_call_fails(tmp_path: Path) -> None:
    """Each call once, and it with all later ones: EIO, ENOSPC, a short write on a full disk."""
    library = str(tmp_path / "faults.so")
    source = Path(__file__).with_name("faults.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", source, "-o", library, "-ldl"], check=True)
    root = str(Path(tg.__file__).parents[1])
    done = subprocess.run(
        [
            sys.executable, "-c", "import sys; from tests.io.test_faults import run; "
            "run(*sys.argv[1:])", str(tmp_path), library,
        ],
        cwd=root, env={**os.environ, "PYTHONPATH": root, "LD_PRELOAD": library},
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for call in CALLS:
        assert f"'{call}'" in done.stdout
