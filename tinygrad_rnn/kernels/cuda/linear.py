"""The linear recurrence on a GPU, in one launch: see `kernels.linear`."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from .rows import enabled
from .sources import kernel

Array = Any


def has_linear_recurrence(xp: ModuleType, *arrays: Array) -> bool:
    """Whether the kernel takes these arrays."""
    return enabled(xp) and all(str(x.dtype) in ("float32", "float64") for x in arrays)


def linear_recurrence(
    xp: ModuleType, a: Array, b: Array, h0: Array, y: Array, reverse: bool
) -> None:
    """Computes h of all steps into y, (T, ...)."""
    if y.size:
        given = [xp.ascontiguousarray(x, dtype=y.dtype) for x in (a, b, h0)]
        kernel(xp, "linear.cu", "linear_recurrence", Real=str(y.dtype))(
            (-(-h0.size // 256),), (256,),
            (*given, y, np.int64(len(a)), np.int64(h0.size), np.bool_(reverse)),
        )  # fmt: skip
