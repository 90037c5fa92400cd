"""Schedules: the learning rate as a function of the steps taken."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, inf, pi
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError
from .optimizers import Optimizer


class Schedule:
    """The base: multiplies the rates that the optimizer had at first by `factor()`.

    Call `step()` once after each step of the optimizer (an epoch, if you count in epochs).
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer, self.steps = optimizer, 0
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self._apply()

    def factor(self) -> float:
        """What the rates are multiplied by after `steps` steps."""
        raise InvalidTypeError(f"{type(self).__name__} defines no factor")

    def step(self) -> None:
        """Counts a step, and sets the rates for the next one."""
        self.steps += 1
        self._apply()

    def _apply(self) -> None:
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * self.factor()

    def state_dict(self) -> dict[str, Any]:
        """What a later run must know to go on."""
        return {"steps": self.steps, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a state dict."""
        self.steps, self.base_lrs = state["steps"], list(state["base_lrs"])
        self._apply()


class StepLR(Schedule):
    """Multiplies the rate by gamma every step_size steps.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.zeros((1,), requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.StepLR(optimizer, step_size=2, gamma=0.5)
    >>> for _ in range(4): schedule.step()
    >>> optimizer.param_groups[0]["lr"]
    0.25
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        if step_size < 1:
            raise InvalidValueError(f"StepLR: step_size: expected 1 or more, got {step_size}")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def factor(self) -> float:
        """gamma to the number of whole periods."""
        return float(self.gamma ** (self.steps // self.step_size))


class CosineLR(Schedule):
    """Rises evenly over warmup_steps, then falls along half a cosine (Loshchilov 2017).

    **Arguments** total_steps: when it has fallen to `minimum`, a share of the first rate; it stays
    there. warmup_steps: how long it rises.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.zeros((1,), requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.CosineLR(optimizer, total_steps=10, warmup_steps=2)
    >>> rates = [optimizer.param_groups[0]["lr"]]
    >>> for _ in range(10):
    ...     schedule.step(); rates.append(round(optimizer.param_groups[0]["lr"], 2))
    >>> rates
    [0.5, 1.0, 1.0, 0.96, 0.85, 0.69, 0.5, 0.31, 0.15, 0.04, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int = 0,
        minimum: float = 0.0,
    ) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise InvalidValueError(
                f"CosineLR: expected 0 <= warmup_steps < total_steps, got {warmup_steps} and "
                f"{total_steps}"
            )
        self.total_steps, self.warmup_steps, self.minimum = total_steps, warmup_steps, minimum
        super().__init__(optimizer)

    def factor(self) -> float:
        """The share of the first rate."""
        if self.steps < self.warmup_steps:
            return (self.steps + 1) / self.warmup_steps
        done = (self.steps - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return self.minimum + (1 - self.minimum) * (1 + cos(pi * min(done, 1.0))) / 2


class ReduceLROnPlateau(Schedule):
    """Multiplies the rate by factor when a measure has not fallen for more than patience steps.

    **Arguments** reduction: by what. patience: how many steps without progress are borne.
    threshold: the relative fall that counts as progress. minimum: the least share of the first
    rate.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.zeros((1,), requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.ReduceLROnPlateau(optimizer, reduction=0.5, patience=1)
    >>> for loss in [3.0, 2.0, 2.0, 2.0]: schedule.observe(loss)
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """

    def __init__(
        self,
        optimizer: Optimizer,
        reduction: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        minimum: float = 0.0,
    ) -> None:
        if not 0 < reduction < 1:
            raise InvalidValueError(
                f"ReduceLROnPlateau: reduction: expected 0 to 1, got {reduction}"
            )
        self.reduction, self.patience = reduction, patience
        self.threshold, self.minimum = threshold, minimum
        self.best, self.waited, self.scale = inf, 0, 1.0
        super().__init__(optimizer)

    def factor(self) -> float:
        """The product of the reductions so far."""
        return self.scale

    def observe(self, measure: float) -> None:
        """Takes note of a measure, such as the held-out loss, and counts a step."""
        if measure < self.best * (1 - self.threshold) or self.best == inf:
            self.best, self.waited = measure, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.scale, self.waited = max(self.scale * self.reduction, self.minimum), 0
        self.step()

    def state_dict(self) -> dict[str, Any]:
        """What a later run must know to go on."""
        best = None if self.best == inf else self.best
        return {**super().state_dict(), "best": best, "waited": self.waited, "scale": self.scale}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a state dict."""
        self.best = inf if state["best"] is None else state["best"]
        self.waited, self.scale = state["waited"], state["scale"]
        super().load_state_dict(state)
