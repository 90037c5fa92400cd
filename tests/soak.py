"""Trains five models for long with the garbage collector off: python -m tests.soak --steps 50000

A leak of one Tensor an update shows: the memory of the process must stay flat, and so must the
number of objects that Python's collector knows.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import save_checkpoint
from tinygrad_rnn.recipes import CharLMConfig, CharLMTraining, TranslateConfig, TranslationTraining
from tinygrad_rnn.train import Trainer

SAVES = 20  # in a soak
TEXT = "".join(f"{n} times {n} is {n * n}.\n" for n in range(60))
PAIRS = [(f"{n} and {m}", f"{m} und {n}") for n in range(9) for m in range(9)]


@dataclass
class Reading:
    """The memory and the objects of a process after an update."""

    step: int
    resident: int  # bytes
    objects: int


def charlm(steps: int) -> Trainer:
    return CharLMTraining(
        TEXT, CharLMConfig(hidden_size=8, embedding_dim=4, batch_size=2, bptt=6, steps=steps)
    )


def translate(steps: int) -> Trainer:
    """Attends, with sequences of many lengths and sampled inputs."""
    return TranslationTraining(
        PAIRS,
        TranslateConfig(
            hidden_size=6, embedding_dim=3, batch_size=3, steps=steps, source_symbols="chars",
            target_symbols="chars", teacher_forcing="constant:0.95",
        ),
    )  # fmt: skip


def data(*shape: int, **options: Any) -> tg.data.DataLoader:
    x = tg.randn(*shape, generator=tg.Generator(0)).numpy()
    return tg.data.DataLoader(tg.data.TensorDataset(x), 3, shuffle=True, **options)


def fused(steps: int) -> Trainer:
    """A cell of its own, whose traces are cached by shape; accumulates, and reads ahead."""
    model = nn.Recurrent(nn.JANETCell(3, 5), fused=True)

    def loss(model: nn.Module, batch: Any) -> tuple[tg.Tensor, int]:
        x = batch[0][:, : 2 + trainer.step % 7]
        return tg.mean(tg.square(model(x)[0] - 1)), len(x)

    trainer = Trainer(
        model, data(24, 9, 3, prefetch=2), loss, tg.optim.SGD(model.parameters(), lr=0.01),
        steps=steps, accumulate=2, evaluate_every=100, on_nan="rollback",
    )  # fmt: skip
    return trainer


def tagger(steps: int) -> Trainer:
    """A CRF over both directions, with buffers and a schedule."""
    layer, norm = nn.LSTM(3, 4, bidirectional=True, batch_first=True), nn.BatchNorm1d(8)
    head, crf = nn.Linear(8, 3), nn.CRF(3, batch_first=True)
    model = nn.ModuleList([layer, norm, head, crf])

    def loss(_: nn.Module, batch: Any) -> tg.Tensor:
        y = norm(tg.permute_dims(layer(batch[0])[0], (0, 2, 1)))
        scores = head(tg.permute_dims(y, (0, 2, 1)))
        return crf(scores, tg.zeros(scores.shape[:2], dtype="int64"))

    optimizer = tg.optim.AdamW(model.parameters(), lr=1e-3)
    return Trainer(
        model, data(12, 4, 3), loss, optimizer, steps=steps, clip=1.0, on_nan="skip",
        schedule=tg.optim.CosineLR(optimizer, steps), evaluate_every=100, validation=data(6, 4, 3),
    )  # fmt: skip


def twice(steps: int) -> Trainer:
    """A penalty on the gradient: differentiates twice."""
    model = nn.GRU(3, 4, batch_first=True)

    def loss(model: nn.Module, batch: Any) -> tg.Tensor:
        x = tg.tensor(batch[0].numpy(), requires_grad=True)
        y = tg.sum(tg.square(model(x)[0]))
        (slope,) = tg.grad(y, [x], create_graph=True)
        return y + tg.sum(tg.square(slope))

    return Trainer(
        model, data(12, 5, 3), loss, tg.optim.RMSprop(model.parameters()), steps=steps, clip=1.0,
        evaluate_every=100,
    )  # fmt: skip


MODELS: dict[str, Callable[[int], Trainer]] = {
    one.__name__: one for one in (charlm, translate, fused, tagger, twice)
}


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def soak(name: str, steps: int, readings: int) -> Iterator[Reading]:
    """Trains, and saves on the way. **Yields** readings at equal distances."""
    tg.manual_seed(0)
    run = MODELS[name](steps)
    with tempfile.TemporaryDirectory() as folder, without_collector():
        for _ in run:
            if run.step % max(1, steps // SAVES) == 0:
                state = run.checkpoint() if hasattr(run, "checkpoint") else run.state_dict()
                save_checkpoint(folder, state, keep_last=2)
            if run.step % (steps // readings) == 0:
                yield Reading(run.step, resident(), len(gc.get_objects()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--growth", type=float, default=2.0, help="MiB that are no leak")
    wanted = parser.parse_args()
    grown = []
    for name in wanted.models:
        start, first = time.monotonic(), None
        for now in soak(name, wanted.steps, 10):
            first = first if first and now.step > 2 * wanted.steps // 10 else now
            print(
                f"{name:10} step {now.step:7,}  {now.resident / 2**20:7.2f} MiB  "
                f"{now.objects:8,} objects  {time.monotonic() - start:6.0f} s",
                flush=True,
            )
        if first and now.resident - first.resident > wanted.growth * 2**20:
            grown.append(name)
    if grown:
        raise SystemExit(f"the memory of {', '.join(grown)} has grown")


if __name__ == "__main__":
    main()
