"""An encoder, a decoder, and what lies between: sequences to sequences of other lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import InvalidTypeError, ShapeError
from ...tensor import creation, ops
from ...tensor.random import Generator, given_or_default
from ...tensor.tensor import Tensor
from ..checks import ids_of, instance, placement, probability
from ..module import Module
from .bridge import Bridge, same_states
from .decoder import Decoder, DecoderState, Source
from .encoder import Encoder


class Seq2Seq(Module):
    """P(target | source) as the chain rule has it: each symbol given the source and those before.

    **Arguments** encoder, decoder: its halves. bridge: makes the encoder's last state the decoder's
    first; if None, the state is handed over as it is where it fits, and else by a `Bridge`.
    generator: draws which steps read what the model wrote itself, in scheduled sampling.

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

    def encode(self, source: Any, *, lengths: Any = None) -> tuple[Source, Any]:
        """Reads a source. **Returns** what the decoder looks at, and its layers' first state."""
        memory, state = self.encoder(source, lengths=lengths)
        if self.bridge is not None:
            state = self.bridge(state)
        return self.decoder.look_at(memory, symbols=source, lengths=lengths), state

    def forward(
        self, source: Any, target: Any, *, lengths: Any = None, truth: float = 1.0
    ) -> Tensor:
        """Reads a source and the known target, and says at each step what comes next.

        **Arguments** source: (S, B) symbols, or (S, B, features). target: (T, B) symbols, of which
        the first starts it. lengths: (B,), of the sources. truth: the probability with which a
        step reads the target rather than what the model itself finds most probable (scheduled
        sampling, Bengio et al. 2015); 1 is teacher forcing, and runs all steps at once.
        **Returns** logits (T, B, V).
        """
        looked_at, state = self.encode(source, lengths=lengths)
        if truth != 1:
            probability("Seq2Seq: truth", truth)
            return self._sampled(looked_at, state, target, truth)
        return self.decoder(target, looked_at, state)[0]

    def align(self, source: Any, target: Any, *, lengths: Any = None) -> Tensor | None:
        """As `forward`. **Returns** where each step looks, (T, B, S); None without attention."""
        looked_at, state = self.encode(source, lengths=lengths)
        weights: Tensor | None = self.decoder(target, looked_at, state)[1]
        return weights

    def _sampled(self, source: Source, state: Any, target: Any, truth: float) -> Tensor:
        table = self.decoder.embedding.weight
        target = ids_of("Seq2Seq", "target", target, len(table), table.device)
        if target.ndim != 2 or 0 in target.shape:
            raise ShapeError(
                f"Seq2Seq: target: expected (T, B), none empty; got {list(target.shape)}"
            )
        draws = given_or_default(self.generator, "Seq2Seq").random(target.shape) < truth
        true = creation.as_tensor(draws, device=target.device)
        at = self.decoder.start(source, state, batch=target.shape[1])
        written, logits = target[0], []
        for t, y in enumerate(target.unstack()):
            read = ops.where(true[t], y, written) if t else y  # the first only starts
            scores, at, *_ = self.decoder.step(read, at)
            written = ops.argmax(scores.detach(), axis=-1)
            logits.append(scores)
        return ops.stack(logits)

    # ------------------------------------------------------------ for decoding

    rows = Decoder.rows

    def start(self, source: Any, *, lengths: Any = None) -> tuple[Source, DecoderState]:
        """Reads the sources that are to be decoded. **Returns** the state before the first step."""
        looked_at, state = self.encode(source, lengths=lengths)
        return self.decoder.start(looked_at, state, batch=source.shape[1])

    def step(self, symbols: Any, state: Any) -> tuple[Any, ...]:
        """One step of decoding: see `Decoder.step`."""
        return self.decoder.step(symbols, state)
