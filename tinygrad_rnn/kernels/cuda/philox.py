"""Random bits from a counter, on a GPU: see `kernels.philox`."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from .sources import kernel

Array = Any


def random_words(xp: ModuleType, out: Array, key: int, call: int, first: int, least: int) -> None:
    """Fills a contiguous array: as the native function of that name."""
    if out.size:
        kernel(xp, "philox.cu", "philox", Out=str(out.dtype))(
            (-(-out.size // 1024),), (256,),
            (out, np.int64(out.size), *map(np.uint64, (key, call, first)), np.uint32(least)),
        )  # fmt: skip
