"""Encoder of an encoder-decoder model: a memory with an entry for each source step."""

from __future__ import annotations

from typing import Any

from ...errors import InvalidValueError, ShapeError
from ...loops.scan import Lengths
from ...tensor import creation, ops
from ...tensor.random import Generator
from ...tensor.tensor import Tensor, TensorLike
from ..checks import instance, placement, probability
from ..dropout import Dropout
from ..embedding import Embedding
from ..lengths import lengths_of, within_rows
from ..module import Module
from ..recurrent.layer import RecurrentLayer
from .bridge import sizes_of


class Encoder(Module):
    """Embedding, dropout and recurrent layers.

    **Arguments** embedding: a module that maps a step to its features: an `Embedding` of symbols, a
    `Linear` map of vectors. layers: recurrent layers, of any depth and in one or both directions.
    dropout: probability, before the layers. **Raises** ValueError for layers with batch_first.

    >>> import tinygrad_rnn as tg
    >>> layers = tg.nn.LSTM(4, 8, bidirectional=True)
    >>> encoder = tg.nn.Encoder(tg.nn.Embedding(10, 4), layers)
    >>> memory, (h, c) = encoder(tg.tensor([[1, 2], [3, 0]]), lengths=[2, 1])
    >>> memory.shape, h.shape
    ((2, 2, 16), (2, 2, 8))
    """

    def __init__(
        self,
        embedding: Module,
        layers: RecurrentLayer,
        dropout: float = 0.0,
        *,
        generator: Generator | None = None,
    ) -> None:
        instance("Encoder", "embedding", embedding, Module)
        time_major("Encoder", layers)
        probability("Encoder: dropout", dropout)
        placement("Encoder", generator=generator)
        self.embedding, self.layers = embedding, layers
        self.dropout = Dropout(dropout, generator=generator)
        self.memory_size = sizes_of(layers).outputs  # features of a memory entry

    def forward(self, source: TensorLike, *, lengths: Lengths = None) -> tuple[Tensor, Any]:
        """Encodes a source.

        **Arguments** source: the input of the embedding, (S, B) or (S, B, features). lengths: (B,),
        as in recurrent layers; source is not read past them. **Returns** the
        memory, (S, B, memory_size), and the layers' last state.
        """
        source = within_lengths("Encoder", "source", source, lengths)
        if isinstance(self.embedding, Embedding):
            x, ids = self.embedding.inputs(source, self.dropout)
        else:
            x, ids = self.dropout(self.embedding(source)), None
        memory, state = self.layers(x, ids=ids, lengths=lengths)
        return memory, state


def time_major(name: str, layers: RecurrentLayer) -> None:
    """Refuses layers with batch_first=True."""
    instance(name, "layers", layers, RecurrentLayer)
    if layers.batch_first:
        raise InvalidValueError(
            f"{name}: layers: expected (T, B, features); make them batch_first=False"
        )


def within_lengths(name: str, argument: str, x: Any, lengths: Lengths) -> Any:
    """Zeroes (S, B, ...) past the lengths of its batch rows."""
    if lengths is None:
        return x
    x = creation.as_tensor(x)
    if x.ndim < 2:
        raise ShapeError(f"{name}: {argument}: expected (S, B) or more; got {list(x.shape)}")
    steps, batch = x.shape[:2]
    checked = lengths_of(name, "lengths", lengths, batch, steps).to(x.device)
    within = within_rows(x, checked)
    return ops.where(within.reshape(steps, batch, *(1,) * (x.ndim - 2)), x, 0)
