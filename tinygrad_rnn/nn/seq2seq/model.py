"""Encoder-decoder models: sequences to sequences of other lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import InvalidTypeError, ShapeError
from ...loops.scan import Lengths
from ...tensor import creation
from ...tensor.random import Generator, given_or_default
from ...tensor.tensor import Tensor, TensorLike
from ..checks import ids_of, instance, placement, probability
from ..module import Module
from .bridge import Bridge, same_states
from .decoder import Decoder, DecoderState, Source
from .encoder import Encoder


class Seq2Seq(Module):
    """Encoder-decoder model of P(target | source), factorized by the chain rule.

    **Arguments** encoder, decoder: the parts. bridge: maps the last state of the encoder to the
    initial state of the decoder; if None, the identity where the states have the same shapes, else
    a `Bridge`. generator: draws the steps that read the model's own prediction in scheduled
    sampling.

    >>> import tinygrad_rnn as tg
    >>> encoder = tg.nn.Encoder(tg.nn.Embedding(10, 4), tg.nn.GRU(4, 8, bidirectional=True))
    >>> attention = tg.nn.AdditiveAttention(6, encoder.memory_size)
    >>> model = tg.nn.Seq2Seq(
    ...     encoder, tg.nn.Decoder(tg.nn.Embedding(12, 4), tg.nn.LSTM(4, 6), attention)
    ... )
    >>> source, target = tg.tensor([[1, 2], [3, 0]]), tg.tensor([[1, 1], [5, 2], [6, 0]])
    >>> model(source, target, lengths=[2, 1]).shape
    (3, 2, 12)
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        bridge: Callable[[Any], Any] | None = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        instance("Seq2Seq", "encoder", encoder, Encoder)
        instance("Seq2Seq", "decoder", decoder, Decoder)
        if not (bridge is None or callable(bridge)) or isinstance(bridge, type):
            raise InvalidTypeError(
                f"Seq2Seq: bridge: expected a module or a function of a state, got {bridge!r}"
            )
        placement("Seq2Seq", generator=generator)
        self.encoder, self.decoder, self.generator = encoder, decoder, generator
        if bridge is None and not same_states(encoder.layers, decoder.layers):
            like = decoder.head.weight
            bridge = Bridge(
                encoder.layers, decoder.layers, like.device, like.dtype, generator=generator
            )
        self.bridge = bridge

    def encode(self, source: TensorLike, *, lengths: Lengths = None) -> tuple[Source, Any]:
        """Encodes a source. **Returns** the prepared memory, and the initial decoder state."""
        memory, state = self.encoder(source, lengths=lengths)
        if self.bridge is not None:
            state = self.bridge(state)
        return self.decoder.prepare_memory(memory, symbols=source, lengths=lengths), state

    def forward(
        self,
        source: TensorLike,
        target: TensorLike,
        *,
        lengths: Lengths = None,
        teacher_forcing_ratio: float = 1.0,
    ) -> Tensor:
        """Computes the logits of the next symbol at each step of a target.

        **Arguments** source: (S, B) symbols, or (S, B, features). target: (T, B) symbols, from the
        start symbol on. lengths: (B,), of the sources. teacher_forcing_ratio: the probability that
        a step reads the target instead of the model's most probable symbol (scheduled sampling,
        Bengio et al. 2015); 1 is teacher forcing, which runs all steps at once. **Returns** logits
        (T, B, V).
        """
        prepared, state = self.encode(source, lengths=lengths)
        if teacher_forcing_ratio != 1:
            probability("Seq2Seq: teacher_forcing_ratio", teacher_forcing_ratio)
            return self._sampled(prepared, state, target, teacher_forcing_ratio)
        return self.decoder(target, prepared, state)[0]

    def align(
        self, source: TensorLike, target: TensorLike, *, lengths: Lengths = None
    ) -> Tensor | None:
        """As `forward`. **Returns** the attention weights, (T, B, S); None without attention."""
        prepared, state = self.encode(source, lengths=lengths)
        weights: Tensor | None = self.decoder(target, prepared, state)[1]
        return weights

    def _sampled(self, source: Source, state: Any, target: TensorLike, ratio: float) -> Tensor:
        table = self.decoder.embedding.weight
        target = ids_of("Seq2Seq", "target", target, len(table), table.device)
        if target.ndim != 2 or 0 in target.shape:
            raise ShapeError(
                f"Seq2Seq: target: expected (T, B), none empty; got {list(target.shape)}"
            )
        draws = given_or_default(self.generator, "Seq2Seq").random(target.shape) < ratio
        forced = creation.as_tensor(draws, device=target.device)
        return self.decoder.by_steps(target, source, state, forced)[0]

    # ------------------------------------------------------------ for decoding

    batch_axis = Decoder.batch_axis

    def start(self, source: TensorLike, *, lengths: Lengths = None) -> tuple[Source, DecoderState]:
        """Encodes sources for decoding. **Returns** the state before the first step."""
        prepared, state = self.encode(source, lengths=lengths)
        return self.decoder.start(prepared, state)

    def step(self, symbols: Tensor, state: Any) -> tuple[Any, ...]:
        """One step of decoding: see `Decoder.step`."""
        return self.decoder.step(symbols, state)
