"""Recovery from updates that go wrong: finds them before the weights change, and undoes them."""

from __future__ import annotations

import copy
import itertools
import math
import warnings
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import AnomalyError
from ..tensor.anomaly import detect_anomaly
from ..tensor.random import Generator
from .divergence import DivergedError, diverged, is_finite

if TYPE_CHECKING:
    from .trainer import Trainer

OnNaN = Literal["stop", "skip", "rollback"]
POLICIES = ("stop", "skip", "rollback")
IN_A_ROW = 10  # updates that may go wrong
HISTORY = 20  # updates before a loss can have exploded


class Recovery:
    """Finds an update that went wrong, and handles it as `trainer.on_nan` says."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.restart(0.0)

    def restart(self, largest: float) -> None:
        """Starts from another state of the trainer. **Arguments** largest: its largest loss."""
        self.largest = largest
        self._failures = 0  # without a success between them
        self._saved: dict[str, Any] | None = None  # to roll back to
        self._generators: list[Generator] | None = None

    def before(self) -> None:
        """Notes where the next update begins."""
        trainer = self.trainer
        if self._generators is None:
            self._generators = trainer.generators()
        self._drawn = [generator.state for generator in self._generators]
        self._carried = trainer.carried
        if trainer.on_nan == "skip":  # a forward pass changes running statistics
            named = trainer.model.named_buffers()
            self._buffers = {name: buffer.data.copy() for name, buffer in named}
        elif trainer.on_nan == "rollback" and self._saved is None:
            self._saved = copy.deepcopy(trainer.state_dict())

    def fault(self, loss: float, norm: float) -> str:
        """Describes the fault of an update; an empty string, if it has none."""
        trainer = self.trainer
        if not (math.isfinite(loss) and math.isfinite(norm)):
            size = f" and gradient norm {norm}"
            return f"gave loss {loss}{size if trainer.clip or math.isfinite(loss) else ''}"
        if trainer.step >= HISTORY and loss > trainer.explosion * self.largest > 0:
            return f"gave loss {loss:.4g}, the largest before was {self.largest:.4g}"
        self.largest = max(self.largest, abs(loss))
        if trainer.on_nan == "skip":
            self._failures = 0
        return ""

    def evaluated(self) -> None:
        """Makes the state of this evaluation the one to roll back to."""
        self._saved, self._failures = None, 0

    def handle(self, how: str, batches: list[Any]) -> None:
        """Undoes an update, and warns. **Raises** DivergedError where the training must stop."""
        trainer = self.trainer
        gradient = self._bad_gradient()  # of all ranks
        causes = trainer.communicator.gather(self._causes(batches))  # of each
        found = [*next(filter(None, causes), []), *gradient]
        why = f"; first: {'; '.join(found)}" if found else ""
        if trainer.on_nan == "stop":
            raise diverged(trainer, how, why)
        if self._failures == IN_A_ROW:
            raise diverged(trainer, f"{how}, the {IN_A_ROW + 1}th failure in a row", why)
        self._undo(how, why)

    def handle_evaluation(self, error: DivergedError) -> None:
        """Rolls back after an evaluation, and warns. **Raises** the error where it must stop."""
        if self.trainer.on_nan != "rollback" or self._failures == IN_A_ROW:
            raise error
        self._undo(str(error), "")

    def _undo(self, how: str, why: str) -> None:
        trainer = self.trainer
        self._failures += 1
        if trainer.on_nan == "skip":
            for name, buffer in trainer.model.named_buffers():
                buffer.data = self._buffers[name]
            done = "skipped its batch"
        else:
            assert self._saved is not None
            self._roll_back(self._saved)
            done = f"rolled back to step {trainer.step}"
        trainer.optimizer.zero_grad()
        trainer.carried = None  # what the update computed is not to be carried on
        row = f" (failure {self._failures} in a row)" if self._failures > 1 else ""
        if trainer.communicator.rank == 0:
            warnings.warn(f"{how}: {done}{row}{why}", stacklevel=5)

    def _roll_back(self, saved: dict[str, Any]) -> None:
        """Restores a state, but not the position in the data and in the random numbers."""
        trainer = self.trainer
        now = trainer.state_dict()
        batches, failures = trainer.batches, self._failures
        state = copy.deepcopy(saved)
        trainer.load_state_dict(state | {n: now[n] for n in ("position", "generators")})
        if now["position"] is None:  # the iterator alone knows it
            trainer.batches = batches
        self._saved, self._failures = saved, failures

    def _bad_gradient(self) -> list[str]:
        """Describes the first gradient that is not finite, if there is one."""
        named = self.trainer.model.named_parameters()
        bad = (n for n, p in named if p.grad is not None and not is_finite(p.grad))
        return [f"the gradient of {name} is not finite" for name in itertools.islice(bad, 1)]

    def _causes(self, batches: list[Any]) -> list[str]:
        """Recomputes this rank's update. **Returns** the first values in it that are not finite."""
        trainer = self.trainer
        parts: list[tuple[str, Any]] = [
            *((f"weight {name}", p) for name, p in trainer.model.named_parameters()),
            ("batch", batches),
            ("state carried to the batch", self._carried),
        ]
        found = [f"the {what} is not finite" for what, value in parts if not is_finite(value)][:1]
        assert self._generators is not None
        drawn = [generator.state for generator in self._generators]
        for generator, state in zip(self._generators, self._drawn, strict=True):
            generator.state = state
        trainer.carried = self._carried
        try:
            with detect_anomaly(), np.errstate(all="ignore"):
                trainer.train_step.backward(batches)
        except AnomalyError as error:
            found.append(str(error))
        finally:
            for generator, state in zip(self._generators, drawn, strict=True):
                generator.state = state
        return found
