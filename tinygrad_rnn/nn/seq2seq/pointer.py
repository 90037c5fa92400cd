"""Copying: a symbol is written, or taken over from where attention looks."""

from __future__ import annotations

from typing import Any

from ...tensor import creation, ops
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import ids_of, placement, positive
from ..linear import Linear
from ..module import Module

TINY = 1e-10  # where a symbol is neither likely nor in the source, its logarithm stays finite


class Pointer(Module):
    """The pointer-generator's mixture (See et al. 2017).

        P(y) = p softmax(logits)_y + (1 - p) sum of the weights where the source has y
        p = sigmoid(w . seen + b)

    **Arguments** features: of what the gate p sees.

    >>> import tinygrad_rnn as tg
    >>> pointer = tg.nn.Pointer(3)
    >>> weights, source = tg.tensor([[0.5, 0.5]]), tg.tensor([[2, 2]])
    >>> y = pointer(tg.zeros((1, 4)), tg.zeros((1, 3)), weights, source)
    >>> round(tg.sum(tg.exp(y)).item(), 4)
    1.0
    """

    def __init__(
        self,
        features: int,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        positive("Pointer", features=features)
        placement("Pointer", device, dtype, generator)
        self.gate = Linear(features, 1, True, device, dtype, generator=generator)

    def forward(self, logits: Tensor, seen: Tensor, weights: Tensor, symbols: Tensor) -> Tensor:
        """Mixes.

        **Arguments** logits: (..., B, V); seen: (..., B, features); weights: (..., B, S); symbols:
        (B, S), below V. **Returns** log P, (..., B, V): logits as good as any.
        """
        symbols = ids_of("Pointer", "symbols", symbols, logits.shape[-1], logits.device)
        p = ops.sigmoid(self.gate(seen))
        shape = weights.shape
        axes = [
            creation.arange(n, device=symbols.device).reshape(n, *(1,) * (len(shape) - 1 - i))
            for i, n in enumerate(shape[:-1])
        ]
        index = (*axes, symbols.reshape(*(1,) * (len(shape) - 2), *symbols.shape))
        none = creation.zeros(logits.shape, dtype=logits.dtype, device=logits.device)
        copied = ops.index_add(none, (1 - p) * weights, index=index)
        return ops.log(p * ops.softmax(logits, axis=-1) + copied + TINY)
