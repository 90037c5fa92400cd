"""Clipping and optimizers' steps: one launch for all parameters, instead of some for each one."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from types import ModuleType
from typing import Any

import numpy as np

from .rows import compiles
from .sources import kernel

Array = Any

CHUNK, THREADS = 4096, 256  # as in many.cu


def fits(xp: ModuleType, arrays: Sequence[Array]) -> bool:
    """Whether arrays can go through one launch: contiguous, of one real dtype, on one device."""
    if not arrays or not compiles(xp):
        return False
    if not all(isinstance(a, xp.ndarray) for a in arrays):
        return False
    kinds = {(a.dtype, a.device.id) for a in arrays}
    return (
        len(kinds) == 1
        and str(arrays[0].dtype) in ("float32", "float64")
        and all(a.flags.c_contiguous for a in arrays)
    )


def _table(xp: ModuleType, *columns: Sequence[Array] | None) -> tuple[int, Array]:
    """The number of blocks, and a line for each tensor: first block, elements, addresses."""
    sizes = [a.size for a in columns[0] or ()]
    blocks = np.cumsum([0, *(-(-n // CHUNK) for n in sizes)])
    addresses = [[0] * len(sizes) if c is None else [a.data.ptr for a in c] for c in columns]
    lines = [blocks[:-1], sizes, *addresses]
    return int(blocks[-1]), xp.asarray(np.array(lines, np.int64).T.copy())


def clip_norm(xp: ModuleType, gradients: Sequence[Array], most: float) -> tuple[Array, list[Array]]:
    """Scales gradients to a norm of at most `most`; a norm that is not finite leaves them.

    **Arguments** gradients: as `fits` wants them. most: inf computes the norm only. **Returns** the
    norm before, (1,) float64, on the device; and the gradients, scaled ones in arrays of their own.
    """
    parts = [g for g in gradients if g.size]
    found = xp.zeros(2, "float64")
    scaled = list(gradients) if most == inf else [xp.empty_like(g) for g in gradients]
    if parts:
        blocks, table = _table(xp, parts, [s for s in scaled if s.size])
        sums, dtype = xp.empty(blocks, "float64"), str(parts[0].dtype)
        lines = np.int32(len(parts))
        kernel(xp, "many.cu", "sum_squares", Real=dtype)(
            (blocks,), (THREADS,), (table, lines, sums)
        )
        kernel(xp, "many.cu", "norm_factor", Real=dtype)(
            (1,), (THREADS,), (sums, np.int64(blocks), np.float64(most), found)
        )
        if most < inf:
            kernel(xp, "many.cu", "scale", Real=dtype)((blocks,), (THREADS,), (table, lines, found))
    return found[:1], scaled


def sgd(
    xp: ModuleType, p: Sequence[Array], g: Sequence[Array], v: Sequence[Array] | None = None, *,
    lr: float, momentum: float, nesterov: bool, decay: float,
) -> None:  # fmt: skip
    """As `optim.SGD`, of many parameters; v is None without momentum."""
    _step(xp, "sgd", (p, g, v), (lr, momentum, decay), np.int32(nesterov))


def rmsprop(
    xp: ModuleType, p: Sequence[Array], g: Sequence[Array], s: Sequence[Array],
    v: Sequence[Array] | None = None, *,
    lr: float, alpha: float, eps: float, momentum: float, decay: float,
) -> None:  # fmt: skip
    """As `optim.RMSprop`, of many parameters; v is None without momentum."""
    _step(xp, "rmsprop", (p, g, s, v), (lr, alpha, 1 - alpha, eps, momentum, decay))


def adam(
    xp: ModuleType, p: Sequence[Array], g: Sequence[Array], m: Sequence[Array], v: Sequence[Array],
    *, step: int, lr: float, betas: tuple[float, float], eps: float, decay: float, decoupled: bool,
) -> None:  # fmt: skip
    """As `kernels.adam`, of many parameters."""
    b1, b2 = betas
    shrink, decay = (1 - lr * decay, 0.0) if decoupled else (1.0, decay)
    scale, rate = (1 - b2**step) ** -0.5, lr / (1 - b1**step)
    _step(xp, "adam", (p, g, m, v), (b1, b2, 1 - b1, 1 - b2, shrink, decay, scale, eps, rate))


def _step(
    xp: ModuleType, name: str, columns: Sequence[Sequence[Array] | None], numbers: Sequence[float],
    *flags: Any,
) -> None:  # fmt: skip
    """Launches a step of parameters, whose arrays all together are as `fits` wants them."""
    parts = [None if c is None else [a for a in c if a.size] for c in columns]
    if not parts[0]:
        return
    blocks, table = _table(xp, *parts)
    dtype, lines = parts[0][0].dtype, np.int32(len(parts[0]))
    kernel(xp, "many.cu", name, Real=str(dtype))(
        (blocks,), (THREADS,), (table, lines, *map(dtype.type, numbers), *flags)
    )
