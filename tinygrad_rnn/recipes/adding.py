"""The adding problem: which cell can carry two numbers across hundreds of steps?

A sequence of T pairs: a real number in [0, 1), and a mark that is 1 twice, once in each half, and 0
else. At the end the sum of the two marked numbers is asked for. Always answering 1 leaves a mean
squared error of 1/6; to do better, a gradient must reach back to the marks, which a vanilla RNN's
does not. (Hochreiter and Schmidhuber 1997, "Long short-term memory", section 5.4.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nn import GRU, LSTM, RNN, Linear, MinGRUCell, Module, Recurrent, mse_loss
from ..nn.init import chrono_
from ..nn.utils import gradient_flow
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .run import Run, SettingError, check_memory, check_settings, inference


def _min_gru(features: int, hidden: int, generator: Generator) -> Recurrent:
    cell = MinGRUCell(features, hidden, generator=generator)
    if cell.bias_ih is not None:
        cell.bias_ih.data[:hidden] -= KEEP
    return Recurrent(cell, fused=True)


KEEP = 3.0  # gates begin nearly open to the past: who forgets half at each step has lost all soon
CELLS: dict[str, Callable[..., Module]] = {
    "rnn": RNN,
    "gru": GRU,
    "lstm": LSTM,
    "mingru": _min_gru,
}
HELD_OUT = 1000  # sequences that the error is measured on
SOLVED = 0.01  # mean squared error
WORST = 100.0  # mean squared error of answers that miss the sums' range, 2, five times over


@dataclass(frozen=True)
class AddingConfig:
    """All that determines a run.

    **Raises** SettingError for the first setting outside its range.
    """

    cell: str = "gru"
    length: int = 200  # steps of a sequence
    hidden: int = 64  # units
    batch: int = 32  # sequences in an update
    steps: int = 2000  # updates at most
    lr: float = 1e-2  # the peak, after warming up
    clip: float = 1.0  # the longest gradient
    seed: int = 0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise SettingError(f"cell must be one of {', '.join(CELLS)}, not {self.cell!r}")
        if self.length < 2:
            raise SettingError(f"length must be at least 2, a mark in each half; not {self.length}")
        check_settings(self, "length", "hidden", "batch", "steps")
        # Sequences with their states, and the recurrent weights with their gradients.
        states = (HELD_OUT + 2 * self.batch) * self.length * (self.hidden + 8)
        check_memory("a task of this size (length, hidden, batch)", 4 * states + 8 * self.hidden**2)


def additions(
    generator: Generator, length: int, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draws sequences, and what their marked numbers add up to.

    **Returns** x, (length, batch, 2), and the sums, (batch, 1).

    >>> x, sums = additions(Generator(0), length=6, batch=3)
    >>> bool((x[:, :, 1].sum(axis=0) == 2).all())
    True
    """
    rows, middle = np.arange(batch), length // 2
    numbers = generator.random((length, batch)).astype("float32")
    marks = np.zeros_like(numbers)
    marks[generator.integers(0, middle, (batch,)), rows] = 1
    marks[generator.integers(middle, length, (batch,)), rows] = 1
    return np.stack([numbers, marks], axis=-1), (numbers * marks).sum(axis=0)[:, None]


class Adder(Module):
    """A recurrent layer that reads the sequence, and a linear map of its last state.

    **Arguments** config: cell and sizes. generator: draws the initial weights.
    """

    def __init__(self, config: AddingConfig, generator: Generator) -> None:
        super().__init__()
        self.layer: Any = CELLS[config.cell](2, config.hidden, generator=generator)
        if config.cell in ("gru", "lstm"):
            chrono_(self.layer, config.length, generator=generator)
        self.head = Linear(config.hidden, 1, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """**Arguments** x: (T, B, 2). **Returns** what it takes for the sums, (B, 1)."""
        y: Tensor = self.head(self.layer(x)[0][-1])
        return y


class Adding(Run):
    """A run: new sequences at each update; the held-out figure is their mean squared error.

    >>> run = Adding(AddingConfig(length=4, hidden=4, steps=3))
    >>> [progress.step for progress in run]
    [1, 2, 3]
    >>> len(run.gradient_norms())
    4
    """

    recipe, unit = "adding", "sequence"

    def __init__(self, config: AddingConfig, device: str | None = None) -> None:
        generator = Generator(config.seed)
        super().__init__(Adder(config, generator), config, generator, device)
        self.heldout = additions(Generator(config.seed + 1), config.length, HELD_OUT)

    def next_loss(self) -> tuple[Tensor, int]:
        """The mean squared error of a new batch, and how many sequences it has."""
        return self._loss(*additions(self.generator, self.config.length, self.config.batch)), (
            self.config.batch
        )

    def evaluate(self, quick: bool = False) -> float:
        """The mean squared error on sequences that are not trained on."""
        with inference(self.model):
            return float(self._loss(*self.heldout).item())

    def worst(self) -> float:
        """A mean squared error far beyond that of any answer within range."""
        return WORST

    def gradient_norms(self) -> list[float]:
        """How much of the loss's gradient arrives at each step: |dL/dh_t|, on one batch."""
        x, sums = (part[..., : self.config.batch, :] for part in self.heldout)
        flow = gradient_flow(self.model, lambda: self._loss(x, sums))["layer"]
        h = flow[0] if isinstance(flow, tuple) else flow
        norms: list[float] = h[0].tolist()
        return norms

    def _loss(self, x: Any, sums: Any) -> Tensor:
        device = next(self.model.parameters()).device
        return mse_loss(self.model(as_tensor(x, device=device)), as_tensor(sums, device=device))
