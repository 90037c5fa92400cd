"""A folder holds the old state or the new one, wherever a save is interrupted."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.io import CheckpointError, has_checkpoint, load_checkpoint, save_checkpoint
from tinygrad_rnn.io.checkpoint import _put_arrays, _take_arrays

OLD = {"step": 1, "model": {"w": np.arange(3.0)}, "optimizer": {"m": [np.zeros(2), np.ones(1)]}}
NEW = {"step": 2, "model": {"w": np.arange(4.0)}, "optimizer": {"m": [np.ones(2), np.zeros(1)]}}


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return type(one) is type(other) and one == other


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.builds(np.arange, st.integers(0, 5)),
)
KEYS = st.text(alphabet="abcdé ", min_size=1, max_size=4)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=8
)


@given(st.dictionaries(KEYS, TREES))
def test_any_tree_comes_back(tree: dict[str, Any]) -> None:
    arrays: dict[str, Any] = {}
    text = json.dumps(_take_arrays(tree, "", arrays))
    assert equal(_put_arrays(json.loads(text), arrays), tree)


def test_round_trip_and_layout(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    assert not has_checkpoint(folder)
    save_checkpoint(folder, OLD)
    assert has_checkpoint(folder)
    assert equal(load_checkpoint(folder), OLD)
    save_checkpoint(folder, NEW)
    assert equal(load_checkpoint(folder), NEW)
    names = sorted(file.name.split("-")[0] for file in folder.iterdir())
    assert names == ["checkpoint.json", "model", "optimizer"]  # nothing of the old state is left


def test_index_is_readable(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"vocabulary": "\n abéж", "step": 7})
    text = (tmp_path / "checkpoint.json").read_text("utf-8")
    assert '"vocabulary": "\\n abéж"' in text
    assert '"step": 7' in text


def test_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model.safetensors").write_text("mine, too")
    save_checkpoint(tmp_path, OLD)
    save_checkpoint(tmp_path, NEW)
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "model.safetensors").exists()


class Killed(BaseException):
    """Nothing in the code under test may catch this: the process is gone."""


def kill_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """Lets some calls into the system pass, then dies; the death names the call it came at."""
    count = 0

    def counted(name: str, original: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count > calls:
                raise Killed(name)
            return original(*args, **kwargs)

        return wrapper

    for module, name in [(os, "fsync"), (os, "replace"), (Path, "unlink"), (Path, "mkdir")]:
        patch.setattr(module, name, counted(name, getattr(module, name)))


@pytest.mark.parametrize("before", [None, OLD])
def test_killed_at_every_step(tmp_path: Path, before: dict[str, Any] | None) -> None:
    deaths, found = [], []
    for call in range(100):
        folder = tmp_path / str(call)
        if before:
            save_checkpoint(folder, before)
        with pytest.MonkeyPatch.context() as patch:
            kill_after(patch, call)
            try:
                save_checkpoint(folder, NEW)
            except Killed as death:
                deaths.append(str(death))
            else:
                break
        if has_checkpoint(folder):
            state = load_checkpoint(folder)  # never damaged
            assert equal(state, NEW) or (before is not None and equal(state, before))
            found.append(state["step"])
        else:
            assert before is None
        # The next save goes through and clears up.
        save_checkpoint(folder, NEW)
        assert equal(load_checkpoint(folder), NEW)
        assert len(list(folder.iterdir())) == 3
    assert deaths.count("replace") == 3
    assert deaths.count("fsync") == 6
    assert found == sorted(found)  # old states up to one instant, new ones from then on
    assert set(found) == ({1, 2} if before else {2})


def test_half_written_files_are_never_read(tmp_path: Path) -> None:
    """A kill within a write leaves only a temporary file short."""
    save_checkpoint(tmp_path, OLD)
    for name in ("checkpoint.json.tmp", "model-0123456789ab.safetensors.tmp"):
        (tmp_path / name).write_bytes(b"{half")
    assert equal(load_checkpoint(tmp_path), OLD)
    save_checkpoint(tmp_path, NEW)
    assert len(list(tmp_path.iterdir())) == 3


def signed(text: str) -> bytes:
    """An index with these contents and a header that fits them."""
    body = (text.partition('",\n')[2] if '"sha256": ' in text[:200] else text[1:]).encode()
    digest = hashlib.sha256(body).hexdigest()
    return (
        b'{\n  "format": 2,\n  "bytes": %d,\n  "sha256": "%s",\n'
        % (
            len(body),
            digest.encode(),
        )
        + body
    )


def damage(folder: Path, how: str) -> None:
    index = folder / "checkpoint.json"
    (model,) = folder.glob("model-*")
    raw, text = model.read_bytes(), index.read_text()
    if how == "no folder":
        shutil.rmtree(folder)
    elif how == "no index":
        index.unlink()
    elif how == "half an index":
        index.write_text(text[: len(text) // 2])
    elif how == "no JSON":
        index.write_bytes(b"\xff\xfe")
    elif how == "other JSON":
        index.write_text("[1, 2]")
    elif how == "other format":
        index.write_text(text.replace('"format": 2', '"format": 1'))
    elif how == "another state":
        index.write_text(text.replace('"step": 1', '"step": 3'))
    elif how == "lines too many":
        index.write_text(text + "\n")
    elif how == "no files":
        index.write_bytes(signed(text.replace('"files"', '"filles"')))
    elif how == "no dict":
        index.write_bytes(signed('{"files": {}, "superseded": [], "state": [1]}'))
    elif how == "nested":
        index.write_bytes(signed('{"state": ' + "[" * 100_000 + "]" * 100_000 + "}"))
    elif how == "path outside":
        index.write_bytes(signed(text.replace(model.name, "../" + model.name)))
    elif how == "a pipe":
        model.unlink()
        os.mkfifo(model)
    elif how == "a folder":
        index.unlink()
        index.mkdir()
    elif how == "huge":
        os.truncate(model, 1 << 40)
    elif how == "truncated arrays":
        model.write_bytes(raw[:-1])
    elif how == "one bit":
        model.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    elif how == "no arrays":
        model.unlink()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no folder", "no checkpoint in .*there is no such folder"),
        ("no index", r"no checkpoint in .*it has no checkpoint\.json"),
        ("half an index", r"checkpoint\.json is damaged: .* line"),
        ("no JSON", r"checkpoint\.json is damaged"),
        ("other JSON", "is no checkpoint of tinygrad_rnn"),
        ("other format", "has format 1; this version reads format 2"),
        ("another state", r"checkpoint\.json is damaged: its contents are not what was saved"),
        ("lines too many", r"checkpoint\.json is damaged: it has lines too many"),
        ("no files", "is damaged: its entries do not fit"),
        ("no dict", "is damaged: its entries do not fit"),
        ("nested", r"checkpoint\.json is damaged: it is no JSON"),
        ("path outside", r"'\.\./model-.*' is no file of a checkpoint"),
        ("truncated arrays", r"model-.*\.safetensors is damaged"),
        ("one bit", r"model-.*\.safetensors is damaged"),
        ("a pipe", r"model-.*\.safetensors is not a plain file"),
        ("a folder", r"checkpoint\.json is not a plain file"),
        ("huge", r"model-.*\.safetensors is damaged: it has [\d,]+ bytes, not \d+"),
        ("no arrays", r"lacks its file model-.*\.safetensors"),
    ],
)
def test_damage_is_named(tmp_path: Path, how: str, said: str) -> None:
    folder = tmp_path / "run"
    save_checkpoint(folder, OLD)
    damage(folder, how)
    with pytest.raises(CheckpointError, match=said) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ({"a": {1: 2}}, TypeError),
        ({"a": object()}, TypeError),
        ({"a": float("nan")}, ValueError),
        ({"a": np.ones(2)}, ValueError),
        ({"a/b": 1}, ValueError),
        ({"a": {"b.c": np.ones(1), "b": {"c": np.ones(1)}}}, ValueError),
    ],
)
def test_what_does_not_fit_is_refused_untouched(
    tmp_path: Path, state: dict[str, Any], error: type[Exception]
) -> None:
    save_checkpoint(tmp_path, OLD)
    with pytest.raises(error):
        save_checkpoint(tmp_path, state)
    assert equal(load_checkpoint(tmp_path), OLD)


def test_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot save in .*file"):
        save_checkpoint(tmp_path / "file" / "run", OLD)
    with pytest.raises(CheckpointError, match=r"cannot save in .*file"):
        save_checkpoint(tmp_path / "file", OLD)
