"""Trains five models for long with the garbage collector off: python -m tests.soak --steps 50000

A leak of one float, or of four bytes of C's memory, an update shows. The history of a training
is emptied on the way: it has a record for each evaluation.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
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
    """The memory of a process after an update."""

    step: int
    resident: int  # bytes that the process has of the system, free ones among them
    heap: int  # bytes that C's allocator has given out: arrays, large objects, kernels' memory
    blocks: int  # that Python's allocator has given out: objects of up to 512 bytes

    def grown(self, since: Reading) -> list[str]:
        """Names what has grown beyond what the filling of caches explains."""
        limits = {"resident": 2**19, "heap": 2**17, "blocks": 3000}
        return [n for n, limit in limits.items() if getattr(self, n) - getattr(since, n) > limit]


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


class MallInfo(ctypes.Structure):
    """The counts of glibc's `mallinfo2`: the 5th and the 8th are bytes in use."""

    _fields_ = [("counts", ctypes.c_size_t * 10)]


MALLINFO = getattr(ctypes.CDLL(None), "mallinfo2", None) if sys.platform == "linux" else None
if MALLINFO is not None:
    MALLINFO.restype = MallInfo


def read(step: int) -> Reading:
    """Reads the memory, without Python's free lists, whose lengths change by chance."""
    gc.freeze()  # so that the collection finds no garbage, and empties the free lists alone
    gc.collect()
    gc.unfreeze()
    heap = MALLINFO() if MALLINFO is not None else MallInfo()  # glibc has it
    return Reading(step, resident(), heap.counts[4] + heap.counts[7], sys.getallocatedblocks())


def soak(name: str, steps: int, readings: int) -> Iterator[Reading]:
    """Trains, and saves on the way. **Yields** readings at equal distances."""
    tg.manual_seed(0)
    run = MODELS[name](steps)
    with tempfile.TemporaryDirectory() as folder, without_collector():
        for _ in run:
            del run.history[:-1]
            if run.step % max(1, steps // SAVES) == 0:
                state = run.checkpoint() if hasattr(run, "checkpoint") else run.state_dict()
                save_checkpoint(folder, state, keep_last=2)
            if run.step % (steps // readings) == 0:
                yield read(run.step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    wanted = parser.parse_args()
    grown = []
    for name in wanted.models:
        start, first = time.monotonic(), None
        for now in soak(name, wanted.steps, 10):
            first = first if first and now.step > 2 * wanted.steps // 10 else now
            print(
                f"{name:10} step {now.step:7,}  {now.resident / 2**20:7.2f} MiB  "
                f"{now.heap:12,} bytes  {now.blocks:8,} blocks  {time.monotonic() - start:6.0f} s",
                flush=True,
            )
        if first:
            grown += [f"{what} of {name}" for what in now.grown(first)]
    if grown:
        raise SystemExit(f"the memory has grown: {', '.join(grown)}")


if __name__ == "__main__":
    main()
