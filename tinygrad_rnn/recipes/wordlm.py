"""A language model over words: P(w_t | all words before), and of a phrase by the chain rule.

`word_scorer.py` has the network; here are the training and the baselines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data import Streams, TextError, default_text
from ..data.batching import Window
from ..data.datasets import file_text
from ..data.splits import Parts
from ..data.words import words
from ..io.files import fitting
from ..nn import Module
from ..optim import SGD, Adam, Optimizer
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .bootstrap import bits, block_sums, perplexity
from .comparison import Comparison, Measure
from .kneser_ney import KneserNey
from .predictor import Index
from .task import Task
from .windows import WindowTrainer
from .word_scorer import WordLMConfig, WordScorer

HELD_OUT = 0.05  # of the words for validation, and as many, the last ones, for the test
SLICE = 20_000  # words of an evaluation
BLOCK = 100  # words that the bootstrap draws together


class WordLM(WindowTrainer, Task):
    """Train a language model over words, and compare it with Kneser-Ney on held-out text."""

    recipe, unit, figure = "wordlm", "word", "validation perplexity {:.1f}"
    settings, predictor, span = WordLMConfig, WordScorer, "steps"
    uses = ("predict", "generate", "score", "look")
    kinds: ClassVar = {**WindowTrainer.kinds, **Task.kinds}
    quick: ClassVar = {
        "limit": 60_000, "vocab_size": 1000, "hidden_size": 64, "steps": 300, "batch_size": 16,
    }  # fmt: skip
    data_help = "UTF-8 texts, which are read one after the other."
    default = "Shakespeare's plays"

    @classmethod
    def read(cls, files: Sequence[str], config: Any) -> str:
        """Reads the text."""
        return "\n".join(map(file_text, files)) if files else default_text()[1]

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
        known = Index.of([pieces[:first]], config.vocab_size)
        ids = known.ids(pieces)
        parts: Any = np.split(ids, [first, first + held])
        self.parts: Any = Parts(*parts)
        self.test_letters = np.array([len(piece) for piece in pieces[first + held :]])
        self.current = WordScorer(config, generator, known.tokens)
        self.streams = Streams(ids[:first], config.batch_size, config.bptt)
        super().__init__(data, self.current, self.streams, generator, device)
        self.symbols = first
        self.mean: dict[str, NDArray[Any]] = {}  # of the last weights
        self.averaged = 0  # of them
        self._averaged_at = -1  # the step whose weights were the last

    def optimizer_of(self, model: Module) -> Optimizer:
        """Creates Adam, or plain gradient descent."""
        create = SGD if self.config.optimizer == "sgd" else Adam
        return create(model.parameters(), lr=self.config.lr)

    def batch_loss(self, model: Any, batch: Window) -> tuple[Tensor, int]:
        """Computes the loss of a window, and its number of words."""
        self._average()
        x, y = (as_tensor(array, device=self.device) for array in batch)
        loss, state = model.loss(x, y, self.carried)
        self.carry(state, ended=self.streams.at_start)
        return loss, x.size

    def _average(self) -> None:
        """Adds the weights to their mean, in the last share of the updates.

        Once a step, however often its update goes wrong.
        """
        if self.step < (1 - self.config.average) * self.steps or not self.config.average:
            return
        if self.step == self._averaged_at:
            return
        self._averaged_at = self.step
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
        scorer = WordScorer.from_state(state, self.device)
        scores = scorer.score_ids(self._after_start(self.parts.validation[:SLICE]))
        return float(np.exp(-scores.mean()))

    def _after_start(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.concatenate([self.current.encode(""), ids])

    def compare(self) -> Comparison:
        """Compares perplexities, and bits per character, on the test text."""
        config, test, size = self.config, self.parts.test, len(self.current.index)
        measures = [
            Measure("perplexity", perplexity, "{:.1f}"), Measure("bits/char", bits, "{:.3f}"),
        ]  # fmt: skip
        comparison = Comparison(f"blocks of {BLOCK} words", measures)
        orders = {"unigrams": 1, f"Kneser-Ney, order {config.order}": config.order}
        systems = {
            name: KneserNey(self.parts.training, order, size).score(test)
            for name, order in orders.items()
        }
        systems[config.cell] = self.predicting().score_ids(self._after_start(test))
        for system, scores in systems.items():
            sums = block_sums(BLOCK, scores, np.ones(len(scores)), self.test_letters)
            comparison.add(system, **{"perplexity": sums[:, :2], "bits/char": sums[:, ::2]})
        unknown = float((test == 0).mean())
        comparison.notes.append(
            f"{unknown:.1%} of the test's words are unknown: every system scores them as one word"
        )
        return comparison

    def describe(self) -> str:
        """The data in a line."""
        known = len(self.current.index) - 1
        return f"{self.parts.sizes('words')}; {known:,} different ones are known"

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the training, the mean of the weights included."""
        return {**super().state_dict(), "mean": self.mean, "averaged": self.averaged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the state of the training, and the mean of the weights."""
        super().load_state_dict(state)
        with fitting():
            self.averaged, self._averaged_at = state["averaged"], -1
            self.mean = {name: np.array(mean) for name, mean in state["mean"].items()}
