"""Checkpoints: folders that hold one consistent state, even if the program is killed.

    runs/demo/
        checkpoint.json                     everything except the arrays, in readable form
        model-1f0c93ab54de.safetensors      the arrays of the entry "model"
        optimizer-77d0e2c4a9b1.safetensors  the arrays of the entry "optimizer"

Files of arrays have the digest of their contents in their names, so a new state never overwrites
the old one's files. `checkpoint.json`, the index, names the files of the state. Replacing it is the
last step and atomic: before it the folder holds the old state, after it the new one. Then the save
removes the files that only the old state needed.

A save writes the new index to `checkpoint.json.tmp` before the files that it names; the index names
the superseded files, too. So whatever a killed process leaves behind is named in that file, and the
next save removes those files and no others.

A folder can keep the checkpoints before, too: a save copies the index to `checkpoint.json.1` (or a
higher number) before it replaces it, and afterwards removes the oldest ones beyond those to keep.
In place of a damaged checkpoint, `load_checkpoint` loads the newest intact one before it.

Sizes and SHA-256 digests guard each file; those of the index are in its first lines. A reader
opens all files before it reads any: files that a save removes meanwhile stay readable, and if one
does not exist any more, there is a newer state to read.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import InvalidTypeError, InvalidValueError, public
from ..tensor.shapes import integer
from .earlier import INDEX, UNFINISHED, drop_indexes, earlier, keep_index, list_earlier
from .files import CheckpointError, cannot_save, check_stored, open_to_read, sync_folder, write_new
from .index import ENTRY, NAME, NO_FIT, format_index, names_in, read_index, state_in, state_of
from .lock import saving
from .trees import put_arrays, take_arrays
from .weights import Arrays, from_bytes, to_bytes

_TEMPORARY = re.compile(NAME.pattern + r"\.tmp")
_OPEN = 100  # files at a time; systems have limits
_TRIES = 100  # of reading a checkpoint that other processes replace


@public
def has_checkpoint(folder: str | Path) -> bool:
    """Tests whether a folder has a checkpoint, intact or damaged.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.io.has_checkpoint(folder)
    False
    """
    folder = _path(folder)
    return os.path.lexists(folder / INDEX) or bool(earlier(folder))


@public
def save_checkpoint(
    folder: str | Path, state: Mapping[str, Any], *, keep_last: int = 1, verify: bool = False
) -> None:
    """Saves a state in a folder, and replaces the previous one, or keeps it beside the new one.

    One process at a time saves in a folder. A failed save leaves the old state, and nothing of the
    new one. Other files in the folder stay, and a save does not follow links.

    **Arguments** folder: created if it does not exist. state: a tree of dicts with strings as keys,
    lists, tuples (they load as lists), Python's and NumPy's numbers, strings, None, and, anywhere
    below the top, Tensors or arrays of any device. The arrays of each top-level entry share a file.
    keep_last: the checkpoints in the folder after the save, this one included; older ones are
    removed. verify: reads what was written, before it replaces anything.

    **Raises** CheckpointError if the folder cannot be written, another process saves there, or a
    file reads otherwise than it was written; TypeError or ValueError for other values in the tree,
    such as numbers that are not finite.

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
    integer(keep_last, "save_checkpoint: keep_last", 1)
    plain: dict[str, Any] = {}
    files: dict[str, dict[str, Any]] = {}
    contents: dict[str, bytes] = {}
    for entry, value in state.items():
        if not isinstance(entry, str):
            raise InvalidTypeError(f"save_checkpoint: an entry's name must be a str, not {entry!r}")
        if not re.fullmatch(ENTRY, entry):
            raise InvalidValueError(
                "save_checkpoint: an entry's name must be a word of at most 40 letters, digits "
                f"and underscores that does not begin with a digit, not {entry!r}"
            )
        arrays: dict[str, Any] = {}
        try:
            plain[str.__str__(entry)] = take_arrays(value, "", arrays)
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
            _replace(folder, plain, files, contents, keep_last - 1, verify)
    except OSError as error:
        raise cannot_save(folder, error) from None


@public
def load_checkpoint(folder: str | Path) -> dict[str, Any]:
    """Loads the state in a folder; if a process saves there meanwhile, the old or a new one.

    If it is damaged, and the folder keeps earlier ones, it warns, and loads the newest intact one.

    **Returns** the saved tree, with NumPy arrays, with lists for tuples, and with Python's numbers
    for NumPy's.

    **Raises** CheckpointError if there is no checkpoint, or if it is damaged or of another format.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.io.save_checkpoint(folder, {"step": 3, "best": [0.5, None]})
    ...     tg.io.load_checkpoint(folder)
    {'step': 3, 'best': [0.5, None]}
    """
    folder = _path(folder)
    try:
        return _load(folder, INDEX)
    except CheckpointError as error:
        for path in (before := earlier(folder)):
            with suppress(CheckpointError):
                state = _load(folder, path.name)
                warnings.warn(f"{error}: loading the one before it, {path.name}", stacklevel=3)
                return state
        if not before:
            raise
        raise CheckpointError(
            f"{error}, and no earlier one there is whole: restore the folder from a copy, or train "
            "again in another one"
        ) from None


def _load(folder: Path, name: str) -> dict[str, Any]:
    """Loads the state of an index."""
    before: Any = None
    for _ in range(_TRIES):
        index = read_index(folder, name)
        try:
            return _read_state(folder, name, index)
        except FileNotFoundError as error:
            if index == before:
                lost = Path(error.filename).name
                raise CheckpointError(f"the checkpoint in {folder} lacks its file {lost}") from None
            before = index  # try again: there may be a newer one
        except OSError as error:
            raise CheckpointError(f"cannot read {error.filename}: {error.strerror}") from None
        except NO_FIT:
            raise CheckpointError(f"{folder / name} is damaged: its entries do not fit") from None
    raise CheckpointError(
        f"other processes replace the checkpoint in {folder} too often to read it"
    )


# ---------------------------------------------------------------- writing


def _replace(
    folder: Path,
    plain: dict[str, Any],
    files: dict[str, dict[str, Any]],
    contents: dict[str, bytes],
    keep: int,
    verify: bool,
) -> None:
    """Replaces the old state by a new one, and keeps so many before it."""
    pending = folder / (INDEX + ".tmp")
    newest, superseded = names_in(folder / INDEX)
    current = newest.union(*(names_in(path)[0] for path in list_earlier(folder)))
    left = _remove_leftovers(folder, current, superseded)
    _remove(folder, {pending.name})
    new, old = state_in(format_index(plain, files, set())), state_of(folder / INDEX)
    if keep and old and old not in (new, *map(state_of, list_earlier(folder)[:1])):
        keep_index(folder)
    indexes = list_earlier(folder)
    same = indexes[:1] if new in map(state_of, indexes[:1]) else []  # kept by a killed save
    kept, dropped = indexes[len(same) :][:keep], same + indexes[len(same) :][keep:]
    needed = set[str]().union(*(names_in(path)[0] for path in kept))
    superseded = (current | left) - contents.keys() - needed
    try:
        index = format_index(plain, files, superseded)
        write_new(pending, index)
        sync_folder(folder)
        for name, raw in contents.items():
            write_new(folder / (name + ".tmp"), raw)
        if verify:
            check_stored(pending, index)
            for name, raw in contents.items():
                check_stored(folder / (name + ".tmp"), raw)
        for name in contents:
            os.replace(folder / (name + ".tmp"), folder / name)
        sync_folder(folder)
        os.replace(pending, folder / INDEX)  # from now on the folder holds the new state
        sync_folder(folder)
    except (OSError, CheckpointError):
        with suppress(OSError):
            if not _remove_leftovers(folder, current, set()):
                _remove(folder, {pending.name})
        raise
    if drop_indexes(dropped):  # else the next save removes them, and their files
        _remove(folder, superseded)


def _remove_leftovers(folder: Path, current: set[str], superseded: set[str]) -> set[str]:
    """Removes the files of an unfinished save, except its index and those of the current state.

    **Returns** those that the system does not remove.
    """
    written, _ = names_in(folder / (INDEX + ".tmp"))
    left = (written | superseded) - current
    temporary = {
        name
        for name in os.listdir(folder)
        if _TEMPORARY.fullmatch(name) or UNFINISHED.fullmatch(name)
    }
    _remove(folder, left | temporary)
    return {name for name in left if os.path.lexists(folder / name)}


def _remove(folder: Path, names: set[str]) -> None:
    for name in names:
        with suppress(OSError):  # some systems keep files that a process reads: the next save tries
            (folder / name).unlink()


# ---------------------------------------------------------------- reading


def _read_state(folder: Path, name: str, index: dict[str, Any]) -> dict[str, Any]:
    """Reads the state of an index. **Raises** FileNotFoundError if one of its files is missing."""
    state: dict[str, Any] = {**index["state"]}
    for file in index["files"].values():
        if not NAME.fullmatch(file["name"]):  # never a path to another folder
            raise CheckpointError(
                f"{folder / name} is damaged: {file['name']!r} is not a file of a checkpoint"
            )
    with ExitStack() as stack:
        opened: dict[str, BinaryIO] = {}
        for entry, file in list(index["files"].items())[:_OPEN]:
            opened[entry] = stack.enter_context(open_to_read(folder / file["name"]))
        for entry, file in index["files"].items():
            path = folder / file["name"]
            with opened.get(entry) or open_to_read(path) as source:
                arrays = _read_arrays(source, path, file["bytes"], file["sha256"])
            state[entry] = put_arrays(state[entry], arrays)
    return state


def _read_arrays(file: BinaryIO, path: Path, wanted: int, digest: str) -> Arrays:
    size = os.fstat(file.fileno()).st_size
    if size != wanted:  # checked before it takes memory
        raise CheckpointError(f"{path} is damaged: it has {size:,} bytes, not {wanted:,}")
    raw = file.read()
    if hashlib.sha256(raw).hexdigest() != digest:
        raise CheckpointError(f"{path} is damaged: its contents have changed")
    return from_bytes(raw, str(path))


def _path(folder: str | Path) -> Path:
    if not isinstance(folder, str | os.PathLike):
        raise InvalidTypeError(
            f"a checkpoint's folder must be a str or a Path, not {type(folder).__name__}"
        )
    return Path(folder)
