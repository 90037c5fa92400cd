"""Trains a character model by truncated back-propagation through time.

The model reads the text in windows of `bptt` steps. Each window begins with the detached hidden
state of the window before, so that a gradient ends at the beginning of its window.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data import CharVocabulary, Streams, TextError
from ..data.batching import Window
from ..data.fingerprint import fingerprint
from ..tensor import tree
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import inference, worst_bits
from .charlm import CharLM, CharLMConfig, CharModel, State, settings, start_symbol
from .settings import check_memory
from .windows import WindowTrainer

SLICE = 20_000  # held-out characters that a quick evaluation reads


def fitted(config: CharLMConfig, characters: int) -> CharLMConfig:
    """Reduces batch and window so that a window of all streams fits into a text.

    >>> small = fitted(CharLMConfig(batch_size=64, bptt=32), characters=1000)
    >>> small.batch_size, small.bptt
    (29, 32)
    """
    targets = max(1, _first(characters) - 1)
    bptt = min(config.bptt, targets)
    return replace(config, batch_size=min(config.batch_size, targets // bptt), bptt=bptt)


def _first(characters: int) -> int:
    """Returns the index of the first held-out character."""
    return characters - max(1, characters // 20)


class CharLMTraining(WindowTrainer):
    """Trains a character language model on a text; iterating it makes the remaining updates.

    The last 5 % of the text are held out. The vocabulary is that of the whole text.

    **Arguments** text: the training data. config: the settings. device: of the weights; the default
    device, if None.

    **Raises** TextError for an empty text or one that is shorter than a window of all streams.

    >>> config = CharLMConfig(hidden_size=8, embedding_dim=4, batch_size=2, bptt=5, steps=3)
    >>> training = CharLMTraining("to be, or not to be, that is the question " * 3, config)
    >>> [progress.step for progress in training]
    [1, 2, 3]
    >>> training.evaluate() < math.log2(len(training.lm.vocabulary)) + 1
    True
    """

    recipe, unit, figure = "charlm", "char", "held-out {:.3f} bits/char"
    uses, predictor = ("generate", "score", "look"), CharLM
    quick: ClassVar = {"hidden_size": 128, "steps": 2000}

    def __init__(self, text: str, config: CharLMConfig, device: str | None = None) -> None:
        if not text:
            raise TextError("the text is empty; there is nothing to learn from")
        generator = Generator(config.seed)
        vocabulary = CharVocabulary(text)
        model = CharModel(len(vocabulary), config, generator)
        ids = vocabulary.encode(text)
        first = _first(len(ids))
        try:
            streams = Streams(ids[:first], config.batch_size, config.bptt)
        except ValueError:
            needed = config.batch_size * config.bptt + 1
            remedy = "lower one of them" if needed > 2 else "add more text"
            raise TextError(
                f"the text is too short: without its held-out end it has {first} characters, and "
                f"one window needs `batch_size` x `bptt` + 1 = {needed}: {remedy}"
            ) from None
        states = config.batch_size * config.bptt * config.hidden_size * (config.num_layers + 1)
        check_memory("a window of this size (`batch_size`, `bptt`, `hidden_size`)", 8 * states)
        super().__init__(model, streams, config, generator, device, worst_bits(len(vocabulary)))
        self.current = self.lm = CharLM(model, vocabulary, start_symbol(text))
        self.streams, self.fingerprint = streams, fingerprint(text)
        self.symbols = first
        self.heldout = ids[first - 1 :]  # begins with the last training symbol, as input only

    def batch_loss(self, model: CharModel, batch: Window) -> tuple[Tensor, int]:
        """Computes the mean cross-entropy of a window, and its number of symbols."""
        x, y = batch
        loss, state = self._loss(x, y, self.carried)
        self.carry(state, ended=self.streams.at_start)
        return loss, x.size

    def evaluate(self, quick: bool = False) -> float:
        """Computes the bits per character on the held-out text, or, if quick, on its beginning.

        The model reads it as up to 32 streams of at least 1,000 characters, each with a state that
        is carried from its beginning to its end. The training does not notice: neither its
        generator nor its state changes.

        **Returns** the mean cross-entropy in bits.
        """
        ids = self.heldout[: SLICE + 1] if quick else self.heldout
        questions = len(ids) - 1
        batch = max(1, min(32, questions // 1000))
        streams = Streams(ids, batch, min(128, questions // batch))
        nats, state = 0.0, None
        with inference(self.lm.model):
            for _ in range(streams.windows):
                x, y = next(streams)
                loss, state = self._loss(x, y, state)
                nats += float(loss.item()) * y.size
            if rest := questions % batch:  # the last stream reads the remainder
                state = tree.filled(state, [h[:, -1:] for h in tree.leaves(state)])
                x, y = ids[-rest - 1 : -1, None], ids[-rest:, None]
                nats += float(self._loss(x, y, state)[0].item()) * rest
        return nats / questions / math.log(2)

    def sample(self) -> str:
        """Generates 200 characters."""
        generator = Generator(self.step)
        return "".join(self.lm.sample(200, generator=generator, temperature=0.8))

    def _loss(
        self, x: NDArray[np.int64], y: NDArray[np.int64], state: State
    ) -> tuple[Tensor, State]:
        ids = as_tensor(x, device=self.device)
        return self.lm.model.loss(ids, as_tensor(y, device="cpu"), state)  # checked on the host

    @classmethod
    def arguments(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Returns the settings in a checkpoint."""
        return {"config": settings(saved)}
