"""Schedules: the learning rate as a function of the number of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import cos, inf, isfinite, pi
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError, public
from ..tensor.shapes import flag
from .checks import above_zero, between, keys, number, whole
from .optimizers import Optimizer


class Schedule:
    """The base of schedules: multiplies the optimizer's initial learning rates by `factor()`.

    Call `step()` once after each step of the optimizer (an epoch, if you count in epochs).

    >>> import tinygrad_rnn as tg
    >>> class Halving(tg.optim.Schedule):
    ...     def factor(self):
    ...         return 0.5**self.steps
    >>> optimizer = tg.optim.SGD(tg.nn.Linear(2, 3).parameters(), lr=0.1)
    >>> Halving(optimizer).step(); optimizer.param_groups[0]["lr"]
    0.05
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

    def get_last_lr(self) -> list[float]:
        """Returns the learning rate of each group of the optimizer, as it is now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def _factors(self) -> Sequence[float]:
        """Returns the factor of each group."""
        return [self.factor()] * len(self.base_lrs)

    def _apply(self) -> None:
        groups = self.optimizer.param_groups
        for group, base, factor in zip(groups, self.base_lrs, self._factors(), strict=True):
            group["lr"] = base * factor

    def settings(self) -> dict[str, Any]:
        """Returns what the repr shows: the numbers and functions that define the schedule."""
        rest = {"optimizer", "base_lrs", *self.state_dict()}
        return {k: v for k, v in vars(self).items() if k not in rest and not k.startswith("_")}

    def __repr__(self) -> str:
        settings = "".join(f"{k}={v!r}, " for k, v in self.settings().items())
        rates = ", ".join(f"{lr:.4g}" for lr in self.get_last_lr())
        rates = rates if len(self.base_lrs) == 1 else f"[{rates}]"
        return f"{type(self).__name__}({settings}steps={self.steps}, lr={rates})"

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


class ExponentialLR(Schedule):
    """Multiplies the rate by gamma at every step.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.zeros((1,), requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.ExponentialLR(optimizer, gamma=0.5)
    >>> for _ in range(3): schedule.step()
    >>> schedule
    ExponentialLR(gamma=0.5, steps=3, lr=0.125)
    """

    @public
    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = between(gamma, "ExponentialLR: gamma")
        super().__init__(optimizer)

    def factor(self) -> float:
        """Returns gamma to the power of the number of steps."""
        return float(self.gamma**self.steps)


class MultiStepLR(Schedule):
    """Multiplies the rate by gamma at each of some steps.

    **Arguments** milestones: the numbers of steps, in any order; one that occurs twice counts
    twice.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.zeros((1,), requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.MultiStepLR(optimizer, milestones=[2, 3], gamma=0.5)
    >>> rates = schedule.get_last_lr()
    >>> for _ in range(3): schedule.step(); rates += schedule.get_last_lr()
    >>> rates
    [1.0, 1.0, 0.5, 0.25]
    """

    @public
    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        if not isinstance(milestones, (list, tuple)):
            raise InvalidTypeError(
                f"MultiStepLR: milestones: expected a list of steps, got {milestones!r}"
            )
        self.milestones = sorted(whole(n, "MultiStepLR: milestones", 1) for n in milestones)
        self.gamma = between(gamma, "MultiStepLR: gamma")
        super().__init__(optimizer)

    def factor(self) -> float:
        """Returns gamma to the power of the number of milestones that are reached."""
        return float(self.gamma ** sum(n <= self.steps for n in self.milestones))


class LambdaLR(Schedule):
    """Multiplies the initial rate by a function of the number of steps.

    **Arguments** lr_lambda: returns the factor; or a list of functions, one for each group of the
    optimizer. A state dict does not contain them.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.zeros((1,), requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.LambdaLR(optimizer, lambda n: min(1.0, (n + 1) / 4))
    >>> schedule.get_last_lr()
    [0.25]
    """

    @public
    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
    ) -> None:
        several = isinstance(lr_lambda, (list, tuple))
        functions: list[Any] = [*lr_lambda] if several else [lr_lambda]  # type: ignore[misc]
        for function in functions:
            if not callable(function):
                raise InvalidTypeError(
                    f"LambdaLR: lr_lambda: expected a function of the number of steps, got "
                    f"{function!r}"
                )
        groups = len(getattr(optimizer, "param_groups", functions))
        if several and len(functions) != groups:
            raise InvalidValueError(
                f"LambdaLR: lr_lambda: expected {groups} functions, one for each group of the "
                f"optimizer, got {len(functions)}"
            )
        self.lr_lambda, self._functions = lr_lambda, functions if several else functions * groups
        super().__init__(optimizer)

    def _factors(self) -> Sequence[float]:
        """Returns each group's function of the number of steps."""
        return [between(f(self.steps), "LambdaLR: lr_lambda: a factor") for f in self._functions]


class OneCycleLR(Schedule):
    """Raises the rate to max_lr, then lowers it to almost zero (Smith and Topin 2019).

    The momentum (`momentum` or the first of `betas`) falls and rises in turn.

    **Arguments** max_lr: the highest rate, or a list with one for each group. total_steps: the
    length of the cycle; the rate stays at its end. pct_start: the fraction of the cycle in which
    the rate rises. anneal_strategy: `cos` or `linear`. cycle_momentum: whether the momentum
    changes, from max_momentum to base_momentum and back. div_factor: max_lr divided by the initial
    rate. final_div_factor: the initial rate divided by the final one. three_phase: falls to the
    initial rate as fast as it rose, and then to the final one. **Raises** ValueError for
    cycle_momentum with an optimizer that has no momentum.

    >>> import tinygrad_rnn as tg
    >>> optimizer = tg.optim.SGD([tg.zeros((1,), requires_grad=True)], lr=1.0)
    >>> schedule = tg.optim.OneCycleLR(optimizer, max_lr=1.0, total_steps=11, div_factor=10)
    >>> rates = schedule.get_last_lr()
    >>> for _ in range(10): schedule.step(); rates += schedule.get_last_lr()
    >>> [round(rate, 2) for rate in rates]
    [0.1, 0.46, 0.96, 0.98, 0.88, 0.73, 0.53, 0.33, 0.16, 0.04, 0.0]
    """

    @public
    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        name = type(self).__name__
        self.total_steps = whole(total_steps, f"{name}: total_steps", 1)
        self.pct_start = _fraction(pct_start, f"{name}: pct_start")
        if anneal_strategy not in ("cos", "linear"):
            raise InvalidValueError(
                f"{name}: anneal_strategy: expected 'cos' or 'linear', got {anneal_strategy!r}"
            )
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = flag(cycle_momentum, f"{name}: cycle_momentum")
        self.base_momentum = between(base_momentum, f"{name}: base_momentum", 0, 1)
        self.max_momentum = between(max_momentum, f"{name}: max_momentum", 0, 1)
        self.div_factor = above_zero(div_factor, f"{name}: div_factor")
        self.final_div_factor = above_zero(final_div_factor, f"{name}: final_div_factor")
        self.three_phase = flag(three_phase, f"{name}: three_phase")
        groups = getattr(optimizer, "param_groups", [])
        if cycle_momentum and any({"momentum", "betas"}.isdisjoint(group) for group in groups):
            raise InvalidValueError(
                f"{name}: cycle_momentum: expected an optimizer with momentum or betas, got "
                f"{type(optimizer).__name__}: cycle_momentum=False"
            )
        several = isinstance(max_lr, (list, tuple))
        rates: Any = max_lr if several else [max_lr] * len(groups)
        if len(rates) != len(groups):
            raise InvalidValueError(
                f"{name}: max_lr: expected {len(groups)} rates, one for each group of the "
                f"optimizer, got {len(rates)}"
            )
        self.max_lr = [above_zero(rate, f"{name}: max_lr") for rate in rates]
        super().__init__(optimizer)
        self.base_lrs = list(self.max_lr)
        self._apply()

    def factor(self) -> float:
        """Returns the rate relative to max_lr."""
        first = 1 / self.div_factor
        middle = [first] if self.three_phase else []
        return self._at([first, 1.0, *middle, first / self.final_div_factor])

    def _at(self, values: list[float]) -> float:
        """Returns the value at this step, between the values at the ends of the phases."""
        rise, last = self.pct_start * self.total_steps - 1, self.total_steps - 1
        ends = [0.0, rise, *([2 * rise] if self.three_phase else []), float(last)]
        step = min(self.steps, last)
        i = next((i for i, end in enumerate(ends[1:-1]) if step <= end), len(ends) - 2)
        length = ends[i + 1] - ends[i]
        done = (step - ends[i]) / length if length else 1.0
        if self.anneal_strategy == "cos":
            done = (1 - cos(pi * done)) / 2
        return values[i] + (values[i + 1] - values[i]) * done

    def _apply(self) -> None:
        super()._apply()
        if self.cycle_momentum:
            high, low = self.max_momentum, self.base_momentum
            middle = [high] if self.three_phase else []
            momentum = self._at([high, low, *middle, high])
            for group in self.optimizer.param_groups:
                if "betas" in group:
                    group["betas"] = [momentum, *group["betas"][1:]]
                else:
                    group["momentum"] = momentum


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


def _fraction(value: object, what: str) -> float:
    """Checks that a number is from 0 to 1."""
    result = between(value, what)
    if result > 1:
        raise InvalidValueError(f"{what}: expected at most 1, got {result}")
    return result
