"""A language model over words: P(w_t | all words before), and of a phrase by the chain rule.

The regularisation is that of the AWD-LSTM (Merity et al. 2017), each part by a setting: one dropout
mask a sequence, dropout of the recurrent weights, penalties on outputs (AR) and on their changes
(TAR), tied input and output vectors, and the mean of the last weights (averaged SGD).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data import Streams, TextError, default_text, read_text
from ..data.batching import Window
from ..data.datasets import lines
from ..data.tables import read_input
from ..data.words import words
from ..nn import (
    Dropout,
    Embedding,
    Linear,
    Module,
    activation_regularization,
    linear_cross_entropy,
    temporal_activation_regularization,
)
from ..optim import SGD, Adam, Optimizer
from ..tensor import ops, tree
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import check_weights, inference
from .charlm import CELLS, CharModel, State, check_weights_fit
from .comparison import Comparison, Measure, perplexity
from .kneser_ney import KneserNey
from .settings import Settings, setting
from .task import Index, Task

HELD_OUT = 0.05  # of the words for validation, and as many, the last ones, for the test
SLICE = 20_000  # words of an evaluation
BLOCK = 100  # words that the bootstrap draws together


@dataclass(frozen=True)
class WordLMConfig(Settings):
    """All that determines a training, except its text."""

    cell: str = setting("lstm", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(
        256, "Units in a layer, and the size of a word's vector.", at_least=1
    )
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    vocab_size: int = setting(10_000, "Words to know; the others are one unknown word.", at_least=1)
    tied: bool = setting(True, "The same vectors for words that are read and predicted.")
    dropout: float = setting(0.3, "Dropout, one mask a sequence.", at_least=0, below=1)
    weight_dropout: float = setting(0.0, "Of the recurrent weights.", at_least=0, below=1)
    ar: float = setting(0.0, "Penalty on the size of outputs (AR).", at_least=0)
    tar: float = setting(0.0, "Penalty on changes of outputs (TAR).", at_least=0)
    optimizer: str = setting("adam", "Optimizer.", one_of=("adam", "sgd"))
    average: float = setting(
        0.0, "Average the weights over this last share of the updates.", at_least=0, at_most=1
    )
    batch_size: int = setting(32, "Streams of text that are read in parallel.", at_least=1)
    bptt: int = setting(35, "BPTT truncation length in steps.", at_least=1)
    steps: int = setting(4000, "Updates in all; --resume may raise it.", at_least=1)
    lr: float = setting(2e-3, "Peak learning rate.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    order: int = setting(5, "Order of the Kneser-Ney baseline.", at_least=1, at_most=20)
    limit: int = setting(0, "Words to use at most; all, if 0.", at_least=0)
    seed: int = setting(0, "Seed of the initial weights and of dropout.", at_least=0)

    @property
    def embedding_dim(self) -> int:
        """The size of a word's vector."""
        return self.hidden_size


class WordModel(CharModel):
    """Embedding, recurrent layers, and a linear map to the logits of the next word.

    **Arguments** vocab_size: the number of words, V. generator: draws weights and masks.
    """

    def __init__(self, vocab_size: int, config: WordLMConfig, generator: Generator) -> None:
        Module.__init__(self)
        check_weights_fit(config, vocab_size)
        size, self.ar, self.tar = config.hidden_size, config.ar, config.tar
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
        x, rows = self.embedding.inputs(ids, self.dropout)
        y, state = self.layers(x, state, ids=rows)
        dropped, head = self.dropout(y), self.head
        loss = linear_cross_entropy(dropped, head.weight, targets, linear_bias=head.bias)
        if self.training and self.ar:
            loss = loss + self.ar * activation_regularization(dropped)
        if self.training and self.tar:
            loss = loss + self.tar * temporal_activation_regularization(y)
        return loss, state


@dataclass(frozen=True)
class WordScorer:
    """A word model with its words: the probability of each word of a text."""

    model: WordModel
    index: Index
    config: WordLMConfig

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> WordScorer:
        """Builds the model from a checkpoint's state."""
        config, index = WordLMConfig(**state["config"]), Index(state["words"])
        model = WordModel(len(index), config, Generator(config.seed))
        model.load_state_dict(state["chosen"] or state["model"])
        check_weights(model)
        if device is not None:
            model.to(device)
        return cls(model, index, config)

    @property
    def start(self) -> str:
        """The symbol that the model reads before a text's first word."""
        return "\n" if "\n" in self.index.places else self.index.tokens[0]

    def score(self, text: str) -> NDArray[np.float64]:
        """Computes log P(w_t | start, w_1 ... w_(t-1)) of each word, as `words` splits the text."""
        return self.score_ids(self.index.ids(words(text)))

    def score_ids(self, ids: NDArray[np.int64], window: int = 256) -> NDArray[np.float64]:
        """Computes the factors of a sequence of words."""
        sequence = np.concatenate([self.index.ids([self.start]), ids])
        factors: list[NDArray[np.float64]] = [np.empty(0)]
        state: State = None
        with inference(self.model):
            for at in range(0, len(ids), window):
                x, y = sequence[:-1][at : at + window], ids[at : at + window]
                logits, state = self.model(as_tensor(x[:, None], device=self.model.device), state)
                log_p = ops.log_softmax(logits, axis=-1).numpy()[:, 0]
                factors.append(log_p[np.arange(len(y)), y].astype(np.float64))
        return np.concatenate(factors)

    def read(self, path: str | Path) -> list[str]:
        """Reads the lines of a text."""
        return [line for line in lines(read_input(path)) if line.strip()]

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


class WordLM(Task):
    """Train a language model over words, and compare it with Kneser-Ney on held-out text."""

    recipe, unit, shown = "wordlm", "word", "validation perplexity {:.1f}"
    settings, predictor, span = WordLMConfig, WordScorer, "steps"
    kinds: ClassVar = {"words": list, "hidden": (list, type(None))}
    quick: ClassVar = {
        "limit": 60_000, "vocab_size": 1000, "hidden_size": 64, "steps": 300, "batch_size": 16,
    }  # fmt: skip
    data_help = "UTF-8 texts, which are read one after the other."
    default = "Shakespeare's plays"

    @classmethod
    def read(cls, files: Sequence[str], config: Any) -> str:
        """Reads the text."""
        return "\n".join(map(read_text, files)) if files else default_text()[1]

    def __init__(self, data: str, config: WordLMConfig, device: str | None = None) -> None:
        generator = Generator(config.seed)
        pieces = words(data)[: config.limit or None]
        held = max(1, round(HELD_OUT * len(pieces)))
        first, needed = len(pieces) - 2 * held, config.batch_size * config.bptt + 1
        if first < max(needed, config.order):
            raise TextError(
                f"the text is too short: without its held-out end it has {max(0, first)} words, "
                f"and one window needs `batch_size` x `bptt` + 1 = {needed}: lower one of them"
            )
        self.index = Index.of([pieces[:first]], config.vocab_size)
        ids = self.index.ids(pieces)
        self.training_ids, self.validation_ids, self.test_ids = np.split(ids, [first, first + held])
        self.test_letters = np.array([len(piece) for piece in pieces[first + held :]])
        model = WordModel(len(self.index), config, generator)
        self.streams = Streams(self.training_ids, config.batch_size, config.bptt)
        super().__init__(data, model, self.streams, config, generator, device)
        self.symbols = first
        self.carried: State = None
        self.mean: dict[str, NDArray[Any]] = {}  # of the last weights
        self.averaged = 0  # of them

    def optimizer_of(self, model: Module) -> Optimizer:
        """Creates Adam, or plain gradient descent."""
        create = SGD if self.config.optimizer == "sgd" else Adam
        return create(model.parameters(), lr=self.config.lr)

    def batch_loss(self, model: Any, batch: Window) -> tuple[Tensor, int]:
        """Computes the loss of a window, and its number of words."""
        self._average()
        x, y = (as_tensor(array, device=self.device) for array in batch)
        loss, state = model.loss(x, y, self.carried)
        ended = self.streams.at_start
        self.carried = None if ended else tree.mapped(lambda h: h.detach(), state)
        return loss, x.size

    def _average(self) -> None:
        """Adds the weights to their mean, in the last share of the updates."""
        if self.step < (1 - self.config.average) * self.steps or not self.config.average:
            return
        self.averaged += 1
        for name, weight in self.model.state_dict().items():
            mean = self.mean.setdefault(name, np.zeros(weight.shape, np.float32))
            mean += (weight.numpy() - mean) / np.float32(self.averaged)

    def weights(self) -> dict[str, Any]:
        """Returns the mean of the last weights, or, before there is one, the weights."""
        return {n: p.copy() for n, p in self.mean.items()} if self.averaged else super().weights()

    def evaluate(self, quick: bool = False) -> float:
        """Computes the perplexity of the validation text's first words."""
        state = {**self.checkpoint(), "chosen": self.weights()}
        scores = WordScorer.from_state(state, self.device).score_ids(self.validation_ids[:SLICE])
        return float(np.exp(-scores.mean()))

    def compare(self) -> Comparison:
        """Compares perplexities, and bits per character, on the test text."""
        size, config = len(self.index), self.config
        bits = Measure("bits/char", lambda s: -s[..., 0] / s[..., 1] / np.log(2), "{:.3f}")
        measures = [Measure("perplexity", perplexity, "{:.1f}"), bits]
        comparison = Comparison(f"blocks of {BLOCK} words", measures)

        def add(system: str, scores: NDArray[np.float64]) -> None:
            starts = np.arange(0, len(scores), BLOCK)
            sums = [
                np.add.reduceat(np.asarray(x, float), starts)
                for x in (scores, np.ones(len(scores)), self.test_letters)
            ]
            pairs = {"perplexity": np.stack(sums[:2], 1), "bits/char": np.stack(sums[::2], 1)}
            comparison.add(system, **pairs)

        orders = {"unigrams": 1, f"Kneser-Ney, order {config.order}": config.order}
        for name, order in orders.items():
            add(name, KneserNey(self.training_ids, order, size).score(self.test_ids))
        add(config.cell, self.predicting().score_ids(self.test_ids))
        unknown = float((self.test_ids == 0).mean())
        comparison.notes.append(
            f"{unknown:.1%} of the test's words are unknown: every system scores them as one word"
        )
        return comparison

    def describe(self) -> str:
        """The data in a line."""
        counts = [len(part) for part in (self.training_ids, self.validation_ids, self.test_ids)]
        return (
            f"words: {counts[0]:,} to learn from, {counts[1]:,} for validation, {counts[2]:,} for "
            f"the test; {len(self.index) - 1:,} different ones are known"
        )

    def state(self) -> dict[str, Any]:
        """Returns the words, the state of the layers, and the mean of the weights."""
        return {
            "words": self.index.tokens,
            "hidden": None if self.carried is None else tree.leaves(self.carried),
            "mean": self.mean,
            "averaged": self.averaged,
        }

    def load_state(self, saved: dict[str, Any]) -> None:
        """Restores the state of the layers, and the mean of the weights."""
        super().load_state(saved)
        self.averaged = saved["averaged"]
        self.mean = {name: np.array(mean) for name, mean in saved["mean"].items()}
        if saved["hidden"] is not None:
            state = tuple(as_tensor(array, device=self.device) for array in saved["hidden"])
            self.carried = state if len(state) > 1 else state[0]
