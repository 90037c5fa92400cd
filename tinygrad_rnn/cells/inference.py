"""Whole stacks of layers without a graph, in one native call; weights rounded to 8 bits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import kernels
from ..tensor import backend
from ..tensor.graph import Traced, wrap
from ..tensor.observers import callbacks, tracers


def plain(
    cell: str,
    layers: int,
    x: Any,
    state: Any,
    weights: Sequence[Any],
    rounded: tuple[Any, ...] | None = None,
) -> tuple[Any, Any] | None:
    """Plain layers upon each other, without a graph and in one call: `kernels.plain`.

    **Arguments** cell, layers, weights, rounded: as there, weights as values. x: (T, B, I), or
    (B, I); state: h or (h, c), each (L, B, H), or None for zeros. **Returns** y, (T, B, H) or
    (B, H), and the state; None where the operations must run it one by one: because somebody looks
    at them, or because they will say what is wrong.
    """
    two = isinstance(state, tuple) and len(state) == 2
    h, c = state if two else (state, None)
    if not isinstance(x, Traced) or callbacks.forward or tracers:
        return None
    if (state is not None and not isinstance(h, Traced)) or (two and not isinstance(c, Traced)):
        return None
    h, c = [part.array if isinstance(part, Traced) else part for part in (h, c)]
    arrays = tuple([w.array for w in weights])
    found = kernels.plain(cell, layers, x.array, h, c, arrays, rounded)
    if found is None:
        return None
    y, h, c = found
    cls = x.made
    h = wrap(cls, h, None)
    return wrap(cls, y, None), h if c is None else (h, wrap(cls, c, None))


def rounded(w: Any) -> tuple[Any, ...]:
    """Rounds a leaf's matrix, (R, D), to 8 bits, and makes it one that nobody can write to.

    **Returns** what `plain` takes of it: its array, whole numbers and scales, as
    `kernels.rounded` has them.
    """
    w.data, whole, scales = kernels.rounded(backend.module_of(w.array), w.array)
    freeze(w.array)
    return w.array, whole, scales


def freeze(array: Any) -> None:
    """Makes an array one that nobody can write to, where there is such a thing."""
    if isinstance(array, np.ndarray):
        array.setflags(write=False)


def is_frozen(array: Any) -> bool:
    """Whether nobody can have written to an array since it was frozen."""
    return isinstance(array, np.ndarray) and not array.flags.writeable
