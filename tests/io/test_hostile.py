"""Damaged and hostile files end in a CheckpointError, without much memory and without running code.

Half of the draws flip bits, the others cut, repeat or insert pieces, and overwrite numbers by large
ones. A file may still load, since formats have no checksums: but then as values of the right kind.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import CheckpointError, load_model, save_model

from .samples.make import HERE
from .test_damage import little_memory
from .test_pickles import tensor
from .test_pickles import write as write_torch

TIMES = 10 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 1
COUNT = {"safetensors": 400 * TIMES, "model": 300 * TIMES, "torch": 300 * TIMES}


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """A drawn damage."""
    changed, at = bytearray(raw), int(rng.integers(len(raw)))
    kind = int(rng.integers(8))
    if kind < 4:
        for _ in range(int(rng.integers(1, 4))):
            changed[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
    elif kind == 4:
        del changed[at:]
    elif kind == 5:
        changed[at:at] = raw[at : at + int(rng.integers(1, 64))]
    elif kind == 6:
        place = at if rng.integers(2) else 0
        number = struct.pack("<Q", 2 ** int(rng.choice([31, 32, 60, 63])))
        changed[place : place + 8] = number
    else:
        digits = [i for i, c in enumerate(raw) if 48 <= c < 58]
        if digits:
            place = digits[int(rng.integers(len(digits)))]
            changed[place : place + 1] = b"9" * int(rng.integers(1, 18))
    return bytes(changed)


def files(folder: Path) -> dict[str, tuple[Path, Callable[[Path], Any]]]:
    tg.save(folder / "w", {"w": np.ones((3, 4), "f4"), "ids": np.arange(5), "": np.ones(2, "f2")})
    save_model(folder / "m", nn.Sequential(nn.Embedding(5, 2), nn.LSTM(2, 3, peephole=True)))
    write_torch(
        folder / "t", {"w": tensor(), "rest": [1, 2.5, "word", None], "deep": {"v": tensor()}}
    )
    return {"safetensors": (folder / "w", tg.load), "model": (folder / "m", load_model),
            "torch": (folder / "t", tg.load)}  # fmt: skip


@pytest.mark.parametrize("kind", COUNT)
def test_damages(kind: str, tmp_path: Path) -> None:
    path, load = files(tmp_path)[kind]
    raw, rng, loaded = path.read_bytes(), np.random.default_rng(0), 0
    before = set(sys.modules)
    with little_memory():
        for _ in range(COUNT[kind]):
            path.write_bytes(damaged(raw, rng))
            try:
                found = load(path)
            except (CheckpointError, nn.StateDictError):
                continue
            loaded += 1
            assert isinstance(found, dict | nn.Module)
    assert loaded < COUNT[kind]
    assert not {name for name in set(sys.modules) - before if name.startswith(("os.", "posix"))}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "t", "w"]


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["lstm.onnx", "chain.keras"])
def test_damages_of_other_formats(name: str, tmp_path: Path) -> None:
    load: Any = {"lstm.onnx": tg.io.import_onnx, "chain.keras": tg.io.from_keras}[name]
    pytest.importorskip({"lstm.onnx": "onnx", "chain.keras": "h5py"}[name])
    raw, rng, loaded = (HERE / name).read_bytes(), np.random.default_rng(0), 0
    load(HERE / name)  # imports all of the format's library, which takes memory
    with little_memory():
        for _ in range(300 * TIMES):
            (tmp_path / name).write_bytes(damaged(raw, rng))
            try:
                assert isinstance(load(tmp_path / name), nn.Module)
                loaded += 1
            except CheckpointError:
                continue
    assert loaded < 300 * TIMES
    assert [p.name for p in tmp_path.iterdir()] == [name]


def header(entries: Any, size: int = 8) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
WRONG: list[tuple[bytes, str]] = [
    (struct.pack("<Q", 2**60) + b"{}", "damaged"),
    (struct.pack("<Q", 2**63) + b"{}", "damaged"),
    (header({"w": {**ENTRY, "shape": [2**60]}}), "damaged"),
    (header({"w": {**ENTRY, "shape": [2**40, 2**40]}}), "damaged"),
    (header({"w": {**ENTRY, "shape": [-2, -1]}}), "damaged"),
    (header({"w": {**ENTRY, "data_offsets": [8, 16]}}), "damaged"),
    (header({"w": {**ENTRY, "data_offsets": [8, 0]}}), "damaged"),
    (header({"w": ENTRY, "v": ENTRY}), "damaged"),
    (header({"w": {**ENTRY, "dtype": "F33"}}), "dtype|damaged|no model"),
    (header({"w": {**ENTRY, "dtype": 3}}), "damaged"),
    (header({"w": {**ENTRY, "shape": "xx"}}), "damaged"),
    (header({"w": [1, 2]}), "damaged"),
    (header([1, 2]), "damaged"),
    (header({"w": ENTRY}, 9), "damaged"),
    (header({"w": ENTRY}, 7), "damaged"),
    (header({"w": {**ENTRY, "shape": [1] * 1000 + [2]}}), "damaged|axes"),
    (header({"__metadata__": {"a": 3}, "w": ENTRY}), "damaged"),
    (struct.pack("<Q", 50_000) + b"[" * 50_000, "damaged"),
    (b'\x20\x00\x00\x00\x00\x00\x00\x00{"w":{},"w":{}}' + b" " * 17, "damaged"),
]


@pytest.mark.parametrize(("raw", "words"), WRONG)
@pytest.mark.parametrize("load", [tg.load, load_model])
def test_headers_that_lie(raw: bytes, words: str, load: Any, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(raw)
    with little_memory(), pytest.raises(CheckpointError, match=words):
        load(tmp_path / "m")
