"""A checkpoint is a folder that holds one consistent state, whenever the program is killed.

    runs/demo/
        checkpoint.json                     everything but the arrays, for people to read
        model-1f0c93ab54de.safetensors      the arrays of the entry "model"
        optimizer-77d0e2c4a9b1.safetensors  the arrays of the entry "optimizer"

Files of arrays are named after their contents, so a new state never overwrites the old one's
files. `checkpoint.json` names the files that belong to it and is replaced last, at one instant:
until then the folder holds the old state, from then on the new one. What the old state alone
needed is removed after that.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError
from ..tensor.backend import is_array
from ..tensor.tensor import Tensor
from .weights import Arrays, CheckpointError, from_bytes, to_bytes, write

FORMAT = 1
INDEX = "checkpoint.json"

_ARRAY = "$array"  # {"$array": "w"} in the JSON stands for the array "w" in the entry's file
_OURS = re.compile(r"\w+-[0-9a-f]{12}\.safetensors(\.tmp)?")


def has_checkpoint(folder: str | Path) -> bool:
    """Whether a folder holds a checkpoint, sound or not."""
    return (Path(folder) / INDEX).exists()


def save_checkpoint(folder: str | Path, state: Mapping[str, Any]) -> None:
    """Saves a state in a folder, in place of the one that it held.

    **Arguments** folder: made if need be. state: a tree of dicts with strings as keys, lists,
    numbers, strings, None, and, anywhere below the top, Tensors or arrays of any device. The arrays
    of each top-level entry share one file.

    **Raises** CheckpointError if the folder cannot be written, TypeError or ValueError for what
    does not fit the tree (numbers that are not finite included).

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(folder, {"step": 3, "model": {"w": tg.tensor([1.0, 2.0])}})
    ...     load_checkpoint(folder)
    {'step': 3, 'model': {'w': array([1., 2.], dtype=float32)}}
    """
    folder = Path(folder)
    plain: dict[str, Any] = {}
    files: dict[str, dict[str, str]] = {}
    contents: dict[str, bytes] = {}
    for entry, value in state.items():
        if not entry.isidentifier():  # it becomes a part of a file's name
            raise InvalidValueError(
                f"an entry of a checkpoint must be named by a word, not {entry!r}"
            )
        arrays: dict[str, Any] = {}
        plain[entry] = _take_arrays(value, "", arrays)
        if arrays:
            raw = to_bytes(arrays)
            digest = hashlib.sha256(raw).hexdigest()
            name = f"{entry}-{digest[:12]}.safetensors"
            files[entry] = {"name": name, "sha256": digest}
            contents[name] = raw
    index = {"format": FORMAT, "files": files, "state": plain}
    text = json.dumps(index, indent=2, ensure_ascii=False, allow_nan=False)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, raw in contents.items():
            write(folder / name, raw)
        write(folder / INDEX, text.encode("utf-8"))  # the instant at which the new state holds
        for file in folder.iterdir():
            if _OURS.fullmatch(file.name) and file.name not in contents:
                file.unlink()
    except OSError as error:
        raise CheckpointError(f"cannot save in {folder}: {error.strerror}") from None


def load_checkpoint(folder: str | Path) -> dict[str, Any]:
    """Loads the state that a folder holds.

    **Returns** the tree that was saved, its arrays as NumPy's, its tuples as lists.

    **Raises** CheckpointError if there is no checkpoint, or if it is damaged or of another format.
    """
    folder = Path(folder)
    index = _read_index(folder)
    try:
        state: dict[str, Any] = index["state"]
        for entry, file in index["files"].items():
            arrays = _read_arrays(folder, file["name"], file["sha256"])
            state[entry] = _put_arrays(state[entry], arrays)
    except (KeyError, TypeError, AttributeError):
        raise CheckpointError(f"{folder / INDEX} is damaged: its entries do not fit") from None
    return state


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index = json.loads(path.read_bytes())
    except FileNotFoundError:
        missing = f"it has no {INDEX}" if folder.is_dir() else "there is no such folder"
        raise CheckpointError(f"no checkpoint in {folder}: {missing}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # half-written JSON, or bytes that are not UTF-8
        raise CheckpointError(f"{path} is damaged: {error}") from None
    if not isinstance(index, dict) or "format" not in index:
        raise CheckpointError(f"{path} is no checkpoint of tinygrad_rnn")
    if index["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {index['format']!r}; this version reads format {FORMAT}"
        )
    return index


def _read_arrays(folder: Path, name: str, digest: str) -> Arrays:
    if not _OURS.fullmatch(name):  # a name, never a path to somewhere else
        raise CheckpointError(f"{folder / INDEX} is damaged: {name!r} is no file of a checkpoint")
    try:
        raw = (folder / name).read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"the checkpoint in {folder} lacks its file {name}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {folder / name}: {error.strerror}") from None
    if hashlib.sha256(raw).hexdigest() != digest:
        raise CheckpointError(f"{folder / name} is damaged: its contents are not what was saved")
    return from_bytes(raw, str(folder / name))


def _take_arrays(value: Any, path: str, arrays: dict[str, Any]) -> Any:
    """Moves the arrays of a tree into `arrays`, by their path, and leaves references behind."""
    if isinstance(value, Tensor) or is_array(value):
        if path in arrays or not path:
            raise InvalidValueError(
                f"an array in a checkpoint needs a path of its own, not {path!r}"
            )
        arrays[path] = value
        return {_ARRAY: path}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InvalidTypeError(
                f"the keys at {path!r} in a checkpoint must be strings: {list(value)}"
            )
        return {key: _take_arrays(v, _below(path, key), arrays) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_take_arrays(v, _below(path, str(i)), arrays) for i, v in enumerate(value)]
    return value


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _put_arrays(value: Any, arrays: Arrays) -> Any:
    """The tree with its references replaced by the arrays that they name."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: _put_arrays(v, arrays) for key, v in value.items()}
    if isinstance(value, list):
        return [_put_arrays(v, arrays) for v in value]
    return value
