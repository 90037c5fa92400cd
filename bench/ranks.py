"""The pieces of an update, alone and on several ranks: mpiexec -n 2 python -m bench.ranks.

Each figure is the least of many updates, on the slowest rank. The sum is timed by the clock, from a
moment when all ranks have met, so that it is not the wait for a slower one; the others by the time
of the processor, which other programs do not lengthen. One thread a rank.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.optim import clip_grad_norm_

CASES = {  # units, words, batch, steps
    "GRU 64, 64 x 32": (64, 100, 64, 32),
    "GRU 256, 64 x 32": (256, 100, 64, 32),
    "GRU 256, 64 x 32 of 8,000 words": (256, 8000, 64, 32),
    "GRU 1024, 64 x 32": (1024, 100, 64, 32),
}
PIECES = ("input", "compute", "sum", "update")


class Model(nn.Module):
    """An embedding, a GRU, and the logits of the next word."""

    def __init__(self, units: int, words: int) -> None:
        generator = tg.Generator(0)
        self.embedding = nn.Embedding(words, units, generator=generator)
        self.layer = nn.GRU(units, units, generator=generator)
        self.head = nn.Linear(units, words, generator=generator)

    def forward(self, ids: Any) -> Any:
        return self.head(self.layer(self.embedding(ids))[0])


def measured(ranks: Any, case: tuple[int, int, int, int], updates: int) -> dict[str, float]:
    """The milliseconds of each piece, and the bytes that a rank hands to the sum."""
    units, words, batch, steps = case
    model = Model(units, words)
    optimizer = tg.optim.Adam(model.parameters())
    ids = tg.Generator(0).integers(0, words, (batch * steps * 8 + 1,))
    data = tg.data.Streams(ids, batch, steps)
    data.shard(ranks.rank, ranks.size)
    least = dict.fromkeys(PIECES, 1e9)
    sent = 0
    for _ in range(updates):
        times = [time.process_time()]
        x, y = next(data)
        times.append(time.process_time())
        optimizer.zero_grad()
        loss = nn.cross_entropy(model(tg.as_tensor(x)), tg.as_tensor(y))
        loss.backward()
        times.append(time.process_time())
        ranks.gather(None)
        before, handed = time.perf_counter(), getattr(ranks, "bytes", 0)
        tg.distributed.average_gradients(model.parameters(), x.size, loss, ranks=ranks)
        times.append(times[-1] + time.perf_counter() - before)
        sent = getattr(ranks, "bytes", 0) - handed
        before = time.process_time()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(times[-1] + time.process_time() - before)
        for name, start, end in zip(PIECES, times, times[1:], strict=False):
            least[name] = min(least[name], 1e3 * (end - start))
    slowest = {name: max(ranks.gather(least[name])) for name in PIECES}
    return slowest | {"bytes": sent, "weights": sum(p.size for p in model.parameters())}


def main() -> None:
    """Measures the cases, and prints a row for each."""
    parser = argparse.ArgumentParser(prog="mpiexec -n 2 python -m bench.ranks", description=__doc__)
    parser.add_argument("--updates", type=int, default=60)
    updates = parser.parse_args().updates
    ranks = tg.distributed.communicator()
    tg.set_num_threads(1)
    if ranks.rank == 0:
        print(f"{ranks.size} ranks\n{'':34}  weights   MB sent  " + "  ".join(PIECES) + "  ms")
    for name, case in CASES.items():
        found = measured(ranks, case, updates if case[0] < 1000 else updates // 4)
        if ranks.rank == 0:
            times = "  ".join(f"{found[piece]:{max(6, len(piece))}.2f}" for piece in PIECES)
            print(f"{name:34}{found['weights']:9,.0f}{found['bytes'] / 1e6:10.2f}  {times}")


if __name__ == "__main__":
    main()
