"""A folder keeps the last checkpoints, and a damaged newest one falls back to the one before."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.errors import InvalidValueError
from tinygrad_rnn.io import CheckpointError, has_checkpoint, load_checkpoint, save_checkpoint
from tinygrad_rnn.io import checkpoint as module
from tinygrad_rnn.io.index import read_index

from .test_checkpoint import Killed, equal, kill_after

KEEP = 3


def state(step: int) -> dict[str, Any]:
    """Every second one has the same weights: they share a file."""
    return {
        "step": step,
        "model": {"w": np.full(5, float(step // 2))},
        "optimizer": {"m": np.full(7, float(step))},
    }


def loads(folder: Path) -> list[int]:
    """Loads the newest state, and those before it as each newer index is lost. Removes them."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while has_checkpoint(folder):
            loaded = load_checkpoint(folder)
            assert equal(loaded, state(loaded["step"]))
            found.append(loaded["step"])
            newest = folder / "checkpoint.json"
            (newest if newest.exists() else module.earlier(folder)[0]).unlink()
    return found


def test_the_last_ones_stay(tmp_path: Path) -> None:
    for step in range(6):
        save_checkpoint(tmp_path, state(step), keep_last=KEEP)
        assert load_checkpoint(tmp_path)["step"] == step
    # Three indexes; optimizers 3, 4, 5; models 1 and 2, the latter shared.
    assert len(list(tmp_path.iterdir())) == 3 + 3 + 2
    assert loads(tmp_path) == [5, 4, 3]


def test_the_same_state_again_takes_no_place(tmp_path: Path) -> None:
    for step in (1, 2, 3, 3, 3):
        save_checkpoint(tmp_path, state(step), keep_last=KEEP)
    assert loads(tmp_path) == [3, 2, 1]


def test_fewer_to_keep_removes_the_others(tmp_path: Path) -> None:
    for step in range(4):
        save_checkpoint(tmp_path, state(step), keep_last=KEEP)
    save_checkpoint(tmp_path, state(4), keep_last=2)
    save_checkpoint(tmp_path, {"step": 5}, keep_last=2)
    assert len(list(tmp_path.iterdir())) == 1 + 3
    save_checkpoint(tmp_path, state(6))
    assert len(list(tmp_path.iterdir())) == 3
    with pytest.raises(InvalidValueError, match="keep_last: expected 1 or more, got 0"):
        save_checkpoint(tmp_path, state(7), keep_last=0)


def test_killed_at_every_step(tmp_path: Path) -> None:
    for call in range(100):
        folder = tmp_path / str(call)
        for step in range(4):
            save_checkpoint(folder, state(step), keep_last=KEEP)
        with pytest.MonkeyPatch.context() as patch:
            kill_after(patch, call)
            try:
                save_checkpoint(folder, state(4), keep_last=KEEP)
            except Killed:
                pass
            else:
                break
        assert load_checkpoint(folder)["step"] in (3, 4)
        newest = load_checkpoint(folder)["step"]
        for step in (newest + 1, newest + 2):
            save_checkpoint(folder, state(step), keep_last=KEEP)
        names = [name for name in os.listdir(folder) if name.endswith(".safetensors")]
        assert len(names) == 3 + len({step // 2 for step in range(newest, newest + 3)})
        assert loads(folder) == [newest + 2, newest + 1, newest]
    assert call > 10


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_save_that_fails_loses_nothing(tmp_path: Path, call: str) -> None:
    for failing in range(20):
        folder, count, original = tmp_path / str(failing), 0, getattr(os, call)
        for step in range(4):
            save_checkpoint(folder, state(step), keep_last=KEEP)

        def fail(*arguments: Any, original: Any = original, failing: int = failing) -> Any:
            nonlocal count
            count += 1
            if count > failing:
                raise OSError(5, "Input/output error")
            return original(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, call, fail)
            try:
                save_checkpoint(folder, state(4), keep_last=KEEP)
            except CheckpointError:
                pass
            else:
                break
        found = loads(folder)
        assert {2, 3} < set(found) <= {1, 2, 3, 4}
        assert found == sorted(found, reverse=True)
    assert failing > 2


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("saved")
    for step in (2, 4, 6):
        save_checkpoint(folder, state(step), keep_last=KEEP)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(data=st.data())
def test_drawn_damage_falls_back(
    tmp_path_factory: pytest.TempPathFactory, saved: dict[str, bytes], data: st.DataObject
) -> None:
    """Damage to the newest one's files alone loads the one before, and says so in one line."""
    folder = tmp_path_factory.mktemp("damaged")
    for name, raw in saved.items():
        (folder / name).write_bytes(raw)
    newest = {f["name"] for f in read_index(folder)["files"].values()} | {"checkpoint.json"}
    for name in data.draw(st.sets(st.sampled_from(sorted(newest)), min_size=1)):
        raw = bytearray(saved[name])
        match data.draw(st.sampled_from(["lost", "cut", "flipped"])):
            case "lost":
                (folder / name).unlink()
                continue
            case "cut":
                del raw[data.draw(st.integers(0, len(raw) - 1)) :]
            case "flipped":
                bit = data.draw(st.integers(0, 8 * len(raw) - 1))
                raw[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(raw)
    with pytest.warns(UserWarning, match="loading the one before it") as caught:
        assert equal(load_checkpoint(folder), state(4))
    [warning] = caught
    assert str(warning.message).endswith(", checkpoint.json.2")
    assert "\n" not in str(warning.message)
    assert warning.filename == __file__
    save_checkpoint(folder, state(7), keep_last=KEEP)
    assert equal(load_checkpoint(folder), state(7))
    for path in module.earlier(folder):
        path.unlink()
    assert equal(load_checkpoint(folder), state(7))


def test_none_intact_names_the_newest(tmp_path: Path) -> None:
    for step in (2, 4):
        save_checkpoint(tmp_path, state(step), keep_last=2)
    for path in tmp_path.glob("optimizer-*"):
        path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"optimizer-\w+\.safetensors is damaged"):
        load_checkpoint(tmp_path)


def test_verified_on_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, state(1), verify=True)
    before = sorted(os.listdir(tmp_path))

    def write_badly(path: Path, contents: bytes) -> None:
        path.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))

    monkeypatch.setattr(module, "write_new", write_badly)
    with pytest.raises(CheckpointError, match="reads otherwise than it was written"):
        save_checkpoint(tmp_path, state(2), verify=True)
    assert sorted(os.listdir(tmp_path)) == before
    assert equal(load_checkpoint(tmp_path), state(1))


def test_a_killed_save_and_a_resumption_keep_as_many(tmp_path: Path) -> None:
    """The resumed state is saved again, and does not count as one of those before it."""

    def kill(path: Path, raw: bytes) -> None:
        raise Killed

    for step in (1, 2, 3):
        save_checkpoint(tmp_path, state(step), keep_last=KEEP)
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "write_new", kill)
            with pytest.raises(Killed):
                save_checkpoint(tmp_path, state(4), keep_last=KEEP)
        save_checkpoint(tmp_path, state(3), keep_last=KEEP)
    assert loads(tmp_path) == [3, 2, 1]
