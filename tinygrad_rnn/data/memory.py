"""How much memory there is: what cannot fit is refused in a line, not ended by the system."""

from __future__ import annotations

import functools
import os
import sys
from contextlib import suppress
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@functools.cache
def memory() -> int:
    """The bytes of memory that this process may have at most, sys.maxsize where nobody says."""
    found = [sys.maxsize]
    with suppress(AttributeError, ValueError, OSError):  # not every system says
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in _LIMITS:  # of a container
        with suppress(ValueError, OSError):  # "max", or no such limit
            found.append(int(Path(limit).read_text()))
    return min(found)


def too_large(needed: int) -> str:
    """Why so many bytes cannot be had, "" if they perhaps can.

    >>> too_large(10**30)
    'needs about 931,322,574,615,478,515,625 GiB of memory, and there are ...'
    """
    if needed <= memory():
        return ""
    return f"needs about {needed >> 30:,} GiB of memory, and there are {memory() >> 30:,}"
