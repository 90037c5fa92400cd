"""Earlier checkpoints of a folder: their indexes, `checkpoint.json.1` and up, the last the newest.

Each is a copy of the `checkpoint.json` of its time. Files of arrays have the
digest of their contents in their names, so checkpoints share those that are equal.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .files import open_to_read, write_new

INDEX = "checkpoint.json"
_EARLIER = re.compile(rf"{re.escape(INDEX)}\.([0-9]{{1,15}})")
UNFINISHED = re.compile(rf"{_EARLIER.pattern}\.tmp")


def earlier(folder: Path) -> list[Path]:
    """Returns the earlier indexes in a folder, the newest first; none if it cannot be read."""
    try:
        return list_earlier(folder)
    except OSError:
        return []


def list_earlier(folder: Path) -> list[Path]:
    """Returns the earlier indexes in a folder, the newest first."""
    numbers = sorted((int(m[1]), n) for n in os.listdir(folder) if (m := _EARLIER.fullmatch(n)))
    return [folder / name for _, name in reversed(numbers)]


def keep_index(folder: Path) -> None:
    """Copies the index to a new earlier one."""
    with open_to_read(folder / INDEX) as file:
        index = file.read()
    numbers = [int(newest.name.rpartition(".")[2]) for newest in list_earlier(folder)[:1]]
    path = folder / f"{INDEX}.{sum(numbers) + 1}"
    write_new(folder / f"{path.name}.tmp", index)
    os.replace(folder / f"{path.name}.tmp", path)


def drop_indexes(paths: list[Path]) -> bool:
    """Removes earlier indexes, the oldest first. **Returns** False if one cannot be removed."""
    try:
        for path in reversed(paths):
            path.unlink()
    except OSError:
        return False
    return True
