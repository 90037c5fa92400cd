"""Products of matrices on plain arrays: native where that is faster, or the arrays' own."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from .cpu import functions as cpu

Array = Any


def product(a: Array, b: Array, bias: Array | None = None) -> Any:
    """a @ b for any arrays: natively for two matrices of float32 or float64 on the CPU.

    **Arguments** bias: (N,), added to each row of (M, K) @ (K, N), or None.

    >>> import numpy as np
    >>> product(np.ones((2, 3)), np.ones((3, 4))).shape
    (2, 4)
    """
    native = cpu.native
    found = None if native is None else native.product(a, b, 0, bias)
    return _biased(a @ b, bias) if found is None else found


def _biased(y: Array, bias: Array | None) -> Array:
    """y + bias, in place where that is possible."""
    if bias is None:
        return y
    if bias.dtype == y.dtype and bias.shape == y.shape[-1:]:
        y += bias
        return y
    return y + bias


def add_product(c: Array, a: Array, b: Array) -> None:
    """c += a @ b.

    >>> import numpy as np
    >>> c = np.ones((2, 4))
    >>> add_product(c, np.ones((2, 3)), np.ones((3, 4)))
    >>> c[0]
    array([4., 4., 4., 4.])
    """
    native = cpu.native
    if native is None or not native.add_product(c, a, b):
        c += a @ b


def sum_of_products(xp: ModuleType, a: Sequence[Array], b: Sequence[Array]) -> Array:
    """The sum of a_i^T b_i, for matrices a_i and b_i of equally many rows."""
    native = cpu.native
    found = None if native is None else native.sum_of_products(tuple(a), tuple(b))
    return product(xp.concat(a).mT, xp.concat(b)) if found is None else found


class Multiplier:
    """Multiplies by one matrix many times: packs it once.

    **Arguments** b: (K, N).

    >>> import numpy as np
    >>> Multiplier(np, np.ones((3, 4)))(np.ones((5, 2, 3))).shape
    (5, 2, 4)
    """

    def __init__(self, xp: ModuleType, b: Array) -> None:
        self.columns = b.shape[1]
        self.native = cpu.native
        self.panels = None if self.native is None else self.native.pack(b)
        # NumPy's products with contiguous rows are up to twice as fast.
        self.b = xp.ascontiguousarray(b) if self.panels is None and xp is np else b

    def __call__(self, a: Array, bias: Array | None = None) -> Array:
        """a @ b + bias, for a (..., K) and bias (N,), or None."""
        if self.panels is not None:
            rows = a if a.ndim == 2 else a.reshape((prod(a.shape[:-1]), a.shape[-1]))
            found = self.native.product(rows, self.panels, self.columns, bias)
            if found is not None:
                return found if a.ndim == 2 else found.reshape((*a.shape[:-1], self.columns))
        return _biased(a @ self.b, bias)
