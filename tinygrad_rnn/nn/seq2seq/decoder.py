"""The second half of an encoder-decoder: it writes the target, a symbol a step.

    h_t = recurrence(y_{t-1}, h_{t-1})          c_t = attention(h_t, memory)
    r_t = tanh(W [h_t; c_t])                    P(y_t | before, source) = softmax(V r_t)

The order is Luong's (2015): the recurrence needs no context. So, with the target known, it runs
over all steps at once, and then all steps look at the source at once. Input feeding, which hands
r_{t-1} to the recurrence, gives that up.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from ...errors import InvalidTypeError, InvalidValueError
from ...tensor import creation, ops
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..attention.attention import Attention, Memory
from ..checks import flag, ids_of, instance, placement, positive, probability
from ..dropout import Dropout
from ..embedding import Embedding
from ..linear import Linear
from ..module import Module
from ..recurrent.stack import RecurrentLayer
from .bridge import reach
from .encoder import time_major, within_lengths
from .pointer import Pointer


class Source(NamedTuple):
    """What a decoder looks at, prepared once."""

    memory: Memory | None  # None without attention
    symbols: Tensor | None  # (B, S), which a pointer copies; None without one


class DecoderState(NamedTuple):
    """Where a decoder stands between two steps."""

    layers: Any  # of the recurrent layers
    past: Tensor | None  # of the attention, (B, S)
    fed: Tensor | None  # the readout that is fed to the next step, (B, readout size)


class Decoder(Module):
    """Embedding, recurrent layers, attention, readout, and a linear map to logits.

    **Arguments** embedding: of the target's symbols. layers: recurrent layers that run forwards.
    attention: whose queries are the layers' outputs; None for an encoder-decoder without
    (Sutskever et al. 2014). readout_size: features of r_t; the layers', if None. input_feeding: the
    layers read r_{t-1} as well (Luong et al. 2015): their input_size is the embedding's plus
    r_t's. deep_output: r_t sees the symbol before, too (Bahdanau et al. 2015). tied: V is the
    embedding's weight (Press and Wolf 2017), so r_t has its size. copy: symbols of the source may
    be copied (`Pointer`); source and target share a vocabulary then. dropout: probability, before
    the layers and before V. **Raises** ValueError for parts that do not fit together.

    >>> import tinygrad_rnn as tg
    >>> decoder = tg.nn.Decoder(tg.nn.Embedding(10, 4), tg.nn.GRU(4, 8), tg.nn.DotAttention(8))
    >>> source = decoder.look_at(tg.zeros((5, 2, 8)), lengths=[5, 3])
    >>> logits, weights = decoder(tg.tensor([[1, 1], [4, 7]]), source)
    >>> logits.shape, weights.shape
    ((2, 2, 10), (2, 2, 5))
    """

    def __init__(
        self,
        embedding: Embedding,
        layers: RecurrentLayer,
        attention: Attention | None = None,
        *,
        readout_size: int | None = None,
        input_feeding: bool = False,
        deep_output: bool = False,
        tied: bool = False,
        copy: bool = False,
        dropout: float = 0.0,
        device: str | None = None,
        dtype: Any = "float32",
        generator: Generator | None = None,
    ) -> None:
        instance("Decoder", "embedding", embedding, Embedding)
        time_major("Decoder", layers)
        if attention is not None:
            instance("Decoder", "attention", attention, Attention)
        flag("Decoder", input_feeding=input_feeding, deep_output=deep_output, tied=tied, copy=copy)
        probability("Decoder: dropout", dropout)
        placement("Decoder", device, dtype, generator)
        made: dict[str, Any] = {"device": device, "dtype": dtype, "generator": generator}
        symbols, features = embedding.weight.shape
        hidden = reach(layers).outputs
        size = (features if tied else hidden) if readout_size is None else readout_size
        positive("Decoder", readout_size=size)
        _fit(embedding, layers, hidden, attention, size, input_feeding, tied, copy)
        self.embedding, self.layers, self.attention = embedding, layers, attention
        self.input_feeding, self.deep_output = input_feeding, deep_output
        self.dropout = Dropout(dropout, generator=generator)
        context = 0 if attention is None else attention.context_size
        seen = hidden + context + (features if deep_output else 0)
        plain = seen == hidden == size  # nothing to put together: h_t is r_t
        self.readout = None if plain else Linear(seen, size, **made)
        self.readout_size = size
        self.head = Linear(size, symbols, **made)
        if tied:
            self.head.weight = embedding.weight
        self.pointer = Pointer(seen, **made) if copy else None

    # ------------------------------------------------------------ before the first step

    def look_at(self, memory: Tensor, *, symbols: Any = None, lengths: Any = None) -> Source:
        """Prepares a source: memory (S, B, memory_size); symbols (S, B), if they may be copied.

        What either has past the lengths (B,) is not read.
        """
        remembered = None if self.attention is None else self.attention.remember(memory, lengths)
        if self.pointer is None:
            return Source(remembered, None)
        if symbols is None:
            raise InvalidTypeError(
                "Decoder: look_at: expected the source's symbols (S, B), to copy them"
            )
        symbols = within_lengths("Decoder", "symbols", symbols, lengths)
        symbols = ids_of("Decoder", "symbols", symbols, len(self.head.weight), memory.device)
        return Source(remembered, symbols.swapaxes(0, 1))

    rows: ClassVar[Any] = (0, (1, 0, 0))  # the axes on which the parts of `start`'s state have rows

    def start(
        self, source: Source | None = None, state: Any = None, *, batch: int = 1
    ) -> tuple[Source, DecoderState]:
        """The state before the first `step`: what it looks at, and where it stands.

        **Arguments** source: of `look_at`; None without attention. state: of the layers; zeros, if
        None. batch: how many rows, where neither source nor state says it.
        """
        source, past, fed = self._known(source), None, None
        if self.attention is not None and source.memory is not None:
            past = self.attention.initial(source.memory)
            batch = source.memory.values.shape[0]
        elif state is not None:
            batch = (state[0] if isinstance(state, tuple) else state).shape[1]
        if self.input_feeding:
            like = self.head.weight
            fed = creation.zeros((batch, self.readout_size), dtype=like.dtype, device=like.device)
        return source, DecoderState(state, past, fed)

    def _known(self, source: Source | None) -> Source:
        given = source is None or isinstance(source, Source)
        if not given or (self.attention is not None and (source is None or source.memory is None)):
            raise InvalidTypeError(
                "Decoder: source: expected what look_at(memory) gives, for the attention to look at"
            )
        return source or Source(None, None)

    # ------------------------------------------------------------ all steps, or one

    def forward(
        self, symbols: Any, source: Source | None = None, state: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        """Reads a known target, and says at each step what comes next.

        **Arguments** symbols: (T, B), of which the first starts the target. source: of `look_at`;
        None without attention. state: the layers' first; zeros, if None. **Returns** logits
        (T, B, V), and the attention's weights (T, B, S) or None.
        """
        source = self._known(source)
        symbols = creation.as_tensor(symbols, device=self.head.weight.device)
        if self.input_feeding:
            return self._by_steps(symbols, source, state)
        embedded = self.dropout(self.embedding(symbols))
        h, _ = self.layers(embedded, state)
        if self.attention is None or source.memory is None:
            return self._logits(h, None, embedded, None, source)[0], None
        context, weights = self.attention.attend(h, source.memory)
        return self._logits(h, context, embedded, weights, source)[0], weights

    def step(self, symbols: Any, state: Any) -> tuple[Any, ...]:
        """One step, as `nn.decoding` asks for it.

        **Arguments** symbols: (N,), those before. state: of `start` or the step before, its rows
        perhaps chosen anew. **Returns** logits (N, V), the state, and with attention its weights
        (N, S).
        """
        (memory, copied), (layers, past, fed) = state
        source = Source(memory and Memory(*memory), copied)
        embedded = self.dropout(self.embedding(symbols))
        x = embedded if fed is None else ops.concat([embedded, fed], axis=-1)
        y, layers = self.layers(x.expand_dims(axis=0), layers)
        h, context, weights = y.squeeze(axis=0), None, None
        if self.attention is not None and source.memory is not None:
            context, weights, past = self.attention.step(h, source.memory, past)
        logits, r = self._logits(h, context, embedded, weights, source)
        state = source, DecoderState(layers, past, r if self.input_feeding else None)
        return (logits, state) if weights is None else (logits, state, weights)

    def _by_steps(
        self, symbols: Tensor, source: Source, state: Any
    ) -> tuple[Tensor, Tensor | None]:
        at, logits, looks = self.start(source, state, batch=symbols.shape[1]), [], []
        for y in symbols.unstack():
            scores, at, *weights = self.step(y, at)
            logits.append(scores)
            looks += weights
        return ops.stack(logits), ops.stack(looks) if looks else None

    def _logits(
        self,
        h: Tensor,
        context: Tensor | None,
        embedded: Tensor,
        weights: Tensor | None,
        source: Source,
    ) -> tuple[Tensor, Tensor]:
        """Logits and r_t, of one step or of all."""
        parts = [h, context, embedded if self.deep_output else None]
        known = [part for part in parts if part is not None]
        seen = ops.concat(known, axis=-1) if len(known) > 1 else h
        r = seen if self.readout is None else ops.tanh(self.readout(seen))
        logits: Tensor = self.head(self.dropout(r))
        if self.pointer is not None and weights is not None and source.symbols is not None:
            logits = self.pointer(logits, seen, weights, source.symbols)
        return logits, r


def _fit(
    embedding: Embedding,
    layers: RecurrentLayer,
    hidden: int,
    attention: Attention | None,
    readout: int,
    input_feeding: bool,
    tied: bool,
    copy: bool,
) -> None:
    """Refuses parts that do not fit together."""
    features = embedding.weight.shape[1]
    wanted = features + (readout if input_feeding else 0)
    if layers.bidirectional:
        raise InvalidValueError(
            "Decoder: layers: expected one direction; the other is not written yet"
        )
    if layers.input_size != wanted:
        fed = f" + {readout} that are fed" if input_feeding else ""
        raise InvalidValueError(
            f"Decoder: layers: expected input_size {wanted} ({features} of the embedding{fed}), "
            f"got {layers.input_size}"
        )
    if attention is not None and attention.query_size != hidden:
        raise InvalidValueError(
            f"Decoder: attention: expected query_size {hidden}, as the layers' output; "
            f"got {attention.query_size}"
        )
    if tied and readout != features:
        raise InvalidValueError(
            f"Decoder: tied: expected readout_size {features}, as the embedding; got {readout}"
        )
    if copy and attention is None:
        raise InvalidValueError(
            "Decoder: copy: expected an attention, whose weights say what to copy"
        )
