"""The trainer: an iterator whose `next` makes one update of the weights.

Whoever iterates (the command line, a test, a notebook) decides when to save. A checkpoint holds all
that determines the next updates, so a resumed training equals an uninterrupted one, bit for bit.
"""

from __future__ import annotations

import hashlib
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

from ..data import TextError
from ..errors import InvalidTypeError
from ..nn import Module
from ..optim import Adam, CosineLR
from ..optim.clipping import clip_and_read
from ..tensor.autodiff import no_grad
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .divergence import DivergedError, check_weights
from .saved import fitting
from .settings import SettingError

Data = str | Sequence[tuple[str, str]]  # a text, or pairs of texts

EVALUATE_EVERY = 100  # steps
WARMUP = 100  # steps, or a tenth of a short training


@dataclass(frozen=True)
class Progress:
    """The figures of one update."""

    step: int  # updates so far
    loss: float  # nats per symbol, before the update
    norm: float  # of the gradient, before clipping
    symbols: int  # predicted in this update
    heldout: float | None  # bits per symbol on held-out data, on the steps that evaluate


class Trainer(Iterator[Progress]):
    """Trains a model with Adam and a cosine schedule; iterating it makes the remaining updates.

    A recipe derives from it and defines the loss, the evaluation, a sample, and the state that a
    checkpoint holds besides that of the model, the optimizer, the schedule and the generator.

    **Arguments** config: the settings, with `steps`, `lr` and `clip`. generator: draws all that is
    random. device: of the weights; the default device, if None. worst: the largest figure of
    `evaluate` without divergence.
    """

    recipe: ClassVar[str]  # its name in checkpoints
    unit: ClassVar[str]  # the name of a symbol
    check: ClassVar[staticmethod[[dict[str, Any], Any], dict[str, Any]]]  # of a checkpoint's state
    batches: Any  # an iterator with a `position`
    fingerprint: dict[str, Any]  # of the training data

    def __init__(
        self, model: Module, config: Any, generator: Generator, device: str | None, worst: float
    ) -> None:
        if device is not None:
            model.to(device)
        self.model, self.config, self.generator, self.worst = model, config, generator, worst
        self.optimizer = Adam(model.parameters(), lr=config.lr)
        self.schedule = CosineLR(
            self.optimizer, config.steps, warmup_steps=min(WARMUP, config.steps // 10)
        )
        self.step = 0
        self.result: float | None = None  # bits per symbol on all held-out data

    @property
    def title(self) -> str:
        """The model in a word or two."""
        return str(self.config.cell)

    def next_loss(self) -> tuple[Tensor, int]:
        """Computes the loss of the next batch, and the number of symbols that it averages."""
        raise InvalidTypeError(f"{type(self).__name__} defines no next_loss()")

    def evaluate(self, quick: bool = False) -> float:
        """Computes the bits per symbol on the held-out data, or, if quick, on part of it."""
        raise InvalidTypeError(f"{type(self).__name__} defines no evaluate(quick)")

    def sample(self) -> str:
        """Shows what the model can do so far."""
        raise InvalidTypeError(f"{type(self).__name__} defines no sample()")

    def __next__(self) -> Progress:
        """Makes one update.

        **Raises** DivergedError, before the weights change, if the loss or the gradient is not
        finite, and on the steps that evaluate, if the weights or the held-out figure show that the
        training has diverged; StopIteration after the last update.
        """
        if self.step >= self.config.steps:
            raise StopIteration
        loss, symbols = self.next_loss()
        self.optimizer.zero_grad()
        loss.backward()
        norm, value = clip_and_read(self.model.parameters(), self.config.clip, loss)
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise self._diverged(f"step {self.step + 1} gave loss {value} and gradient norm {norm}")
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        self.result = None
        due = self.step % EVALUATE_EVERY == 0 or self.step == self.config.steps
        heldout = self._measured(quick=True) if due else None
        return Progress(self.step, value, norm, symbols, heldout)

    def finish(self) -> float:
        """Computes the bits per symbol on all held-out data, once after the last update."""
        if self.result is None:
            self.result = self._measured(quick=False)
        return self.result

    def _measured(self, quick: bool) -> float:
        """Evaluates. **Raises** DivergedError for a figure or weights that show divergence."""
        heldout = self.evaluate(quick)
        worst = self.worst if self.step == self.config.steps else math.inf
        if not (math.isfinite(heldout) and heldout <= worst):
            raise self._diverged(
                f"step {self.step} left {heldout:.6g} as the held-out figure"
                + f", worse than {worst:.4g}" * math.isfinite(worst)
            )
        check_weights(self.model)
        return heldout

    def _diverged(self, how: str) -> DivergedError:
        return DivergedError(
            f"training has diverged: {how}: lower `lr` (it is {self.config.lr}) or `clip` (it is "
            f"{self.config.clip})"
        )

    # ------------------------------------------------------------ checkpoints

    def state(self) -> dict[str, Any]:
        """Returns the recipe's own part of a checkpoint."""
        raise InvalidTypeError(f"{type(self).__name__} defines no state()")

    def load_state(self, saved: dict[str, Any]) -> None:
        """Restores the recipe's own part of a checkpoint."""

    @classmethod
    def arguments(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Returns the recipe's arguments in a checkpoint, `config` among them."""
        raise InvalidTypeError(f"{cls.__name__} defines no arguments(saved)")

    def checkpoint(self) -> dict[str, Any]:
        """Returns the state of the training, as `io.save_checkpoint` takes it."""
        return {
            "recipe": self.recipe,
            "step": self.step,
            "heldout": self.result,
            "config": asdict(self.config),
            "generator": self.generator.state,
            "schedule": self.schedule.state_dict(),
            **self.state(),
            "data": self.fingerprint,
            "position": self.batches.position,
            "optimizer": self.optimizer.state_dict(),
            "model": self.model.state_dict(),
        }

    @classmethod
    def resume(
        cls,
        saved: dict[str, Any],
        data: Data,
        steps: int | None = None,
        device: str | None = None,
        **more: Any,
    ) -> Self:
        """Restores a training from its checkpoint.

        **Arguments** saved: the state that `io.load_checkpoint` returned. data: the same training
        data. steps: a new total number of updates; from here on the learning rate follows the
        cosine of that length. more: further arguments of the recipe.

        **Raises** TextError for other data, SettingError for fewer steps than the training has
        made, CheckpointError for entries that do not fit together.
        """
        now, then = fingerprint(data), saved["data"]
        if now != then:
            raise TextError(
                f"the training data differ from the checkpoint's: {now['characters']} characters "
                f"now, {then.get('characters')} then"
            )
        known = cls.arguments(saved)
        total = known["config"].steps if steps is None else steps
        if total < saved["step"]:
            raise SettingError(
                f"`steps` is {total}, but the training has made {saved['step']} already"
            )
        known["config"] = replace(known["config"], steps=total)
        create: Callable[..., Self] = cls
        trainer = create(data, device=device, **known, **more)
        with fitting():
            trainer.model.load_state_dict(saved["model"])
            trainer.optimizer.load_state_dict(saved["optimizer"])
            trainer.schedule.load_state_dict(saved["schedule"])
            trainer.generator.state = saved["generator"]
            trainer.batches.position = operator.index(saved["position"])
            trainer.step = saved["step"]
            trainer.result = saved["heldout"] if trainer.step == trainer.config.steps else None
            trainer.load_state(saved)
        return trainer


@contextmanager
def inference(model: Module) -> Iterator[None]:
    """Evaluates without dropout and without a graph; restores the model's mode afterwards."""
    training = model.training
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        model.train(training)


def fingerprint(data: Data) -> dict[str, Any]:
    """Identifies a text, or pairs of texts, by their length and their SHA-256 digest."""
    text = data if isinstance(data, str) else "\n".join(map("\t".join, data))
    raw = text.encode("utf-8", "surrogatepass")
    return {"characters": len(text), "sha256": hashlib.sha256(raw).hexdigest()}
