"""Random bits from a counter, on a GPU: see `kernels.philox`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .sources import cuda_source

Array = Any


@lru_cache
def _kernel(xp: Any, out: str) -> Any:
    source = cuda_source("philox.cu")
    return xp.RawModule(code=f"typedef {out} Out;\n{source}").get_function("philox")


def random_words(xp: Any, out: Array, key: int, call: int, first: int, least: int) -> None:
    """Fills a contiguous array: as the native function of that name."""
    if out.size:
        _kernel(xp, "bool" if out.dtype == bool else "unsigned")(
            (-(-out.size // 1024),), (256,),
            (out, np.int64(out.size), *map(np.uint64, (key, call, first)), np.uint32(least)),
        )  # fmt: skip
