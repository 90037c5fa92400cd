"""A character language model: the probability of the next character, given all before it.

    P(c_1 ... c_n) = P(c_1) P(c_2 | c_1) ... P(c_n | c_1 ... c_{n-1})

A recurrent network computes every factor of the chain rule. Before the first character it reads a
start symbol: a line feed if the text has one, since a text begins where a line begins, else the
text's first character.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data import CharVocabulary
from ..nn import Dropout, Embedding, Linear, Module, linear_cross_entropy
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .cells import CELLS, check_weights_fit
from .language_model import LanguageModel
from .saved import Restored, check_sizes, restore_weights
from .settings import Settings, setting

State = Any  # (L, B, H); a pair of them for LSTM


@dataclass(frozen=True)
class CharLMConfig(Settings):
    """All that determines a training, except its text."""

    cell: str = setting("gru", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(256, "Units in a layer.", at_least=1)
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    embedding_dim: int = setting(64, "Embedding size of a character.", at_least=1)
    dropout: float = setting(
        0.0, "Dropout probability, before, between and after the layers.", at_least=0, below=1
    )
    batch_size: int = setting(64, "Streams of text that are read in parallel.", at_least=1)
    bptt: int = setting(32, "BPTT truncation length in steps.", at_least=1)
    steps: int = setting(2500, "Updates in all.", at_least=1)
    lr: float = setting(5e-3, "Peak learning rate of Adam.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    seed: int = setting(0, "Seed of the initial weights and of dropout.", at_least=0)


class CharModel(Module):
    """Embedding, recurrent layers, and a linear map to the logits of the next character.

    **Arguments** vocab_size: the number of symbols, V. config: cell and sizes. generator: draws the
    initial weights and the dropout masks.
    """

    def __init__(self, vocab_size: int, config: CharLMConfig, generator: Generator) -> None:
        super().__init__()
        check_weights_fit(config, config.embedding_dim, vocab_size)
        self.embedding = Embedding(vocab_size, config.embedding_dim, generator=generator)
        self.dropout = Dropout(config.dropout, generator=generator)
        self.layers = CELLS[config.cell](
            config.embedding_dim, config.hidden_size, num_layers=config.num_layers,
            dropout=config.dropout if config.num_layers > 1 else 0.0, generator=generator,
        )  # fmt: skip
        self.head = Linear(config.hidden_size, vocab_size, generator=generator)

    def forward(self, ids: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads T characters of B texts.

        **Arguments** ids: (T, B) integers. state: of the layers; zeros, if None.

        **Returns** the logits (T, B, V) of the next characters, and the new state.
        """
        y, state = self._read(ids, state)
        return self.head(self.dropout(y)), state

    def loss(self, ids: Tensor, targets: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Computes the mean cross-entropy in nats, without all logits in memory at once.

        **Arguments** ids, targets: (T, B) integers. **Returns** a scalar, and the new state.
        """
        y, state = self._read(ids, state)
        return self._cross_entropy(self.dropout(y), targets), state

    def _read(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """Returns the output of the last layer, (T, B, H), and the new state."""
        x, rows = self.embedding.inputs(ids, self.dropout)
        return self.layers(x, state, ids=rows)  # type: ignore[no-any-return]

    def _cross_entropy(self, y: Tensor, targets: Tensor) -> Tensor:
        weight, bias = self.head.weight, self.head.bias
        return linear_cross_entropy(y, weight, targets, linear_bias=bias)

    def step(self, ids: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Reads one character of B texts, without dropout in any mode.

        **Arguments** ids: (B,) integers. **Returns** the logits (B, V), and the new state.
        """
        y, state = self.layers.step(self.embedding(ids), state)
        return self.head(y), state


@dataclass(frozen=True)
class CharLM(Restored, LanguageModel):
    """A character model with its vocabulary: scores and generates text."""

    recipe, settings = "charlm", CharLMConfig
    kinds: ClassVar = {"vocabulary": str, "start": str}
    model: CharModel
    vocabulary: CharVocabulary
    start: str  # the symbol that the model reads before a text's first character

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> CharLM:
        """Builds the model from a checkpoint's state."""
        vocabulary = CharVocabulary(state["vocabulary"])
        config = settings(state)
        model = CharModel(len(vocabulary), config, Generator(config.seed))
        restore_weights(model, state["model"], device)
        return cls(model, vocabulary, state["start"])

    def state(self) -> dict[str, Any]:
        """Returns its own entries of a checkpoint."""
        return {"vocabulary": self.vocabulary.symbols, "start": self.start}

    @property
    def symbols(self) -> str:
        """The characters of all ids."""
        return self.vocabulary.symbols

    def encode(self, text: str) -> NDArray[np.int64]:
        """Returns the ids of the start symbol, and of a text's characters."""
        # One by one, so that an error names an unknown character's position in the text.
        return np.concatenate([self.vocabulary.encode(self.start), self.vocabulary.encode(text)])


def start_symbol(text: str) -> str:
    """Chooses the symbol that the model reads before a text's first character."""
    return "\n" if "\n" in text else text[0]


def settings(state: dict[str, Any]) -> CharLMConfig:
    """Returns a state's settings. **Raises** CheckpointError if its arrays have other sizes."""
    config = CharLMConfig(**state["config"])
    symbols = len(state["vocabulary"])
    check_sizes(
        state["model"],
        {
            "embedding.weight": (symbols, config.embedding_dim),
            "head.weight": (symbols, config.hidden_size),
            f"layers.weight_hh_l{config.num_layers - 1}": (None, config.hidden_size),
        },
    )
    return config
