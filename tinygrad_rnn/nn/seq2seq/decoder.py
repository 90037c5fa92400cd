"""Decoder of an encoder-decoder model, which produces one target symbol per step.

    h_t = recurrence(y_{t-1}, h_{t-1})          c_t = attention(h_t, memory)
    r_t = tanh(W [h_t; c_t])                    P(y_t | before, source) = softmax(V r_t)

The order is that of Luong et al. (2015): the recurrence does not read the context. With teacher
forcing it runs over all steps at once, followed by the attention of all steps at once. Input
feeding, where the recurrence reads r_{t-1}, runs step by step.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from ...errors import InvalidTypeError, InvalidValueError
from ...loops.scan import Lengths
from ...tensor import creation, ops
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor, TensorLike
from ..attention.attention import Attention, Memory
from ..checks import flag, ids_of, instance, placement, positive, probability
from ..dropout import Dropout
from ..embedding import Embedding
from ..linear import Linear
from ..module import Module
from ..recurrent.layer import RecurrentLayer
from .bridge import sizes_of
from .encoder import time_major, within_lengths
from .pointer import Pointer


class Source(NamedTuple):
    """A source, prepared once for all decoder steps."""

    memory: Memory | None  # None without attention
    symbols: Tensor | None  # (B, S), for the pointer to copy; None without one


class DecoderState(NamedTuple):
    """Decoder state between two steps."""

    layers: Any  # of the recurrent layers
    attention: Tensor | None  # state of the attention, (B, S)
    readout: Tensor | None  # r_{t-1} for input feeding, (B, readout_size)


class Decoder(Module):
    """Embedding, recurrent layers, attention, readout, and a linear map to logits.

    **Arguments** embedding: of the target symbols. layers: unidirectional recurrent layers.
    attention: its queries are the outputs of the layers; None for a model without attention
    (Sutskever et al. 2014). readout_size: features of r_t; None for those of the layers.
    input_feeding: the layers also read r_{t-1} (Luong et al. 2015); their input_size is that of the
    embedding plus readout_size. deep_output: r_t also reads the previous symbol (Bahdanau et al.
    2015). tied: V is the embedding matrix (Press and Wolf 2017), so that readout_size is its
    number of features. copy: can copy symbols of the source (`Pointer`); source and target share a
    vocabulary. dropout: probability, before the layers and before V. **Raises** ValueError for
    parts whose sizes do not match.

    >>> import tinygrad_rnn as tg
    >>> decoder = tg.nn.Decoder(tg.nn.Embedding(10, 4), tg.nn.GRU(4, 8), tg.nn.DotAttention(8))
    >>> source = decoder.prepare_memory(tg.zeros((5, 2, 8)), lengths=[5, 3])
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
        dtype: DType = "float32",
        generator: Generator | None = None,
    ) -> None:
        instance("Decoder", "embedding", embedding, Embedding)
        time_major("Decoder", layers)
        if attention is not None:
            instance("Decoder", "attention", attention, Attention)
        flag("Decoder", input_feeding=input_feeding, deep_output=deep_output, tied=tied, copy=copy)
        probability("Decoder: dropout", dropout)
        placement("Decoder", device, dtype, generator)
        factory: dict[str, Any] = {"device": device, "dtype": dtype, "generator": generator}
        symbols, features = embedding.weight.shape
        hidden = sizes_of(layers).outputs
        size = (features if tied else hidden) if readout_size is None else readout_size
        positive("Decoder", readout_size=size)
        self.embedding, self.layers, self.attention = embedding, layers, attention
        self.input_feeding, self.deep_output, self.readout_size = input_feeding, deep_output, size
        self._check_sizes(hidden, tied, copy)
        self.dropout = Dropout(dropout, generator=generator)
        context = 0 if attention is None else attention.context_size
        features_in = hidden + context + (features if deep_output else 0)
        identity = features_in == hidden == size  # r_t is h_t
        self.readout = None if identity else Linear(features_in, size, **factory)
        self.head = Linear(size, symbols, **factory)
        if tied:
            self.head.weight = embedding.weight
        self.pointer = Pointer(features_in, **factory) if copy else None

    def _check_sizes(self, hidden: int, tied: bool, copy: bool) -> None:
        """Refuses parts whose sizes do not match."""
        features = self.embedding.weight.shape[1]
        wanted = features + (self.readout_size if self.input_feeding else 0)
        for name in ("bidirectional", "reverse"):
            if getattr(self.layers, name):
                raise InvalidValueError(
                    f"Decoder: layers: expected {name}=False: the target is generated from left to "
                    "right"
                )
        if self.layers.input_size != wanted:
            fed = f" + {self.readout_size} for input feeding" if self.input_feeding else ""
            raise InvalidValueError(
                f"Decoder: layers: expected input_size {wanted} ({features} of the embedding"
                f"{fed}), got {self.layers.input_size}"
            )
        if self.attention is not None and self.attention.query_size != hidden:
            raise InvalidValueError(
                f"Decoder: attention: expected query_size {hidden}, as the layers' output; "
                f"got {self.attention.query_size}"
            )
        if tied and self.readout_size != features:
            raise InvalidValueError(
                f"Decoder: tied: expected readout_size {features}, as the embedding; got "
                f"{self.readout_size}"
            )
        if copy and self.attention is None:
            raise InvalidValueError(
                "Decoder: copy: expected an attention, whose weights are the copy distribution"
            )

    # ------------------------------------------------------------ before the first step

    def prepare_memory(
        self, memory: Tensor, *, symbols: TensorLike | None = None, lengths: Lengths = None
    ) -> Source:
        """Prepares a source: memory (S, B, memory_size), and symbols (S, B) for a pointer to copy.

        Neither is read past the lengths (B,).
        """
        prepared = (
            None if self.attention is None else self.attention.prepare_memory(memory, lengths)
        )
        if self.pointer is None:
            return Source(prepared, None)
        if symbols is None:
            raise InvalidTypeError(
                "Decoder: prepare_memory: symbols: expected the symbols of the source, (S, B), "
                "to copy"
            )
        symbols = within_lengths("Decoder", "symbols", symbols, lengths)
        symbols = ids_of("Decoder", "symbols", symbols, len(self.head.weight), memory.device)
        return Source(prepared, symbols.swapaxes(0, 1))

    batch_axis: ClassVar[Any] = (0, (1, 0, 0))  # of the parts of the state

    def start(
        self, source: Source | None = None, state: Any = None, *, batch: int = 1
    ) -> tuple[Source, DecoderState]:
        """Returns the source and the state before the first `step`.

        **Arguments** source: of `prepare_memory`; None without attention. state: of the layers;
        None for zeros. batch: the batch size, if there is neither a source nor a state.
        """
        source, attention, readout = self._known(source), None, None
        if self.attention is not None and source.memory is not None:
            attention = self.attention.initial(source.memory)
            batch = source.memory.values.shape[0]
        elif state is not None:
            batch = (state[0] if isinstance(state, tuple) else state).shape[1]
        if self.input_feeding:
            like = self.head.weight
            readout = creation.zeros(
                (batch, self.readout_size), dtype=like.dtype, device=like.device
            )
        return source, DecoderState(state, attention, readout)

    def _known(self, source: Source | None) -> Source:
        valid = source is None or isinstance(source, Source)
        if not valid or (self.attention is not None and (source is None or source.memory is None)):
            raise InvalidTypeError(
                "Decoder: source: expected the result of prepare_memory(memory), for the attention"
            )
        return source or Source(None, None)

    # ------------------------------------------------------------ all steps, or one

    def forward(
        self, symbols: TensorLike, source: Source | None = None, state: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        """Computes the logits of the next symbol at each step of a target (teacher forcing).

        **Arguments** symbols: (T, B), from the start symbol on. source: of `prepare_memory`; None
        without attention. state: the initial state of the layers; None for zeros. **Returns**
        logits (T, B, V), and the attention weights (T, B, S) or None.
        """
        source = self._known(source)
        symbols = creation.as_tensor(symbols, device=self.head.weight.device)
        if self.input_feeding:
            return self.by_steps(symbols, source, state)
        embedded = self.dropout(self.embedding(symbols))
        h, _ = self.layers(embedded, state)
        if self.attention is None or source.memory is None:
            return self._logits(h, None, embedded, None, source)[0], None
        context, weights = self.attention.attend(h, source.memory)
        return self._logits(h, context, embedded, weights, source)[0], weights

    def step(self, symbols: TensorLike, state: Any) -> tuple[Any, ...]:
        """Advances by one step, for `nn.decoding`.

        **Arguments** symbols: (N,), the previous symbols. state: of `start` or the previous step.
        **Returns** logits (N, V), the state, and with attention its weights (N, S).
        """
        (memory, copied), (layers, attention, readout) = state
        source = Source(memory and Memory(*memory), copied)
        embedded = self.dropout(self.embedding(symbols))
        x = embedded if readout is None else ops.concat([embedded, readout], axis=-1)
        y, layers = self.layers(x.expand_dims(axis=0), layers)
        h, context, weights = y.squeeze(axis=0), None, None
        if self.attention is not None and source.memory is not None:
            context, weights, attention = self.attention.step(h, source.memory, attention)
        logits, r = self._logits(h, context, embedded, weights, source)
        state = source, DecoderState(layers, attention, r if self.input_feeding else None)
        return (logits, state) if weights is None else (logits, state, weights)

    def by_steps(
        self, symbols: Tensor, source: Source, state: Any, forced: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """As `forward`, step by step.

        **Arguments** forced: (T, B), false where a step reads the model's most probable symbol.
        """
        at = self.start(source, state, batch=symbols.shape[1])
        logits: list[Tensor] = []
        attended: list[Tensor] = []
        for t, y in enumerate(symbols.unstack()):
            if t and forced is not None:  # after the start symbol
                y = ops.where(forced[t], y, ops.argmax(logits[-1].detach(), axis=-1))
            scores, at, *weights = self.step(y, at)
            logits.append(scores)
            attended += weights
        return ops.stack(logits), ops.stack(attended) if attended else None

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
