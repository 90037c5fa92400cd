"""Multi-head attention."""

from __future__ import annotations

from math import sqrt

from ...errors import InvalidValueError
from ...tensor import ops
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import placement, positive
from ..linear import Linear
from .attention import Attention, Memory


class MultiHeadAttention(Attention):
    """Multi-head scaled dot-product attention (Vaswani et al. 2017).

        head_i = attention(W_i query, U_i memory, V_i memory)        context = O [head_1 ... head_n]

    **Arguments** query_size, memory_size, normalize: as `Attention`. heads: their number.
    hidden_size: the features of all heads together, and of the context; query_size, if None. The
    returned weights are the mean over the heads. **Raises** ValueError if the
    heads do not divide hidden_size.

    >>> import tinygrad_rnn as tg
    >>> attention = tg.nn.MultiHeadAttention(6, 5, heads=3)
    >>> context, weights = attention(tg.zeros((2, 1, 6)), tg.zeros((4, 1, 5)))
    >>> context.shape, weights.shape
    ((2, 1, 6), (2, 1, 4))
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        heads: int = 4,
        hidden_size: int | None = None,
        normalize: str = "softmax",
        device: str | None = None,
        dtype: DType = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(query_size, memory_size, normalize)
        size = query_size if hidden_size is None else hidden_size
        positive("MultiHeadAttention", heads=heads, hidden_size=size)
        placement("MultiHeadAttention", device, dtype, generator)
        if size % heads:
            raise InvalidValueError(
                f"MultiHeadAttention: {heads} heads do not divide {size} features"
            )
        self.heads, self.hidden_size, self.context_size = heads, size, size

        def linear(features: int) -> Linear:
            return Linear(features, size, True, device, dtype, generator=generator)

        self.query, self.key, self.value, self.out = map(
            linear, (query_size, memory_size, memory_size, size)
        )

    def keys(self, memory: Tensor) -> Tensor:
        """Each head's U memory."""
        return self._per_head(self.key(memory))

    def values(self, memory: Tensor) -> Tensor:
        """Each head's V memory."""
        return self._per_head(self.value(memory))

    def _per_head(self, x: Tensor) -> Tensor:
        """(B, n, heads * d) as (B, heads, n, d)."""
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Each head's scaled dot product, (B, heads, T, S)."""
        queries = self._per_head(self.query(query) / sqrt(self.hidden_size // self.heads))
        scores: Tensor = queries @ keys.mT
        return scores

    def _attend(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        heads, weights = super()._attend(query, memory)
        joined = heads.swapaxes(1, 2).reshape(*query.shape[:2], self.hidden_size)
        return self.out(joined), ops.mean(weights, axis=1)
