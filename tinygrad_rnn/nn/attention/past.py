"""Attentions that remember where they have looked: what to look at next depends on it.

Their steps cannot be taken all at once: the weights of one are in the score of the next.
"""

from __future__ import annotations

from typing import Any

from ...errors import InvalidTypeError
from ...tensor import creation, ops
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import positive
from ..linear import Linear
from .attention import AdditiveAttention, Memory


class PastAttention(AdditiveAttention):
    """The base: an additive score to which features of the past are added.

    score = v . tanh(W query + U memory + F past_features + b)
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        features: int,
        hidden_size: int | None,
        normalize: str,
        device: str | None,
        dtype: Any,
        generator: Generator | None,
    ) -> None:
        super().__init__(
            query_size, memory_size, hidden_size, normalize, device, dtype, generator=generator
        )
        self.place = Linear(features, self.hidden_size, False, device, dtype, generator=generator)

    def features(self, past: Tensor) -> Tensor:
        """What the score is told of the past: (B, S) -> (B, S, features)."""
        raise InvalidTypeError(f"{type(self).__name__} defines no features(past)")

    def next(self, past: Tensor, weights: Tensor) -> Tensor:
        """The past of the next step."""
        raise InvalidTypeError(f"{type(self).__name__} defines no next(past, weights)")

    def initial(self, memory: Memory) -> Tensor:
        """Nothing has been looked at."""
        like = memory.values
        return creation.zeros(like.shape[:2], dtype=like.dtype, device=like.device)

    def step(
        self, query: Tensor, memory: Memory, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step. **Returns** context (B, V), weights (B, S), and the past of the next step."""
        past = self.initial(memory) if past is None else past
        told = memory._replace(keys=memory.keys + self.place(self.features(past)))
        context, weights, _ = super().step(query, told)
        return context, weights, self.next(past, weights)

    def attend(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Step by step."""
        self._fits(query, memory, 3)
        past, contexts, weights = self.initial(memory), [], []
        for q in query.unstack():
            context, looked, past = self.step(q, memory, past)
            contexts.append(context)
            weights.append(looked)
        return ops.stack(contexts), ops.stack(weights)


class LocationAttention(PastAttention):
    """Additive, told where the step before looked, through filters (Chorowski et al. 2015).

        score_s = v . tanh(W query + U memory_s + F f_s + b),    f = filters * last weights

    So it can move on along the source, by as much as a filter reaches, whatever the source says.

    **Arguments** query_size, memory_size, hidden_size, normalize: as `AdditiveAttention`. filters:
    how many. reach: how far one looks to either side.

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
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        positive("LocationAttention", filters=filters, reach=reach)
        super().__init__(
            query_size, memory_size, filters, hidden_size, normalize, device, dtype, generator
        )
        self.reach = reach
        self.filters = Linear(2 * reach + 1, filters, False, device, dtype, generator=generator)

    def features(self, past: Tensor) -> Tensor:
        """The filters' answers at each step of the source."""
        steps = past.shape[1]
        padded = ops.pad(past, ((0, 0), (self.reach, self.reach)))
        windows = [padded[:, i : i + steps] for i in range(2 * self.reach + 1)]
        answers: Tensor = self.filters(ops.stack(windows, axis=-1))
        return answers

    def next(self, past: Tensor, weights: Tensor) -> Tensor:
        """The weights of the step before."""
        return weights


class CoverageAttention(PastAttention):
    """Additive, told how much each step of the source was looked at so far (See et al. 2017).

        score_s = v . tanh(W query + U memory_s + w c_s + b),    c = sum of all weights so far

    **Arguments** as `AdditiveAttention`.

    >>> import tinygrad_rnn as tg
    >>> attention = tg.nn.CoverageAttention(3, 5)
    >>> context, weights = attention(tg.zeros((2, 1, 3)), tg.zeros((4, 1, 5)))
    >>> context.shape, weights.shape
    ((2, 1, 5), (2, 1, 4))
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        hidden_size: int | None = None,
        normalize: str = "softmax",
        device: str | None = None,
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(
            query_size, memory_size, 1, hidden_size, normalize, device, dtype, generator
        )

    def features(self, past: Tensor) -> Tensor:
        """The coverage of each step."""
        return past.expand_dims(axis=-1)

    def next(self, past: Tensor, weights: Tensor) -> Tensor:
        """All weights so far."""
        return past + weights
