"""Named tensors come back as they were; a damaged file says so in one line."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tinygrad_rnn as tg
from tinygrad_rnn.io import CheckpointError, load, save
from tinygrad_rnn.io.weights import from_bytes, to_bytes

DTYPES = st.sampled_from(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u8", "?", "c8", ">f4"])
ARRAYS = arrays.arrays(DTYPES, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0))


@given(st.dictionaries(st.text(min_size=1), ARRAYS, max_size=4))
def test_round_trip(named: dict[str, np.ndarray]) -> None:
    back = from_bytes(to_bytes(named), "the test")
    assert back.keys() == named.keys()
    for name, array in named.items():
        np.testing.assert_array_equal(back[name], array, strict=array.dtype.isnative)
        assert back[name].flags.writeable


def test_memory_layouts() -> None:
    a = np.arange(24.0).reshape(2, 3, 4)
    back = from_bytes(
        to_bytes({"t": a.T, "s": a[:, ::2], "r": a[::-1], "f": np.asfortranarray(a)}), ""
    )
    for name, array in {"t": a.T, "s": a[:, ::2], "r": a[::-1], "f": a}.items():
        np.testing.assert_array_equal(back[name], array, strict=True)


def test_tensors(tmp_path: Path) -> None:
    weight = tg.tensor([[1.0, -2.0]], requires_grad=True)
    save(tmp_path / "w.safetensors", {"weight": weight, "ids": np.arange(3)})
    back = load(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(back["weight"].numpy(), weight.numpy(), strict=True)
    np.testing.assert_array_equal(back["ids"].numpy(), np.arange(3), strict=True)
    assert isinstance(back["ids"], tg.Tensor)
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save(path, {"a": np.arange(3)})
    with pytest.raises(CheckpointError, match="complex128"):
        save(path, {"a": np.ones(2, "c16")})
    np.testing.assert_array_equal(load(path)["a"].numpy(), np.arange(3))


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(CheckpointError, match="No such file"):
        load(path)
    raw = to_bytes({"a": np.arange(100)})
    for damaged in (b"", raw[:4], raw[:30], raw[:-1], b"not a file of tensors"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"w\.safetensors is damaged"):
            load(path)
    path.write_bytes(raw.replace(b'"I64"', b'"BF16"').replace(b"800]", b"200]")[:-600])
    with pytest.raises(CheckpointError, match=r"w\.safetensors"):
        load(path)
