"""The operations, as a type checker sees them. Written by `python -m tests.stubs`.

Of arrays alone, without a Tensor among them, an operation gives an array.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..shapes import Axis
from ..tensor import Tensor

TensorLike = Tensor | np.ndarray[Any, Any] | np.generic | float | list[Any] | tuple[Any, ...]

__all__ = ["cholesky", "det", "inv", "norm", "slogdet", "solve", "svdvals"]

def cholesky(x: TensorLike) -> Tensor: ...
def det(x: TensorLike) -> Tensor: ...
def inv(x: TensorLike) -> Tensor: ...
def norm(x: TensorLike, ord: Any = None, axis: Axis = None, *, keepdims: bool = False) -> Tensor: ...
def slogdet(x: TensorLike) -> tuple[Tensor, Tensor]: ...
def solve(a: TensorLike, b: TensorLike) -> Tensor: ...
def svdvals(x: TensorLike) -> Tensor: ...
