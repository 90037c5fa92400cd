"""Named arrays in one file, in the safetensors format, which holds no code to execute."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, public
from ..tensor.backend import LINE, default_device, is_array, to_host
from ..tensor.tensor import Tensor
from .files import CheckpointError, open_to_read, reading, sync_folder, write_new
from .header import header_of, placed
from .pickles import is_torch, read_torch

Arrays = dict[str, np.ndarray[Any, Any]]

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

    They are written to a file beside it, such as `model.safetensors.1f0c93ab.tmp`, which then takes
    its name. A process that is killed meanwhile leaves that file behind: it may be deleted.

    **Arguments** path: the file; by custom it ends in `.safetensors`. tensors: Tensors or arrays of
    any device, by name, such as a module's `state_dict()`.

    **Raises** TypeError that names an entry of another type, or of a dtype that the format does not
    have; CheckpointError if writing fails: an existing file keeps its contents.

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
    which is read without PyTorch, and without executing code in it.

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
    entries = header_of(BytesIO(raw), len(raw), source).entries
    return {name: array.copy() for name, array in placed(raw, entries, source).items()}  # writable


def write(path: Path, contents: bytes) -> None:
    """Replaces a file atomically: a reader sees all of the old contents, or all of the new."""
    temporary = path.with_name(f"{path.name}.{token_hex(4)}.tmp")
    try:
        write_new(temporary, contents)
        os.replace(temporary, path)
        sync_folder(path.parent)  # stores the new name, too
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror}") from error
    finally:  # also of an interrupt
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def as_path(function: str, path: Any, argument: str = "path") -> Path:
    """Converts a file's name to a path. **Raises** errors that name the function's argument."""
    try:
        converted = Path(path)
    except TypeError:
        call = f": {CALLS[function]}" if function in CALLS else ""
        raise InvalidTypeError(
            f"{function}: {argument}: expected a file's name, got {type(path).__name__}{call}"
        ) from None
    if "\0" in str(converted):
        raise CheckpointError(f"{function}: {argument}: {str(converted)!r} is not a file's name")
    return converted


def _array(name: object, value: Any) -> np.ndarray[Any, Any]:
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
    check_array(array, f"save: {name!r}")
    return np.asarray(to_host(array), array.dtype.newbyteorder("="), order="C")


def check_array(array: Any, where: str) -> None:
    """Refuses an array that the format cannot hold."""
    if isinstance(array, np.ma.MaskedArray):
        raise InvalidTypeError(f"{where}: a masked array would lose its mask: save both apart")
    if array.dtype.kind not in "biufc" or array.dtype.itemsize > 8:
        raise InvalidTypeError(
            f"{where}: an array of dtype {array.dtype} cannot be saved: expected booleans, "
            "integers, reals of up to 64 bits, or complex64"
        )
