"""The operations, under NumPy's names: rules take this module for `xp` to be differentiable."""

from ...errors import public as _public
from ..operation import Op as _Op
from . import (
    cumulative,
    elementwise,
    indexing,
    linalg,
    linear,
    matrices,
    movement,
    products,
    reductions,
    softmax,
    sorting,
    tiling,
    windows,
)

_FAMILIES = (
    cumulative, elementwise, indexing, linear, matrices, movement, products, reductions, softmax,
    sorting, tiling, windows,
)  # fmt: skip

__all__ = [_name for _family in _FAMILIES for _name in _family.__all__]

# An operation says itself what was wrong with a call; here functions of them do.
for _family in (*_FAMILIES, linalg):
    for _name in _family.__all__:
        _found = getattr(_family, _name)
        _home = vars(linalg) if _family is linalg else globals()
        _home[_name] = _found if isinstance(_found, _Op) else _public(_found)
