"""The first half of an encoder-decoder: it reads the source and remembers every step of it."""

from __future__ import annotations

from typing import Any

from ..tensor import ops
from ..tensor.errors import ShapeError
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .checks import is_tensor
from .dropout import Dropout
from .linear import Linear
from .module import Module, ModuleList
from .recurrent import RecurrentLayer


class Encoder(Module):
    """Embedding, dropout and recurrent layers.

    **Arguments** embedding: a module that gives each step its features: an `Embedding` of symbols,
    a `Linear` map of vectors. layers: any recurrent layers, deep, in both directions, as you like.
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
        time_major("Encoder", layers)
        self.embedding, self.layers = embedding, layers
        self.dropout = Dropout(dropout, generator=generator)

    @property
    def memory_size(self) -> int:
        """The features of a step that it remembers."""
        return self.layers.output_size * self.layers.directions

    def forward(self, source: Any, *, lengths: Any = None) -> tuple[Tensor, Any]:
        """Reads a source.

        **Arguments** source: what the embedding takes, (S, B) or (S, B, features). lengths: (B,),
        as recurrent layers take them. **Returns** the memory, (S, B, memory_size), and the layers'
        last state.
        """
        memory, state = self.layers(self.dropout(self.embedding(source)), lengths=lengths)
        return memory, state


class Bridge(Module):
    """Makes an encoder's last state a decoder's first: s = tanh(W [its directions, joined] + b).

    Each layer of the decoder has a map of its own (Bahdanau et al. 2015), from the encoder's layer
    of the same depth, or from its last if it has fewer. Parts of a state (h and c) go together, so
    that cells may differ.

    **Arguments** encoder, decoder: the recurrent layers on either side.

    >>> import tinygrad_rnn as tg
    >>> bridge = tg.nn.Bridge(tg.nn.GRU(3, 4, bidirectional=True), tg.nn.LSTM(3, 5, num_layers=2))
    >>> h, c = bridge(tg.zeros((2, 7, 4)))
    >>> h.shape, c.shape
    ((2, 7, 5), (2, 7, 5))
    """

    def __init__(
        self,
        encoder: RecurrentLayer,
        decoder: RecurrentLayer,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        self.depth, self.directions = encoder.num_layers, encoder.directions
        self.parts, self.sizes = encoder._state_sizes(), decoder._state_sizes()
        features = sum(self.parts) * self.directions
        self.maps = ModuleList(
            Linear(features, sum(self.sizes), True, device, dtype, generator=generator)
            for _ in range(decoder.num_layers)
        )

    def forward(self, state: Any) -> Any:
        """**Arguments** state: the encoder's. **Returns** the decoder's, of its parts and sizes."""
        parts = state if isinstance(state, tuple) else (state,)
        rows = self.depth * self.directions
        for part, size in zip(parts, self.parts, strict=True):
            is_tensor("Bridge", "state", part)
            if part.ndim != 3 or (part.shape[0], part.shape[2]) != (rows, size):
                raise ShapeError(f"Bridge: state: expected ({rows}, B, {size}); got {part.shape}")
        layers = []
        for i, linear in enumerate(self.maps):
            first = min(i, self.depth - 1) * self.directions
            of_layer = [part[k] for part in parts for k in range(first, first + self.directions)]
            layers.append(ops.tanh(linear(ops.concat(of_layer, axis=-1))))
        stacked, first, made = ops.stack(layers), 0, []
        for size in self.sizes:
            made.append(stacked[:, :, first : first + size])
            first += size
        return tuple(made) if len(made) > 1 else made[0]


def same_states(encoder: RecurrentLayer, decoder: RecurrentLayer) -> bool:
    """Whether the one's last state can be the other's first as it is."""

    def shape(layers: RecurrentLayer) -> tuple[Any, ...]:
        return layers.num_layers, layers.directions, layers._state_sizes()

    return shape(encoder) == shape(decoder)


def time_major(name: str, layers: RecurrentLayer) -> None:
    """Refuses layers that have the batch first."""
    if layers.batch_first:
        raise ValueError(f"{name}: layers: expected (T, B, features); make them batch_first=False")
