"""The affine map of a last axis, which is what a layer's logits are: as one operation.

Apart it would be three: the product's result is written again for the bias, and the weight's
gradient comes out transposed, which every pass over it pays for.
"""

from __future__ import annotations

from math import prod
from types import ModuleType
from typing import Any

from ...errors import InvalidValueError
from ...kernels.products import product
from ..backend import Array
from ..operation import Op
from .movement import matrix_transpose
from .products import matmul

__all__ = ["linear"]


def _forward(
    xp: ModuleType, x: Array, w: Array, b: Array | None = None, *, keep: bool
) -> tuple[Array, Any]:
    if b is not None and b.ndim != 1:
        raise InvalidValueError("b has more axes than one" if b.ndim else "b has no axis")
    if x.ndim > 2:
        return product(_flat(x), w.mT, b).reshape(*x.shape[:-1], w.shape[0]), None
    return product(x, w.mT, b), None


def _by_product(x: Any, w: Any, b: Any = None) -> Any:
    """x w' + b.

    **Arguments** x: (..., I); w: (O, I); b: (O,), or None. **Returns** (..., O).
    **Raises** ShapeError.

    >>> import tinygrad_rnn as tg
    >>> tg.linear(tg.tensor([1.0, 2.0]), tg.tensor([[3.0, 4.0]]), tg.tensor([0.5])).tolist()
    [11.5]
    """
    z = matmul(x, matrix_transpose(w))
    return z if b is None else z + b


def _flat(a: Any) -> Any:
    return a.reshape((prod(a.shape[:-1]), a.shape[-1]))


linear = Op(
    "linear",
    _forward,
    decomposition=_by_product,
    expects="x (..., I), w (O, I) and b (O,)",
    fresh=True,
).vjp(x=lambda g, w: matmul(g, w), w=lambda g, x: matmul(_flat(g).mT, _flat(x)), b=lambda g: g)
