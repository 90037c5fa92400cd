"""Rows of tables on a GPU: sums whose bits repeat, and ids that are checked without a wait."""

from __future__ import annotations

import math
import os
from types import ModuleType
from typing import Any

import numpy as np

from .sources import kernel

Array = Any


def compiles(xp: ModuleType) -> bool:
    """Whether an array module compiles CUDA sources."""
    return hasattr(xp, "RawModule")


def enabled(xp: ModuleType) -> bool:
    """Whether CUDA kernels run in place of array code; not if the environment says no."""
    return compiles(xp) and os.environ.get("TINYGRAD_RNN_KERNELS") != "reference"


def scatter_add(xp: ModuleType, buffer: Array, index: Any, value: Array) -> None:
    """Adds into a buffer at an index, as often as it names an element: the same bits each time.

    `add.at` adds in the order in which threads come. The index names elements by integers.
    """
    if not compiles(xp) or buffer.dtype.kind != "f":  # sums of integers do not depend on the order
        xp.add.at(buffer, index, value)
        return
    table = buffer if buffer.flags.c_contiguous else xp.ascontiguousarray(buffer)
    if isinstance(index, xp.ndarray) and buffer.ndim > 1:
        ids, row = index % len(buffer), buffer.shape[1:]
    else:  # elements, by their places in the flat buffer
        ids, row = xp.arange(buffer.size).reshape(buffer.shape)[index], ()
    if not ids.size or not buffer.size:
        return
    rows = xp.broadcast_to(xp.asarray(value), (*ids.shape, *row))
    rows, columns = xp.ascontiguousarray(rows, dtype=buffer.dtype), math.prod(row)
    ids = ids.reshape(-1).astype("int64", copy=False)
    order = xp.argsort(ids, kind="stable")
    kernel(xp, "rows.cu", "add_rows", Real=str(buffer.dtype), Id="int64")(
        (ids.size, min(-(-columns // 32), 65535)), (32, 8),
        (order, ids[order], rows, table, np.int64(ids.size), np.int64(columns)),
    )  # fmt: skip
    if table is not buffer:
        buffer[...] = table


def refuse_outside(
    xp: ModuleType, ids: Array, low: int, high: int, code: int, found: Array
) -> None:
    """Notes (code, number) in two words on the device if a number is not from low to high."""
    if ids.size:
        ids = xp.ascontiguousarray(ids)
        kernel(xp, "rows.cu", "refuse_outside", Real="float32", Id=str(ids.dtype))(
            (-(-ids.size // 256),), (256,),
            (ids, np.int64(ids.size), np.int64(low), np.int64(high), np.uint64(code), found),
        )  # fmt: skip
