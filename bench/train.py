"""Whole updates of a language model: the job of `tinygrad-rnn train charlm`, and one of many words.

Both libraries start from the same weights, read the same windows, and do all that an update is:
embedding, layer, logits, cross-entropy, gradients, clipping, Adam, the schedule of its rate. The
losses of the first updates are compared one by one. The GRU is PyTorch's form, which both have.
Cases of memory are what an update needs at its peak.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

CASES = {
    "gru": "GRU 256, 64 x 32 characters",
    "lstm": "LSTM 256, 64 x 32 characters",
    "words": "LSTM 256, 32 x 35 of 8,000 words",
}
CASES |= {f"{case} memory": what for case, what in CASES.items()}
COMPARED = 200  # updates
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


def training(case: str) -> Any:
    """The run as our command would make it."""
    from tinygrad_rnn import nn, set_num_threads
    from tinygrad_rnn.data import default_text
    from tinygrad_rnn.recipes import CharLMConfig, CharLMTraining, charlm

    set_num_threads(THREADS)
    charlm.CELLS["gru"] = partial(nn.GRU, reset_after=True)
    if case == "words":
        config = CharLMConfig("lstm", embedding_dim=256, batch_size=32, bptt=35, lr=1e-3)
        return CharLMTraining(whole(words(8000, 500_000), config), config)
    config = CharLMConfig(case)
    return CharLMTraining(whole(default_text()[1], config), config)


def whole(text: str, config: Any) -> str:
    """A text cut so that all windows of a pass are whole: a shorter one would be the least."""

    def rest(n: int) -> int:
        learnt = n - max(1, n // 20)  # the rest is held out
        return int((learnt - 1) // config.batch_size % config.bptt)

    return text[: next(n for n in range(len(text), 0, -1) if rest(n) == 0)]


def words(count: int, length: int) -> str:
    """Words drawn as often as Zipf's law has it, each of them once at least, a character each."""
    share = 1 / np.arange(1, count + 1)
    drawn = np.random.default_rng(0).choice(count, length - count, p=share / share.sum())
    return "".join(chr(0x4E00 + i) for i in (*range(count), *drawn))


class Library:
    """Finds a case by its name: a function that makes an update and gives the loss before it."""

    def __getattr__(self, case: str) -> Any:
        if case not in CASES:
            raise AttributeError(case)
        return self.updates(training(case.removesuffix(" memory")))

    def updates(self, run: Any) -> Callable[[], float]:
        """What makes the next update of a run."""
        raise NotImplementedError


class Ours(Library):
    """tinygrad_rnn."""

    def updates(self, run: Any) -> Callable[[], float]:
        return lambda: float(next(run).loss)


class PyTorch(Library):
    """PyTorch, with the fastest of its Adams."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(THREADS)
        self.torch = torch

    def updates(self, run: Any) -> Callable[[], float]:
        torch, config, ours = self.torch, run.config, run.model

        class Model(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                symbols = ours.embedding.num_embeddings
                self.embedding = torch.nn.Embedding(symbols, config.embedding_dim)
                cell = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[config.cell]
                self.layers = cell(config.embedding_dim, config.hidden_size)
                self.head = torch.nn.Linear(config.hidden_size, symbols)

            def forward(self, ids: Any, state: Any) -> Any:
                y, state = self.layers(self.embedding(ids), state)
                return self.head(y), state

        model = Model()
        weights = {name: torch.tensor(array) for name, array in ours.state_dict().items()}
        model.load_state_dict(weights)
        optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=True)
        rate = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(cosine, run.schedule))
        cross_entropy = torch.nn.functional.cross_entropy
        carried: Any = None

        def update() -> float:
            nonlocal carried
            if run.data.at_start:
                carried = None
            x, y = map(torch.from_numpy, next(run.data))
            logits, state = model(x, carried)
            carried = state.detach() if config.cell == "gru" else tuple(s.detach() for s in state)
            loss = cross_entropy(logits.reshape(-1, logits.shape[-1]), y.reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
            value = float(loss.item())
            optimizer.step()
            rate.step()
            return value

        return update


def cosine(schedule: Any, step: int) -> float:
    """Our schedule's share of the first rate, as PyTorch's schedules want it."""
    schedule.steps = step
    return float(schedule.factor())


PEERS = {"tinygrad_rnn": Ours, "PyTorch": PyTorch}
