"""A program for mpiexec: what several ranks do apart and together. Each check is of all ranks."""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.distributed import average_gradients, broadcast_parameters
from tinygrad_rnn.distributed import gradients as buckets
from tinygrad_rnn.train import Progress, Trainer

ranks = tg.distributed.communicator()
FOLDER = Path(sys.argv[1])
X = np.random.default_rng(0).normal(size=(50, 4)).astype("float32")


def mean_loss(model: Any, batch: Any) -> Any:
    return (model(batch) ** 2).mean(), len(batch)


def trainer(dropout: float = 0.0, together: bool = True, loss: Any = mean_loss, **more: Any) -> Any:
    """A training whose seeds only rank 0 has: the others take them from it."""
    generator = tg.Generator(0 if ranks.rank == 0 or not together else None)
    layers = [tg.nn.Linear(4, 3, generator=generator), tg.nn.Dropout(dropout, generator=generator)]
    data = tg.data.DataLoader(
        X, 8, shuffle=True, generator=generator, collate=lambda rows: tg.tensor(np.stack(rows))
    )
    model = tg.nn.Sequential(*layers)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.01)
    communicator = ranks if together else None
    return Trainer(model, data, loss, optimizer, **{"steps": 20} | more, communicator=communicator)


def weights(training: Trainer) -> Any:
    return np.concatenate([p.numpy().ravel() for p in training.model.parameters()])


def same_on_all(value: Any) -> bool:
    return all(repr(one) == repr(value) for one in ranks.gather(value))


# -------------------------------------------------------------- the communicator

whole = np.arange(7.0)[None] + np.zeros((2, 1))
assert np.array_equal(ranks.join(ranks.part(whole, 1), 1), whole)
assert ranks.gather(ranks.rank) == list(range(ranks.size))
assert ranks.broadcast(f"of {ranks.rank}") == "of 0"
assert ranks.sum(np.full(3, ranks.rank + 1.0)).tolist() == [ranks.size * (ranks.size + 1) / 2] * 3

# -------------------------------------------------------------- calls that differ raise on all


def refused(call: Any, said: str) -> None:
    with pytest.raises(tg.InvalidValueError, match=re.escape(said)):
        call()


last = ranks.rank == ranks.size - 1
different = "the ranks make different calls: rank 0 makes a sum of 3 float64, and rank "
for call in (
    lambda: ranks.sum(np.ones(4 if last else 3)),
    lambda: ranks.sum(np.ones(3, "float32" if last else "float64")),
    lambda: ranks.gather(1) if last else ranks.sum(np.ones(3)),
    lambda: average_gradients([tg.zeros(1, requires_grad=True)], 2, *[1.0] * (1 + last)),
):
    refused(call, different)
left = [tg.zeros(3 + last, requires_grad=True) for _ in range(2)]
for p in left:
    p.grad = tg.ones(p.shape)
refused(lambda: average_gradients(left, 1), "rank 0 makes a sum of 6 float32, and rank ")

# -------------------------------------------------------------- gradients: a rank without samples,
# parameters that some ranks or none have used, and buckets smaller than a parameter

buckets.BUCKET = 64
sizes = {37: "float32", 5: "float64", 3: "float32", 2: "float32"}
a, b, c, d = (tg.zeros(n, dtype=dtype, requires_grad=True) for n, dtype in sizes.items())
count = 0 if ranks.rank == 0 else ranks.rank
a.grad = tg.full(a.shape, float(ranks.rank)) if count else tg.full(a.shape, float("nan"))
b.grad = tg.ones(b.shape, dtype="float64") if ranks.rank == 1 else None
d.grad = tg.ones(d.shape)
total, mean = average_gradients([a, b, c, d], count, tg.tensor(float(ranks.rank)), ranks=ranks)
counts = np.arange(ranks.size)
assert total == counts.sum()
assert np.isclose(mean, (counts * counts).sum() / total)
assert np.allclose(a.grad.numpy(), mean)
assert np.allclose(b.grad.numpy(), 1 / total)
assert c.grad is None
assert np.allclose(d.grad.numpy(), 1)
buckets.BUCKET = 2**22

# -------------------------------------------------------------- a plain loop

loop = tg.nn.Linear(4, 1)
broadcast_parameters(loop)
sgd, batches = tg.optim.SGD(loop.parameters(), lr=0.1), tg.data.DataLoader(X, 5)
batches.shard(ranks.rank, ranks.size)
for x in batches:
    sgd.zero_grad()
    loss, n = mean_loss(loop, x)
    loss.backward()
    average_gradients(loop.parameters(), n)
    sgd.step()
assert same_on_all(loop.weight.tolist())

# -------------------------------------------------------------- the Trainer: seeds of rank 0,
# norm and clipping, several batches an update, validation and early stopping

seen: list[Progress] = []
more: dict[str, Any] = {
    "clip": 0.5, "accumulate": 2, "patience": 2, "evaluate_every": 2, "steps": 40,
    "callbacks": [lambda _, progress: seen.append(progress)],
}  # fmt: skip
for validation in (tg.data.DataLoader(X[:21], 4, collate=lambda rows: tg.tensor(np.stack(rows))),
                   lambda _: {"growing": float(len(seen)), "of": ranks.rank}):  # fmt: skip
    seen.clear()
    shared = trainer(validation=validation, **more)
    history = shared.fit(quiet=True)
    assert len(seen) == (shared.step if ranks.rank == 0 else 0)
    assert same_on_all((weights(shared).tolist(), shared.step, history))
    seen.clear()
    alone = trainer(validation=validation, together=False, **more)
    for one, other in zip(alone.fit(quiet=True), history, strict=True):
        others = {name: value for name, value in other.items() if name not in ("growing", "of")}
        assert np.allclose([one[name] for name in others], list(others.values()), rtol=1e-5)
    assert alone.step == shared.step <= 40
    assert np.allclose(weights(alone), weights(shared), rtol=0, atol=1e-6)
assert shared.step == 6  # a figure that grows

# -------------------------------------------------------------- trainings that differ

for name, value in {
    "steps": 21, "clip": 1.0, "accumulate": 2, "evaluate_every": 3, "patience": 2,
    "on_nan": "skip", "validation": lambda model: 1.0,
}.items():  # fmt: skip
    given = {"validation": [tg.tensor(X)], **({name: value} if last else {})}
    refused(lambda given=given: next(trainer(**given)), f"Trainer: {name}: ")
other = trainer()
other.model.to("float64" if last else "float32")
refused(lambda: next(other), "Trainer: 0.weight: float32[3, 4] on rank 0, and float64[3, 4] on ")
other = trainer()
other.data.batch_size = 12 if last else 8
refused(lambda: next(other), "Trainer: data: DataLoader(ndarray, 50 samples, batch_size=8")

# -------------------------------------------------------------- dropout: other bits on each rank,
# the same in the next run, and after a resumption

masks: list[Any] = []


def noting(model: Any, batch: Any) -> Any:
    masks.append(model[1](tg.ones((6, 3))).tolist())
    return mean_loss(model, batch)


once = trainer(0.5, loss=noting, steps=4)
list(once)
of_ranks = ranks.gather(masks)
assert len({repr(mask) for rank in of_ranks for mask in rank}) == 4 * ranks.size
assert same_on_all(weights(once).tolist())
again = trainer(0.5, steps=4)
list(again)
assert weights(again).tobytes() != weights(once).tobytes()  # the loss drew one mask more
whole_run = trainer(0.5, evaluate_every=5)
whole_run.fit(FOLDER / "whole", quiet=True)
first = trainer(0.5, evaluate_every=5)
for progress in first:
    if progress.step == 10:
        break
if ranks.rank == 0:
    tg.io.save_checkpoint(FOLDER / "cut" / "last", first.state_dict())
    tg.io.save_checkpoint(FOLDER / "cut" / "best", first.state_dict())
ranks.gather(None)  # the files are there
rest = trainer(0.5, evaluate_every=5)
rest.fit(FOLDER / "cut", resume=True, quiet=True)
assert weights(rest).tobytes() == weights(whole_run).tobytes()
rest.load_best(FOLDER / "cut")
assert same_on_all(weights(rest).tolist())

# -------------------------------------------------------------- one rank's numbers go wrong: the
# loss, or the gradient alone


def bad_at_times(model: Any, batch: Any) -> Any:
    loss, count = mean_loss(model, batch)
    bad = next(calls) in (3, 4) and ranks.rank == 1  # a failing batch is computed twice
    return (worsened(loss, model[0].weight[0, 0]) if bad else loss), count


two = trainer(steps=2)
list(two)
for worse, first in (
    (lambda loss, w: tg.log(loss * 0 - 1), "'log' returned"),
    (lambda loss, w: loss + tg.sqrt(w * 0), "backward of 'sqrt'"),
):
    for policy, done in (
        ("skip", "skipped its batch"), ("rollback", "rolled back to step 2"), ("stop", "")
    ):  # fmt: skip
        calls, worsened = itertools.count(1), worse
        running = trainer(loss=bad_at_times, on_nan=policy, evaluate_every=2)
        taken, error = list[int](), ""
        with warnings.catch_warnings(record=True) as warned, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            try:
                for progress in itertools.islice(running, 5):
                    taken.append(progress.step)
            except tg.train.DivergedError as raised:
                error = str(raised)
        assert taken == ([1, 2] if policy == "stop" else [1, 2, 3, 4, 5])
        report = error or "".join(str(warning.message) for warning in warned)
        assert len(warned) == (ranks.rank == 0 and policy != "stop")
        if error or ranks.rank == 0:
            assert "step 3 gave loss" in report
            assert done in report
            assert first in report, report
        assert same_on_all(error)
        assert same_on_all(weights(running).tolist())
        assert np.isfinite(weights(running)).all()
        assert next(calls) == (5 if policy == "stop" else 8)
        if policy == "stop":
            assert weights(running).tobytes() == weights(two).tobytes()

# -------------------------------------------------------------- a signal to one rank stops all


def signalled(training: Any, progress: Progress) -> None:
    if progress.step == 3:
        os.kill(os.getpid(), signal.SIGTERM)


stopped = trainer(callbacks=[signalled])
stopped.fit(FOLDER / "stopped", quiet=True)
assert same_on_all(stopped.step)
assert stopped.step == 4  # the ranks agree in the update after it
if ranks.rank == 0:
    assert tg.io.load_checkpoint(FOLDER / "stopped" / "last")["step"] == 4
    print("all checks pass")
