"""Sequential or parallel: what an LSTM computes in T steps, and a minGRU for all steps at once.

The gates of a minGRU (Feng et al. 2024) read the input alone: the products and functions of all
steps are computed together, and what is left is linear in the state, h_t = a_t h_{t-1} + b_t
(`tg.linear_recurrence`). What this costs and gains depends on T and on the problem: temporal order
(`memory`), at each T.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ..nn import MinGRU
from ..optim import Adam, clip_grad_norm_
from ..tensor.random import Generator
from ..train import check_weights
from .memory import HELD_OUT, SOLVED, MemoryConfig, Reader, evaluated, loss_of
from .problems import PROBLEMS
from .settings import SettingError, Settings, check, check_memory, setting

PROBLEM = PROBLEMS["order"]
EVALUATE_EVERY = 50
QUICK = {"hidden_size": 32, "steps": 200, "lengths": "16,32"}


WAYS = {"lstm": "lstm", "mingru": "mingru", "mingru by steps": "mingru"}  # and the cell


def _model(way: str, length: int, config: ParallelConfig, generator: Generator) -> Reader:
    size = config.hidden_size
    known = MemoryConfig(problem="order", cell=WAYS[way], length=length, hidden_size=size)
    model = Reader(known, generator)
    if way == "mingru":  # the same weights, and all steps at once
        [cell] = model.layer.cells
        model.layer = MinGRU(PROBLEM.features, size, generator=generator)
        model.layer.load_state_dict(cell.state_dict())
    return model


@dataclass(frozen=True)
class ParallelConfig(Settings):
    """All that determines a comparison."""

    hidden_size: int = setting(64, "Units.", at_least=1)
    batch_size: int = setting(32, "Sequences in an update.", at_least=1)
    steps: int = setting(400, "Maximal number of updates.", at_least=1)
    lr: float = setting(5e-3, "Learning rate of Adam.", above=0)
    seed: int = setting(0, "Seed of the weights and the sequences.", at_least=0)
    lengths: str = setting("32,64,128,256,512", "Lengths of the sequences, separated by commas.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for length in self.all_lengths:
            check("lengths", length, at_least=10)
            if self.all_lengths.count(length) > 1:
                raise SettingError(f"`lengths` names {length} twice")
        states = (HELD_OUT + 8 * self.batch_size) * max(self.all_lengths) * (self.hidden_size + 8)
        check_memory("sequences of these `lengths`", 4 * states)

    @property
    def all_lengths(self) -> list[int]:
        """The lengths as numbers. **Raises** SettingError."""
        try:
            return [int(one) for one in self.lengths.split(",")]
        except ValueError:
            raise SettingError(
                f"`lengths` must be numbers separated by commas, not {self.lengths!r}"
            ) from None


def compare(way: str, length: int, config: ParallelConfig) -> dict[str, Any]:
    """Measures a way of running at a length: its time, and what it learns.

    **Returns** milliseconds of an update, the fastest of some; the share of held-out sequences
    that are wrong at the end; the updates that were made; the seconds of all.
    """
    generator = Generator(config.seed)
    model = _model(way, length, config, generator)
    optimizer = Adam(model.parameters(), lr=config.lr)
    held_out = PROBLEM.draw(Generator(config.seed + 1), length, HELD_OUT)
    fastest, started, share, step = float("inf"), time.perf_counter(), 1.0, 0
    for step in range(1, config.steps + 1):
        sample = PROBLEM.draw(generator, length, config.batch_size)
        begin = time.perf_counter()
        optimizer.zero_grad()
        loss = loss_of(model, sample)
        loss.backward()
        clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        fastest = min(fastest, time.perf_counter() - begin)
        if step % EVALUATE_EVERY == 0 or step == config.steps:
            check_weights(model)
            share = evaluated(model, held_out)
            if share <= SOLVED:
                break
    seconds = time.perf_counter() - started
    return {"ms": 1e3 * fastest, "wrong": share, "steps": step, "seconds": seconds}
