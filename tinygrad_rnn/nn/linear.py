"""An affine map of the last axis."""

from __future__ import annotations

from math import sqrt

from ..tensor import ops
from ..tensor.conversion import DType
from ..tensor.random import Generator
from ..tensor.tensor import Tensor, TensorLike
from .checks import features_last, flag, input_of, placement, positive
from .init import drawn
from .module import Module


class Linear(Module):
    """y = x weight' + bias.

    **Arguments** in_features, out_features: the lengths of the last axes of x and y. bias: whether
    to add one. Parameters: weight (out_features, in_features), bias (out_features,), drawn from
    [-k, k) with k = 1 / sqrt(in_features).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Linear(3, 5)(tg.zeros((2, 7, 3))).shape
    (2, 7, 5)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DType = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        positive("Linear", in_features=in_features, out_features=out_features)
        flag("Linear", bias=bias)
        placement("Linear", device, dtype, generator)
        self.in_features, self.out_features = in_features, out_features

        how = 1 / sqrt(in_features), device, dtype, generator
        self.weight = drawn((out_features, in_features), *how)
        self.bias = drawn((out_features,), *how) if bias else None

    def forward(self, x: TensorLike) -> Tensor:
        """**Arguments** x: (..., in_features). **Returns** (..., out_features)."""
        x = input_of("Linear", "x", x, self.weight)
        features_last("Linear", x, self.in_features)
        return ops.linear(x, self.weight, self.bias)
