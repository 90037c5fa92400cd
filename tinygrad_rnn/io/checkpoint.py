"""A checkpoint is a folder that holds one consistent state, whenever the program is killed.

    runs/demo/
        checkpoint.json                     everything but the arrays, for people to read
        model-1f0c93ab54de.safetensors      the arrays of the entry "model"
        optimizer-77d0e2c4a9b1.safetensors  the arrays of the entry "optimizer"

Files of arrays are named after their contents, so a new state never overwrites the old one's
files. `checkpoint.json` names the files that belong to it and is replaced last, at one instant:
until then the folder holds the old state, from then on the new one. What the old state alone
needed is removed after that.

The new `checkpoint.json` lies beside the old one, as `checkpoint.json.tmp`, before any file that it
names is written, and names those that it supersedes, too. So whatever a killed process leaves is
named in a file of its own, and the next save removes that and nothing else.

Sizes and SHA-256 digests guard each file, the index's own in its first lines. A reader opens all
files before it reads any: what is removed meanwhile stays readable, and if one is gone already then
there is a newer state to read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError
from ..tensor.backend import is_array
from ..tensor.tensor import Tensor
from .files import CheckpointError, cannot_save, open_to_read, sync_folder, write_new
from .lock import saving
from .weights import Arrays, from_bytes, to_bytes

FORMAT = 2
INDEX = "checkpoint.json"

_ARRAY = "$array"  # {"$array": "w"} in the JSON stands for the array "w" in the entry's file
_ENTRY = r"[^\W\d]\w{0,39}"  # a part of a file's name
_NAME = re.compile(_ENTRY + r"-[0-9a-f]{12}\.safetensors")
_TEMPORARY = re.compile(_NAME.pattern + r"\.tmp")
_HEADER = '{{\n  "format": {},\n  "bytes": {},\n  "sha256": "{}",\n'  # of all that follows it
_HEADER_READ = re.compile(rf"\{_HEADER.format(FORMAT, '([0-9]+)', '([0-9a-f]{64})')}".encode())

_DEPTH = 100  # of dicts and lists in each other; JSON's readers have limits
_BITS = 10_000  # of a whole number, for the same reason
_OPEN = 100  # files at a time; systems have limits
_NO_FIT = (KeyError, TypeError, AttributeError, ValueError)  # an index that is sound, and odd
_TRIES = 100  # of reading what is being replaced


def has_checkpoint(folder: str | Path) -> bool:
    """Whether a folder holds a checkpoint, sound or not."""
    return os.path.lexists(_path(folder) / INDEX)


def save_checkpoint(folder: str | Path, state: Mapping[str, Any]) -> None:
    """Saves a state in a folder, in place of the one that it held.

    One process at a time saves in a folder. A save that fails leaves the old state, and nothing of
    the new one. Files that no save has made stay, and what links lead to is not written to.

    **Arguments** folder: made if need be. state: a tree of dicts with strings as keys, lists,
    tuples (they come back as lists), Python's and NumPy's numbers, strings, None, and, anywhere
    below the top, Tensors or arrays of any device. The arrays of each top-level entry share a file.

    **Raises** CheckpointError if the folder cannot be written or another process saves there,
    TypeError or ValueError for what does not fit the tree (numbers that are not finite included).

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(folder, {"step": 3, "model": {"w": tg.tensor([1.0, 2.0])}})
    ...     load_checkpoint(folder)
    {'step': 3, 'model': {'w': array([1., 2.], dtype=float32)}}
    """
    folder = _path(folder)
    if not isinstance(state, Mapping):
        raise InvalidTypeError(
            f"save_checkpoint: state: expected a dict of entries, got {type(state).__name__}"
        )
    plain: dict[str, Any] = {}
    files: dict[str, dict[str, Any]] = {}
    contents: dict[str, bytes] = {}
    for entry, value in state.items():
        if not isinstance(entry, str):
            raise InvalidTypeError(f"save_checkpoint: an entry's name must be a str, not {entry!r}")
        if not re.fullmatch(_ENTRY, entry):
            raise InvalidValueError(
                "save_checkpoint: an entry's name must be a word of at most 40 letters, digits "
                f"and underscores that begins with no digit, not {entry!r}"
            )
        arrays: dict[str, Any] = {}
        try:
            plain[str.__str__(entry)] = _take_arrays(value, "", arrays)
        except (InvalidTypeError, InvalidValueError) as error:
            raise type(error)(f"save_checkpoint: entry {entry!r}, {error}") from None
        if arrays:
            raw = to_bytes(arrays)
            digest = hashlib.sha256(raw).hexdigest()
            name = f"{entry}-{digest[:12]}.safetensors"
            files[entry] = {"name": name, "bytes": len(raw), "sha256": digest}
            contents[name] = raw
    try:
        with saving(folder):
            _replace(folder, plain, files, contents)
    except OSError as error:
        raise cannot_save(folder, error) from None


def load_checkpoint(folder: str | Path) -> dict[str, Any]:
    """Loads the state that a folder holds, or one of those that are being saved in it meanwhile.

    **Returns** the tree that was saved, its arrays as NumPy's, its tuples as lists, its NumPy
    numbers as Python's.

    **Raises** CheckpointError if there is no checkpoint, or if it is damaged or of another format.
    """
    folder = _path(folder)
    before: Any = None
    for _ in range(_TRIES):
        index = _read_index(folder)
        try:
            return _read_state(folder, index)
        except FileNotFoundError as error:
            if index == before:
                name = Path(error.filename).name
                raise CheckpointError(f"the checkpoint in {folder} lacks its file {name}") from None
            before = index  # unless there is a newer one by now
        except OSError as error:
            raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from None
        except _NO_FIT:
            raise CheckpointError(f"{folder / INDEX} is damaged: its entries do not fit") from None
    raise CheckpointError(f"the checkpoint in {folder} is replaced faster than it can be read")


# ---------------------------------------------------------------- writing


def _replace(
    folder: Path,
    plain: dict[str, Any],
    files: dict[str, dict[str, Any]],
    contents: dict[str, bytes],
) -> None:
    """Puts a new state in place of the old one."""
    pending = folder / (INDEX + ".tmp")
    current, superseded = _names(folder / INDEX)
    _remove_leftovers(folder, current, superseded)
    left = {name for name in superseded if os.path.lexists(folder / name)}  # could not be removed
    superseded = (current | left) - contents.keys()
    try:
        write_new(pending, _index(plain, files, superseded))
        sync_folder(folder)
        for name, raw in contents.items():
            write_new(folder / (name + ".tmp"), raw)
        for name in contents:
            os.replace(folder / (name + ".tmp"), folder / name)
        sync_folder(folder)
        os.replace(pending, folder / INDEX)  # the instant at which the new state holds
        sync_folder(folder)
    except OSError:
        with suppress(OSError):
            _remove_leftovers(folder, current, set())
        raise
    _remove(folder, superseded)


def _remove_leftovers(folder: Path, current: set[str], superseded: set[str]) -> None:
    """Removes what a save that was not finished has left, but none of the current state's files."""
    pending = folder / (INDEX + ".tmp")
    written, _ = _names(pending)
    temporary = {name for name in os.listdir(folder) if _TEMPORARY.fullmatch(name)}
    _remove(folder, (written | superseded | temporary) - current)
    _remove(folder, {pending.name})


def _remove(folder: Path, names: set[str]) -> None:
    for name in names:
        with suppress(OSError):  # some systems keep files that are being read: another time then
            (folder / name).unlink()


def _names(path: Path) -> tuple[set[str], set[str]]:
    """The files that an index names as its own, and as superseded; none if it is not sound."""
    try:
        index = json.loads(_index_text(path))
        names = {file["name"] for file in index["files"].values()}, set(index["superseded"])
    except (CheckpointError, OSError, RecursionError, *_NO_FIT):
        return set(), set()
    if not all(isinstance(n, str) and _NAME.fullmatch(n) for n in names[0] | names[1]):
        return set(), set()
    return names


def _index(plain: dict[str, Any], files: dict[str, Any], superseded: set[str]) -> bytes:
    """The contents of `checkpoint.json`."""
    index = {"superseded": sorted(superseded), "files": files, "state": plain}
    text = json.dumps(index, indent=2, ensure_ascii=False, allow_nan=False)
    body = text.removeprefix("{\n").encode("utf-8", "surrogatepass")  # as in odd files' names
    digest = hashlib.sha256(body).hexdigest()
    return _HEADER.format(FORMAT, len(body), digest).encode() + body


# ---------------------------------------------------------------- reading


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / INDEX
    try:
        index: dict[str, Any] = json.loads(_index_text(path))
    except FileNotFoundError:
        missing = f"it has no {INDEX}" if folder.is_dir() else "there is no such folder"
        raise CheckpointError(f"no checkpoint in {folder}: {missing}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):  # never from a file that we wrote
        raise CheckpointError(f"{path} is damaged: it is no JSON") from None
    return index


def _index_text(path: Path) -> str:
    """The text of an index, compared with the size and the digest in its first lines."""
    with open_to_read(path) as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(1000)
        header = _HEADER_READ.match(start)
        other = re.match(rb'\{\s*"format": (\d+)', start)
        if other and other[1] != b"%d" % FORMAT:
            raise CheckpointError(
                f"{path} has format {other[1].decode()}; this version reads format {FORMAT}"
            )
        if header is None:
            raise CheckpointError(f"{path} is damaged or is no checkpoint of tinygrad_rnn")
        wanted = header.end() + int(header[1])
        if size != wanted:
            lines = "its last lines are missing" if size < wanted else "it has lines too many"
            raise CheckpointError(f"{path} is damaged: {lines}, {size:,} bytes for {wanted:,}")
        body = start[header.end() :] + file.read(wanted)
    if hashlib.sha256(body).hexdigest().encode() != header[2]:
        raise CheckpointError(f"{path} is damaged: its contents are not what was saved")
    return "{\n" + body.decode("utf-8", "surrogatepass")


def _read_state(folder: Path, index: dict[str, Any]) -> dict[str, Any]:
    """The state of an index. **Raises** FileNotFoundError if one of its files has been removed."""
    state: dict[str, Any] = {**index["state"]}
    for file in index["files"].values():
        if not _NAME.fullmatch(file["name"]):  # a name, never a path to somewhere else
            raise CheckpointError(
                f"{folder / INDEX} is damaged: {file['name']!r} is no file of a checkpoint"
            )
    with ExitStack() as stack:
        opened: dict[str, BinaryIO] = {}
        for entry, file in list(index["files"].items())[:_OPEN]:
            opened[entry] = stack.enter_context(open_to_read(folder / file["name"]))
        for entry, file in index["files"].items():
            path = folder / file["name"]
            with opened.get(entry) or open_to_read(path) as source:
                arrays = _read_arrays(source, path, file["bytes"], file["sha256"])
            state[entry] = _put_arrays(state[entry], arrays)
    return state


def _read_arrays(file: BinaryIO, path: Path, wanted: int, digest: str) -> Arrays:
    size = os.fstat(file.fileno()).st_size
    if size != wanted:  # and is not worth its memory
        raise CheckpointError(f"{path} is damaged: it has {size:,} bytes, not {wanted:,}")
    raw = file.read()
    if hashlib.sha256(raw).hexdigest() != digest:
        raise CheckpointError(f"{path} is damaged: its contents are not what was saved")
    return from_bytes(raw, str(path))


# ---------------------------------------------------------------- trees


def _take_arrays(value: Any, path: str, arrays: dict[str, Any], depth: int = 0) -> Any:
    """Moves the arrays of a tree into `arrays`, by their path, and leaves references behind.

    **Returns** the rest as JSON has it: dicts, lists, strings, numbers, None.
    """
    if depth > _DEPTH:
        raise InvalidValueError(f"at {path[:30]!r}...: dicts and lists are over {_DEPTH} deep")
    if isinstance(value, Tensor) or is_array(value):
        _check_array(value, path)
        if not path:
            raise InvalidValueError("an array needs a name: put it in a dict")
        if path in arrays:
            raise InvalidValueError(f"at {path!r}: two arrays have this path: rename a key")
        arrays[path] = value
        return {_ARRAY: path}
    if isinstance(value, Mapping):
        taken = {}
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidTypeError(f"at {path!r}: expected strings as keys, got {key!r}")
            key = str.__str__(key)
            if key == _ARRAY or key in taken:
                raise InvalidValueError(f"at {path!r}: the key {key!r} is taken: rename it")
            taken[key] = _take_arrays(inner, _below(path, key), arrays, depth + 1)
        return taken
    if isinstance(value, list | tuple):
        return [
            _take_arrays(inner, _below(path, str(i)), arrays, depth + 1)
            for i, inner in enumerate(value)
        ]
    return _leaf(value, path)


def _check_array(value: Any, path: str) -> None:
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidTypeError(f"at {path!r}: a masked array would lose its mask: save both apart")
    dtype = value.dtype
    if dtype.kind not in "biufc" or dtype.itemsize > 8:
        raise InvalidTypeError(
            f"at {path!r}: an array of dtype {dtype} cannot be saved: expected booleans, integers, "
            "reals of up to 64 bits, or complex64"
        )


def _leaf(value: Any, path: str) -> Any:
    """A leaf of the tree as JSON has it, of Python's own type."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        if value.bit_length() > _BITS:
            raise InvalidValueError(f"at {path!r}: an integer of more than {_BITS:,} bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidValueError(
                f"at {path!r}: {value} is not finite, which JSON cannot say: save None, or an array"
            )
        return float(value)
    raise InvalidTypeError(
        f"at {path!r}: {type(value).__name__} cannot be saved: a state is made of dicts, lists, "
        "tuples, strings, numbers, None, Tensors and arrays; convert it, as by list() or str()"
    )


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


def _path(folder: str | Path) -> Path:
    if not isinstance(folder, str | os.PathLike):
        raise InvalidTypeError(
            f"a checkpoint's folder must be a str or a Path, not {type(folder).__name__}"
        )
    return Path(folder)
