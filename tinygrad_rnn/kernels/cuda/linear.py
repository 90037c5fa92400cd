"""The linear recurrence on a GPU, in one launch: see `kernels.linear`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from .rows import TYPES, enabled
from .sources import cuda_source

Array = Any


def has_linear_recurrence(xp: Any, *arrays: Array) -> bool:
    """Whether the kernel takes these arrays."""
    return enabled(xp) and all(str(x.dtype) in ("float32", "float64") for x in arrays)


@lru_cache
def _kernel(xp: Any, real: str) -> Any:
    source = cuda_source("linear.cu")
    return xp.RawModule(code=f"typedef {TYPES[real]} Real;\n{source}").get_function(
        "linear_recurrence"
    )


def linear_recurrence(xp: Any, a: Array, b: Array, h0: Array, y: Array, reverse: bool) -> None:
    """Computes h of all steps into y, (T, ...)."""
    if y.size:
        given = [xp.ascontiguousarray(x, dtype=y.dtype) for x in (a, b, h0)]
        _kernel(xp, str(y.dtype))(
            (-(-h0.size // 256),), (256,),
            (*given, y, np.int64(len(a)), np.int64(h0.size), np.bool_(reverse)),
        )  # fmt: skip
