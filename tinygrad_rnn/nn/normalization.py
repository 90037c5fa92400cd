"""Normalization over features."""

from __future__ import annotations

from typing import Any

from ..tensor import creation, ops
from ..tensor.tensor import Tensor
from .checks import features_last, input_of, placement, positive, real
from .module import Module, Parameter


class LayerNorm(Module):
    """(x - mean) / sqrt(var + eps) * weight + bias, over the last axis (Ba et al. 2016).

    **Arguments** features: the length of the last axis. eps: keeps the division finite.
    Parameters: weight and bias, (features,), which start at 1 and 0.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.LayerNorm(2)(tg.tensor([[1.0, 3.0]])).numpy().round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        device: str | None = None,
        dtype: Any = "float32",
    ) -> None:
        positive("LayerNorm", features=features)
        real("LayerNorm", "eps", eps, least=0)
        placement("LayerNorm", device, dtype)
        self.features, self.eps = features, eps
        self.weight = Parameter(creation.ones((features,), dtype=dtype, device=device))
        self.bias = Parameter(creation.zeros((features,), dtype=dtype, device=device))

    def forward(self, x: Any) -> Tensor:
        """**Arguments** x: (..., features). **Returns** the same shape."""
        x = input_of("LayerNorm", "x", x, self.weight)
        features_last("LayerNorm", x, self.features)
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = ops.mean(centred * centred, axis=-1, keepdims=True)
        y: Tensor = centred / ops.sqrt(variance + self.eps) * self.weight + self.bias
        return y

    def describe(self) -> str:
        """Its size."""
        return f"{self.features}, eps={self.eps}"
