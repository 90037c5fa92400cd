"""A planted NaN, infinity or explosion is found, explained, and handled by each policy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import load_checkpoint
from tinygrad_rnn.recipes import CharLMConfig, CharLMTraining, WordLM
from tinygrad_rnn.train import DivergedError, Trainer

from .test_trainer import mean_loss, trainer, weights

NAN, INFINITE_GRADIENT, EXPLOSION = "nan", "infinite gradient", "explosion"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """NumPy's warnings of what is planted."""
    with np.errstate(all="ignore"):
        yield


class Planted:
    """A loss that goes wrong at the calls of some numbers, when it is not explaining itself."""

    def __init__(self, calls: list[int], kind: str = NAN) -> None:
        self.calls, self.kind, self.count, self.bad = calls, kind, 0, set[bytes]()

    def __call__(self, model: nn.Module, batch: Any) -> tuple[tg.Tensor, int]:
        loss, count = mean_loss(model, batch)
        key = np.asarray(batch[0].data).tobytes() + np.float64(loss.item()).tobytes()
        if key not in self.bad:  # else the same batch with the same dropout again
            self.count += 1
            if self.count not in self.calls:
                return loss, count
            self.bad.add(key)
        weight = model.head.weight
        if self.kind == NAN:
            return loss * tg.log(weight[0, 0] * 0 - 1), count
        if self.kind == EXPLOSION:
            return loss * 1e4, count
        return loss + tg.sqrt(weight[0, 0] * 0), count  # the value is right


def run_of(calls: list[int], policy: Any, kind: str = NAN, **settings: Any) -> Trainer:
    return trainer(loss=Planted(calls, kind), on_nan=policy, **settings)


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_stop_names_operation_and_parameter(clip: float | None, accumulate: int) -> None:
    run = run_of([4], "stop", clip=clip, accumulate=accumulate)
    with pytest.raises(DivergedError) as caught:
        list(run)
    message = str(caught.value)
    assert f"step {4 if accumulate == 1 else 2} gave loss nan" in message
    assert "'log' returned a value that is no number" in message
    assert "return loss * tg.log(" in message
    assert "the gradient of layer.weight_ih_l0 is not finite" in message
    assert ("gradient norm" in message) is (clip is not None)


def test_an_infinite_gradient_of_a_finite_loss() -> None:
    run, clean = run_of([3], "stop", INFINITE_GRADIENT), trainer()
    with pytest.raises(DivergedError, match=r"step 3 gave loss [\d.]+ and gradient norm") as caught:
        list(run)
    assert "backward of 'sqrt'" in str(caught.value)
    assert "the gradient of head.weight is not finite" in str(caught.value)
    next(clean), next(clean)
    assert weights(run) == weights(clean)


def test_a_weight_that_is_not_finite_is_named() -> None:
    run = trainer()
    next(run)
    run.model.head.bias.data[0] = math.inf
    with pytest.raises(DivergedError, match=r"the weight head\.bias is not finite"):
        next(run)


@pytest.mark.parametrize("kind", [NAN, INFINITE_GRADIENT])
def test_skip_leaves_out_the_batch(kind: str) -> None:
    """The weights are those of a loop by hand that passes over the batch."""
    run = run_of([3, 8], "skip", kind, clip=1.0)
    with pytest.warns(UserWarning, match=r"step \d gave .*: skipped its batch; first: ") as caught:
        losses = [progress.loss for progress in run]
    assert len(caught) == 2
    assert run.step == len(losses) == 18
    clean, expected, count = trainer(), [], 0
    while len(expected) < 18:
        for batch in clean.data:
            loss, _ = mean_loss(clean.model, batch)
            count += 1
            if count in (3, 8) or len(expected) == 18:
                continue
            clean.optimizer.zero_grad()
            loss.backward()
            tg.optim.clip_grad_norm_(clean.model.parameters(), 1.0)
            clean.optimizer.step()
            expected.append(loss.item())
    assert losses == expected
    assert weights(run) == weights(clean)


def test_skip_restores_running_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    rows = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
    bad = np.full((8, 3), np.nan, np.float32)
    data = [(tg.tensor(x), np.zeros(8, int)) for x in (rows, bad, rows)]
    run = Trainer(
        model, data, mean_loss, tg.optim.SGD(model.parameters(), lr=0.1), steps=2, on_nan="skip"
    )
    with pytest.warns(UserWarning, match="skipped"):
        list(run)
    assert all(np.isfinite(buffer.numpy()).all() for buffer in model.buffers())


def test_rollback_returns_to_the_last_evaluation() -> None:
    settings: dict[str, Any] = {"evaluate_every": 5, "schedule": lambda o: tg.optim.StepLR(o, 4)}
    run, clean = run_of([8], "rollback", **settings), trainer(**settings)
    for _ in range(5):
        next(run), next(clean)
    at_five, state = weights(clean), clean.optimizer.state_dict()
    for _ in range(2):
        next(run)
    assert weights(run) != at_five
    seen: list[dict[str, bytes]] = []
    loss = run.loss

    def looking(model: nn.Module, batch: Any) -> Any:
        seen.append(weights(run))
        return loss(model, batch)

    run.loss = looking
    with pytest.warns(UserWarning, match=r"step 8 gave loss nan: rolled back to step 5; first: "):
        progress = next(run)
    assert seen[-1] == at_five  # the next batch began there
    assert progress.step == 6
    assert progress.lr == clean.optimizer.param_groups[0]["lr"]
    assert sorted(state) == sorted(run.optimizer.state_dict())
    assert len(list(run)) == 12
    assert [record["step"] for record in run.history] == [5, 10, 15, 18]


SCHEDULES: list[Any] = [
    lambda o: tg.optim.CosineLR(o, 18, warmup_steps=3),
    lambda o: tg.optim.OneCycleLR(o, max_lr=0.1, total_steps=18),
    lambda o: tg.optim.ReduceLROnPlateau(o, patience=0),
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_rolls_back_too(schedule: Any) -> None:
    """The learning rate of each step is that of a training in which nothing goes wrong."""
    settings: dict[str, Any] = {
        "evaluate_every": 5, "schedule": schedule, "validation": lambda model: 1.0,
    }  # fmt: skip
    run, clean = run_of([8, 13, 14], "rollback", **settings), trainer(**settings)
    expected = {progress.step: progress.lr for progress in clean}
    assert len(set(expected.values())) > 2
    with pytest.warns(UserWarning, match="rolled back to step"):
        steps = [(progress.step, progress.lr) for progress in run]
    assert len(steps) > 18
    assert all(lr == expected[step] for step, lr in steps)


def test_rollback_of_an_evaluation() -> None:
    figures = iter([1.0, math.nan, 0.5, 0.4, 0.3, 0.2, 0.1])
    run = trainer(on_nan="rollback", validation=lambda model: next(figures), evaluate_every=6)
    with pytest.warns(UserWarning, match="left nan as the validation figure.* rolled back"):
        list(run)
    assert [record["validation"] for record in run.history] == [1.0, 0.5, 0.4]


def test_data_without_a_position_go_on_after_a_rollback() -> None:
    model = nn.Linear(1, 1)
    seen: list[float] = []

    def loss(model: nn.Module, batch: float) -> tg.Tensor:
        if batch not in seen:
            seen.append(batch)
        x = tg.tensor([[batch]])
        return (model(x) ** 2).mean() * (math.nan if batch == 3 else 1)

    data = (float(n) for n in range(99))
    optimizer = tg.optim.SGD(model.parameters(), lr=1e-3)
    with pytest.warns(UserWarning, match="rolled back to step 0"):
        list(Trainer(model, data, loss, optimizer, steps=5, on_nan="rollback"))
    assert seen == [0, 1, 2, 3, 4, 5, 6, 7, 8]


def test_an_explosion_is_found() -> None:
    run = run_of([25], "stop", EXPLOSION, epochs=9)
    with pytest.raises(DivergedError, match=r"step 25 gave loss \S+, the largest before was \S+:"):
        list(run)
    assert run.step == 24
    assert len(list(run_of([25], "stop", EXPLOSION, epochs=9, explosion=math.inf))) == 54
    with pytest.warns(UserWarning, match="step 25 gave loss"):
        assert len(list(run_of([25], "skip", EXPLOSION, epochs=9))) == 54


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_it_stops_when_nothing_helps(policy: str) -> None:
    run = run_of(list(range(3, 99)), policy, epochs=9)
    with (
        pytest.warns(UserWarning, match="gave loss nan"),
        pytest.raises(DivergedError, match="gave loss nan, the 11th failure in a row"),
    ):
        list(run)


@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_nothing_changes_where_nothing_goes_wrong(policy: str) -> None:
    run, clean = run_of([], policy), trainer()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(run) == list(clean)
    assert weights(run) == weights(clean)


@pytest.mark.parametrize("policy", ["skip", "rollback"])
@pytest.mark.parametrize("stop", [6, 12])
def test_resumed_is_uninterrupted(tmp_path: Path, policy: str, stop: int) -> None:
    """A failure after the checkpoint is the same failure after the resumption."""

    def one(calls: list[int]) -> Trainer:
        return run_of(calls, policy, evaluate_every=6, clip=0.5)

    whole = one([15])
    records = [next(whole) for _ in range(stop)]
    tg.io.save_checkpoint(tmp_path, whole.state_dict())
    with pytest.warns(UserWarning, match="gave loss nan"):
        records += list(whole)
    second = one([15 - stop])
    second.load_state_dict(load_checkpoint(tmp_path))
    with pytest.warns(UserWarning, match="gave loss nan"):
        assert list(second) == records[stop:]
    assert weights(second) == weights(whole)
    assert second.history == whole.history


def test_the_last_checkpoints_of_a_fit(tmp_path: Path) -> None:
    run = trainer(validation=lambda model: 1.0)
    run.fit(tmp_path, quiet=True, keep_last=2, verify=True)
    (tmp_path / "last/checkpoint.json").write_text("damaged")
    again = trainer(seed=4, validation=lambda model: 1.0)
    with pytest.warns(UserWarning, match="loading the one before it"):
        again.fit(tmp_path, resume=True, quiet=True, keep_last=2)
    assert weights(again) == weights(run)
    assert again.history == run.history
    assert load_checkpoint(tmp_path / "best")["step"] == 6


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_carried_state_does_not_carry_it_on(
    policy: Any,
) -> None:
    """The state of a layer after a bad window is as bad: the next window begins without it."""
    config = CharLMConfig(hidden_size=4, embedding_dim=3, batch_size=2, bptt=5, steps=9)
    run = CharLMTraining("to be, or not to be, that is the question " * 4, config)
    run.on_nan = policy
    list(zip(range(4), run, strict=False))
    run.carried = run.carried * math.nan
    with pytest.warns(UserWarning, match="step 5 gave loss nan") as caught:
        list(run)
    assert len(caught) == 1
    assert run.step == 9
    assert all(np.isfinite(p.numpy()).all() for p in run.model.parameters())


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_mean_of_weights_is_that_of_the_updates_that_count(policy: Any) -> None:
    """A recipe's mean of its last weights leaves out those that a rollback undoes."""
    config = WordLM.settings(
        hidden_size=3, bptt=4, batch_size=2, steps=12, average=0.75, weight_dropout=0.0, order=1
    )
    run = WordLM("to be or not to be that is the question " * 9, config)
    run.on_nan, run.every, loss, calls = policy, 4, run.loss, list[int]()

    def planted(model: Any, batch: Any) -> Any:
        calls.append(run.step)
        value, count = loss(model, batch)
        return value * (math.nan if len(calls) in (11, 12) else 1), count  # 12: to explain it

    run.loss = planted
    kept = dict[int, dict[str, Any]]()

    def keep(_: Trainer, progress: Any) -> None:
        named = run.model.state_dict().items()
        kept[progress.step] = {name: weight.numpy().copy() for name, weight in named}

    run.callbacks = [keep]
    with pytest.warns(UserWarning, match="step 11 gave loss nan"):
        list(run)
    assert run.averaged == 9  # those of steps 3 to 11
    assert sorted(kept) == list(range(1, 13))
    for name, mean in run.mean.items():
        expected = np.mean([kept[step][name] for step in range(3, 12)], axis=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_nan": "ignore"}, "on_nan: expected one of stop, skip, rollback, got 'ignore'"),
        ({"explosion": 1.0}, "explosion: expected more than 1"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trainer(**settings)
