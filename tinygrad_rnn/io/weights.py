"""Named arrays in one file, in the safetensors format, which holds no code to execute."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, public
from ..tensor.backend import LINE, default_device, is_array, to_host
from ..tensor.tensor import Tensor
from .files import CheckpointError, open_to_read, reading, sync_folder, write_new
from .pickles import REMEDY, is_torch, read_torch

Arrays = dict[str, np.ndarray[Any, Any]]

DTYPES = frozenset("?bBhHiIlLqQefdF")  # the format's dtypes, by NumPy's characters

TORCH = (
    "is a bare pickle, as torch.save wrote them before PyTorch 1.6, which can run any code when "
    f"loaded: {REMEDY}"
)
OTHER_FORMATS = {  # by their first bytes
    b"\x80": TORCH,
    b"PK": "is a zip archive, as np.savez writes them: np.load reads those",
    b"\x93NUMPY": "is an array of NumPy's: np.load reads it",
    b"\x89HDF": "is in the HDF5 format: h5py reads it, and tg.io.from_keras Keras's",
    b"\x08": "may be in the ONNX format, which tg.io.import_onnx(path) reads",
}
ARCHIVES = {  # zip archives, by the name of a file in them
    b"data.pkl": "is a file of torch.save: tg.load(path) reads the tensors",
    b"config.json": "is a model of Keras: tg.io.from_keras(path) reads it",
}

CALLS = {  # in which order arguments come differs between libraries
    "save": "tg.save(path, tensors)",
    "save_model": "tg.io.save_model(path, model)",
    "export_onnx": "tg.io.export_onnx(model, path, example)",
    "export_c": "tg.io.export_c(model, path)",
    "to_keras": "tg.io.to_keras(chain, path)",
    "from_keras": "model.save(path) in Keras, and tg.io.from_keras(path)",
}


@public
def save(path: str | Path, tensors: Mapping[str, Any]) -> None:
    """Saves named tensors in a file, atomically.

    **Arguments** path: the file; by custom it ends in `.safetensors`. tensors: Tensors or arrays of
    any device, by name, such as a module's `state_dict()`.

    **Raises** TypeError that names an entry of another type; CheckpointError for a dtype that the
    format does not have, and if writing fails: an existing file keeps its contents.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/w.safetensors", {"w": tg.tensor([1.0, 2.0])})
    ...     load(f"{folder}/w.safetensors")
    {'w': tensor([1., 2.])}
    """
    at = as_path("save", path)
    if not isinstance(tensors, Mapping):
        known = hasattr(tensors, "state_dict")
        raise InvalidTypeError(
            f"save: tensors: expected Tensors by name, got {type(tensors).__name__}: pass "
            + ("its .state_dict()" if known else "a dict, {'name': tensor}")
        )
    write(at, to_bytes(tensors))


@public
def load(path: str | Path) -> dict[str, Any]:
    """Loads named tensors from a file.

    **Arguments** path: a file in the safetensors format, of any library; or one of `torch.save`,
    which is read without PyTorch, and without running what is in it.

    **Returns** the tensors by name, on the default device; of `torch.save` the dict that was saved,
    with its numbers, words and containers.

    **Raises** CheckpointError for a file that is missing, truncated or of another format, or that
    holds code.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.save(f"{folder}/w.safetensors", {"w": tg.ones((2,))})
    ...     tg.load(f"{folder}/w.safetensors")
    {'w': tensor([1., 1.])}
    """
    at = as_path("load", path)
    with reading(path), open_to_read(at) as file:
        start = file.read(4)
        file.seek(0)
        if start == b"PK\x03\x04" and is_torch(file):
            return read_torch(file, at, default_device())
        raw = file.read()
    return {
        name: Tensor(array, device=default_device())
        for name, array in sorted(from_bytes(raw, str(path)).items())  # a file has no order
    }


def to_bytes(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """Serializes named tensors, and words about them: the same bytes for the same contents."""
    from safetensors.numpy import save as serialize

    raw = serialize({name: _array(name, value) for name, value in tensors.items()})
    if not metadata:
        return raw
    # The library would write the metadata in a random order.
    size = int.from_bytes(raw[:8], "little")
    header = {"__metadata__": dict(metadata), **json.loads(raw[8 : 8 + size])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % LINE)  # so that the tensors begin at one, if mapped, too
    return b"".join([len(text).to_bytes(8, "little"), text, memoryview(raw)[8 + size :]])


def from_bytes(raw: bytes, source: str) -> Arrays:
    """Deserializes named arrays; errors call the file `source`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        return {name: array.copy() for name, array in deserialize(raw).items()}  # writable
    except SafetensorError as error:
        raise CheckpointError(f"{source} {description(raw)} ({error})") from None
    except ValueError as error:  # more axes than NumPy has
        raise CheckpointError(f"{source} is damaged: {error}") from None
    except KeyError as error:
        raise CheckpointError(
            f"{source} has dtype {error}, which NumPy does not have: convert it to float32 in the "
            "program that wrote it"
        ) from None


def write(path: Path, contents: bytes) -> None:
    """Replaces a file atomically: a reader sees all of the old contents, or all of the new."""
    temporary = path.with_name(f"{path.name}.{token_hex(4)}.tmp")
    try:
        write_new(temporary, contents)
        os.replace(temporary, path)
        sync_folder(path.parent)  # stores the new name, too
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error


def as_path(function: str, path: Any) -> Path:
    """Converts a file's name to a path."""
    try:
        converted = Path(path)
    except TypeError:
        call = f": {CALLS[function]}" if function in CALLS else ""
        raise InvalidTypeError(
            f"{function}: path: expected a file's name, got {type(path).__name__}{call}"
        ) from None
    if "\0" in str(converted):
        raise CheckpointError(f"{function}: path: {str(converted)!r} is not a file's name")
    return converted


def _array(name: Any, value: Any) -> np.ndarray[Any, Any]:
    """Converts a value to an array, and refuses what the format cannot hold."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"save: expected names of tensors, got the key {name!r}: str(key)")
    if name == "__metadata__":
        raise CheckpointError("save: the format reserves the name '__metadata__'")
    if isinstance(value, Mapping):
        raise InvalidTypeError(
            f"save: {name!r}: expected a Tensor or an array, got a {type(value).__name__}: "
            "tg.io.save_checkpoint saves an optimizer's state, with the model's"
        )
    array = value.data if isinstance(value, Tensor) else value
    if not (is_array(array) or isinstance(array, np.generic)):
        kind = type(value)
        package = kind.__module__.partition(".")[0]
        got = kind.__name__ if package == "builtins" else f"{package}.{kind.__name__}"
        raise InvalidTypeError(
            f"save: {name!r}: expected a Tensor or an array, got {got}: tg.tensor(...) converts "
            "numbers to a Tensor"
        )
    if isinstance(array, np.ma.MaskedArray):
        raise InvalidTypeError(f"save: {name!r}: saving would lose the mask of a masked array")
    array = to_host(array)
    if array.dtype.char not in DTYPES:
        raise CheckpointError(
            f"save: {name!r} has dtype {array.dtype}, which the safetensors format does not have: "
            "convert it to another dtype"
        )
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def description(raw: bytes) -> str:
    """Describes a file that is not in the safetensors format."""
    if not raw:
        return "is empty"
    if raw.startswith(b"PK"):
        for name, what in ARCHIVES.items():
            if name in raw[:1000]:
                return what
    return next(
        (words for begin, words in OTHER_FORMATS.items() if raw.startswith(begin)),
        "is damaged or not a safetensors file",
    )
