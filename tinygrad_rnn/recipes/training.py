"""Training a character model by truncated back-propagation through time.

The text runs past in windows of `bptt` steps. The hidden state is carried from one window to the
next, but cut from its history, so that a gradient reaches back to its window's beginning and no
further.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import CharVocabulary, Streams, TextError
from ..io import CheckpointError
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .charlm import CharLM, CharModel, Config, State, settings, start_symbol
from .divergence import worst_bits
from .run import Run, check_memory, fingerprint, inference, longer, map_state
from .saved import fitting

SLICE = 20_000  # held-out characters that are looked at while training


class Training(Run):
    """A training run; iterating it makes the updates that are left.

    The last 5 % of the text are held out. The vocabulary is that of the whole text.

    **Arguments** text: what to learn. config: everything else. device: where; the default, if None.

    **Raises** TextError for an empty text or one that is shorter than a window of all streams.

    >>> config = Config(hidden=8, embedding=4, batch=2, bptt=5, steps=3)
    >>> training = Training("to be, or not to be, that is the question " * 3, config)
    >>> [progress.step for progress in training]
    [1, 2, 3]
    >>> training.evaluate() < math.log2(len(training.lm.vocabulary)) + 1
    True
    """

    recipe, unit = "charlm", "char"

    def __init__(self, text: str, config: Config, device: str | None = None) -> None:
        if not text:
            raise TextError("the text is empty; there is nothing to learn from")
        generator = Generator(config.seed)
        vocabulary = CharVocabulary(text)
        model = CharModel(len(vocabulary), config, generator)
        super().__init__(model, config, generator, device)
        self.lm = CharLM(model, vocabulary, start_symbol(text))
        self.fingerprint = fingerprint(text)

        ids = vocabulary.encode(text)
        first = len(ids) - max(1, len(ids) // 20)
        try:
            self.streams = Streams(ids[:first], config.batch, config.bptt)
        except ValueError:
            needed = config.batch * config.bptt + 1
            raise TextError(
                f"the text is too short: without its held-out end it has {first} characters, and "
                f"one window needs batch x bptt + 1 = {needed}: lower batch or bptt"
            ) from None
        states = config.batch * config.bptt * config.hidden * (config.layers + 1)
        check_memory("a window of this size (batch, bptt, hidden)", 8 * states)
        self.heldout = ids[first - 1 :]  # the last symbol before it is only read, not asked for

        self.carried: State = None

    def next_loss(self) -> tuple[Tensor, int]:
        """The mean surprise in the next window, from the state that the last one left."""
        if self.streams.at_start:
            self.carried = None
        x, y = next(self.streams)
        loss, state = self._loss(x, y, self.carried)
        self.carried = map_state(Tensor.detach, state)
        return loss, x.size

    def evaluate(self, quick: bool = False) -> float:
        """Bits per character on the held-out text, or, to be quick, on its beginning.

        It is read as up to 32 streams of at least 1,000 characters, each with its state carried
        from its beginning to its end, and disturbs nothing: no generator, no state of training.

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
            if rest := questions % batch:  # what does not divide goes on where the last stream ends
                state = map_state(lambda s: s[:, -1:], state)
                x, y = ids[-rest - 1 : -1, None], ids[-rest:, None]
                nats += float(self._loss(x, y, state)[0].item()) * rest
        return nats / questions / math.log(2)

    def worst(self) -> float:
        """Bits per character far beyond those of guessing evenly."""
        return worst_bits(len(self.lm.vocabulary))

    def _loss(
        self, x: NDArray[np.int64], y: NDArray[np.int64], state: State
    ) -> tuple[Tensor, State]:
        device = self.lm.model.device
        return self.lm.model.loss(as_tensor(x, device=device), as_tensor(y, device=device), state)

    # ------------------------------------------------------------ to disk and back

    def state(self) -> dict[str, Any]:
        """The text's fingerprint and symbols, and where in it the run stands."""
        carried = self.carried if isinstance(self.carried, tuple) else (self.carried,)
        return {
            "text": self.fingerprint,
            "vocabulary": self.lm.vocabulary.symbols,
            "start": self.lm.start,
            "position": self.streams.position,
            "hidden": None if self.carried is None else list(carried),
        }

    @classmethod
    def resume(
        cls, saved: dict[str, Any], text: str, steps: int | None = None, device: str | None = None
    ) -> Training:
        """Goes on with a run from its checkpoint.

        **Arguments** saved: what `io.load_checkpoint` gave. text: the same text. steps: how many
        updates to make in all, if that is to change; the learning rate then follows the cosine of
        the new length from here on.

        **Raises** TextError for another text, SettingError for fewer steps than were made,
        CheckpointError for entries that do not fit together.
        """
        if fingerprint(text) != saved["text"]:
            raise TextError(
                f"this is another text than the checkpoint's: {len(text):,} characters, not "
                f"{saved['text']['characters']:,}, or the same number of others"
            )
        run = cls(text, longer(settings(saved), saved, steps), device)
        run.restore(saved)
        with fitting():
            run.streams.position = operator.index(saved["position"])
            if saved["hidden"] is not None:
                run.carried = run._hidden(saved["hidden"])
        return run

    def _hidden(self, arrays: list[NDArray[Any]]) -> State:
        """The state of the layers from its arrays in a checkpoint."""
        config, on = self.config, self.lm.model.device
        shape = (config.layers, config.batch, config.hidden)
        wanted = [shape] * (2 if config.cell == "lstm" else 1)
        if [array.shape for array in arrays] != wanted:
            raise CheckpointError(f"the checkpoint's hidden states are not {wanted}")
        state = tuple(as_tensor(array, device=on) for array in arrays)
        return state if len(state) > 1 else state[0]
