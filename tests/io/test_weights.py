"""Loading restores named tensors; a damaged file is an error of one line."""

import os
import pickle
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

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
    with pytest.raises(tg.InvalidTypeError, match="complex128"):
        save(path, {"a": np.ones(2, "c16")})
    np.testing.assert_array_equal(load(path)["a"].numpy(), np.arange(3))


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(CheckpointError, match="No such file"):
        load(path)
    raw = to_bytes({"a": np.arange(100)})
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"w\.safetensors is empty"):
        load(path)
    for damaged in (raw[:4], raw[:30], raw[:-1], b"not a file of tensors"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"w\.safetensors is damaged"):
            load(path)
    path.write_bytes(raw.replace(b'"I64"', b'"BF16"').replace(b"800]", b"200]")[:-600])
    with pytest.raises(CheckpointError, match=r"w\.safetensors"):
        load(path)


MODEL = tg.nn.LSTM(2, 3)
OPTIMIZER = tg.optim.Adam(MODEL.parameters())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (MODEL, r"got LSTM: pass its \.state_dict\(\)"),
        (OPTIMIZER, r"got Adam: pass its \.state_dict\(\)"),
        (MODEL.parameters(), r"got generator: pass a dict"),
        (tg.ones((2,)), r"got Tensor: pass a dict"),
        ([tg.ones((2,))], r"got list: pass a dict"),
        (None, r"got NoneType: pass a dict"),
        (OPTIMIZER.state_dict(), r"'state': .* got a dict: tg.io.save_checkpoint saves"),
    ],
)
def test_errors_name_the_argument_to_pass(tmp_path: Path, given: Any, words: str) -> None:
    with pytest.raises(tg.InvalidTypeError, match=words):
        save(tmp_path / "w.safetensors", given)
    assert not list(tmp_path.iterdir())


class Foreign:
    """A tensor of another library."""


ENTRIES: list[tuple[Any, type[Exception], str]] = [
    (0.1, tg.InvalidTypeError, r"'rate': expected a Tensor or an array, got float: tg\.tensor"),
    (None, tg.InvalidTypeError, "'rate': .* got NoneType"),
    ("x", tg.InvalidTypeError, "'rate': .* got str"),
    ([1.0], tg.InvalidTypeError, "'rate': .* got list"),
    (Foreign(), tg.InvalidTypeError, r"'rate': .* got \w+\.Foreign"),
    (
        np.ma.array([1.0], mask=[True]),
        tg.InvalidTypeError,
        "'rate': a masked array would lose its mask",
    ),
    (np.array([object()]), tg.InvalidTypeError, "'rate': an array of dtype object"),
    (np.array(["a"]), tg.InvalidTypeError, "'rate': an array of dtype <U1"),
    (np.ones(2, "c16"), tg.InvalidTypeError, "'rate': an array of dtype complex128"),
    (np.ones(2, "g"), tg.InvalidTypeError, "'rate': an array of dtype "),
]


@pytest.mark.parametrize(("value", "error", "words"), ENTRIES)
def test_an_entry_that_cannot_be_saved_is_named(
    tmp_path: Path, value: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        save(tmp_path / "w.safetensors", {"w": tg.ones((2,)), "rate": value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", [0, None, (1, 2), b"w", "__metadata__"])
def test_keys_are_names(tmp_path: Path, key: Any) -> None:
    with pytest.raises(tg.TinygradRnnError, match="save: "):
        save(tmp_path / "w.safetensors", {key: tg.ones((2,))})


def test_values_of_any_kind_that_has_numbers_are_saved(tmp_path: Path) -> None:
    made = {
        "computed": tg.ones((2,), requires_grad=True) * 2,
        "view": tg.arange(6).reshape(2, 3).T,
        "number": np.float32(3.0),
        "": tg.tensor(True),
        "empty": np.ones((0, 3), "f2"),
    }
    save(tmp_path / "w", made)
    for name, value in load(tmp_path / "w").items():
        expected = np.asarray(value.detach().numpy())
        given = made[name]
        if isinstance(given, tg.Tensor):
            given = given.detach().numpy()
        np.testing.assert_array_equal(expected, np.asarray(given), strict=True)


def pickled() -> bytes:
    return pickle.dumps({"weight": [1.0]})


def archived(name: str) -> bytes:
    held = BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr(name, b"")
    return held.getvalue()


def numpys(save: Any) -> bytes:
    held = BytesIO()
    save(held, np.ones(2))
    return held.getvalue()


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (pickled(), r"before PyTorch 1\.6, .* torch\.load\(path, .* safetensors\.torch\.save_file"),
        (archived("real/data.pkl"), r"is damaged, or no file of torch\.save"),
        (numpys(np.savez), "zip archive, as np.savez writes"),
        (numpys(np.save), "an array of NumPy's: np.load"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5 format: .*h5py"),
        (b"words, words, words", "is damaged or not a safetensors file"),
    ],
)
def test_errors_say_how_to_read_other_formats(tmp_path: Path, contents: bytes, words: str) -> None:
    path = tmp_path / "real.pt"
    path.write_bytes(contents)
    with pytest.raises(CheckpointError, match=rf"real\.pt .*{words}"):
        load(path)


def test_paths_that_name_no_file_are_refused(tmp_path: Path) -> None:
    state = MODEL.state_dict()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "none" / "w", tmp_path / "file" / "w", "a\0b"):
        with pytest.raises(CheckpointError):
            save(path, state)
        with pytest.raises(CheckpointError):
            load(path)
    for wrong in (None, 3, b"w", state):
        with pytest.raises(tg.InvalidTypeError, match="path: expected a file's name"):
            save(wrong, state)  # type: ignore[arg-type]
        with pytest.raises(tg.InvalidTypeError, match="path: expected a file's name"):
            load(wrong)  # type: ignore[arg-type]
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="pipe is not a regular file"):
        load(tmp_path / "pipe")


def test_a_save_leaves_files_of_other_names_alone(tmp_path: Path) -> None:
    save(tmp_path / "w.tmp", {"a": tg.ones((2,))})
    save(tmp_path / "w", {"a": tg.zeros((2,))})
    assert load(tmp_path / "w.tmp")["a"].tolist() == [1.0, 1.0]
