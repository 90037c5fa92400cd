"""A folder holds the old state or the new one, at whatever point a save is interrupted."""

import enum
import errno
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.errors import InvalidTypeError, InvalidValueError, TinygradRnnError
from tinygrad_rnn.io import (
    CheckpointError,
    has_checkpoint,
    load_checkpoint,
    lock_checkpoint,
    save_checkpoint,
)
from tinygrad_rnn.io import checkpoint as tested
from tinygrad_rnn.io.trees import put_arrays, take_arrays

OLD = {"step": 1, "model": {"w": np.arange(3.0)}, "optimizer": {"m": [np.zeros(2), np.ones(1)]}}
NEXT = {"step": 3, "model": {"w": np.arange(5.0)}, "optimizer": {"m": [np.ones(3)]}}
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
    text = json.dumps(take_arrays(tree, "", arrays))
    assert equal(put_arrays(json.loads(text), arrays), tree)


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
    """Simulates the end of the process: the code under test must not catch it."""


def kill_after(patch: pytest.MonkeyPatch, calls: int) -> None:
    """Allows a number of system calls, then raises an exception that names the next one."""
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
        # The next save goes through and clears up, whatever it saves.
        save_checkpoint(folder, NEXT)
        assert equal(load_checkpoint(folder), NEXT)
        assert len(list(folder.iterdir())) == 3
    assert deaths.count("replace") == 3
    assert deaths.count("fsync") == 6
    assert found == sorted(found)  # old states up to one instant, new ones from then on
    assert set(found) == ({1, 2} if before else {2})


def test_half_written_files_are_never_read(tmp_path: Path) -> None:
    """A kill within a write truncates only a temporary file."""
    save_checkpoint(tmp_path, OLD)
    for name in ("checkpoint.json.tmp", "model-0123456789ab.safetensors.tmp"):
        (tmp_path / name).write_bytes(b"{half")
    assert equal(load_checkpoint(tmp_path), OLD)
    save_checkpoint(tmp_path, NEW)
    assert len(list(tmp_path.iterdir())) == 3


def signed(text: str) -> bytes:
    """Writes an index with these contents and a valid header."""
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
        ("other JSON", "not a checkpoint of tinygrad_rnn"),
        ("other format", "has format 1; this version reads format 2"),
        ("another state", r"checkpoint\.json is damaged: its contents have changed"),
        ("lines too many", r"checkpoint\.json is damaged: it has additional lines"),
        ("no files", "is damaged: its entries do not fit"),
        ("no dict", "is damaged: its entries do not fit"),
        ("nested", r"checkpoint\.json is damaged: it is not JSON"),
        ("path outside", r"'\.\./model-.*' is not a file of a checkpoint"),
        ("truncated arrays", r"model-.*\.safetensors is damaged"),
        ("one bit", r"model-.*\.safetensors is damaged"),
        ("a pipe", r"model-.*\.safetensors is not a regular file"),
        ("a folder", r"checkpoint\.json is not a regular file"),
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


# ---------------------------------------------------------------- what a state is made of


def test_numbers_of_numpy(tmp_path: Path) -> None:
    """NumPy scalars such as `losses.min()` are common in a training's state."""
    state = {
        "step": np.int64(3),
        "best": np.float32(0.5),
        "done": np.bool_(True),
        "history": [np.float64(1.5), np.float32(0.25)],
        "model": {"w": np.ones(2, dtype="float32")},
    }
    save_checkpoint(tmp_path, state)
    found = load_checkpoint(tmp_path)
    assert (found["step"], found["best"], found["done"]) == (3, 0.5, True)
    assert found["history"] == [1.5, 0.25]


@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False).map(np.float64),
        st.floats(width=32, allow_nan=False, allow_infinity=False).map(np.float32),
        st.floats(width=16, allow_nan=False, allow_infinity=False).map(np.float16),
        st.integers(-(2**63), 2**63 - 1).map(np.int64),
        st.integers(0, 2**64 - 1).map(np.uint64),
        st.booleans().map(np.bool_),
        st.text().map(np.str_),
    )
)
def test_a_number_of_numpy_is_pythons(value: Any) -> None:
    found = json.loads(json.dumps(take_arrays({"x": value}, "", {})))["x"]
    assert equal(found, value.item())
    assert type(value)(found) == value


class Color(enum.IntEnum):
    RED = 1


def test_every_kind_of_leaf(tmp_path: Path) -> None:
    w = np.arange(6.0)
    leaves: dict[str, Any] = {
        "grad": tg.tensor([1.0], requires_grad=True) * 2,
        "strided": w[::2],
        "transposed": w.reshape(2, 3).T,
        "swapped": w.astype(">f8"),
        "scalar": np.array(2.0),
        "tensor": tg.tensor(2.0),
        "empty": np.zeros((0, 3), "f4"),
        "bool": w > 2,
        "half": w.astype("f2"),
        "bytes": w.astype("u1"),
        "complex": w.astype("c8"),
        "nan": np.array([np.nan, np.inf, -0.0]),
    }
    others: dict[str, Any] = {
        "a tuple": (1, (2.5, None)),
        "an enumeration": Color.RED,
        "odd name": os.fsdecode(b"caf\xe9"),
        "-0.0": -0.0,
        "tiny": 5e-324,
        "large": 2**9999,
        "": [],
        "nested": json.loads("[" * 90 + "]" * 90),
        "keys": {"a.b": 1, "ж": 2, " ": 3, "$": 4},
    }
    save_checkpoint(tmp_path, {"model": leaves, "others": others})
    found = load_checkpoint(tmp_path)
    for name, leaf in leaves.items():
        value = leaf.numpy() if isinstance(leaf, tg.Tensor) else leaf
        native = value.astype(value.dtype.newbyteorder("="))
        np.testing.assert_array_equal(found["model"][name], native, strict=True)
    others |= {"a tuple": [1, [2.5, None]], "an enumeration": 1}
    assert equal(found["others"], others)
    assert str(found["others"]["-0.0"]) == "-0.0"
    assert type(found["others"]["an enumeration"]) is int


circle: list[Any] = []
circle.append(circle)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({1, 2}, "at 'x.0': set cannot be saved"),
        (b"raw", "at 'x.0': bytes cannot be saved"),
        (Path("a"), "Path cannot be saved"),
        (1j, "complex cannot be saved"),
        (np.complex64(1), "complex cannot be saved"),
        (np.longdouble(1) / 3, "longdouble cannot be saved"),
        (np.datetime64("2026-11-28"), "date cannot be saved"),
        (len, "builtin_function_or_method cannot be saved"),
        (float("inf"), "at 'x.0': inf is not finite"),
        (np.float32("nan"), "nan is not finite"),
        (2**10_001, "an integer of more than 10,000 bits"),
        (circle, "over 100 deep"),
        ({("a", "b"): 1}, r"expected strings as keys, got \('a', 'b'\)"),
        ({"$array": "w"}, r"the key '\$array' is taken"),
        ({"b.c": np.ones(1), "b": {"c": np.ones(1)}}, r"at 'x\.0\.b\.c': two arrays"),
        (np.array(["a"]), "an array of dtype <U1 cannot be saved"),
        (np.array([None]), "an array of dtype object cannot be saved"),
        (np.ones(1, "c16"), "an array of dtype complex128 cannot be saved"),
        (np.ones(1, "M8[s]"), r"an array of dtype datetime64\[s\] cannot be saved"),
        (np.ones(1, [("a", "f4")]), r"an array of dtype \[\('a', '<f4'\)\] cannot be saved"),
        (np.ma.masked_array([1.0], [True]), "a masked array would lose its mask"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(TinygradRnnError, match=f"entry 'model', .*{said}") as caught:
        save_checkpoint(tmp_path / "run", {"step": 1, "model": {"x": [value]}})
    assert isinstance(caught.value, TypeError | ValueError)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("entry", ["a b", "", "1a", "a·b", "a" * 41, "a-b", "../a", 3, None])
def test_names_of_entries(tmp_path: Path, entry: Any) -> None:
    with pytest.raises((InvalidTypeError, InvalidValueError), match="an entry's name must be"):
        save_checkpoint(tmp_path, {entry: {"w": np.ones(2)}})
    save_checkpoint(tmp_path, {"ж" * 40: {"w": np.ones(2)}, "_": {"w": np.ones(2)}})
    assert len(load_checkpoint(tmp_path)) == 2


def test_arguments_of_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(InvalidTypeError, match="folder: expected a string or a Path, got"):
        save_checkpoint(OLD, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError, match="expected a dict of entries, got list"):
        save_checkpoint(tmp_path, [1])  # type: ignore[arg-type]


def test_many_entries(tmp_path: Path) -> None:
    """The state has more entries than files can be open at a time."""
    resource = pytest.importorskip("resource")
    state = {f"e{i}": {"w": np.array([i])} for i in range(150)}
    save_checkpoint(tmp_path, state)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (140, limits[1]))
    try:
        assert equal(load_checkpoint(tmp_path), state)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


# ---------------------------------------------------------------- flipped bits, readers, no room


STATE: dict[str, Any] = {
    "step": 300, "position": 117, "config": {"hidden": 16, "lr": 0.005, "cell": "gru"},
    "rate": 0.0025,
    "generator": {"state": 275866347236127, "inc": 87136372517582989555478159403783844777},
    "vocabulary": "abcdefghijk", "model": {"w": np.arange(4.0)},
}  # fmt: skip


def test_a_flipped_bit_is_found_out(tmp_path: Path) -> None:
    """In checkpoint.json, too."""
    save_checkpoint(tmp_path, STATE)
    path, rng = tmp_path / "checkpoint.json", random.Random(0)
    whole = path.read_bytes()
    silent = []
    for _ in range(300):
        raw = bytearray(whole)
        at = rng.randrange(len(raw))
        raw[at] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(raw))
        try:
            found = load_checkpoint(tmp_path)
        except CheckpointError:
            continue
        if not equal(STATE, found):
            silent.append(bytes(raw[max(0, at - 20) : at + 10]))
    assert not silent, (len(silent), silent[:3])
    path.write_bytes(whole)
    assert equal(STATE, load_checkpoint(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"format": 1, "files": {}, "state": []}',
        '{"format": 1, "files": {}, "state": null}',
        '{"format": 2, "files": {}, "state": {}}',
    ],
    ids=["nested", "a list", "nothing", "no digest"],
)
def test_what_is_no_state_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "checkpoint.json").write_text(text)
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path)


def test_reading_while_a_run_saves(tmp_path: Path) -> None:
    def state(i: int) -> dict[str, Any]:
        return {
            "step": i,
            "model": {"w": np.full(2000, float(i))},
            "optimizer": {"m": np.full(50_000, float(i))},
        }

    save_checkpoint(tmp_path, state(0))
    child = os.fork()
    if not child:
        try:
            i, end = 0, time.monotonic() + 3
            while time.monotonic() < end:
                i += 1
                save_checkpoint(tmp_path, state(i))
        finally:
            os._exit(0)
    reads, failed = 0, []
    while not os.waitpid(child, os.WNOHANG)[0]:
        reads += 1
        try:
            found = load_checkpoint(tmp_path)
            assert found["model"]["w"][0] == found["optimizer"]["m"][0] == found["step"]
        except RuntimeError as error:
            failed.append(str(error))
    assert not failed, (reads, len(failed), failed[0])


def test_reading_what_is_replaced_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow reader succeeds: it opens all files before it reads the first."""
    original, saves = tested._read_arrays, 0

    def read(*arguments: Any) -> Any:
        nonlocal saves
        saves += 1
        save_checkpoint(tmp_path, {"a": {"w": np.array([saves])}, "b": {"w": np.array([saves])}})
        return original(*arguments)

    save_checkpoint(tmp_path, {"a": {"w": np.array([0])}, "b": {"w": np.array([0])}})
    monkeypatch.setattr(tested, "_read_arrays", read)
    found = load_checkpoint(tmp_path)
    assert found["a"]["w"] == found["b"]["w"] == 0
    assert saves == 2


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_save_that_fails_leaves_files_that_both_states_have(tmp_path: Path, call: str) -> None:
    save_checkpoint(tmp_path, OLD)
    before = sorted(os.listdir(tmp_path))
    for failing in range(20):
        count, original = 0, getattr(os, call)

        def fail(*arguments: Any, original: Any = original, failing: int = failing) -> Any:
            nonlocal count
            count += 1
            if count > failing:
                raise OSError(errno.EIO, "Input/output error")
            return original(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, call, fail)
            try:
                save_checkpoint(tmp_path, {**NEW, "model": OLD["model"]})
            except CheckpointError as error:
                message = str(error)
            else:
                break
        assert "Input/output error" in message
        if equal(load_checkpoint(tmp_path), OLD):
            assert sorted(os.listdir(tmp_path)) == before
        else:  # the last fsync alone has failed
            assert load_checkpoint(tmp_path)["step"] == 2
            save_checkpoint(tmp_path, OLD)
    assert failing >= 3


def test_files_that_cannot_be_removed_are_removed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some systems keep a file while a process reads it."""
    save_checkpoint(tmp_path, OLD)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: os.stat(path / "nothing"))
        for state in (NEW, NEXT, OLD):
            save_checkpoint(tmp_path, state)
            assert equal(load_checkpoint(tmp_path), state)
        assert len(list(tmp_path.iterdir())) == 7
    save_checkpoint(tmp_path, {"step": 4})
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("limit", [0, 100, 600, 20_000])
def test_no_room(tmp_path: Path, limit: int) -> None:
    """A save on a full disk leaves the old state, and no partial file."""
    resource = pytest.importorskip("resource")
    save_checkpoint(tmp_path, {"step": 1, "model": {"w": np.ones(10)}})
    before = sorted(os.listdir(tmp_path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="File too large"):
            save_checkpoint(tmp_path, {"step": 2, "model": {"w": np.ones(10_000)}})
        with pytest.raises(CheckpointError, match="File too large"):
            save_checkpoint(tmp_path / "new", {"step": 2, "model": {"w": np.ones(10_000)}})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert load_checkpoint(tmp_path)["step"] == 1
    assert sorted(os.listdir(tmp_path)) == before


# ---------------------------------------------------------------- files that are not the run's


def test_only_files_of_the_run_are_removed(tmp_path: Path) -> None:
    """Files with names like those of a checkpoint stay."""
    save_checkpoint(tmp_path, OLD)
    [model] = tmp_path.glob("model-*")
    mine = {
        "model-0123456789ab.safetensors": b"a copy that I keep",
        "model-0123456789ab.safetensors.bak": b"another",
        "model.safetensors.tmp": b"mine",
        "checkpoint.json.bak": (tmp_path / "checkpoint.json").read_bytes(),
    }
    for name, raw in mine.items():
        (tmp_path / name).write_bytes(raw)
    for state in (NEW, OLD, NEW):
        save_checkpoint(tmp_path, state)
    assert {name: (tmp_path / name).read_bytes() for name in mine} == mine
    assert len(list(tmp_path.iterdir())) == 3 + len(mine)
    assert not model.exists()


@pytest.mark.parametrize("kind", ["symlink", "hard link", "dangling"])
def test_links_are_replaced_and_not_followed(tmp_path: Path, kind: str) -> None:
    folder, kept = tmp_path / "run", tmp_path / "kept"
    save_checkpoint(folder, NEW)
    names = [file.name for file in folder.iterdir()]
    shutil.rmtree(folder)
    save_checkpoint(folder, OLD)
    kept.mkdir()
    names += [f"{name}.tmp" for name in names] + ["checkpoint.lock"]
    for name in names:
        (folder / name).unlink(missing_ok=True)
        if kind != "dangling":
            (kept / name).write_text("" if name == "checkpoint.lock" else "mine")
        if kind == "hard link":
            os.link(kept / name, folder / name)
        else:
            (folder / name).symlink_to(kept / name)
    save_checkpoint(folder, NEW)
    assert equal(load_checkpoint(folder), NEW)
    save_checkpoint(folder, OLD)
    assert equal(load_checkpoint(folder), OLD)
    left = {file.name: file.read_text() for file in kept.iterdir()}
    assert left == ({} if kind == "dangling" else dict.fromkeys(names, "mine") | {names[-1]: ""})
    assert not any(file.is_symlink() for file in folder.iterdir())


def test_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    save_checkpoint(tmp_path / "link", OLD)
    assert (tmp_path / "link").is_symlink()
    assert equal(load_checkpoint(tmp_path / "real"), OLD)
    with lock_checkpoint(tmp_path / "real"):
        save_checkpoint(tmp_path / "link", NEW)
    assert len(list((tmp_path / "real").iterdir())) == 3


@pytest.mark.parametrize("name", ["checkpoint.json", "checkpoint.json.tmp", "checkpoint.lock"])
@pytest.mark.parametrize("kind", ["a folder", "a pipe"])
def test_what_is_no_file_in_the_way(tmp_path: Path, name: str, kind: str) -> None:
    """A save replaces it, or raises an error of one line, and does not hang."""
    path = tmp_path / name
    if kind == "a folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    try:
        save_checkpoint(tmp_path, OLD)
    except CheckpointError as error:
        message = str(error)
        assert re.search(rf"cannot save in .* {re.escape(name)}|\({re.escape(name)}\)", message)
        assert [file.name for file in tmp_path.iterdir()] == [name]
    else:
        assert kind == "a pipe"
        assert equal(load_checkpoint(tmp_path), OLD)


def test_folders_that_are_not_left(tmp_path: Path) -> None:
    """A failed save removes the folders that it created."""
    (tmp_path / "mine").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: os.stat(tmp_path / "nowhere"))
        for folder in ("mine", "mine/a/b", "c/d"):
            with pytest.raises(CheckpointError, match="cannot save"):
                save_checkpoint(tmp_path / folder, OLD)
    assert [file.name for file in tmp_path.rglob("*")] == ["mine"]


@pytest.mark.parametrize("removed", ["run", "all", "here"])
def test_folders_that_are_removed_meanwhile(tmp_path: Path, removed: str) -> None:
    """A save creates the folder again; without a working folder a relative one fails."""
    program = """
import os, shutil, sys
import numpy as np
from tinygrad_rnn.io import *
folder = "run" if sys.argv[2] == "here" else os.path.join(sys.argv[1], "run")
with lock_checkpoint(folder):
    save_checkpoint(folder, {"step": 1, "model": {"w": np.ones(1)}})
    shutil.rmtree(os.path.join(sys.argv[1], "run") if sys.argv[2] == "run" else sys.argv[1])
    try:
        save_checkpoint(folder, {"step": 2, "model": {"w": np.ones(2)}})
        print(load_checkpoint(folder)["step"], *sorted(os.listdir(folder))[:1])
    except CheckpointError as error:
        print(error)
"""
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "here"), removed],
        cwd=tmp_path / "here",
        env={**os.environ, "PYTHONPATH": str(Path(tg.__file__).parents[1])},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stderr == ""
    wanted = "cannot save in run: No such file or directory" if removed == "here" else "2"
    assert done.stdout.startswith(wanted), done.stdout


def trained(layer: tg.nn.Linear, optimizer: tg.optim.Optimizer, x: tg.Tensor) -> None:
    for _ in range(3):
        optimizer.zero_grad()
        (layer(x) ** 2).sum().backward()
        optimizer.step()


@given(
    seed=st.integers(0, 99),
    turn=st.sampled_from([lambda a: a.T, np.asfortranarray, lambda a: a[::-1, ::-1]]),
    kind=st.sampled_from([tg.optim.SGD, tg.optim.Adam, tg.optim.RMSprop]),
)
def test_how_weights_lay_in_memory_does_not_matter_afterwards(
    seed: int, turn: Any, kind: Any
) -> None:
    """A training that resumes from its checkpoint equals the uninterrupted one, bit for bit."""
    rng = np.random.default_rng(seed)
    kernel = turn(rng.normal(size=(4, 4)).astype("float32"))
    x = tg.tensor(rng.normal(size=(5, 4)).astype("float32"))
    layer = tg.nn.Linear(4, 4)
    optimizer = kind(layer.parameters(), lr=0.1)
    layer.load_state_dict({"weight": kernel, "bias": np.zeros(4, "float32")})
    trained(layer, optimizer, x)
    with tempfile.TemporaryDirectory() as folder:
        state = {"layer": layer.state_dict(), "optimizer": optimizer.state_dict()}
        save_checkpoint(Path(folder), state)
        saved = load_checkpoint(Path(folder))
    again = tg.nn.Linear(4, 4)
    its_optimizer = kind(again.parameters(), lr=0.1)
    again.load_state_dict(saved["layer"])
    its_optimizer.load_state_dict(saved["optimizer"])
    trained(layer, optimizer, x)
    trained(again, its_optimizer, x)
    np.testing.assert_array_equal(layer.weight.numpy(), again.weight.numpy())
