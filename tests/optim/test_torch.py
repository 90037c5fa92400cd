"""Schedules agree with PyTorch's at every step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

torch: Any = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle

gammas = st.sampled_from([0.1, 0.5, 0.9, 1.0])
SCHEDULES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ExponentialLR": st.fixed_dictionaries({"gamma": gammas}),
    "StepLR": st.fixed_dictionaries({"step_size": st.integers(1, 5), "gamma": gammas}),
    "MultiStepLR": st.fixed_dictionaries(
        {"milestones": st.lists(st.integers(1, 15)), "gamma": gammas}
    ),
    "LambdaLR": st.fixed_dictionaries(
        {
            "lr_lambda": st.sampled_from(
                [lambda n: 1 / (n + 1), [lambda n: 0.5**n, lambda n: min(1.0, (n + 1) / 4)]]
            )
        }
    ),
    "OneCycleLR": st.fixed_dictionaries(
        {
            "max_lr": st.sampled_from([0.3, [0.3, 0.7]]),
            "total_steps": st.just(16),
            "pct_start": st.sampled_from([0.1, 0.3, 0.45]),
            "anneal_strategy": st.sampled_from(["cos", "linear"]),
            "cycle_momentum": st.booleans(),
            "base_momentum": st.sampled_from([0.8, 0.85]),
            "max_momentum": st.sampled_from([0.9, 0.95]),
            "div_factor": st.sampled_from([4.0, 25.0]),
            "final_div_factor": st.sampled_from([10.0, 1e4]),
            "three_phase": st.booleans(),
        }
    ),
}


def both(kind: str, optimizer: str, settings: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """The schedule here and in PyTorch, each with an optimizer of two groups."""
    more = {"SGD": {"momentum": 0.9}, "Adam": {}}[optimizer]
    ours = getattr(tg.optim, optimizer)(
        [{"params": [tg.zeros((1,), requires_grad=True)], "lr": lr} for lr in (0.5, 0.25)], **more
    )
    theirs = getattr(torch.optim, optimizer)(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in (0.5, 0.25)], **more
    )
    schedules = (getattr(tg.optim, kind)(ours, **settings),)
    return ours, theirs, schedules[0], getattr(torch.optim.lr_scheduler, kind)(theirs, **settings)


@pytest.mark.quick
@pytest.mark.parametrize("kind", list(SCHEDULES))
@given(data=st.data())
def test_rates_and_momenta_are_pytorchs(kind: str, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["SGD", "Adam"]))
    ours, theirs, mine, true = both(kind, name, data.draw(SCHEDULES[kind]))
    for step in range(16):
        np.testing.assert_allclose(mine.get_last_lr(), true.get_last_lr(), rtol=1e-9, atol=1e-15)
        for a, b in zip(ours.param_groups, theirs.param_groups, strict=True):
            for key in ("momentum", "betas"):
                if key in a:
                    np.testing.assert_allclose(a[key], b[key], rtol=1e-12)
        if step < 15:
            mine.step()
            theirs.step()
            true.step()


@pytest.mark.parametrize("kind", list(SCHEDULES))
@given(data=st.data())
def test_a_saved_schedule_resumes(kind: str, data: st.DataObject) -> None:
    settings = data.draw(SCHEDULES[kind])
    _, _, once, _ = both(kind, "Adam", settings)
    for _ in range(data.draw(st.integers(0, 12))):
        once.step()
    ours, _, again, _ = both(kind, "Adam", settings)
    again.load_state_dict(once.state_dict())
    assert again.get_last_lr() == once.get_last_lr()
    assert ours.param_groups == [
        {**group, "params": own["params"]}
        for group, own in zip(once.optimizer.param_groups, ours.param_groups, strict=True)
    ]
    once.step()
    again.step()
    assert again.get_last_lr() == once.get_last_lr()
