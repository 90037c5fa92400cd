"""A program for mpiexec: drawn trainings of ragged rows give what one process gives.

Rows, batches, accumulated batches, lengths and counts are drawn: ranks have fewer rows than others,
or none, and a row may count nothing.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import tinygrad_rnn as tg

ranks = tg.distributed.communicator()


def training(rng: np.random.Generator, together: bool) -> tg.train.Trainer:
    rows = [
        (rng.normal(size=(n, 2)), rng.random(n) < 0.7)
        for n in rng.integers(1, 7, rng.integers(5, 30))
    ]
    rows[0][1][:] = True  # some row counts
    model = tg.nn.GRU(2, 3, dtype="float64", generator=tg.Generator(int(rng.integers(99))))

    def collate(batch: list[Any]) -> Any:
        lengths = [len(x) for x, _ in batch]
        x = np.zeros((max(lengths), len(batch), 2))
        mask = np.zeros(x.shape[:2])
        for i, (row, counts) in enumerate(batch):
            x[: len(row), i], mask[: len(row), i] = row, counts
        return tg.tensor(x), tg.tensor(mask)

    def loss(model: Any, batch: Any) -> Any:
        x, mask = batch
        count = int(mask.numpy().sum())
        y, _ = model(x)
        return (((y - 1) ** 2).sum(-1) * mask).sum() / max(count, 1), count

    size = int(rng.integers(ranks.size, 9))
    data = tg.data.DataLoader(rows, size, shuffle=True, collate=collate, generator=tg.Generator(5))
    optimizer = tg.optim.Adam(model.parameters(), lr=0.03)
    return tg.train.Trainer(
        model, data, loss, optimizer, epochs=3, accumulate=int(rng.integers(1, 4)), clip=0.5,
        validation=tg.data.DataLoader(rows[:4], 3, collate=collate), patience=2,
        communicator=ranks if together else None,
    )  # fmt: skip


def result(seed: int, together: bool) -> Any:
    run = training(np.random.default_rng(seed), together)
    history = run.fit(quiet=True)
    return [
        np.concatenate([p.numpy().ravel() for p in run.model.parameters()]),
        *(np.array(list(record.values()), float) for record in history),
    ]


for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    shared = result(seed, True)
    assert len({repr([one.tolist() for one in r]) for r in ranks.gather(shared)}) == 1, seed
    alone = result(seed, False)
    assert len(alone) == len(shared), (seed, len(alone), len(shared))
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11, err_msg=f"seed {seed}")
if ranks.rank == 0:
    print("all equal")
