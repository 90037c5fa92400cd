"""Between encoder and decoder: the last state of the one becomes the first of the other."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import InvalidValueError, ShapeError
from ...tensor import creation, ops
from ...tensor.autodiff import no_grad
from ...tensor.random import Generator
from ..checks import instance, is_tensor, placement
from ..containers import ModuleList
from ..linear import Linear
from ..module import Module
from ..recurrent.stack import RecurrentLayer


class Reach(NamedTuple):
    """How far recurrent layers go: what they give, whatever they are made of."""

    outputs: int  # features of an output
    rows: int  # of a state: layers times directions
    parts: tuple[int, ...]  # features of each part of a state


def reach(layers: RecurrentLayer) -> Reach:
    """What recurrent layers give, found by having them read one step of zeros."""
    if layers.input_size is None:
        raise InvalidValueError("Recurrent: expected its input_size to be known here: hand it over")
    like, training = next(layers.parameters()), layers.training
    x = creation.zeros((1, 1, layers.input_size), dtype=like.dtype, device=like.device)
    with no_grad():
        y, state = layers.eval()(x)
    layers.train(training)
    parts = state if isinstance(state, tuple) else (state,)
    return Reach(y.shape[-1], parts[0].shape[0], tuple(part.shape[-1] for part in parts))


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
        instance("Bridge", "encoder", encoder, RecurrentLayer)
        instance("Bridge", "decoder", decoder, RecurrentLayer)
        placement("Bridge", device, dtype, generator)
        self.depth, self.directions = encoder.num_layers, encoder.directions
        self.parts, self.sizes = reach(encoder).parts, reach(decoder).parts
        features = sum(self.parts) * self.directions
        self.maps = ModuleList(
            Linear(features, sum(self.sizes), True, device, dtype, generator=generator)
            for _ in range(decoder.num_layers)
        )

    def forward(self, state: Any) -> Any:
        """**Arguments** state: the encoder's. **Returns** the decoder's, of its parts and sizes."""
        parts = state if isinstance(state, tuple) else (state,)
        rows = self.depth * self.directions
        if len(parts) != len(self.parts):
            raise ShapeError(
                f"Bridge: state: expected {len(self.parts)} parts of the encoder's state, got "
                f"{len(parts)}"
            )
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
    return reach(encoder)[1:] == reach(decoder)[1:] and encoder.directions == decoder.directions
