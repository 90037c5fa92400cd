"""Schedules: the learning rate as a function of the steps taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, inf, isfinite, pi
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError, public
from .checks import between, keys, number, whole
from .optimizers import Optimizer


class Schedule:
    """The base: multiplies the rates that the optimizer had at first by `factor()`.

    Call `step()` once after each step of the optimizer (an epoch, if you count in epochs).
    """

    @public
    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise InvalidTypeError(
                f"{type(self).__name__}: expected an optimizer, got {type(optimizer).__name__}"
            )
        self.optimizer, self.steps = optimizer, 0
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self._apply()

    def factor(self) -> float:
        """What the rates are multiplied by after `steps` steps."""
        raise InvalidTypeError(f"{type(self).__name__} defines no factor")

    @public
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

    @public
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a state dict. **Raises** ValueError if it is not one of such a schedule."""
        what = f"{type(self).__name__}.load_state_dict"
        keys(state, what, self.state_dict())
        given = state["base_lrs"]
        if not isinstance(given, Sequence) or len(given) != len(self.base_lrs):
            raise InvalidValueError(
                f"{what}: base_lrs: expected a list of {len(self.base_lrs)} rates, one for each "
                f"group of the optimizer, got {given!r}"
            )
        steps = whole(state["steps"], f"{what}: steps")
        self.base_lrs = [between(lr, f"{what}: base_lrs") for lr in given]
        self.steps = steps
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

    @public
    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = whole(step_size, "StepLR: step_size", 1)
        self.gamma = between(gamma, "StepLR: gamma")
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

    @public
    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int = 0,
        minimum: float = 0.0,
    ) -> None:
        self.total_steps = whole(total_steps, "CosineLR: total_steps")
        self.warmup_steps = whole(warmup_steps, "CosineLR: warmup_steps")
        self.minimum = _share(minimum, "CosineLR: minimum")
        if not self.warmup_steps < self.total_steps:
            raise InvalidValueError(
                f"CosineLR: expected 0 <= warmup_steps < total_steps, got {warmup_steps} and "
                f"{total_steps}"
            )
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
    threshold: the fall that counts as progress, as a share of the best measure's size; what is no
    number is no progress. minimum: the least share of the first rate.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.zeros((1,), requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.ReduceLROnPlateau(optimizer, reduction=0.5, patience=1)
    >>> for loss in [3.0, 2.0, 2.0, 2.0]: schedule.observe(loss)
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """

    @public
    def __init__(
        self,
        optimizer: Optimizer,
        reduction: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        minimum: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.reduction = between(reduction, f"{name}: reduction", 0, 1)
        if not self.reduction:
            raise InvalidValueError(f"{name}: reduction: expected more than 0, got {reduction}")
        self.patience = whole(patience, f"{name}: patience")
        self.threshold = between(threshold, f"{name}: threshold", 0, 1)
        self.minimum = _share(minimum, f"{name}: minimum")
        self.best, self.waited, self.scale = inf, 0, 1.0
        super().__init__(optimizer)

    def factor(self) -> float:
        """The product of the reductions so far."""
        return self.scale

    @public
    def observe(self, measure: float) -> None:
        """Takes note of a measure, such as the held-out loss, and counts a step."""
        found = number(measure, f"{type(self).__name__}.observe")
        if found < inf and (self.best == inf or found < self.best - self._margin()):
            self.best, self.waited = found, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.scale, self.waited = max(self.scale * self.reduction, self.minimum), 0
        super().step()

    def _margin(self) -> float:
        """How far below the best a measure has to be, whatever the sign of these."""
        return self.threshold * abs(self.best) if isfinite(self.best) else 0.0

    @public
    def step(self) -> None:
        """Refuses to count a step without a measure: the rate would never fall."""
        raise InvalidTypeError(f"{type(self).__name__}: call observe(loss), in place of step()")

    def state_dict(self) -> dict[str, Any]:
        """What a later run must know to go on."""
        best = None if self.best == inf else self.best
        return {**super().state_dict(), "best": best, "waited": self.waited, "scale": self.scale}

    @public
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes over a state dict. **Raises** ValueError if it is not one of such a schedule."""
        what = f"{type(self).__name__}.load_state_dict"
        keys(state, what, self.state_dict())
        best = inf if state["best"] is None else number(state["best"], f"{what}: best")
        waited = whole(state["waited"], f"{what}: waited")
        scale = _share(state["scale"], f"{what}: scale")
        super().load_state_dict(state)
        self.best, self.waited, self.scale = best, waited, scale
        self._apply()


def _share(value: Any, what: str) -> float:
    """A number from 0 to 1."""
    found = between(value, what)
    if found > 1:
        raise InvalidValueError(f"{what}: expected a share, at most 1, got {found}")
    return found
