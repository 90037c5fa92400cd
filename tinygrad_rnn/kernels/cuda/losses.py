"""Cross-entropy and its gradient on a GPU, in one launch: see `kernels.cross_entropy`."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

from .rows import enabled
from .sources import kernel

Array = Any

THREADS = 256  # as in losses.cu


def has_cross_entropy(xp: ModuleType, x: Array, *others: Array | None) -> bool:
    """Whether `cross_entropy` runs: where CUDA compiles, all float32 or all float64, not empty.

    **Arguments** others: arrays of real numbers, or None; those that are written are contiguous.
    """
    if not (enabled(xp) and x.size and str(x.dtype) in ("float32", "float64")):
        return False
    return all(a is None or a.dtype == x.dtype for a in others)


def cross_entropy(
    xp: ModuleType,
    x: Array,
    targets: Array,
    weights: Array | None = None,
    counts: Array | None = None,
    *,
    smoothing: float = 0.0,
    losses: Array | None = None,
    gradient: Array | None = None,
) -> None:
    """Writes the losses, and the gradient of their sum weighted by weights, where they are asked.

    **Arguments** as `kernels.cross_entropy` and `kernels.cross_entropy_gradient` have them. losses,
    gradient: contiguous, or None; gradient may be x.
    """
    x, targets = xp.ascontiguousarray(x), xp.ascontiguousarray(targets)
    arrays = [None if a is None else xp.ascontiguousarray(a) for a in (weights, counts)]
    kernel(xp, "losses.cu", "cross_entropy", Real=str(x.dtype), Id=str(targets.dtype))(
        (targets.size,), (THREADS,),
        (
            x, targets, *(a if a is not None else np.uintp(0) for a in arrays),
            x.dtype.type(smoothing),
            *(a if a is not None else np.uintp(0) for a in (losses, gradient)),
            np.int64(x.shape[-1]),
        ),
    )  # fmt: skip


def weighted_sum(xp: ModuleType, weights: Array, losses: Array) -> Array:
    """The sum of weights * losses, (); where a weight is 0, a loss that is not finite becomes 0.

    **Arguments** losses: contiguous, of the dtype of weights, not empty.
    """
    total = xp.empty((), losses.dtype)
    kernel(xp, "losses.cu", "weighted_sum", Real=str(losses.dtype), Id="int64")(
        (1,), (THREADS,), (xp.ascontiguousarray(weights), losses, total, np.int64(losses.size))
    )
    return total
