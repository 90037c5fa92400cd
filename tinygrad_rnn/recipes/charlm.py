"""A character language model: what comes next, given all that came before.

    P(c_1 ... c_n) = P(c_1) P(c_2 | c_1) ... P(c_n | c_1 ... c_{n-1})

A recurrent network gives every factor of the chain rule. For the first one it must have read
something, too: the start symbol, a line's end if the text has one (a text begins where a line
begins), else the text's first character.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import CharVocabulary
from ..io import CheckpointError, load_checkpoint
from ..nn import GRU, LSTM, RNN, Dropout, Embedding, Linear, Module, linear_cross_entropy
from ..nn.decoding import check_sampling, draw, probabilities
from ..nn.utils import quantized
from ..tensor.autodiff import no_grad
from ..tensor.creation import as_tensor
from ..tensor.ops import log_softmax
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .divergence import DivergedError, check_weights
from .run import SettingError, check_memory, check_settings, inference, whole
from .saved import Kinds, check_entries, check_sizes

State = Any  # (L, B, H); for LSTM the pair of two of them

LAYER = 10_000  # bytes of a layer besides its weights
CELLS: dict[str, Any] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


@dataclass(frozen=True)
class Config:
    """All that determines a training run, besides its text.

    **Raises** SettingError for the first setting outside its range.
    """

    cell: str = "gru"
    hidden: int = 256  # units in a layer
    layers: int = 1
    embedding: int = 64  # entries of a character's vector
    dropout: float = 0.0  # probability, before, between and after the layers
    batch: int = 64  # parallel streams
    bptt: int = 32  # steps before back-propagation is cut
    steps: int = 2500  # updates of the weights
    lr: float = 5e-3  # the peak, after warming up
    clip: float = 1.0  # the longest gradient
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise SettingError(f"cell must be one of {', '.join(CELLS)}, not {self.cell!r}")
        check_settings(self, "hidden", "layers", "embedding", "batch", "bptt", "steps")


class CharModel(Module):
    """Embedding, recurrent layers, and a linear map to the logits of the next character.

    **Arguments** symbols: the size of the vocabulary, V. config: cell and sizes. generator: draws
    the initial weights, and the dropout masks later.
    """

    def __init__(self, symbols: int, config: Config, generator: Generator) -> None:
        super().__init__()
        check_weights_fit(config, symbols)
        self.embedding = Embedding(symbols, config.embedding, generator=generator)
        self.dropout = Dropout(config.dropout, generator=generator)
        self.layers = CELLS[config.cell](
            config.embedding,
            config.hidden,
            num_layers=config.layers,
            dropout=config.dropout if config.layers > 1 else 0.0,
            generator=generator,
        )
        self.head = Linear(config.hidden, symbols, generator=generator)

    def forward(self, ids: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads a stretch of text.

        **Arguments** ids: (T, B) integers. state: where the layers stand; zeros, if None.

        **Returns** the logits (T, B, V) of what comes next, and the new state.
        """
        y, state = self._read(ids, state)
        return self.head(y), state

    def loss(self, ids: Tensor, targets: Tensor, state: State = None) -> tuple[Tensor, State]:
        """The mean surprise at what comes next, in nats; the logits are never all in memory.

        **Arguments** ids, targets: (T, B) integers. **Returns** a scalar, and the new state.
        """
        y, state = self._read(ids, state)
        head = self.head
        return linear_cross_entropy(y, head.weight, targets, linear_bias=head.bias), state

    def _read(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """What the layers make of a stretch of text, (T, B, H), and the new state."""
        x, rows = self.embedding.inputs(ids, self.dropout)
        y, state = self.layers(x, state, ids=rows)
        return self.dropout(y), state

    def step(self, ids: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads one character, as in evaluation, whichever mode the model is in.

        **Arguments** ids: (B,) integers. **Returns** the logits (B, V), and the new state.
        """
        y, state = self.layers.step(self.embedding(ids), state)
        return self.head(y), state

    @property
    def device(self) -> str:
        """Where the weights are."""
        return str(self.head.weight.device)


def check_weights_fit(config: Any, symbols: int, layers: int | None = None) -> None:
    """Refuses sizes with which weights and gradients cannot fit in the memory.

    **Arguments** config: with hidden and embedding. symbols: rows of its tables. layers: how many
    in all, config's if None. **Raises** SettingError.
    """
    layers = layers or config.layers
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[config.cell]
    recurrent = gates * config.hidden * (config.embedding + (2 * layers - 1) * config.hidden)
    weights = recurrent + symbols * (config.embedding + config.hidden)
    check_memory("a model of this size (hidden, layers, embedding)", 8 * weights + LAYER * layers)


@dataclass(frozen=True)
class CharLM:
    """A model with what it needs to read and write text."""

    model: CharModel
    vocabulary: CharVocabulary
    start: str  # what is read before a text's first character

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> CharLM:
        """Loads the model of a training run's checkpoint.

        **Raises** CheckpointError if there is none, or it is damaged or of something else,
        DivergedError if weights are not finite.
        """
        return cls.from_state(checked(load_checkpoint(folder), folder), device)

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> CharLM:
        """The model in a checkpoint's state."""
        vocabulary = CharVocabulary(state["vocabulary"])
        config = settings(state)
        model = CharModel(len(vocabulary), config, Generator(config.seed))
        model.load_state_dict(state["model"])
        check_weights(model)
        if device is not None:
            model.to(device)
        return cls(model, vocabulary, state["start"])

    def quantized(self) -> CharLM:
        """The same model with recurrent weights rounded to 8 bits: it writes faster."""
        return replace(self, model=quantized(self.model))

    def sample(
        self,
        length: int,
        prompt: str = "",
        *,
        generator: Generator,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Iterator[str]:
        """Writes on, one character at a time, each as soon as it is drawn.

        **Arguments** length: characters to write. prompt: what was read before the first of them.
        temperature, top_k, top_p: as in `nn.decoding.probabilities`.

        **Raises** VocabularyError for an unknown character in the prompt, SettingError for a
        setting outside its range; both at once, not at the first character.
        """
        try:
            check_sampling(temperature, top_k, top_p)
        except ValueError as error:
            raise SettingError(str(error)) from None
        whole("top-k", top_k or 1)
        whole("length", length, least=0)
        ids = self._read(prompt)

        def characters() -> Iterator[str]:
            with inference(self.model):
                logits, state = self.model(self._tensor(ids[:, None]))
            logits = logits[-1]
            for written in range(length):
                drawn = draw(probabilities(logits, temperature, top_k, top_p), generator)
                yield self.vocabulary.symbols[drawn.item()]
                if written + 1 < length:
                    with no_grad():
                        logits, state = self.model.step(drawn, state)

        return characters()

    def score(self, text: str, window: int = 1024) -> NDArray[np.float64]:
        """The factors of the chain rule: log P(c_t | start, c_1 ... c_{t-1}) for every t.

        **Arguments** text: n characters. window: how many are read at a time, which bounds the
        memory and changes nothing else.

        **Returns** (n,) natural logarithms; their sum is log P(text).

        **Raises** VocabularyError for a character that the vocabulary does not have, DivergedError
        for a model whose probabilities are NaN.
        """
        ids = self._read(text)
        factors: list[NDArray[np.float64]] = [np.empty(0)]
        state: State = None
        with inference(self.model):
            for at in range(0, len(text), window):
                x, y = ids[:-1][at : at + window], ids[1:][at : at + window]
                logits, state = self.model(self._tensor(x[:, None]), state)
                log_p = log_softmax(logits, axis=-1).numpy()[:, 0]
                factors.append(log_p[np.arange(len(y)), y].astype(np.float64))
        found = np.concatenate(factors)
        if np.isnan(found).any():
            raise DivergedError("the probabilities are NaN: the weights are too large")
        return found

    def _read(self, text: str) -> NDArray[np.int64]:
        # Encoded apart, so that an unknown character's position is the one in the text.
        return np.concatenate([self.vocabulary.encode(self.start), self.vocabulary.encode(text)])

    def _tensor(self, ids: NDArray[np.int64]) -> Tensor:
        return as_tensor(ids, device=self.model.device)


def start_symbol(text: str) -> str:
    """What is read before the first character of a text."""
    return "\n" if "\n" in text else text[0]


_ENTRIES: Kinds = {
    "config": dict,
    "vocabulary": str,
    "start": str,
    "model": dict,
    "step": int,
    "text": dict,
    "heldout": (float, type(None)),
}


def checked(state: dict[str, Any], folder: str | Path) -> dict[str, Any]:
    """A checkpoint's state, if it is one of this recipe; raises CheckpointError otherwise."""
    check_entries(state, folder, "charlm", Config, _ENTRIES)
    if len(state["config"]) < len(fields(Config)):
        raise CheckpointError(f"the checkpoint in {folder} is not one of train charlm")
    return state


def settings(state: dict[str, Any]) -> Config:
    """The settings in a state. **Raises** CheckpointError if its arrays have other sizes."""
    config = Config(**state["config"])
    symbols = len(state["vocabulary"])
    check_sizes(
        state["model"],
        {
            "embedding.weight": (symbols, config.embedding),
            "head.weight": (symbols, config.hidden),
            f"layers.weight_hh_l{config.layers - 1}": (None, config.hidden),
        },
    )
    return config
