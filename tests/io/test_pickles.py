"""`tg.load` reads files of torch.save: data, and never code."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.io import CheckpointError


class Global:
    """Pickles as a name of another module."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Called:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments


class Storage:
    def __init__(self, kind: str, key: str, count: int) -> None:
        self.reference = ("storage", Global("torch", kind), key, "cpu", count)


class Pickler(pickle._Pickler):  # type: ignore[name-defined]  # the one in Python can be extended
    """Writes what torch.save writes, without PyTorch."""

    def persistent_id(self, value: Any) -> Any:
        return value.reference if isinstance(value, Storage) else None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Global):
            self.write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Called):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(value, save_persistent_id)


TENSOR = Global("torch._utils", "_rebuild_tensor_v2")


def tensor(
    key: str = "0", count: int = 6, shape: Any = (2, 3), strides: Any = (3, 1), offset: int = 0,
    kind: str = "FloatStorage",
) -> Called:  # fmt: skip
    storage = Storage(kind, key, count)
    return Called(TENSOR, storage, offset, shape, strides, False, OrderedDict())


def marked(marks: Any) -> Called:
    """A tensor that PyTorch has saved as a conjugated or negated view."""
    storage = Storage("FloatStorage", "0", 6)
    return Called(TENSOR, storage, 0, (6,), (1,), False, OrderedDict(), marks)


def write(path: Path, value: Any, storages: Any = None, compress: int = zipfile.ZIP_STORED) -> Path:
    from io import BytesIO

    raw = BytesIO()
    Pickler(raw, 2).dump(value)
    given = {"0": np.arange(6, dtype="<f4")} if storages is None else storages
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("m/data.pkl", raw.getvalue())
        for key, array in given.items():
            archive.writestr(f"m/data/{key}", array.tobytes())
    return path


def test_a_dict_of_tensors_and_more(tmp_path: Path) -> None:
    state = {"w": tensor(), "t": tensor(shape=(3, 2), strides=(1, 3)), "epoch": 3,
             "rest": [1.5, "word", None, True, (2**40,)], "deep": {"row": tensor(shape=(3,),
             strides=(1,), offset=3)}}  # fmt: skip
    found: Any = tg.load(write(tmp_path / "m.pt", state))
    np.testing.assert_array_equal(
        found["w"].numpy(), np.arange(6, dtype="f4").reshape(2, 3), strict=True
    )
    assert found["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["deep"]["row"].tolist() == [3, 4, 5]
    assert (found["epoch"], found["rest"]) == (3, [1.5, "word", None, True, (2**40,)])


def test_marked_views(tmp_path: Path) -> None:
    path = write(tmp_path / "m.pt", {"w": marked({"neg": True})})
    assert tg.load(path)["w"].tolist() == [0, -1, -2, -3, -4, -5]


@pytest.mark.parametrize("seed", range(20))
def test_checkpoints_with_numbers_of_numpy_and_views(seed: int, tmp_path: Path) -> None:
    """Values beside the weights that a training script saves: a best figure, ids, conjugates."""
    torch: Any = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    kinds = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
    number = np.dtype(kinds[seed % len(kinds)]).type(rng.integers(0, 100))
    z = torch.tensor(rng.normal(size=3) + 1j * rng.normal(size=3), dtype=torch.complex64)
    checkpoint = {
        "best": number, "seen": set(rng.integers(0, 9, 4).tolist()), "raw": rng.bytes(5),
        "conj": z.clone().conj(), "neg": z.clone().conj().imag, "both": -z.conj().imag,
        "rows": torch.arange(12).reshape(3, 4)[int(rng.integers(3)), ::2],
    }  # fmt: skip
    torch.save(checkpoint, tmp_path / "m.pt")
    found = tg.load(tmp_path / "m.pt")
    for name in ("seen", "raw"):
        assert found[name] == checkpoint[name]
    assert found["best"] == number.item()
    assert type(found["best"]) is type(number.item())
    for name in ("conj", "neg", "both", "rows"):
        expected = checkpoint[name].resolve_conj().resolve_neg().numpy()
        np.testing.assert_array_equal(found[name].numpy(), expected, strict=True)


def test_files_of_other_kinds_name_their_reader(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match=r"a file of torch\.save: tg\.load\(path\)"):
        tg.io.load_model(tmp_path / "m.pt")
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(CheckpointError, match=r"tg\.io\.from_keras\(path\)"):
        tg.load(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "jit.pt", "w") as archive:
        archive.writestr("m/data.pkl", "")
        archive.writestr("m/constants.pkl", "")
    with pytest.raises(CheckpointError, match=r"TorchScript: .*torch\.jit\.load"):
        tg.load(tmp_path / "jit.pt")
    (tmp_path / "m.onnx").write_bytes(b"\x08\x09" + bytes(20))
    with pytest.raises(CheckpointError, match=r"tg\.io\.import_onnx\(path\)"):
        tg.load(tmp_path / "m.onnx")


def test_other_dtypes(tmp_path: Path) -> None:
    half = np.array([0x3F80, 0xC000], "<u2")  # 1 and -2 in bfloat16
    arrays = {"0": half, "1": np.array([7, -7]), "2": np.array([True, False])}
    kinds = {"0": "BFloat16Storage", "1": "LongStorage", "2": "BoolStorage"}
    state = {key: tensor(key, 2, (2,), (1,), kind=kind) for key, kind in kinds.items()}
    found = tg.load(write(tmp_path / "m.pt", state, arrays))
    assert found["0"].tolist() == [1.0, -2.0]
    assert found["0"].dtype == np.float32
    assert found["1"].tolist() == [7, -7]
    assert found["2"].tolist() == [True, False]


class Runs:
    def __reduce__(self) -> Any:
        return os.system, ("touch it-ran",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"w": Runs()}, r"holds (posix|nt)\.system, which may run code"),
        ({"w": Called(Global("builtins", "eval"), "1")}, r"holds builtins\.eval"),
        ({"w": Called(Global("torch.nn.modules.rnn", "LSTM"), 1)}, r"rnn\.LSTM.*state_dict"),
        ({"w": Global("torch", "float32")}, r"torch\.float32, which is not a tensor"),
        ({"w": Path("x")}, "which may run code"),
        ({"w": tensor(kind="QInt8Storage")}, "tensors of torch.QInt8Storage"),
        ([tensor()], "holds a list, not a dict"),
        ({"w": tensor(count=7)}, "elements, not 7"),
        ({"w": tensor(shape=(2, 4))}, "outside its 6 elements"),
        ({"w": tensor(offset=1)}, "outside its 6 elements"),
        ({"w": tensor(strides=(3, -1))}, "the strides"),
        ({"w": tensor(shape=(10**9, 10**9), strides=(0, 0))}, "repeats its elements"),
        ({"w": tensor("../../etc/passwd")}, "damaged, or no file"),
        ({"w": frozenset({1, 2})}, r"builtin(s|__)\.frozenset"),
        ({"w": Called(Global("numpy", "dtype"), "O8", False, True)}, r"holds numpy\.dtype"),
        ({"w": Called(Global("_codecs", "encode"), "x", "zip")}, r"holds _codecs\.encode"),
        ({"w": marked({"conj": 1})}, "marked 'conj'"),
        ({"w": marked({"lazy": True})}, "marked 'lazy'"),
    ],
)
def test_what_is_no_data_is_refused(value: Any, words: str, tmp_path: Path) -> None:
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pytest.raises(CheckpointError, match=rf"(?s)m\.pt.*({words})"):
            tg.load(write(tmp_path / "m.pt", value))
    finally:
        os.chdir(before)
    assert [file.name for file in tmp_path.iterdir()] == ["m.pt"]


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    bomb = {"0": np.zeros(10_000_000, "f4")}
    path = write(tmp_path / "m.pt", {"w": tensor()}, bomb, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed"):
        tg.load(path)


def test_a_container_in_itself_is_refused(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(CheckpointError, match="contain themselves"):
        tg.load(write(tmp_path / "m.pt", {"w": loop}))


@pytest.mark.oracle
def test_files_of_pytorch(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch")
    theirs = torch.nn.LSTM(3, 4, 2, bidirectional=True)
    adam = torch.optim.Adam(theirs.parameters())
    theirs(torch.ones(2, 1, 3))[0].sum().backward()
    adam.step()
    saved = {
        "model": theirs.state_dict(),
        "adam": adam.state_dict(),
        "step": 1,
        "half": theirs.weight_ih_l0.bfloat16(),
    }
    saved["t"] = torch.arange(6).reshape(2, 3).T
    torch.save(saved, tmp_path / "m.pt")
    found: Any = tg.load(tmp_path / "m.pt")
    ours = tg.nn.LSTM(3, 4, 2, bidirectional=True)
    ours.load_state_dict(found["model"])
    for name, p in theirs.state_dict().items():
        assert ours.state_dict()[name].tolist() == p.tolist()
    own = tg.optim.Adam(ours.parameters())
    own.load_state_dict(found["adam"])
    assert own.state[0]["exp_avg"].tolist() == adam.state_dict()["state"][0]["exp_avg"].tolist()
    assert found["t"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["half"].tolist() == theirs.weight_ih_l0.bfloat16().tolist()
    torch.save(theirs, tmp_path / "all.pt")
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules\.rnn\.LSTM.*weights_only=False"):
        tg.load(tmp_path / "all.pt")
