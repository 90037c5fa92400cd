"""Named arrays in one file, in the safetensors format: plain numbers, nothing that could run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import TinygradRnnError
from ..tensor.backend import default_device, to_host
from ..tensor.tensor import Tensor

Arrays = dict[str, np.ndarray[Any, Any]]


class CheckpointError(TinygradRnnError, RuntimeError):
    """Something saved that is missing, damaged, or of another format."""


def save(path: str | Path, tensors: Mapping[str, Any]) -> None:
    """Saves named tensors in a file, which appears whole or not at all.

    **Arguments** path: the file; by custom it ends in `.safetensors`. tensors: Tensors or arrays of
    any device, by name, such as a module's `state_dict()`.

    **Raises** CheckpointError for a dtype that the format does not have.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/w.safetensors", {"w": tg.tensor([1.0, 2.0])})
    ...     load(f"{folder}/w.safetensors")
    {'w': tensor([1., 2.])}
    """
    write(Path(path), to_bytes(tensors))


def load(path: str | Path) -> dict[str, Tensor]:
    """Loads the named tensors that a file holds.

    **Arguments** path: a file in the safetensors format, by whomever it was written.

    **Returns** the tensors by name, on the default device.

    **Raises** CheckpointError for a file that is missing, truncated or something else.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    return {
        name: Tensor(array, device=default_device())
        for name, array in from_bytes(raw, str(path)).items()
    }


def to_bytes(tensors: Mapping[str, Any]) -> bytes:
    """The contents of a file of named tensors."""
    from safetensors import SafetensorError
    from safetensors.numpy import save as serialize

    arrays = {}
    for name, value in tensors.items():
        array = to_host(value.data if isinstance(value, Tensor) else value)
        arrays[name] = np.asarray(array, array.dtype.newbyteorder("="), order="C")
    try:
        return serialize(arrays)
    except SafetensorError as error:
        dtypes = {name: str(array.dtype) for name, array in arrays.items()}
        raise CheckpointError(f"cannot save these dtypes: {dtypes} ({error})") from None


def from_bytes(raw: bytes, source: str) -> Arrays:
    """The named arrays in a file's contents; `source` is what errors call it."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as deserialize

    try:
        return {name: array.copy() for name, array in deserialize(raw).items()}  # writable
    except SafetensorError as error:
        raise CheckpointError(f"{source} is damaged or no safetensors file ({error})") from None
    except KeyError as error:
        raise CheckpointError(f"{source} holds dtype {error}, which NumPy does not have") from None


def write(path: Path, contents: bytes) -> None:
    """Puts a whole file in place at one instant: before it, the old contents; after it, the new."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    if hasattr(os, "O_DIRECTORY"):  # where a folder can be opened, make the new name last, too
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
