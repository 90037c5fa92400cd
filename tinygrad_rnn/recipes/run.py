"""What every recipe's training is: an iterator of which each `next` is one update.

Whoever iterates (a progress bar, a test, a notebook) decides when to save. All that determines the
future is in a run's state, so a run that was interrupted and resumed is, bit for bit, the run that
was not.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from ..data.memory import too_large
from ..errors import InvalidTypeError, TinygradRnnError
from ..nn import Module
from ..optim import Adam, CosineLR, clip_grad_norm_
from ..tensor.autodiff import no_grad
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .divergence import DivergedError, diverged_weight
from .saved import fitting

EVALUATE_EVERY = 100  # steps
MOST = 2**31 - 1  # of anything that is counted
WARMUP = 100  # steps, or a tenth of a short run


class SettingError(TinygradRnnError, ValueError):
    """A setting of a recipe outside its range."""


@dataclass(frozen=True)
class Progress:
    """What one update has shown."""

    step: int  # updates so far
    loss: float  # nats per symbol, before the update
    norm: float  # of the gradient, before clipping
    symbols: int  # predicted in this update
    heldout: float | None  # bits per symbol on held-out data, on the steps that evaluate


class Run(Iterator[Progress]):
    """A training run; iterating it makes the updates that are left.

    A recipe says what the next loss is, how to evaluate, and what its state is besides that of the
    model, the optimizer, the schedule and the generator.

    **Arguments** config: settings, `steps`, `lr` and `clip` among them. generator: draws all that
    is random in it. device: where; the default, if None.
    """

    recipe: ClassVar[str]  # its name in checkpoints
    unit: ClassVar[str]  # what a symbol is called

    def __init__(self, model: Module, config: Any, generator: Generator, device: str | None):
        if device is not None:
            model.to(device)
        self.model, self.config, self.generator = model, config, generator
        self.optimizer = Adam(model.parameters(), lr=config.lr)
        self.schedule = CosineLR(
            self.optimizer, config.steps, warmup_steps=min(WARMUP, config.steps // 10)
        )
        self.step = 0
        self.result: float | None = None  # bits per symbol on all that is held out

    def next_loss(self) -> tuple[Tensor, int]:
        """The loss of the next batch, and how many symbols it is the mean of."""
        raise InvalidTypeError(f"{type(self).__name__} defines no next_loss()")

    def evaluate(self, quick: bool = False) -> float:
        """Bits per symbol on what is held out, or on a part of it that does not take long."""
        raise InvalidTypeError(f"{type(self).__name__} defines no evaluate(quick)")

    def worst(self) -> float:
        """A figure of `evaluate` beyond which no training leads, unless it diverges."""
        raise InvalidTypeError(f"{type(self).__name__} defines no worst()")

    def state(self) -> dict[str, Any]:
        """The recipe's own part of a checkpoint."""
        raise InvalidTypeError(f"{type(self).__name__} defines no state()")

    def __next__(self) -> Progress:
        """Makes one update.

        **Raises** DivergedError, before the weights change, if the loss or the gradient is not
        finite, and on the steps that evaluate, if weights or what is held out show that the run has
        diverged; StopIteration after the last update.
        """
        if self.step >= self.config.steps:
            raise StopIteration
        loss, symbols = self.next_loss()
        self.optimizer.zero_grad()
        loss.backward()
        norm = float(clip_grad_norm_(self.model.parameters(), self.config.clip))
        value = float(loss.item())
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
        """Bits per symbol on all that is held out, evaluated once after the last update."""
        if self.result is None:
            self.result = self._measured(quick=False)
        return self.result

    def _measured(self, quick: bool) -> float:
        """What `evaluate` gives, if it is a figure that training leads to, be it on a detour."""
        heldout = self.evaluate(quick)
        worst = self.worst() if self.step == self.config.steps else math.inf
        if not (math.isfinite(heldout) and heldout <= worst):
            raise self._diverged(
                f"step {self.step} left {heldout:.6g} as the held-out figure"
                + f", worse than {worst:.4g}" * math.isfinite(worst)
            )
        if name := diverged_weight(self.model):
            raise self._diverged(f"step {self.step} left entries of {name} that are not finite")
        return heldout

    def _diverged(self, how: str) -> DivergedError:
        return DivergedError(
            f"training has diverged: {how}: lower lr (it is {self.config.lr}) or clip (it is "
            f"{self.config.clip})"
        )

    # ------------------------------------------------------------ to disk and back

    def checkpoint(self) -> dict[str, Any]:
        """The state of the run, as `io.save_checkpoint` takes it."""
        return {
            "recipe": self.recipe,
            "step": self.step,
            "heldout": self.result,
            "config": asdict(self.config),
            "generator": self.generator.state,
            "schedule": self.schedule.state_dict(),
            **self.state(),
            "optimizer": self.optimizer.state_dict(),
            "model": self.model.state_dict(),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Takes over what all runs have in a checkpoint. **Raises** CheckpointError."""
        with fitting():
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.schedule.load_state_dict(saved["schedule"])
            self.generator.state = saved["generator"]
            self.step = saved["step"]
            self.result = saved["heldout"] if self.step == self.config.steps else None


def longer(config: Any, saved: dict[str, Any], steps: int | None) -> Any:
    """A checkpoint's settings, with another number of steps in all if one is given.

    **Raises** SettingError for fewer steps than were made.
    """
    if steps is not None:
        config = replace(config, steps=steps)
    if config.steps < saved["step"]:
        raise SettingError(f"steps is {steps}, but the run has made {saved['step']} already")
    return config


def whole(name: str, value: int, least: int = 1) -> None:
    """Refuses a number outside its range, or too large for anything. **Raises** SettingError."""
    if value < least:
        raise SettingError(
            f"{name} must be {f'at least {least}' if least else '0 or more'}, not {value}"
        )
    if value > MOST:
        raise SettingError(f"{name} must be at most {MOST:,}, not {value:,}")


def check_memory(name: str, needed: int) -> None:
    """Refuses what cannot fit in the memory, before it is asked for. **Raises** SettingError."""
    if why := too_large(needed):
        raise SettingError(f"{name} {why}")


def check_settings(config: Any, *numbers: str) -> None:
    """Refuses settings outside their ranges: those that all recipes have, and whole numbers.

    **Raises** SettingError for the first of them.
    """
    for name in numbers:
        whole(name, getattr(config, name))
    for name in ("lr", "clip"):
        if not 0 < getattr(config, name) < math.inf:
            raise SettingError(f"{name} must be above 0 and finite, not {getattr(config, name)}")
    if not 0 <= getattr(config, "dropout", 0) < 1:  # some have none
        raise SettingError(f"dropout must be at least 0 and below 1, not {config.dropout}")
    if config.seed < 0:
        raise SettingError(f"seed must be 0 or more, not {config.seed}")


def map_state(function: Callable[[Tensor], Any], state: Any) -> Any:
    """Applies a function to each tensor of a state."""
    return tuple(map(function, state)) if isinstance(state, tuple) else function(state)


@contextmanager
def inference(model: Module) -> Iterator[None]:
    """Without dropout, without a graph; afterwards the model is in the mode that it was in."""
    training = model.training
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        model.train(training)


def fingerprint(text: str) -> dict[str, Any]:
    """What tells one text from another, without keeping it."""
    raw = text.encode("utf-8", "surrogatepass")
    return {"characters": len(text), "sha256": hashlib.sha256(raw).hexdigest()}
