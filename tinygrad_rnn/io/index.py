"""The index of a checkpoint, `checkpoint.json`: its format, and which files it names.

Its first lines have the size and the SHA-256 digest of the rest.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from .earlier import INDEX
from .files import CheckpointError, open_to_read

FORMAT = 2

ENTRY = r"[^\W\d]\w{0,39}"  # an entry's name, which begins its file's name
NAME = re.compile(ENTRY + r"-[0-9a-f]{12}\.safetensors")
_HEADER = '{{\n  "format": {},\n  "bytes": {},\n  "sha256": "{}",\n'  # of the rest of the file
_HEADER_READ = re.compile(rf"\{_HEADER.format(FORMAT, '([0-9]+)', '([0-9a-f]{64})')}".encode())

_UTF8 = "utf-8", "surrogatepass"  # file names may have surrogates
_FILES = b'\n  "files": '  # begins the part of an index that is the state's
NO_FIT = (KeyError, TypeError, AttributeError, ValueError)  # an intact index with wrong entries


def format_index(plain: dict[str, Any], files: dict[str, Any], superseded: set[str]) -> bytes:
    """Formats the contents of `checkpoint.json`."""
    index = {"superseded": sorted(superseded), "files": files, "state": plain}
    body = _readable(index).removeprefix("{\n").encode(*_UTF8)
    digest = hashlib.sha256(body).hexdigest()
    return _HEADER.format(FORMAT, len(body), digest).encode() + body


def _readable(tree: dict[str, Any], margin: str = "\n  ") -> str:
    """Formats a tree as JSON, with a line for each entry of the outer two levels.

    With `indent`, `json.dumps` is slower, and leaves cycles of functions to the garbage collector.
    """
    lines = []
    for name, value in tree.items():
        inner = isinstance(value, dict) and len(margin) == 3
        text = _readable(value, margin + "  ") if inner else _json(value)
        lines.append(f"{margin}{_json(name)}: {text}")
    return f"{{{','.join(lines)}{margin[:-2] if lines else ''}}}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


# ---------------------------------------------------------------- reading


def read_index(folder: Path, name: str = INDEX) -> dict[str, Any]:
    path = folder / name
    try:
        index: dict[str, Any] = json.loads(_index_text(path))
    except FileNotFoundError:
        missing = f"it has no {name}" if folder.is_dir() else "there is no such folder"
        raise CheckpointError(f"no checkpoint in {folder}: {missing}") from None
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):  # not from a file of ours
        raise CheckpointError(f"{path} is damaged: it is not JSON") from None
    return index


def _index_text(path: Path) -> str:
    """Reads an index, and checks the size and the digest in its first lines."""
    with open_to_read(path) as file:
        size, start = os.fstat(file.fileno()).st_size, file.read(1000)
        header = _HEADER_READ.match(start)
        other = re.match(rb'\{\s*"format": (\d+)', start)
        if other and other[1] != b"%d" % FORMAT:
            raise CheckpointError(
                f"{path} has format {other[1].decode()}; this version reads format {FORMAT}"
            )
        if header is None:
            raise CheckpointError(f"{path} is damaged or not a checkpoint of tinygrad_rnn")
        wanted = header.end() + int(header[1])
        if size != wanted:
            lines = "its last lines are missing" if size < wanted else "it has additional lines"
            raise CheckpointError(f"{path} is damaged: {lines}, {size:,} bytes for {wanted:,}")
        body = start[header.end() :] + file.read(wanted)
    if hashlib.sha256(body).hexdigest().encode() != header[2]:
        raise CheckpointError(f"{path} is damaged: its contents have changed")
    return "{\n" + body.decode(*_UTF8)


def names_in(path: Path) -> tuple[set[str], set[str]]:
    """Returns the files of an index, and those that it supersedes; none if it is damaged.

    **Raises** OSError if it cannot be read: a save that does not know its files removes none.
    """
    try:
        index = json.loads(_index_text(path))
        names = {file["name"] for file in index["files"].values()}, set(index["superseded"])
    except (CheckpointError, FileNotFoundError, RecursionError, *NO_FIT):
        return set(), set()
    if not all(isinstance(n, str) and NAME.fullmatch(n) for n in names[0] | names[1]):
        return set(), set()
    return names


def state_of(path: Path) -> bytes:
    """Returns the part of an index that is the state's, or nothing if it is damaged."""
    try:
        return state_in(_index_text(path).encode(*_UTF8))
    except (CheckpointError, FileNotFoundError):
        return b""


def state_in(index: bytes) -> bytes:
    return index.partition(_FILES)[2]
