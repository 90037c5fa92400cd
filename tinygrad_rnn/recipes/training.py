"""Training a character model by truncated back-propagation through time.

The text runs past in windows of `bptt` steps. The hidden state is carried from one window to the
next, but cut from its history, so that a gradient reaches back to its window's beginning and no
further. A `Training` is an iterator: each `next` is one update, and whoever iterates (a progress
bar, a test, a notebook) decides when to save. All that determines the future is in its state, so
a run that was interrupted and resumed is, bit for bit, the run that was not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import CharVocabulary, Streams, TextError
from ..nn import cross_entropy
from ..optim import Adam, CosineLR, clip_grad_norm_
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .charlm import (
    CharLM,
    CharModel,
    Config,
    SettingError,
    State,
    inference,
    map_state,
    start_symbol,
)

EVALUATE_EVERY = 100  # steps
SLICE = 20_000  # held-out characters that are looked at meanwhile
WARMUP = 100  # steps, or a tenth of a short run


class DivergedError(RuntimeError):
    """A loss or a gradient that is not finite any more."""


@dataclass(frozen=True)
class Progress:
    """What one update has shown."""

    step: int  # updates so far
    loss: float  # nats per character, before the update
    norm: float  # of the gradient, before clipping
    characters: int  # read in this update
    heldout: float | None  # bits per character on the slice, on the steps that evaluate


class Training(Iterator[Progress]):
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

    def __init__(self, text: str, config: Config, device: str | None = None) -> None:
        if not text:
            raise TextError("the text is empty; there is nothing to learn from")
        self.config = config
        self.generator = Generator(config.seed)
        vocabulary = CharVocabulary(text)
        model = CharModel(len(vocabulary), config, self.generator)
        if device is not None:
            model.to(device)
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
        self.heldout = ids[first - 1 :]  # the last symbol before it is only read, not asked for

        self.optimizer = Adam(model.parameters(), lr=config.lr)
        self.schedule = CosineLR(
            self.optimizer, config.steps, warmup_steps=min(WARMUP, config.steps // 10)
        )
        self.step = 0
        self.state: State = None
        self.result: float | None = None  # bits per character on all that is held out

    def __next__(self) -> Progress:
        """Makes one update.

        **Raises** DivergedError, before the weights change, if the loss or the gradient is not
        finite; StopIteration after the last update.
        """
        if self.step >= self.config.steps:
            raise StopIteration
        if self.streams.at_start:
            self.state = None
        x, y = next(self.streams)
        loss, state = self._loss(x, y, self.state)
        self.optimizer.zero_grad()
        loss.backward()
        norm = float(clip_grad_norm_(self.lm.model.parameters(), self.config.clip))
        value = float(loss.item())
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise DivergedError(
                f"step {self.step + 1} gave loss {value} and gradient norm {norm}: "
                f"lower lr (it is {self.config.lr}) or clip (it is {self.config.clip})"
            )
        self.optimizer.step()
        self.schedule.step()
        self.state = map_state(Tensor.detach, state)
        self.step += 1
        self.result = None
        due = self.step % EVALUATE_EVERY == 0 or self.step == self.config.steps
        return Progress(
            step=self.step,
            loss=value,
            norm=norm,
            characters=x.size,
            heldout=self.evaluate(SLICE) if due else None,
        )

    def evaluate(self, characters: int | None = None) -> float:
        """Bits per character on the held-out text, or on its first so many characters.

        It is read as up to 32 streams of at least 1,000 characters, each with its state carried
        from its beginning to its end, and disturbs nothing: no generator, no state of training.

        **Returns** the mean cross-entropy in bits.
        """
        ids = self.heldout if characters is None else self.heldout[: characters + 1]
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

    def finish(self) -> float:
        """Bits per character on all of the held-out text, evaluated once after the last update."""
        if self.result is None:
            self.result = self.evaluate()
        return self.result

    def _loss(
        self, x: NDArray[np.int64], y: NDArray[np.int64], state: State
    ) -> tuple[Tensor, State]:
        device = self.lm.model.device
        logits, state = self.lm.model(as_tensor(x, device=device), state)
        flat = logits.reshape(-1, len(self.lm.vocabulary))
        return cross_entropy(flat, as_tensor(y.reshape(-1), device=device)), state

    # ------------------------------------------------------------ to disk and back

    def checkpoint(self) -> dict[str, Any]:
        """The state of the run, as `io.save_checkpoint` takes it."""
        carried = self.state if isinstance(self.state, tuple) else (self.state,)
        return {
            "recipe": "charlm",
            "step": self.step,
            "heldout": self.result,
            "config": asdict(self.config),
            "text": self.fingerprint,
            "vocabulary": self.lm.vocabulary.symbols,
            "start": self.lm.start,
            "position": self.streams.position,
            "generator": self.generator.state,
            "schedule": self.schedule.state_dict(),
            "hidden": None if self.state is None else list(carried),
            "optimizer": self.optimizer.state_dict(),
            "model": self.lm.model.state_dict(),
        }

    @classmethod
    def resume(
        cls, saved: dict[str, Any], text: str, steps: int | None = None, device: str | None = None
    ) -> Training:
        """Goes on with a run from its checkpoint.

        **Arguments** saved: what `io.load_checkpoint` gave. text: the same text. steps: how many
        updates to make in all, if that is to change; the learning rate then follows the cosine of
        the new length from here on.

        **Raises** TextError for another text, SettingError for fewer steps than were made.
        """
        if fingerprint(text) != saved["text"]:
            raise TextError(
                f"this is another text than the checkpoint's: {len(text):,} characters, not "
                f"{saved['text']['characters']:,}, or the same number of others"
            )
        config = Config(**saved["config"])
        if steps is not None:
            config = replace(config, steps=steps)
        if config.steps < saved["step"]:
            raise SettingError(f"steps is {steps}, but the run has made {saved['step']} already")

        run = cls(text, config, device)
        run.lm.model.load_state_dict(saved["model"])
        run.optimizer.load_state_dict(saved["optimizer"])
        run.schedule.load_state_dict(saved["schedule"])
        run.generator.state = saved["generator"]
        run.streams.position = saved["position"]
        run.step = saved["step"]
        run.result = saved["heldout"] if run.step == config.steps else None
        if saved["hidden"] is not None:
            on = run.lm.model.device
            state = tuple(as_tensor(array, device=on) for array in saved["hidden"])
            run.state = state if len(state) > 1 else state[0]
        return run


def fingerprint(text: str) -> dict[str, Any]:
    """What tells one text from another, without keeping it."""
    raw = text.encode("utf-8", "surrogatepass")
    return {"characters": len(text), "sha256": hashlib.sha256(raw).hexdigest()}
