"""Copy mechanism: a mixture of the vocabulary distribution and the attention weights."""

from __future__ import annotations

from ...errors import ShapeError
from ...tensor import creation, ops
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import features_last, ids_of, input_of, placement, positive
from ..linear import Linear
from ..module import Module

TINY = 1e-10  # keeps the logarithm finite where the probability is 0


class Pointer(Module):
    """Pointer-generator network (See et al. 2017).

        P(y) = p softmax(logits)_y + (1 - p) sum of the weights at the positions of y
        p = sigmoid(w . x + b)

    **Arguments** features: of x, the input of the gate p.

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
        dtype: DType = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        positive("Pointer", features=features)
        placement("Pointer", device, dtype, generator)
        self.gate = Linear(features, 1, True, device, dtype, generator=generator)

    def forward(self, logits: Tensor, x: Tensor, weights: Tensor, symbols: Tensor) -> Tensor:
        """Computes the mixture.

        **Arguments** logits: (..., B, V); x: (..., B, features); weights: (..., B, S);
        symbols: (B, S), below V. **Returns** log P, (..., B, V).
        """
        own = self.gate.weight
        logits = input_of("Pointer", "logits", logits, own)
        weights = input_of("Pointer", "weights", weights, own)
        shapes = logits.shape[:-1], weights.shape[:-1]
        if weights.ndim < 2 or shapes[0] != shapes[1]:
            raise ShapeError(
                "Pointer: weights: expected (..., B, S), as logits are (..., B, V); got "
                f"{list(weights.shape)} and {list(logits.shape)}"
            )
        symbols = ids_of("Pointer", "symbols", symbols, logits.shape[-1], logits.device)
        if symbols.shape != weights.shape[-2:]:
            raise ShapeError(
                f"Pointer: symbols: expected (B, S), {list(weights.shape[-2:])}; got "
                f"{list(symbols.shape)}"
            )
        x = input_of("Pointer", "x", x, own)
        features_last("Pointer", x, own.shape[1])
        p = ops.sigmoid(self.gate(x))
        shape = weights.shape
        axes = [
            creation.arange(n, device=symbols.device).reshape(n, *(1,) * (len(shape) - 1 - i))
            for i, n in enumerate(shape[:-1])
        ]
        index = (*axes, symbols.reshape(*(1,) * (len(shape) - 2), *symbols.shape))
        empty = creation.zeros(logits.shape, dtype=logits.dtype, device=logits.device)
        copied = ops.index_add(empty, (1 - p) * weights, index=index)
        return ops.log(p * ops.softmax(logits, axis=-1) + copied + TINY)
