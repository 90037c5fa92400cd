"""Each kind of bad number under each policy: the training is what a loop by hand makes of it."""

from __future__ import annotations

import copy
import itertools
import math
import os
import random
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io.checkpoint import _load
from tinygrad_rnn.io.earlier import earlier
from tinygrad_rnn.train import DivergedError, Trainer

from .test_trainer import weights

pytestmark = pytest.mark.usefixtures("unsynchronised")

STEPS, EVERY, BATCHES, LR = 26, 4, 6, 0.05  # updates, between evaluations; batches in an epoch
EXPLODED = 10.0
DRAWS = 50 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 1
POLICIES = ("stop", "skip", "rollback")


class Net(nn.Module):
    def __init__(self) -> None:
        generator = tg.Generator(0)
        self.layer = nn.GRU(2, 3, generator=generator)
        self.dropout = nn.Dropout(0.3, generator=generator)
        self.head = nn.Linear(3, 1, generator=generator)

    def forward(self, x: tg.Tensor, state: Any) -> Any:
        y, state = self.layer(x, state)
        return self.head(self.dropout(y[-1])), state


def zero(w: tg.Tensor) -> tg.Tensor:
    """Zero, with a derivative of one."""
    return w - w.detach()


# What is done to a loss and an entry of a weight, and what the report says of it first.
PLANTED: dict[str, tuple[Callable[[tg.Tensor, tg.Tensor], tg.Tensor], str]] = {
    "NaN": (lambda loss, w: loss * tg.log(w * 0 - 1), "'log' returned .* no number"),
    "inf": (lambda loss, w: loss + 1 / (w * w * 0), "'divide' returned .* infinite"),
    "-inf": (lambda loss, w: loss + tg.log(w * 0), "'log' returned .* infinite"),
    "inf in one gradient": (lambda loss, w: loss + tg.sqrt(zero(w)), "backward of 'sqrt'"),
    "NaN in one gradient": (lambda loss, w: loss + tg.sqrt(w * 0), "backward of 'sqrt'"),
    "explosion": (lambda loss, w: loss * 1e4, ""),
    "weights overflow": (lambda loss, w: loss, "the weight layer.weight_ih_l0 (is not|has)"),
    "NaN in the input": (lambda loss, w: loss, "first: the batch is not finite"),
    "NaN in the state": (lambda loss, w: loss, "first: (the state carried to|backward of 'sq)"),
    "large gradient": (lambda loss, w: loss + 1e30 * zero(w), ""),  # its square is no float32
}


class Case(NamedTuple):
    kind: str
    policy: str
    accumulate: int
    clip: float | None
    keep: int
    bad: list[int]  # batches, from 1


class Loss:
    """A loss that is bad for some of the batches, by the order in which they are first seen."""

    def __init__(self, case: Case, run: Any = None) -> None:
        self.case, self.run, self.seen = case, run, list[Any]()

    def __call__(self, model: Any, batch: Any) -> tuple[tg.Tensor, int]:
        if not any(batch is other for other in self.seen):  # else it is computed again
            self.seen.append(batch)
        number = next(i for i, other in enumerate(self.seen, 1) if other is batch)
        bad, kind = number in self.case.bad, self.case.kind
        x, y = batch
        if bad and kind == "NaN in the input":
            x.data[0, 2] = math.nan
        state = self.run.carried if kind == "NaN in the state" else None
        if kind == "weights overflow":  # by a schedule, say
            self.run.optimizer.param_groups[0]["lr"] = 1e39 if bad else LR
        found, state = model(tg.moveaxis(x, 1, 0), state)
        if kind == "NaN in the state":
            self.run.carried = state.detach()
            if number + 1 in self.case.bad:
                self.run.carried.data[:] = math.nan
        loss = nn.mse_loss(found, y)
        if bad:
            loss = PLANTED[kind][0](loss, model.head.weight[0, 0])
        return loss, len(y)


def parts() -> tuple[Net, Any, Any]:
    """A model, its data, and its optimizer: the same each time."""
    drawn, model = np.random.default_rng(0), Net()
    rows = tg.data.TensorDataset(
        drawn.normal(size=(4 * BATCHES, 5, 2)).astype("float32"),
        drawn.normal(size=(4 * BATCHES, 1)).astype("float32"),
    )
    data = tg.data.DataLoader(rows, 4, shuffle=True, generator=tg.Generator(0))
    return model, data, tg.optim.SGD(model.parameters(), lr=LR, momentum=0.9)


def trainer(case: Case) -> Trainer:
    model, data, optimizer = parts()
    loss = Loss(case)
    loss.run = Trainer(
        model, data, loss, optimizer, steps=STEPS, accumulate=case.accumulate, clip=case.clip,
        on_nan=case.policy, evaluate_every=EVERY, validation=lambda model: 1.0,
        explosion=EXPLODED,
    )  # type: ignore[arg-type]  # fmt: skip
    return loss.run


def by_hand(case: Case) -> tuple[list[float], dict[str, bytes], int, int | None]:
    """Trains in a loop that knows what each policy means.

    **Returns** the losses of the updates, the weights, the count of failures, and at which update
    the training has diverged, if it has.
    """
    model, data, optimizer = parts()
    run = SimpleNamespace(carried=None, optimizer=optimizer)
    loss_of = Loss(case, run)
    losses: list[float] = []
    updates = update_of(data, case.accumulate)
    step = failed = in_a_row = 0
    largest = 0.0

    def state() -> Any:
        return copy.deepcopy((step, largest, model.state_dict(), optimizer.state_dict()))

    safe = state()

    def good(loss: float, norm: float) -> bool:
        finite = math.isfinite(loss) and math.isfinite(norm)
        return finite and not (step >= 20 and loss > EXPLODED * largest)

    def ended() -> tuple[list[float], dict[str, bytes], int, int]:
        return losses, weights(SimpleNamespace(model=model)), failed, step + 1  # type: ignore[arg-type]

    while step < STEPS:
        optimizer.zero_grad()
        found = []
        for batch in (batches := next(updates)):
            loss, count = loss_of(model, batch)
            (loss if len(batches) == 1 else loss * count).backward()
            found.append((loss.detach(), count))
        total = sum(n for _, n in found)
        mean = found[0][0] if len(found) == 1 else sum(x * n for x, n in found) * (1 / total)
        if len(found) > 1:
            for p in model.parameters():
                p.grad = p.grad * (1 / total)
        norm = tg.optim.clip_grad_norm_(model.parameters(), case.clip or 3e38)
        if good(mean.item(), norm):
            largest = max(largest, mean.item())
            optimizer.step()
            losses.append(mean.item())
            step += 1
            in_a_row = 0 if case.policy == "skip" else in_a_row
            if step % EVERY and step < STEPS:
                continue
            if all(np.isfinite(p.numpy()).all() for p in model.parameters()):
                safe, in_a_row = state(), 0
                continue
            step -= 1
            losses.pop()
            if case.policy != "rollback":
                return ended()
        if case.policy == "stop" or in_a_row == 10:
            return ended()
        failed, in_a_row = failed + 1, in_a_row + 1
        run.carried = None
        if case.policy == "rollback":
            step, largest, *saved = copy.deepcopy(safe)
            model.load_state_dict(saved[0])
            optimizer.load_state_dict(saved[1])
    return losses, weights(SimpleNamespace(model=model)), failed, None  # type: ignore[arg-type]


def update_of(data: Any, accumulate: int) -> Iterator[list[Any]]:
    """The batches of one update after the other, which are of one epoch."""
    while True:
        epoch = iter(data)
        while batches := list(itertools.islice(epoch, accumulate)):
            yield batches


WHERE: dict[str, Callable[[random.Random, int], list[int]]] = {
    "first": lambda rng, last: [1],
    "last": lambda rng, last: [last],
    "every": lambda rng, last: list(range(1, 999)),
    "drawn": lambda rng, last: rng.sample(range(2, last), rng.randint(1, 4)),
    "late": lambda rng, last: rng.sample(range(last * 22 // STEPS, last), 2),
}
KINDS = [("NaN", where) for where in ("first", "last", "every")]
KINDS += [(kind, "late" if kind == "explosion" else "drawn") for kind in PLANTED]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("kind", "where"), KINDS)
def test_each_kind_under_each_policy(tmp_path: Path, kind: str, where: str, policy: str) -> None:
    for draw in range(DRAWS):
        rng = random.Random(f"{kind} {where} {policy} {draw}")
        accumulate = rng.choice([1, 2])
        bad = WHERE[where](rng, STEPS * accumulate)
        clip = 1.0 if kind == "large gradient" else rng.choice([None, 1.0])
        case = Case(kind, policy, accumulate, clip, rng.choice([1, 3]), bad)
        with np.errstate(all="ignore"):
            check(case, tmp_path / str(draw))


def check(case: Case, folder: Path) -> None:
    losses, expected, failed, diverged = by_hand(case)
    run, seen, error = trainer(case), list[float](), ""
    run.callbacks = [lambda _, progress: seen.append(progress.loss)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run.fit(folder, quiet=True, keep_last=case.keep)
        except DivergedError as raised:
            error = str(raised)
    reports = [str(warning.message) for warning in caught]
    assert [warning.category for warning in caught] == [UserWarning] * failed, reports
    assert seen == losses
    assert weights(run) == expected
    assert bool(error) == (diverged is not None)
    for report in [*reports, error] if error else reports:
        assert re.search(PLANTED[case.kind][1], report), report
        named = re.search(r"the (gradient of|weight) (layer|head)\.\w+ (is not|has)", report)
        assert named or case.kind == "explosion", report
        assert "\n" not in report
    done = {"stop": "has diverged: .*", "skip": "skipped its batch", "rollback": "rolled back to"}
    assert all(re.search(done[case.policy], report) for report in reports)
    last = folder / "last"
    states = [_load(last, path.name) for path in [last / "checkpoint.json", *earlier(last)]]
    assert len(states) <= case.keep
    for state in states:  # what is saved is good, whatever happened
        assert all(np.isfinite(weight).all() for weight in state["model"].values())
        assert state["step"] % EVERY == 0 or state["step"] == STEPS
    if diverged is None:
        assert all(np.isfinite(p.numpy()).all() for p in run.model.parameters())
        assert states[0]["step"] == STEPS
        assert {name: w.tobytes() for name, w in states[0]["model"].items()} == expected
    elif case.policy == "stop" and case.kind != "NaN in the state":  # which fit does not save
        assert states[0]["step"] == (diverged - 1) // EVERY * EVERY
        clean = case._replace(bad=[])
        resumed = trainer(clean)
        resumed.fit(folder, resume=True, quiet=True, keep_last=case.keep)
        assert weights(resumed) == by_hand(clean)[1]
