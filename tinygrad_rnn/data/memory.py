"""The available memory, to refuse a computation that cannot fit before the system kills it."""

from __future__ import annotations

import functools
import os
import sys
from contextlib import suppress
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def memory() -> int:
    """Returns the bytes of memory that this process can use, sys.maxsize if unknown."""
    limits = [sys.maxsize]
    with suppress(AttributeError, ValueError, OSError):  # not on every system
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in _LIMITS:  # of a container
        with suppress(ValueError, OSError):  # "max", or no such limit
            limits.append(int(Path(limit).read_text()))
    return min(limits)


def too_large(needed: int) -> str:
    """Explains why so many bytes cannot be allocated; "" if they may fit.

    >>> too_large(10**30)
    'needs about 931,322,574,615,478,515,625 GiB of memory, and there are ...'
    """
    if needed <= memory():
        return ""
    return f"needs about {needed >> 30:,} GiB of memory, and there are {memory() >> 30:,}"
