"""Inference of a stack of layers in one native call, without a graph; quantized weights for it."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from .. import kernels
from ..tensor import backend
from ..tensor.graph import Traced, wrap
from ..tensor.observers import is_tracing, observing

array_of = attrgetter("array")


def infer_stack(
    cell: str,
    layers: int,
    x: Any,
    state: Any,
    weights: Sequence[Any],
    quantized: tuple[Any, ...] | None = None,
) -> tuple[Any, Any] | None:
    """Runs a stack of layers without options in one native call: see `kernels.infer_stack`.

    **Arguments** cell, layers, weights, quantized: as there, weights as values. x: (T, B, I), or
    (B, I); state: h or (h, c), each (L, B, H), or None for zeros. **Returns** y, (T, B, H) or
    (B, H), and the state; None where the operations must run one by one: because an
    observer is installed, or because one of them will raise the error.
    """
    if not isinstance(x, Traced) or observing().forward or is_tracing():
        return None
    h = c = None
    if isinstance(state, tuple) and len(state) == 2:
        h, c = state
        if not (isinstance(h, Traced) and isinstance(c, Traced)):
            return None
        h, c = h.array, c.array
    elif isinstance(state, Traced):
        h = state.array
    elif state is not None:
        return None
    arrays = tuple(map(array_of, weights))
    found = kernels.infer_stack(cell, layers, x.array, h, c, arrays, quantized)
    if found is None:
        return None
    y, h, c = found
    cls = x.result_class
    h = wrap(cls, h, None)
    return wrap(cls, y, None), h if c is None else (h, wrap(cls, c, None))


def quantize_int8(w: Any) -> tuple[Any, ...]:
    """Quantizes a leaf's matrix, (R, D), to 8 bits, and makes it read-only.

    **Returns** its array, integers and scales, as `infer_stack` takes them.
    """
    w.data, integers, scales = kernels.quantize_int8(backend.module_of(w.array), w.array)
    return frozen(w.array), at_cache_line(integers), scales


def frozen(array: Any) -> Any:
    """Makes an array read-only, if it is NumPy's: CuPy has no such flag. **Returns** the array."""
    if isinstance(array, np.ndarray):
        array.setflags(write=False)
    return array


def at_cache_line(integers: Any) -> Any:
    """Copies integers to the start of a cache line: vectors that lie across two take longer."""
    return backend.copied(integers, integers.dtype)


def is_frozen(array: Any) -> bool:
    """Whether an array is read-only, so that it is unchanged since it was frozen."""
    return isinstance(array, np.ndarray) and not array.flags.writeable
