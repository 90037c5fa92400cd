"""Attention: a weighted mean of the source steps for each target step.

    e_ts = score(query_t, key_s)        a_t = softmax(e_t)        context_t = sum_s a_ts value_s

A subclass defines the score. `prepare_memory` projects the keys and masks the padding once, for any
number of target steps.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

from ...errors import InvalidTypeError, ShapeError
from ...loops.scan import Lengths
from ...tensor import creation, ops
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import dtype_as, features_last, flag, one_of, placement, positive
from ..lengths import lengths_of
from ..linear import Linear
from ..module import Module

NORMALIZERS: dict[str, Any] = {"softmax": ops.softmax, "sparsemax": ops.sparsemax}


class Memory(NamedTuple):
    """A prepared source; the batch is the first axis of all parts.

    >>> import tinygrad_rnn as tg
    >>> attention = tg.nn.DotAttention(3)
    >>> memory = attention.prepare_memory(tg.zeros((5, 2, 3)), lengths=[5, 3])  # (S, B, V)
    >>> memory.values.shape, memory.valid.shape
    ((2, 5, 3), (2, 5))
    """

    keys: Tensor  # (B, ..., S, A)
    values: Tensor  # (B, ..., S, V)
    valid: Tensor | None  # (B, S): False at padding; None if there is none


class Attention(Module):
    """Base class of attention mechanisms.

    A subclass defines `score`, and `keys` for a projection of the memory, which runs once:

    >>> import tinygrad_rnn as tg
    >>> class Distance(tg.nn.Attention):
    ...     def score(self, query, keys):                         # (B, T, Q), (B, S, Q)
    ...         return -tg.sum((query[:, :, None] - keys[:, None]) ** 2, axis=-1)
    >>> context, weights = Distance(4, 4)(tg.zeros((3, 2, 4)), tg.ones((5, 2, 4)), lengths=[5, 1])
    >>> context.shape, weights.shape
    ((3, 2, 4), (3, 2, 5))

    **Arguments** query_size, memory_size: features of a query and of a step of the memory.
    normalize: `softmax`, or `sparsemax` (Martins and Astudillo 2016), which is sparse.
    """

    def __init__(self, query_size: int, memory_size: int, normalize: str = "softmax") -> None:
        name = type(self).__name__
        positive(name, query_size=query_size, memory_size=memory_size)
        one_of(name, "normalize", normalize, NORMALIZERS)
        self.query_size, self.memory_size, self.normalize = query_size, memory_size, normalize
        self.context_size = memory_size

    # ------------------------------------------------------------ defined by a subclass

    def keys(self, memory: Tensor) -> Tensor:
        """Keys of a memory: (B, S, memory_size) -> (B, S, A)."""
        return memory

    def values(self, memory: Tensor) -> Tensor:
        """Values of a memory: (B, S, memory_size) -> (B, S, V)."""
        return memory

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores of queries (B, T, query_size) and keys (B, S, A). **Returns** (B, T, S)."""
        raise InvalidTypeError(f"{type(self).__name__} defines no score(query, keys)")

    # ------------------------------------------------------------ shared

    def prepare_memory(self, memory: Tensor, lengths: Lengths = None) -> Memory:
        """Prepares the keys, the values and the mask of a source, once for all target steps.

        **Arguments** memory: (S, B, memory_size), as recurrent layers return it. lengths: (B,)
        integers from 1 to S, None for S; memory is not read past them. **Raises** ShapeError
        naming a batch row of length 0, over which no distribution exists.
        """
        name = type(self).__name__
        features_last(name, memory, self.memory_size, "memory")
        if memory.ndim != 3 or 0 in memory.shape:
            raise ShapeError(
                f"{name}: memory: expected (S, B, {self.memory_size}), none empty; got "
                f"{list(memory.shape)}"
            )
        rows, valid = memory.swapaxes(0, 1), valid_steps(name, memory, lengths)
        if valid is not None:  # padding may be infinite or NaN
            rows = ops.where(valid.expand_dims(axis=-1), rows, 0)
        return Memory(self.keys(rows), self.values(rows), valid)

    def forward(
        self, query: Tensor, memory: Tensor, *, lengths: Lengths = None
    ) -> tuple[Tensor, Tensor]:
        """Computes the contexts of queries.

        **Arguments** query: (T, B, query_size); memory, lengths: as in `prepare_memory`.
        **Returns** the contexts, (T, B, V), and the weights, (T, B, S), which sum to 1 over the
        valid steps and are exactly 0 at padding.
        """
        return self.attend(query, self.prepare_memory(memory, lengths))

    def attend(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """As `forward`, with a prepared memory."""
        self._fits(query, memory, 3)
        context, weights = self._attend(query.swapaxes(0, 1), memory)
        return context.swapaxes(0, 1), weights.swapaxes(0, 1)

    def initial(self, memory: Memory) -> Tensor | None:
        """Initial state of `step`; None for a stateless attention."""
        return None

    def step(
        self, query: Tensor, memory: Memory, state: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One step: query (B, query_size). **Returns** context (B, V), weights (B, S), state."""
        self._fits(query, memory, 2)
        context, weights = self._attend(query.expand_dims(axis=1), memory)
        return context.squeeze(axis=1), weights.squeeze(axis=1), state

    def _attend(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Contexts (B, T, V) and weights (B, T, S) of queries (B, T, Q)."""
        weights = self.weigh(self.score(query, memory.keys), memory.valid)
        return weights @ memory.values, weights

    def weigh(self, scores: Tensor, valid: Tensor | None) -> Tensor:
        """Normalizes scores (B, ..., S) to distributions over the valid steps."""
        if valid is not None:
            shape = (len(valid), *(1,) * (scores.ndim - 2), valid.shape[1])
            scores = ops.where(valid.reshape(shape), scores, float("-inf"))
        weights: Tensor = NORMALIZERS[self.normalize](scores, axis=-1)
        return weights

    def _fits(self, query: Tensor, memory: Memory, ndim: int) -> None:
        features_last(type(self).__name__, query, self.query_size, "query")
        if not isinstance(memory, Memory):
            raise InvalidTypeError(
                f"{type(self).__name__}: memory: expected the result of prepare_memory(memory), "
                f"got {type(memory).__name__}"
            )
        if query.dtype.kind == "f" and memory.values.dtype.kind == "f":
            dtype_as(type(self).__name__, "query", query, memory.values.dtype, "the memory is")
        batch = memory.values.shape[0]
        if query.ndim != ndim or query.shape[-2] != batch:
            axes = ["T, "][: ndim - 2]
            raise ShapeError(
                f"{type(self).__name__}: query: expected ({''.join(axes)}{batch}, "
                f"{self.query_size}) for a memory of batch size {batch}; got {list(query.shape)}"
            )


def valid_steps(name: str, memory: Tensor, lengths: Lengths) -> Tensor | None:
    """Mask (B, S) of the steps of a source (S, B, ...) within lengths; None if all are."""
    if lengths is None:
        return None
    steps, batch = memory.shape[:2]
    on_host = lengths_of(name, "lengths", lengths, batch, steps)
    numbers = on_host.tolist()
    if 0 in numbers:
        raise ShapeError(
            f"{name}: lengths[{numbers.index(0)}] = 0 is outside 1..{steps}: an empty source "
            "has no step to attend to"
        )
    if min(numbers) == steps:
        return None
    valid: Tensor = creation.arange(steps, device="cpu") < on_host.reshape(batch, 1)
    return valid.to(memory.device)


class DotAttention(Attention):
    """score = query . memory (Luong et al. 2015), over sqrt(size) if scaled (Vaswani et al. 2017).

    **Arguments** size: features of query and memory. scaled: divides by sqrt(size),
    so that the softmax of large vectors does not saturate. normalize: as `Attention`.

    >>> import tinygrad_rnn as tg
    >>> _, weights = tg.nn.DotAttention(2)(tg.ones((1, 1, 2)), tg.zeros((4, 1, 2)))
    >>> weights.tolist()
    [[[0.25, 0.25, 0.25, 0.25]]]
    """

    def __init__(self, size: int, scaled: bool = False, normalize: str = "softmax") -> None:
        positive("DotAttention", size=size)
        flag("DotAttention", scaled=scaled)
        super().__init__(size, size, normalize)
        self.size, self.scaled = size, scaled

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """query . key, scaled or not."""
        scores: Tensor = (query / sqrt(self.query_size) if self.scaled else query) @ keys.mT
        return scores


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
        dtype: DType = "float32",
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

    **Arguments** query_size, memory_size, normalize: as `Attention`. hidden_size: the size
    of v; query_size, if None.

    >>> import tinygrad_rnn as tg
    >>> attention = tg.nn.AdditiveAttention(3, 5, hidden_size=8)
    >>> context, weights = attention(tg.zeros((2, 1, 3)), tg.zeros((4, 1, 5)))
    >>> context.shape, weights.shape
    ((2, 1, 5), (2, 1, 4))
    """

    count: int = 0  # of features of the earlier weights in the score

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        hidden_size: int | None = None,
        normalize: str = "softmax",
        device: str | None = None,
        dtype: DType = "float32",
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
        if self.count:
            self.place = linear(self.count, size, False)

    def keys(self, memory: Tensor) -> Tensor:
        """U memory."""
        keys: Tensor = self.key(memory)
        return keys

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        """v . tanh(W query + key)."""
        added = self.query(query).expand_dims(axis=2) + keys.expand_dims(axis=1)
        scores: Tensor = self.energy(ops.tanh(added)).squeeze(axis=-1)
        return scores
