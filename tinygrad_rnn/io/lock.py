"""One process at a time saves in a folder; its lock ends when it does, however it ends.

The lock is the system's, on the file `checkpoint.lock`, which is there while it is held and says
whose it is. Where a process was killed the file is left behind, but the lock is not.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .files import CheckpointError, cannot_save

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = "checkpoint.lock"

_HOLDER = re.compile(rb"process \d+ on [^\n]*\n")
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_ATTEMPTS = 100  # a hundredth of a second apart, until the holder has signed
_TRIES = 1000  # of opening a file that its holder is removing


class _Held:
    """A lock that this process holds, by however many of its threads."""

    def __init__(self, path: Path, fd: int, made: list[Path]) -> None:
        self.path, self.fd, self.made = path, fd, made
        self.key = _identity(os.fstat(fd))
        self.users = 0
        self.saving = threading.RLock()
        self.busy = False


_held: dict[tuple[int, int], _Held] = {}  # by the lock file's device and number
_guard = threading.RLock()


@contextmanager
def lock_checkpoint(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps other processes from saving in a folder until the `with` block ends.

    Without it `save_checkpoint` does so for as long as it takes. A training that saves again and
    again holds the folder from before it loads the state until it has saved the last one. Blocks
    may be nested. Reading needs no lock.

    **Arguments** folder: made if need be, and removed at the end if it is still empty.

    **Raises** CheckpointError, at once, if another process holds the folder, and says which; or if
    the folder cannot be written.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder, lock_checkpoint(folder):
    ...     tg.io.save_checkpoint(folder, {"step": 1})
    """
    with _holding(Path(folder)):
        yield


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Holds a folder for one save, while other threads that want to save there wait."""
    with _holding(folder) as held, held.saving:
        if held.busy:  # the same thread, from a signal handler say
            raise CheckpointError(f"cannot save in {folder}: a save there is being interrupted")
        held.busy = True
        try:
            yield
        finally:
            held.busy = False


@contextmanager
def _holding(folder: Path) -> Iterator[_Held]:
    try:
        with _guard:
            held = _take(Path(os.path.abspath(folder)), folder)
            held.users += 1
    except OSError as error:
        raise cannot_save(folder, error) from None
    try:
        yield held
    finally:
        with _guard:
            held.users -= 1
            if not held.users and _held.get(held.key) is held:  # not inherited from a parent
                del _held[held.key]
                _give_back(held)


def _take(folder: Path, called: Path) -> _Held:
    path = folder / LOCK
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            if (held := _held.get(_identity(os.lstat(path)))) is not None:
                return held
        folder.mkdir(parents=True, exist_ok=True)
        try:
            fd = _open(path)
        except FileNotFoundError:  # the folder has just been removed by the one who made it
            continue
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise CheckpointError(f"cannot save in {called}: {LOCK} is not a plain file")
            if holder := _lock_soon(fd):
                raise CheckpointError(
                    f"cannot save in {called}: {holder} saves there; wait until it ends, or choose "
                    "another folder"
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.lstat(path), os.fstat(fd)):  # else it has been removed
                    _sign(fd)
                    held = _Held(path, fd, made)
                    _held[held.key] = held
                    fd = -1
                    return held
        finally:
            if fd >= 0:
                os.close(fd)
    raise CheckpointError(f"cannot save in {called}: {LOCK} is removed again and again")


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    if path.is_symlink():
        path.unlink()
    return os.open(path, flags, 0o666)


def _lock_soon(fd: int) -> str:
    """Locks an open file, within a second. **Returns** who else has locked it, or nothing."""
    holder = b""
    for attempt in range(_ATTEMPTS):
        if _lock(fd):
            return ""
        holder = _read(fd)
        if attempt >= 5 and _HOLDER.fullmatch(holder):  # before, it may not have signed yet
            break
        time.sleep(0.01)
    return holder.decode(errors="replace").strip() if _HOLDER.fullmatch(holder) else "a process"


def _lock(fd: int) -> bool:
    """Locks an open file. **Returns** False if another process has locked it."""
    try:
        if sys.platform == "win32":
            os.lseek(fd, 1 << 30, os.SEEK_SET)  # a locked byte cannot be read: not the holder's
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Without locks, as on some network file systems, a save is still all or nothing.
        return error.errno in _UNSUPPORTED
    return True


def _read(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, 300)


def _ours(fd: int) -> bool:
    """Whether a lock file is one that we wrote, under this name alone."""
    return os.fstat(fd).st_nlink == 1 and bool(_HOLDER.fullmatch(_read(fd) or b"process 0 on \n"))


def _sign(fd: int) -> None:
    if _ours(fd):
        with suppress(OSError):  # on a full disk it stays unsigned
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            os.write(fd, f"process {os.getpid()} on {platform.node()}\n".encode())


def _give_back(held: _Held) -> None:
    with suppress(OSError):
        ours = _ours(held.fd) and os.path.samestat(os.lstat(held.path), os.fstat(held.fd))
        if sys.platform == "win32":  # an open file cannot be removed
            os.close(held.fd)
        if ours:
            os.unlink(held.path)
    if sys.platform != "win32":
        os.close(held.fd)
    with suppress(OSError):
        for folder in held.made:
            folder.rmdir()  # unless something is in it


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _after_fork() -> None:
    """A child holds none of its parent's locks, and does not keep them held after its end."""
    global _guard
    _guard = threading.RLock()
    for held in _held.values():
        os.close(held.fd)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
