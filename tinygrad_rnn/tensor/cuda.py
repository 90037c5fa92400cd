"""CUDA devices: whether there is one, its memory, waiting for it, and the precision of products."""

from __future__ import annotations

import numpy as np

from ..errors import DeviceError, InvalidTypeError, public
from . import backend

__all__ = [
    "allow_tf32", "empty_cache", "is_available", "memory_stats", "synchronize", "why_not",
]  # fmt: skip


def is_available() -> bool:
    """Tests whether device `cuda` can be used: CuPy is installed and finds a GPU.

    >>> import tinygrad_rnn as tg
    >>> tg.cuda.is_available() in (True, False)
    True
    """
    return why_not() == ""


def why_not() -> str:
    """Explains why device `cuda` is not available, and what to install; empty if it is.

    >>> import tinygrad_rnn as tg
    >>> tg.cuda.is_available() == (not tg.cuda.why_not())
    True
    """
    try:
        backend.platforms["cuda"]()
    except DeviceError as error:
        return str(error)
    return ""


@public
def synchronize() -> None:
    """Waits until the current GPU has finished all launched kernels: call it before timing.

    **Raises** DeviceError without a GPU.

    >>> import tinygrad_rnn as tg
    >>> if tg.cuda.is_available():
    ...     tg.cuda.synchronize()
    """
    backend.platforms["cuda"]().cuda.Device().synchronize()


@public
def memory_stats() -> dict[str, int]:
    """Counts bytes of the current GPU's memory.

    **Returns** `arrays`: those that arrays take. `cached`: those kept for later arrays, which
    `empty_cache` gives back. `free`, `total`: of the device, for all processes. **Raises**
    DeviceError without a GPU.

    >>> import tinygrad_rnn as tg
    >>> if tg.cuda.is_available():
    ...     used = tg.cuda.memory_stats()["arrays"]
    """
    cupy = backend.platforms["cuda"]()
    pool = cupy.get_default_memory_pool()
    free, total = cupy.cuda.runtime.memGetInfo()
    return {
        "arrays": pool.used_bytes(), "cached": pool.free_bytes(), "free": free, "total": total,
    }  # fmt: skip


@public
def empty_cache() -> None:
    """Frees GPU memory that no array uses, for other programs.

    **Raises** DeviceError without a GPU.

    >>> import tinygrad_rnn as tg
    >>> if tg.cuda.is_available():
    ...     tg.cuda.empty_cache()
    """
    cupy = backend.platforms["cuda"]()
    cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_pinned_memory_pool().free_all_blocks()


@public
def allow_tf32(allowed: bool) -> None:
    """Chooses whether products of float32 may round their operands to TF32; at first they may not.

    TF32 has float32's range and 10 bits of its 23: up to 8 times as fast from Ampere on.
    **Raises** DeviceError without a GPU, TypeError for anything but a bool.

    >>> import tinygrad_rnn as tg
    >>> if tg.cuda.is_available():
    ...     tg.cuda.allow_tf32(True)
    """
    if not isinstance(allowed, bool):
        raise InvalidTypeError(f"allow_tf32: allowed: expected True or False, got {allowed!r}")
    core = backend.platforms["cuda"]()._core
    kinds = core._routines_linalg
    kind = kinds.COMPUTE_TYPE_TF32 if allowed else kinds.COMPUTE_TYPE_DEFAULT
    core.set_compute_type(np.float32, kind)
