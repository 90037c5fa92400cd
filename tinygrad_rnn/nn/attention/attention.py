"""Attention: each step of a target looks at the steps of its source, at some more than at others.

    e_ts = score(query_t, key_s)        a_t = softmax(e_t)        context_t = sum_s a_ts value_s

A kind of attention is a score. The source is prepared once (`remember`), whatever the number of
steps that look at it: keys are projected then, and what lies past a row's length is masked.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

from ...errors import InvalidTypeError, ShapeError
from ...tensor import creation, ops
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import features_last, flag, lengths_of, one_of, placement, positive
from ..linear import Linear
from ..module import Module

NORMALIZERS: dict[str, Any] = {"softmax": ops.softmax, "sparsemax": ops.sparsemax}


class Memory(NamedTuple):
    """A source as attention sees it. All parts have a row of the batch on their first axis."""

    keys: Tensor  # (B, ..., S, A): what queries are compared with
    values: Tensor  # (B, ..., S, V): what a context is made of
    valid: Tensor | None  # (B, S): false past a row's length; None if no row is shorter than S


class Attention(Module):
    """The base of attentions.

    An attention of one's own says what a score is; a projection of the memory, which is the same
    for every step, goes into `keys`:

    >>> import tinygrad_rnn as tg
    >>> class Distance(tg.nn.Attention):
    ...     def score(self, query, keys):                         # (B, T, Q), (B, S, Q)
    ...         return -tg.sum((query[:, :, None] - keys[:, None]) ** 2, axis=-1)
    >>> context, weights = Distance(4, 4)(tg.zeros((3, 2, 4)), tg.ones((5, 2, 4)), lengths=[5, 1])
    >>> context.shape, weights.shape
    ((3, 2, 4), (3, 2, 5))

    **Arguments** query_size, memory_size: features of a query and of a step of the memory.
    normalize: `softmax`, or `sparsemax`, which is exactly 0 where little is (Martins 2016).
    """

    def __init__(self, query_size: int, memory_size: int, normalize: str = "softmax") -> None:
        name = type(self).__name__
        positive(name, query_size=query_size, memory_size=memory_size)
        one_of(name, "normalize", normalize, NORMALIZERS)
        self.query_size, self.memory_size, self.normalize = query_size, memory_size, normalize
        self.context_size = memory_size

    # ------------------------------------------------------------ what a kind of attention says

    def keys(self, memory: Tensor) -> Tensor:
        """What queries are compared with: (B, S, memory_size) -> (B, S, A)."""
        return memory

    def values(self, memory: Tensor) -> Tensor:
        """What contexts are made of: (B, S, memory_size) -> (B, S, V)."""
        return memory

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """How well (B, T, query_size) fits (B, S, A). **Returns** (B, T, S)."""
        raise InvalidTypeError(f"{type(self).__name__} defines no score(query, keys)")

    # ------------------------------------------------------------ what all of them do

    def remember(self, memory: Tensor, lengths: Any = None) -> Memory:
        """Prepares a source, once for all steps that will look at it.

        **Arguments** memory: (S, B, memory_size), as recurrent layers give it. lengths: (B,) whole
        numbers from 1 to S; S throughout, if None; what memory has past them is not read.
        **Raises** ShapeError naming a row of length 0: nothing is there to look at.
        """
        name = type(self).__name__
        features_last(name, memory, self.memory_size, "memory")
        if memory.ndim != 3 or 0 in memory.shape:
            raise ShapeError(
                f"{name}: memory: expected (S, B, {self.memory_size}), none empty; got "
                f"{list(memory.shape)}"
            )
        rows, valid = memory.swapaxes(0, 1), valid_steps(name, memory, lengths)
        if valid is not None:  # what lies past a row's length may be infinite, or NaN
            rows = ops.where(valid.expand_dims(axis=-1), rows, 0)
        return Memory(self.keys(rows), self.values(rows), valid)

    def forward(
        self, query: Tensor, memory: Tensor, *, lengths: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Looks at a source.

        **Arguments** query: (T, B, query_size); memory, lengths: as in `remember`. **Returns** the
        contexts, (T, B, V), and the weights, (T, B, S), which sum to 1 over a row's valid steps and
        are exactly 0 past them.
        """
        return self.attend(query, self.remember(memory, lengths))

    def attend(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """As `forward`, with a source that is prepared already."""
        self._fits(query, memory, 3)
        context, weights = self._look(query.swapaxes(0, 1), memory)
        return context.swapaxes(0, 1), weights.swapaxes(0, 1)

    def initial(self, memory: Memory) -> Tensor | None:
        """What `step` is told about the past before the first step; None: it needs nothing."""
        return None

    def step(
        self, query: Tensor, memory: Memory, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One step: query (B, query_size). **Returns** context (B, V), weights (B, S), the past."""
        self._fits(query, memory, 2)
        context, weights = self._look(query.expand_dims(axis=1), memory)
        return context.squeeze(axis=1), weights.squeeze(axis=1), past

    def _look(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Contexts (B, T, V) and weights (B, T, S) of queries (B, T, Q)."""
        weights = self.weigh(self.score(query, memory.keys), memory.valid)
        return weights @ memory.values, weights

    def weigh(self, scores: Tensor, valid: Tensor | None) -> Tensor:
        """The scores (B, ..., S) as distributions over valid steps."""
        if valid is not None:
            shape = (len(valid), *(1,) * (scores.ndim - 2), valid.shape[1])
            scores = ops.where(valid.reshape(shape), scores, float("-inf"))
        weights: Tensor = NORMALIZERS[self.normalize](scores, axis=-1)
        return weights

    def _fits(self, query: Tensor, memory: Memory, ndim: int) -> None:
        features_last(type(self).__name__, query, self.query_size, "query")
        if not isinstance(memory, Memory):
            raise InvalidTypeError(
                f"{type(self).__name__}: memory: expected what remember(memory) gives, got "
                f"{type(memory).__name__}"
            )
        batch = memory.values.shape[0]
        if query.ndim != ndim or query.shape[-2] != batch:
            axes = ["T, "][: ndim - 2]
            raise ShapeError(
                f"{type(self).__name__}: query: expected ({''.join(axes)}{batch}, "
                f"{self.query_size}) for a memory of {batch} rows; got {list(query.shape)}"
            )

    def describe(self) -> str:
        """Its sizes."""
        kind = "" if self.normalize == "softmax" else f", {self.normalize}"
        return f"{self.query_size}, {self.memory_size}{kind}"


def valid_steps(name: str, memory: Tensor, lengths: Any) -> Tensor | None:
    """Which steps of a source (S, B, ...) are there, (B, S); None if all are."""
    if lengths is None:
        return None
    steps, batch = memory.shape[:2]
    on_host = lengths_of(name, "lengths", lengths, batch, steps)
    numbers = on_host.tolist()
    if 0 in numbers:
        raise ShapeError(
            f"{name}: lengths: row {numbers.index(0)} has 0 of {steps}: it is empty, and there is "
            "nothing to look at"
        )
    if min(numbers) == steps:
        return None
    valid: Tensor = creation.arange(steps, device="cpu") < on_host.reshape(batch, 1)
    return valid.to(memory.device)


class DotAttention(Attention):
    """score = query . memory (Luong et al. 2015), over sqrt(size) if scaled (Vaswani et al. 2017).

    **Arguments** size: features of query and memory. scaled: divides, so that scores of large
    vectors do not saturate. normalize: as `Attention`.

    >>> import tinygrad_rnn as tg
    >>> _, weights = tg.nn.DotAttention(2)(tg.ones((1, 1, 2)), tg.zeros((4, 1, 2)))
    >>> weights.tolist()
    [[[0.25, 0.25, 0.25, 0.25]]]
    """

    def __init__(self, size: int, scaled: bool = False, normalize: str = "softmax") -> None:
        positive("DotAttention", size=size)
        flag("DotAttention", scaled=scaled)
        super().__init__(size, size, normalize)
        self.scaled = scaled

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """query . key, scaled or not."""
        scores: Tensor = (query / sqrt(self.query_size) if self.scaled else query) @ keys.mT
        return scores

    def describe(self) -> str:
        """Its size."""
        return f"{self.query_size}{', scaled=True' if self.scaled else ''}"


class GeneralAttention(Attention):
    """score = query . W memory (Luong et al. 2015).

    **Arguments** as `Attention`.

    >>> import tinygrad_rnn as tg
    >>> context, _ = tg.nn.GeneralAttention(3, 5)(tg.zeros((2, 1, 3)), tg.zeros((4, 1, 5)))
    >>> context.shape
    (2, 1, 5)
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        normalize: str = "softmax",
        device: str | None = None,
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(query_size, memory_size, normalize)
        placement("GeneralAttention", device, dtype, generator)
        self.key = Linear(
            memory_size, query_size, bias=False, device=device, dtype=dtype, generator=generator
        )

    def keys(self, memory: Tensor) -> Tensor:
        """W memory."""
        keys: Tensor = self.key(memory)
        return keys

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """query . key."""
        scores: Tensor = query @ keys.mT
        return scores


class AdditiveAttention(Attention):
    """score = v . tanh(W query + U memory + b) (Bahdanau et al. 2015).

    **Arguments** query_size, memory_size, normalize: as `Attention`. hidden_size: the features that
    are added; query_size, if None.

    >>> import tinygrad_rnn as tg
    >>> attention = tg.nn.AdditiveAttention(3, 5, hidden_size=8)
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
        super().__init__(query_size, memory_size, normalize)
        size = query_size if hidden_size is None else hidden_size
        positive(type(self).__name__, hidden_size=size)
        placement(type(self).__name__, device, dtype, generator)
        self.hidden_size = size

        def linear(features: int, out: int, bias: bool) -> Linear:
            return Linear(features, out, bias, device, dtype, generator=generator)

        self.query = linear(query_size, size, True)
        self.key = linear(memory_size, size, False)
        self.energy = linear(size, 1, False)

    def keys(self, memory: Tensor) -> Tensor:
        """U memory."""
        keys: Tensor = self.key(memory)
        return keys

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """v . tanh(W query + key)."""
        added = self.query(query).expand_dims(axis=2) + keys.expand_dims(axis=1)
        scores: Tensor = self.energy(ops.tanh(added)).squeeze(axis=-1)
        return scores
