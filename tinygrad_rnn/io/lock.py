"""A lock on a folder: one process at a time saves there, and the lock ends with the process.

It is the system's lock on the file `checkpoint.lock`, which exists while a process owns the lock
and names that process. A killed process leaves the file behind, but not the lock.
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

_OWNER = re.compile(rb"process \d+ on [^\n]*\n")
_UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_LOCKED = {errno.EAGAIN, errno.EACCES}  # Windows says the latter
_ATTEMPTS = 100  # a hundredth of a second apart, until the owner has written its name
_TRIES = 1000  # of opening a file that its owner is removing


class _Lock:
    """A lock that this process owns, for any number of its threads."""

    def __init__(self, path: Path, fd: int, created: list[Path]) -> None:
        self.path, self.fd, self.created = path, fd, created
        self.key = _identity(os.fstat(fd))
        self.users = 0
        self.saving = threading.RLock()
        self.busy = False


_locks: dict[tuple[int, int], _Lock] = {}  # by the lock file's device and inode
_guard = threading.RLock()


@contextmanager
def lock_checkpoint(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Prevents other processes from saving in a folder until the `with` block ends.

    `save_checkpoint` itself locks the folder for one save. A training locks it from before it loads
    a state until it has saved the last one. Blocks may be nested. Reading needs no lock.

    **Arguments** folder: created if it does not exist, and removed at the end if it is empty.

    **Raises** CheckpointError, immediately, that names another process which has locked the folder;
    or if the folder cannot be written.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder, lock_checkpoint(folder):
    ...     tg.io.save_checkpoint(folder, {"step": 1})
    """
    with _holding(Path(folder)):
        yield


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Locks a folder for one save; other threads that save there wait."""
    with _holding(folder) as lock, lock.saving:
        if lock.busy:  # the same thread, for example in a signal handler
            raise CheckpointError(
                f"cannot save in {folder}: this would interrupt another save there"
            )
        lock.busy = True
        try:
            yield
        finally:
            lock.busy = False


@contextmanager
def _holding(folder: Path) -> Iterator[_Lock]:
    try:
        with _guard:
            lock = _acquire(Path(os.path.abspath(folder)), folder)
            lock.users += 1
    except OSError as error:
        raise cannot_save(folder, error) from None
    try:
        yield lock
    finally:
        with _guard:
            lock.users -= 1
            if not lock.users and _locks.get(lock.key) is lock:  # not inherited from a parent
                del _locks[lock.key]
                _release(lock)


def _acquire(folder: Path, called: Path) -> _Lock:
    path = folder / LOCK
    created = [part for part in (folder, *folder.parents) if not part.exists()]
    for _ in range(_TRIES):
        with suppress(FileNotFoundError):
            if (lock := _locks.get(_identity(os.lstat(path)))) is not None:
                return lock
        folder.mkdir(parents=True, exist_ok=True)
        try:
            fd = _open(path)
        except FileNotFoundError:  # the process that created the folder has just removed it
            continue
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise CheckpointError(f"cannot save in {called}: {LOCK} is not a regular file")
            if owner := _lock_soon(fd):
                raise CheckpointError(
                    f"cannot save in {called}: {owner} saves there; wait until it ends, or choose "
                    "another folder"
                )
            with suppress(FileNotFoundError):
                if os.path.samestat(os.lstat(path), os.fstat(fd)):  # else its owner has removed it
                    _sign(fd)
                    lock = _Lock(path, fd, created)
                    _locks[lock.key] = lock
                    fd = -1
                    return lock
        finally:
            if fd >= 0:
                os.close(fd)
    raise CheckpointError(f"cannot save in {called}: other processes keep removing {LOCK}")


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    if path.is_symlink():
        path.unlink()
    return os.open(path, flags, 0o666)


def _lock_soon(fd: int) -> str:
    """Locks an open file, within a second. **Returns** "", or the process that has locked it."""
    owner = b""
    for attempt in range(_ATTEMPTS):
        if _lock(fd):
            return ""
        owner = _read(fd)
        if attempt >= 5 and _OWNER.fullmatch(owner):  # before, it may be the name of the last owner
            break
        time.sleep(0.01)
    return owner.decode(errors="replace").strip() if _OWNER.fullmatch(owner) else "a process"


def _lock(fd: int) -> bool:
    """Locks an open file. **Returns** False if another process has locked it."""
    try:
        if sys.platform == "win32":
            os.lseek(
                fd, 1 << 30, os.SEEK_SET
            )  # nobody can read a locked byte: lock one past the name
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _LOCKED:
            return False
        # Without locks, as on some network file systems, a save is still atomic.
        if error.errno not in _UNSUPPORTED:
            raise
    return True


def _read(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    return os.read(fd, 300)


def _ours(fd: int) -> bool:
    """Tells whether a lock file is ours, and has no other name."""
    return os.fstat(fd).st_nlink == 1 and bool(_OWNER.fullmatch(_read(fd) or b"process 0 on \n"))


def _sign(fd: int) -> None:
    if _ours(fd):
        with suppress(OSError):  # on a full disk it has no name
            os.ftruncate(fd, 0)
            os.lseek(fd, 0, os.SEEK_SET)
            name = f"process {os.getpid()} on {platform.node()}\n".encode()
            if os.write(fd, name) < len(name):
                os.ftruncate(fd, 0)


def _release(lock: _Lock) -> None:
    with suppress(OSError):
        ours = _ours(lock.fd) and os.path.samestat(os.lstat(lock.path), os.fstat(lock.fd))
        if sys.platform == "win32":  # which cannot remove an open file
            os.close(lock.fd)
        if ours:
            os.unlink(lock.path)
    if sys.platform != "win32":
        os.close(lock.fd)
    with suppress(OSError):
        for folder in lock.created:
            folder.rmdir()  # fails if it is not empty


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _after_fork() -> None:
    """Drops the parent's locks in a child, which would otherwise keep them after its end."""
    global _guard
    _guard = threading.RLock()
    for lock in _locks.values():
        os.close(lock.fd)
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
