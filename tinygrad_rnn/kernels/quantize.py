"""Quantization of weights to 8 bits: integers from -127 to 127, times one scale per row."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..errors import InvalidValueError

BLOCK = 64  # `kQuantizedBlock` in kernels.hpp: rows are padded to a multiple of it


def quantize_int8(xp: ModuleType, w: Any) -> tuple[Any, Any, Any]:
    """Quantizes a matrix: moves each weight by at most its row's largest magnitude over 254.

    **Arguments** w: (R, D). **Returns** the quantized weights as real numbers, in w's dtype; the
    integers plus 128, uint8, (R, D padded to whole blocks); and the scales, float32, (R,).
    **Raises** ValueError for a weight that is not finite.
    """
    rows, depth = w.shape
    scales = xp.abs(w).max(axis=1).astype("float32") / xp.float32(127)
    if not bool(xp.isfinite(scales).all()):
        raise InvalidValueError(
            "quantized: a weight is infinite or NaN, which 8 bits cannot represent"
        )
    integers = xp.rint(w / xp.where(scales == 0, xp.float32(1), scales)[:, None])
    padded = xp.full((rows, -(-depth // BLOCK) * BLOCK), 128, dtype="uint8")
    padded[:, :depth] = integers + 128
    return (integers * scales[:, None]).astype(w.dtype), padded, scales
