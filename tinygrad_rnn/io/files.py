"""Regular files: opened without waiting, and written without following links."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import DeviceError, TinygradRnnError


class CheckpointError(TinygradRnnError, RuntimeError):
    """A file or a checkpoint that is missing, damaged, or of another format."""


@contextmanager
def fitting() -> Iterator[None]:
    """Turns the errors of a state whose entries do not fit together into a CheckpointError."""
    try:
        yield
    except (CheckpointError, DeviceError):
        raise
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"the checkpoint's entries do not fit together: {what}") from None


@contextmanager
def reading(path: str | Path, who: str = "", kind: str = "") -> Iterator[None]:
    """Turns the errors of reading a file into a CheckpointError that names it.

    **Arguments** who: begins the error, such as `from_keras: `. kind: what a damaged file may be,
    whose readers raise whatever they like; empty leaves all but the system's errors.
    """
    try:
        yield
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{who}cannot read {path}: {error.strerror or error}") from None
    except Exception as error:
        if not kind:
            raise
        why = str(error)[:300] or type(error).__name__
        raise CheckpointError(f"{who}{path} is damaged or {kind}: {why}") from None


def cannot_save(folder: Path, error: OSError) -> CheckpointError:
    """Describes a system error in one line, with the folder and the file in it."""
    named = error.filename2 or error.filename
    what = f" ({Path(named).name})" if isinstance(named, str) else ""
    return CheckpointError(f"cannot save in {folder}: {error.strerror or error}{what}")


def open_to_read(path: Path) -> BinaryIO:
    """Opens a regular file, and refuses a pipe, on which opening could wait for ever.

    **Raises** CheckpointError for a file that is not regular, OSError if opening fails.
    """
    return open(path, "rb", opener=_regular)


def _regular(path: str, flags: int) -> int:
    fd = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise CheckpointError(f"{path} is not a regular file")


def write_new(path: Path, contents: bytes) -> None:
    """Writes a new file and waits until it is stored. **Raises** OSError if the name exists."""
    with open(path, "xb") as file:
        file.write(contents)
        file.flush()
        os.fsync(file.fileno())


def check_stored(path: Path, contents: bytes) -> None:
    """Reads a file back, from the disk where the system supports it.

    **Raises** CheckpointError if it reads otherwise.
    """
    with open_to_read(path) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # not from the cache
        if file.read() != contents:
            raise CheckpointError(
                f"cannot save in {path.parent}: {path.name} reads otherwise than it was written: "
                "check the disk, or save in another folder"
            )


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are stored, if the system supports it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(fd)
