"""Schedules: the learning rate as a function of the number of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import cos, inf, isfinite, pi
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError, public
from .checks import between, keys, number, whole
from .optimizers import Optimizer


class Schedule:
    """The base of schedules: multiplies the optimizer's initial learning rates by `factor()`.

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
        """Returns the factor of the rates after `steps` steps."""
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
        """Returns the state that `load_state_dict` restores."""
        return {"steps": self.steps, "base_lrs": list(self.base_lrs)}

    @public
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state dict. **Raises** ValueError if it is one of another schedule."""
        what = f"{type(self).__name__}.load_state_dict"
        keys(state, what, self.state_dict())
        rates = state["base_lrs"]
        if not isinstance(rates, Sequence) or len(rates) != len(self.base_lrs):
            raise InvalidValueError(
                f"{what}: base_lrs: expected a list of {len(self.base_lrs)} rates, one for each "
                f"group of the optimizer, got {rates!r}"
            )
        steps = whole(state["steps"], f"{what}: steps")
        self.base_lrs = [between(lr, f"{what}: base_lrs") for lr in rates]
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
        """Returns gamma to the power of the number of completed periods."""
        return float(self.gamma ** (self.steps // self.step_size))


class CosineLR(Schedule):
    """Linear warm-up over warmup_steps, then cosine annealing (Loshchilov 2017).

    **Arguments** total_steps: the step at which the rate reaches `minimum`, where it stays.
    warmup_steps: the length of the warm-up. minimum: relative to the initial rate.

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
        self.minimum = _fraction(minimum, "CosineLR: minimum")
        if not self.warmup_steps < self.total_steps:
            raise InvalidValueError(
                f"CosineLR: expected 0 <= warmup_steps < total_steps, got {warmup_steps} and "
                f"{total_steps}"
            )
        super().__init__(optimizer)

    def factor(self) -> float:
        """Returns the rate relative to the initial one."""
        if self.steps < self.warmup_steps:
            return (self.steps + 1) / self.warmup_steps
        done = (self.steps - self.warmup_steps) / (self.total_steps - self.warmup_steps)
        return self.minimum + (1 - self.minimum) * (1 + cos(pi * min(done, 1.0))) / 2


class ReduceLROnPlateau(Schedule):
    """Reduces the rate when a measure has not fallen for more than `patience` steps.

    **Arguments** reduction: the factor. patience: the number of steps without improvement that do
    not reduce the rate. threshold: the fall that counts as improvement, relative to the best
    measure; NaN is no improvement. minimum: the least rate, relative to the initial one.

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
        self.minimum = _fraction(minimum, f"{name}: minimum")
        self.best, self.waited, self.scale = inf, 0, 1.0
        super().__init__(optimizer)

    def factor(self) -> float:
        """Returns the product of the reductions so far."""
        return self.scale

    @public
    def observe(self, measure: float) -> None:
        """Observes a measure, such as the held-out loss, and counts a step."""
        value = number(measure, f"{type(self).__name__}.observe")
        if value < inf and (self.best == inf or value < self.best - self._margin()):
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        if self.waited > self.patience:
            self.scale, self.waited = max(self.scale * self.reduction, self.minimum), 0
        super().step()

    def _margin(self) -> float:
        """Returns how far below the best measure an improvement must be, for any sign."""
        return self.threshold * abs(self.best) if isfinite(self.best) else 0.0

    @public
    def step(self) -> None:
        """Refuses to count a step without a measure: the rate would never fall."""
        raise InvalidTypeError(f"{type(self).__name__}: call observe(loss), in place of step()")

    def state_dict(self) -> dict[str, Any]:
        """Returns the state that `load_state_dict` restores."""
        best = None if self.best == inf else self.best
        return {**super().state_dict(), "best": best, "waited": self.waited, "scale": self.scale}

    @public
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state dict. **Raises** ValueError if it is one of another schedule."""
        what = f"{type(self).__name__}.load_state_dict"
        keys(state, what, self.state_dict())
        best = inf if state["best"] is None else number(state["best"], f"{what}: best")
        waited = whole(state["waited"], f"{what}: waited")
        scale = _fraction(state["scale"], f"{what}: scale")
        super().load_state_dict(state)
        self.best, self.waited, self.scale = best, waited, scale
        self._apply()


def _fraction(value: Any, what: str) -> float:
    """Checks that a number is from 0 to 1."""
    result = between(value, what)
    if result > 1:
        raise InvalidValueError(f"{what}: expected at most 1, got {result}")
    return result
