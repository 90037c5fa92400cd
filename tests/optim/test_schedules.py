"""Schedules refuse wrong settings, and print what they are; so do optimizers and generators."""

from __future__ import annotations

from typing import Any

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.optim import LambdaLR, MultiStepLR, OneCycleLR, Schedule, StepLR


def sgd(lr: float = 1.0, **more: Any) -> tg.optim.SGD:
    return tg.optim.SGD([tg.zeros((2,), requires_grad=True)], lr=lr, **more)


@pytest.mark.quick
def test_a_cycle_that_has_ended_stays_at_its_end() -> None:
    schedule = OneCycleLR(sgd(), 1.0, total_steps=5)
    for _ in range(4):
        schedule.step()
    last = schedule.get_last_lr()
    schedule.step()
    assert schedule.get_last_lr() == last == [pytest.approx(1 / 25 / 1e4)]


class Plain(tg.optim.Optimizer):
    """An optimizer without momentum."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, lr=1.0)


def test_settings_that_cannot_be_are_refused_by_name() -> None:
    for build, said in [
        (lambda o: MultiStepLR(o, 3), "milestones: expected a list"),  # type: ignore[arg-type]
        (lambda o: LambdaLR(o, 0.5), "lr_lambda: expected a function"),  # type: ignore[arg-type]
        (lambda o: LambdaLR(o, [abs, abs]), "expected 1 functions"),
        (lambda o: LambdaLR(o, lambda n: -1.0), "lr_lambda: a factor"),
        (lambda o: OneCycleLR(o, [1.0, 2.0], 5), "max_lr: expected 1 rates"),
        (lambda o: OneCycleLR(o, 1.0, 5, anneal_strategy="exp"), "anneal_strategy"),
    ]:
        with pytest.raises(tg.TinygradRnnError, match=said):
            build(sgd())
    plain = Plain([tg.zeros((1,), requires_grad=True)])
    with pytest.raises(ValueError, match="cycle_momentum=False"):
        OneCycleLR(plain, 1.0, 5)
    OneCycleLR(plain, 1.0, 5, cycle_momentum=False)


def test_optimizers_and_schedules_print_their_settings() -> None:
    assert repr(sgd(0.5)) == (
        "SGD(lr=0.5, momentum=0.0, nesterov=False, weight_decay=0.0, 1 parameter of 2 elements)"
    )
    w = [tg.zeros((30, 40), requires_grad=True) for _ in range(3)]
    several = tg.optim.Adam([{"params": w[:1]}, {"params": w[1:], "lr": 0.1}])
    assert repr(several).splitlines() == [
        "Adam(",
        "  lr=0.001, betas=[0.9, 0.999], eps=1e-08, weight_decay=0.0, "
        "1 parameter of 1,200 elements",
        "  lr=0.1, betas=[0.9, 0.999], eps=1e-08, weight_decay=0.0, 2 parameters of 2,400 elements",
        ")",
    ]
    schedule: Schedule = StepLR(sgd(), 2, 0.5)
    for _ in range(3):
        schedule.step()
    assert repr(schedule) == "StepLR(step_size=2, gamma=0.5, steps=3, lr=0.5)"
    assert repr(MultiStepLR(several, [3])) == (
        "MultiStepLR(milestones=[3], gamma=0.1, steps=0, lr=[0.001, 0.1])"
    )
    plateau = tg.optim.ReduceLROnPlateau(sgd())
    assert repr(plateau) == (
        "ReduceLROnPlateau(reduction=0.1, patience=10, threshold=0.0001, minimum=0.0, steps=0, "
        "lr=1)"
    )


def test_equal_generators_print_alike() -> None:
    one, other = tg.Generator(3), tg.Generator(3)
    assert repr(one) == repr(other)
    assert repr(one).startswith("Generator(state=0x")
    one.random()
    assert repr(one) != repr(other)


def test_a_plateau_is_told_what_was_measured() -> None:
    schedule = tg.optim.ReduceLROnPlateau(tg.optim.SGD([tg.nn.Parameter(tg.ones((1,)))], lr=1.0))
    with pytest.raises(tg.InvalidTypeError, match=r"step: .* goes to schedule\.observe\(loss\)"):
        schedule.step(0.5)  # type: ignore[call-arg]
