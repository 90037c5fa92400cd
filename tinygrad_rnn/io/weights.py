"""Named arrays in one file, in the safetensors format: plain numbers, nothing that could run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, public
from ..tensor.backend import default_device, is_array, to_host
from ..tensor.tensor import Tensor
from .files import CheckpointError, open_to_read, sync_folder

Arrays = dict[str, np.ndarray[Any, Any]]

DTYPES = frozenset("?bBhHiIlLqQefdF")  # NumPy's characters for those that the format has

TORCH = (
    "is a pickle, as torch.save writes them, which can run any code when it is read: convert it "
    "once, with PyTorch, by safetensors.torch.save_file(torch.load(path, weights_only=True), new)"
)
OTHER_FORMATS = {  # by what a file begins with
    b"\x80": TORCH,
    b"\x93NUMPY": "is an array of NumPy's: np.load reads it",
    b"\x89HDF": "is in the HDF5 format: h5py reads it",
}


@public
def save(path: str | Path, tensors: Mapping[str, Any]) -> None:
    """Saves named tensors in a file, which appears whole or not at all.

    **Arguments** path: the file; by custom it ends in `.safetensors`. tensors: Tensors or arrays of
    any device, by name, such as a module's `state_dict()`.

    **Raises** TypeError naming an entry that is neither; CheckpointError for a dtype that the
    format does not have, and for a file that cannot be written: what it held before stays.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/w.safetensors", {"w": tg.tensor([1.0, 2.0])})
    ...     load(f"{folder}/w.safetensors")
    {'w': tensor([1., 2.])}
    """
    at = _path("save", path)
    if not isinstance(tensors, Mapping):
        known = hasattr(tensors, "state_dict")
        raise InvalidTypeError(
            f"save: tensors: expected Tensors by name, got {type(tensors).__name__}: hand over "
            + ("its .state_dict()" if known else "a dict, {'name': tensor}")
        )
    write(at, to_bytes(tensors))


@public
def load(path: str | Path) -> dict[str, Tensor]:
    """Loads the named tensors that a file holds.

    **Arguments** path: a file in the safetensors format, by whomever it was written.

    **Returns** the tensors by name, on the default device.

    **Raises** CheckpointError for a file that is missing, truncated or something else.
    """
    try:
        with open_to_read(_path("load", path)) as file:
            raw = file.read()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    return {
        name: Tensor(array, device=default_device())
        for name, array in sorted(from_bytes(raw, str(path)).items())  # a file has no order
    }


def to_bytes(tensors: Mapping[str, Any]) -> bytes:
    """The contents of a file of named tensors."""
    from safetensors.numpy import save as serialize

    return serialize({name: _array(name, value) for name, value in tensors.items()})


def from_bytes(raw: bytes, source: str) -> Arrays:
    """The named arrays in a file's contents; `source` is what errors call it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        return {name: array.copy() for name, array in deserialize(raw).items()}  # writable
    except SafetensorError as error:
        raise CheckpointError(f"{source} {_described(raw)} ({error})") from None
    except KeyError as error:
        raise CheckpointError(
            f"{source} holds dtype {error}, which NumPy does not have: convert it to "
            "float32 where it was written"
        ) from None


def write(path: Path, contents: bytes) -> None:
    """Puts a whole file in place at one instant: before it, the old contents; after it, the new."""
    temporary = path.with_name(f"{path.name}.{token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)  # the new name must last, too
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error


def _path(doing: str, path: Any) -> Path:
    """A file's name as a path."""
    try:
        found = Path(path)
    except TypeError:
        raise InvalidTypeError(
            f"{doing}: path: expected a file's name, got {type(path).__name__}"
        ) from None
    if "\0" in str(found):
        raise CheckpointError(f"{doing}: path: {str(found)!r} is no file's name")
    return found


def _array(name: Any, value: Any) -> np.ndarray[Any, Any]:
    """What is saved under a name; refuses what the format cannot hold."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"save: expected names of tensors, got the key {name!r}: str(key)")
    if name == "__metadata__":
        raise CheckpointError("save: '__metadata__' is a name that the format keeps for itself")
    if isinstance(value, Mapping):
        raise InvalidTypeError(
            f"save: {name!r}: expected a Tensor or an array, got a {type(value).__name__}: an "
            "optimizer's state is saved by tg.io.save_checkpoint, with the model's"
        )
    array = value.data if isinstance(value, Tensor) else value
    if not (is_array(array) or isinstance(array, np.generic)):
        kind = type(value)
        package = kind.__module__.partition(".")[0]
        got = kind.__name__ if package == "builtins" else f"{package}.{kind.__name__}"
        raise InvalidTypeError(
            f"save: {name!r}: expected a Tensor or an array, got {got}: tg.tensor(...) makes a "
            "Tensor of numbers"
        )
    if isinstance(array, np.ma.MaskedArray):
        raise InvalidTypeError(f"save: {name!r}: the mask of a masked array would be lost")
    array = to_host(array)
    if array.dtype.char not in DTYPES:
        raise CheckpointError(
            f"save: {name!r} is of {array.dtype}, which the safetensors format does not have: "
            "convert it to another dtype"
        )
    return np.asarray(array, array.dtype.newbyteorder("="), order="C")


def _described(raw: bytes) -> str:
    """What is known of a file that is not in the safetensors format."""
    if not raw:
        return "is empty"
    if raw.startswith(b"PK"):
        if b"data.pkl" in raw:
            return TORCH
        return "is a zip archive, as np.savez writes them: np.load reads those"
    return next(
        (words for begin, words in OTHER_FORMATS.items() if raw.startswith(begin)),
        "is damaged or no safetensors file",
    )
