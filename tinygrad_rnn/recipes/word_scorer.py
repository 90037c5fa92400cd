"""The network of `wordlm`: the probability of the next word, given all before it.

The regularisation is that of the AWD-LSTM (Merity et al. 2017), each part by a setting: one dropout
mask a sequence, dropout of the recurrent weights, penalties on outputs (AR) and on their changes
(TAR), tied input and output vectors, and the mean of the last weights (averaged SGD).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.tables import text_lines
from ..data.words import words
from ..nn import Dropout, Embedding, Linear, Module
from ..nn.loss import activation_regularization, temporal_activation_regularization
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .cells import CELLS, check_weights_fit
from .charlm import CharModel, State
from .language_model import LanguageModel
from .predictor import Index, Predictor
from .settings import Settings, setting

UNKNOWN = "\ufffd"  # a word that the model does not know


@dataclass(frozen=True)
class WordLMConfig(Settings):
    """All that determines a training, except its text."""

    cell: str = setting("lstm", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(256, "Units in a layer, and the embedding size.", at_least=1)
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    vocab_size: int = setting(10_000, "Maximal size of the vocabulary.", at_least=1)
    tied: bool = setting(True, "Tie the embedding and the output matrix.")
    dropout: float = setting(
        0.3, "Dropout probability, one mask per sequence.", at_least=0, below=1
    )
    weight_dropout: float = setting(
        0.0, "Dropout probability of the recurrent weights.", at_least=0, below=1
    )
    ar: float = setting(0.0, "Activation regularization (AR).", at_least=0)
    tar: float = setting(0.0, "Temporal activation regularization (TAR).", at_least=0)
    optimizer: str = setting("adam", "Optimizer.", one_of=("adam", "sgd"))
    average: float = setting(
        0.0, "Average the weights over this last share of the updates.", at_least=0, at_most=1
    )
    batch_size: int = setting(32, "Streams of text that are read in parallel.", at_least=1)
    bptt: int = setting(35, "BPTT truncation length in steps.", at_least=1)
    steps: int = setting(4000, "Updates in all.", at_least=1)
    lr: float = setting(2e-3, "Peak learning rate.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    order: int = setting(5, "Order of the Kneser-Ney baseline.", at_least=1, at_most=20)
    limit: int = setting(0, "Words to use at most; all, if 0.", at_least=0)
    seed: int = setting(0, "Seed of the initial weights and of dropout.", at_least=0)


class WordModel(CharModel):
    """Embedding, recurrent layers, and a linear map to the logits of the next word.

    **Arguments** vocab_size: the number of words, V. generator: draws weights and masks.
    """

    def __init__(self, vocab_size: int, config: WordLMConfig, generator: Generator) -> None:
        Module.__init__(self)
        size, self.ar, self.tar = config.hidden_size, config.ar, config.tar
        check_weights_fit(config, size, vocab_size)
        self.embedding = Embedding(vocab_size, size, generator=generator)
        self.embedding.weight.data[:] *= 0.1
        self.dropout = Dropout(config.dropout, shared_axis=0, generator=generator)
        self.layers = CELLS[config.cell](
            size, size, num_layers=config.num_layers, weight_dropout=config.weight_dropout,
            dropout=config.dropout if config.num_layers > 1 else 0.0, dropout_same_mask=True,
            generator=generator,
        )  # fmt: skip
        self.head = Linear(size, vocab_size, generator=generator)
        if config.tied:
            self.head.weight = self.embedding.weight

    def loss(self, ids: Tensor, targets: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Computes the mean cross-entropy in nats; while training, with the penalties.

        **Arguments** ids, targets: (T, B) integers. **Returns** a scalar, and the new state.
        """
        y, state = self._read(ids, state)
        dropped = self.dropout(y)
        loss = self._cross_entropy(dropped, targets)
        if self.training and self.ar:
            loss = loss + self.ar * activation_regularization(dropped)
        if self.training and self.tar:
            loss = loss + self.tar * temporal_activation_regularization(y)
        return loss, state


class WordScorer(Predictor, LanguageModel):
    """Gives the probability of each word of a text, and generates words."""

    settings = WordLMConfig
    kinds: ClassVar = {"words": [str]}
    words: list[str]
    first, window = 1, 256  # the unknown word is 0

    def build(self, generator: Generator) -> WordModel:
        """Builds the model."""
        self.index = Index(self.words)
        self.start = "\n" if "\n" in self.index.places else self.words[0]
        return WordModel(len(self.index), self.config, generator)

    @property
    def symbols(self) -> list[str]:
        """The words of all ids."""
        return [UNKNOWN, *self.words]

    def split(self, text: str) -> list[str]:
        """Splits a text into words, each with the blank before it."""
        return words(text)

    def encode(self, text: str) -> NDArray[np.int64]:
        """Returns the ids of the start symbol, and of a text's words."""
        return self.index.ids([self.start, *words(text)])

    def sample(self, length: int, prompt: str = "", **options: Any) -> Iterator[str]:
        """Generates words after a prompt; without one the first has no blank before it."""
        found = super().sample(length, prompt, **options)
        blanks = itertools.chain([" " if not prompt else ""], itertools.repeat(""))
        return (word.removeprefix(blank) for word, blank in zip(found, blanks, strict=False))

    def read(self, path: str | Path) -> list[str]:
        """Reads the lines of a text."""
        return text_lines(path)

    def predict(self, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Computes the log-probability of each text, and of its words."""
        for text in texts:
            factors = self.score(text).tolist()
            pairs = [[word, round(p, 4)] for word, p in zip(words(text), factors, strict=True)]
            yield {"text": text, "log_prob": round(sum(factors), 4), "words": pairs}

    def show(self, record: dict[str, Any]) -> Any:
        """Shows the words, the redder the more surprising, and their perplexity."""
        from rich.text import Text

        count = max(1, len(record["words"]))
        line = Text(f"{np.exp(-record['log_prob'] / count):8.1f} ")
        for word, log_p in record["words"]:
            rest = round(255 * max(0.25, 1 + log_p / 15))
            line.append(word, f"black on rgb(255,{rest},{rest})")
        return line
