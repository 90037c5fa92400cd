"""Attention mechanisms whose score depends on the weights of earlier steps.

They run step by step, since the weights of a step are in the score of the next.
"""

from __future__ import annotations

from ...errors import InvalidTypeError
from ...tensor import creation, ops
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import positive
from ..linear import Linear
from .attention import AdditiveAttention, Memory


class StatefulAttention(AdditiveAttention):
    """Base class: additive attention with features of the earlier weights in the score.

    score = v . tanh(W query + U memory + F features(state) + b)
    """

    count = 1

    def features(self, state: Tensor) -> Tensor:
        """Features of the state for the score: (B, S) -> (B, S, features)."""
        raise InvalidTypeError(f"{type(self).__name__} defines no features(state)")

    def next(self, state: Tensor, weights: Tensor) -> Tensor:
        """The state of the next step."""
        raise InvalidTypeError(f"{type(self).__name__} defines no next(state, weights)")

    def initial(self, memory: Memory) -> Tensor:
        """Zeros: no weights yet."""
        like = memory.values
        return creation.zeros(like.shape[:2], dtype=like.dtype, device=like.device)

    def step(
        self, query: Tensor, memory: Memory, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step. **Returns** context (B, V), weights (B, S), and the next state."""
        state = self.initial(memory) if state is None else state
        memory = memory._replace(keys=memory.keys + self.place(self.features(state)))
        context, weights, _ = super().step(query, memory)
        return context, weights, self.next(state, weights)

    def attend(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """As `Attention.attend`, step by step."""
        self._fits(query, memory, 3)
        state, contexts, weights = self.initial(memory), [], []
        for q in query.unstack():
            context, w, state = self.step(q, memory, state)
            contexts.append(context)
            weights.append(w)
        return ops.stack(contexts), ops.stack(weights)


class LocationAttention(StatefulAttention):
    """Location-aware additive attention (Chorowski et al. 2015).

        score_s = v . tanh(W query + U memory_s + F f_s + b),    f = filters * last weights

    A filter can move the weights along the source by up to `reach` steps.

    **Arguments** query_size, memory_size, hidden_size, normalize: as `AdditiveAttention`. filters:
    their number. reach: the width of a filter is 2 reach + 1.

    >>> import tinygrad_rnn as tg
    >>> attention = tg.nn.LocationAttention(3, 5, filters=4, reach=1)
    >>> context, weights = attention(tg.zeros((2, 1, 3)), tg.zeros((4, 1, 5)))
    >>> context.shape, weights.shape
    ((2, 1, 5), (2, 1, 4))
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        hidden_size: int | None = None,
        filters: int = 10,
        reach: int = 3,
        normalize: str = "softmax",
        device: str | None = None,
        dtype: DType = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        positive("LocationAttention", filters=filters)
        positive("LocationAttention", most=10_000, reach=reach)  # a slice of memory for each place
        self.count, self.reach = filters, reach
        super().__init__(
            query_size, memory_size, hidden_size, normalize, device, dtype, generator=generator
        )
        self.filters = Linear(2 * reach + 1, filters, False, device, dtype, generator=generator)

    def features(self, state: Tensor) -> Tensor:
        """The filter responses at each step of the source."""
        steps = state.shape[1]
        padded = ops.pad(state, ((0, 0), (self.reach, self.reach)))
        windows = [padded[:, i : i + steps] for i in range(2 * self.reach + 1)]
        responses: Tensor = self.filters(ops.stack(windows, axis=-1))
        return responses

    def next(self, state: Tensor, weights: Tensor) -> Tensor:
        """The weights of this step."""
        return weights


class CoverageAttention(StatefulAttention):
    """Additive attention with a coverage vector (See et al. 2017).

        score_s = v . tanh(W query + U memory_s + w c_s + b),    c = sum of all weights so far

    **Arguments** as `AdditiveAttention`.

    >>> import tinygrad_rnn as tg
    >>> attention = tg.nn.CoverageAttention(3, 5)
    >>> context, weights = attention(tg.zeros((2, 1, 3)), tg.zeros((4, 1, 5)))
    >>> context.shape, weights.shape
    ((2, 1, 5), (2, 1, 4))
    """

    def features(self, state: Tensor) -> Tensor:
        """The coverage of each step."""
        return state.expand_dims(axis=-1)

    def next(self, state: Tensor, weights: Tensor) -> Tensor:
        """The sum of all weights so far."""
        return state + weights
