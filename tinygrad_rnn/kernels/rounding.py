"""Weights rounded to 8 bits: whole numbers from -127 to 127, times a scale for each row."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidValueError

BLOCK = 64  # `rounded_block` in layer.hpp: rows are filled up to a multiple of it


def rounded(xp: Any, w: Any) -> tuple[Any, Any, Any]:
    """Rounds a matrix: each weight by at most its row's largest, in magnitude, over 254.

    **Arguments** w: (R, D). **Returns** the rounded weights, in w's dtype; the whole numbers that
    they are, with 128 added to each, uint8, (R, D filled up to whole blocks); and the rows' scales,
    float32. **Raises** ValueError for a weight that is not finite.
    """
    rows, depth = w.shape
    scales = xp.abs(w).max(axis=1).astype("float32") / xp.float32(127)
    if not bool(xp.isfinite(scales).all()):
        raise InvalidValueError(
            "rounded: a weight is infinite or NaN: no whole numbers stand for it"
        )
    whole = xp.rint(w / xp.where(scales == 0, xp.float32(1), scales)[:, None])
    filled = xp.full((rows, -(-depth // BLOCK) * BLOCK), 128, dtype="uint8")
    filled[:, :depth] = whole + 128
    return (whole * scales[:, None]).astype(w.dtype), filled, scales
