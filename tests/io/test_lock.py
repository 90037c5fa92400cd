"""One process at a time saves in a folder; another one fails immediately with its name."""

import errno
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.io import CheckpointError, load_checkpoint, lock_checkpoint, save_checkpoint
from tinygrad_rnn.io import lock as module

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="its other processes are forks")


def in_a_child(work: Callable[[], object]) -> tuple[int, str]:
    """Runs a function in a child. **Returns** its exit status, and its error."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        try:
            work()
        except CheckpointError as error:
            os.write(theirs, str(error).encode())
            os._exit(2)
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours, encoding="utf-8") as said:
        words = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), words


def state(i: int) -> dict[str, object]:
    return {"step": i, "model": {"w": np.full(9, i)}}


def test_another_process_is_refused_by_name(tmp_path: Path) -> None:
    with lock_checkpoint(tmp_path):
        save_checkpoint(tmp_path, state(1))
        began = time.monotonic()
        for work in (
            lambda: save_checkpoint(tmp_path, state(2)),
            lock_checkpoint(tmp_path).__enter__,
        ):
            status, said = in_a_child(work)
            assert status == 2
            assert f"cannot save in {tmp_path}: process {os.getpid()} on " in said
            assert "\n" not in said
        assert time.monotonic() - began < 5
        assert in_a_child(lambda: load_checkpoint(tmp_path)) == (0, "")  # reading is free
        save_checkpoint(tmp_path, state(3))  # the refused ones have taken nothing away
        assert in_a_child(lambda: save_checkpoint(tmp_path, state(4)))[0] == 2
    assert load_checkpoint(tmp_path)["step"] == 3
    assert in_a_child(lambda: save_checkpoint(tmp_path, state(5))) == (0, "")
    assert load_checkpoint(tmp_path)["step"] == 5
    assert len(list(tmp_path.iterdir())) == 2


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    """A child of that process may outlive it."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        with lock_checkpoint(tmp_path):
            grandchild = os.fork()
            if grandchild:
                os.write(theirs, b"%d\n" % grandchild)
            time.sleep(60)
            os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as said:
        grandchild = int(said.readline())
        try:
            with pytest.raises(CheckpointError, match=f"process {child} on "):
                save_checkpoint(tmp_path, state(1))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            assert (tmp_path / "checkpoint.lock").exists()
            save_checkpoint(tmp_path, state(2))
        finally:
            os.kill(grandchild, signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_child_does_not_end_its_parents_lock(tmp_path: Path) -> None:
    with lock_checkpoint(tmp_path / "run"):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            assert (tmp_path / "run" / "checkpoint.lock").exists()
            assert in_a_child(lambda: save_checkpoint(tmp_path / "run", state(1)))[0] == 2
    if not child:
        os._exit(0)
    assert not (tmp_path / "run").exists()


def test_blocks_may_be_nested(tmp_path: Path) -> None:
    with lock_checkpoint(tmp_path), lock_checkpoint(str(tmp_path)):
        with lock_checkpoint(tmp_path):
            save_checkpoint(tmp_path, state(1))
        assert in_a_child(lambda: save_checkpoint(tmp_path, state(2)))[0] == 2


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    with lock_checkpoint(tmp_path / "a" / "b"):
        assert [file.name for file in (tmp_path / "a" / "b").iterdir()] == ["checkpoint.lock"]
    assert not list(tmp_path.iterdir())
    with lock_checkpoint(tmp_path / "a" / "b"):
        (tmp_path / "a" / "mine").touch()
    assert [file.name for file in tmp_path.rglob("*")] == ["a", "mine"]


def test_a_file_of_that_name_that_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.lock"
    path.write_text("mine")
    with lock_checkpoint(tmp_path):
        status, said = in_a_child(lambda: save_checkpoint(tmp_path, state(1)))
        assert (status, "a process saves there" in said) == (2, True)
        save_checkpoint(tmp_path, state(2))
    assert path.read_text() == "mine"


def test_threads_wait_for_each_other(tmp_path: Path) -> None:
    errors: list[Exception] = []

    def save(first: int) -> None:
        try:
            for i in range(20):
                save_checkpoint(tmp_path, state(first + i))
                loaded = load_checkpoint(tmp_path)
                assert (loaded["model"]["w"] == loaded["step"]).all()
        except Exception as error:  # shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=save, args=(100 * i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(list(tmp_path.iterdir())) == 2


def test_a_save_within_a_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A save within a save, as in a signal handler, is refused and does not deadlock."""
    original, said = os.fsync, []

    def fsync(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", original)
        with pytest.raises(CheckpointError) as caught:
            save_checkpoint(tmp_path, state(2))
        said.append(str(caught.value))
        original(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    save_checkpoint(tmp_path, state(1))
    assert re.search("this would interrupt another save there", said[0])
    assert load_checkpoint(tmp_path)["step"] == 1


def test_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(fd: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    save_checkpoint(tmp_path, state(1))
    assert load_checkpoint(tmp_path)["step"] == 1


def test_a_lock_that_is_removed_by_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has locked a removed file tries again with the new one."""
    original, count = module._lock, 0

    def lock(fd: int) -> bool:
        nonlocal count
        count += 1
        if count == 1:
            (tmp_path / "checkpoint.lock").unlink()
        return original(fd)

    monkeypatch.setattr(module, "_lock", lock)
    with lock_checkpoint(tmp_path):
        assert count == 2
        assert in_a_child(lambda: save_checkpoint(tmp_path, state(1)))[0] == 2
