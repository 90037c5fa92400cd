"""Maps from the last state of an encoder to the initial state of a decoder."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import InvalidValueError, ShapeError
from ...tensor import creation, ops
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ..checks import instance, is_tensor, placement
from ..containers import ModuleList
from ..linear import Linear
from ..module import Module, inference
from ..recurrent.layer import RecurrentLayer


class Sizes(NamedTuple):
    """Sizes of the outputs and states of recurrent layers."""

    outputs: int  # features of an output
    rows: int  # of a state: layers times directions
    parts: tuple[int, ...]  # features of each part of a state


def sizes_of(layers: RecurrentLayer) -> Sizes:
    """Returns the sizes of recurrent layers, by running one step of zeros."""
    if layers.input_size is None:
        raise InvalidValueError("Recurrent: input_size is unknown: pass it to the constructor")
    like = next(layers.parameters())
    with inference(layers):
        y, state = layers(
            creation.zeros((1, 1, layers.input_size), dtype=like.dtype, device=like.device)
        )
    parts = state if isinstance(state, tuple) else (state,)
    return Sizes(y.shape[-1], parts[0].shape[0], tuple(part.shape[-1] for part in parts))


class Bridge(Module):
    """Initial decoder state from the last encoder state: tanh(W [both directions] + b).

    Each layer of the decoder has its own linear map (Bahdanau et al. 2015), from the encoder layer
    of the same depth, or from the last one if the encoder has fewer. The parts of a state (h and c)
    are concatenated, so that the cells may differ.

    **Arguments** encoder, decoder: the recurrent layers of the two.

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
        dtype: DType = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        instance("Bridge", "encoder", encoder, RecurrentLayer)
        instance("Bridge", "decoder", decoder, RecurrentLayer)
        placement("Bridge", device, dtype, generator)
        self.depth, self.directions = encoder.num_layers, encoder.directions
        self.parts, self.sizes = sizes_of(encoder).parts, sizes_of(decoder).parts
        features = sum(self.parts) * self.directions
        self.maps = ModuleList(
            Linear(features, sum(self.sizes), True, device, dtype, generator=generator)
            for _ in range(decoder.num_layers)
        )

    def forward(self, state: Any) -> Any:
        """**Arguments** state: of the encoder. **Returns** the initial state of the decoder."""
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
        stacked, first, split = ops.stack(layers), 0, []
        for size in self.sizes:
            split.append(stacked[:, :, first : first + size])
            first += size
        return tuple(split) if len(split) > 1 else split[0]


def same_states(encoder: RecurrentLayer, decoder: RecurrentLayer) -> bool:
    """Whether the state of the encoder has the shape of a decoder state."""
    return (
        sizes_of(encoder)[1:] == sizes_of(decoder)[1:] and encoder.directions == decoder.directions
    )
