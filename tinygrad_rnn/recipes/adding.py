"""The adding problem: which cell can carry two numbers across hundreds of steps?

The input is a sequence of T pairs: a real number in [0, 1), and a mark that is 1 twice, once in
each half, and 0 elsewhere. The target is the sum of the two marked numbers. Always predicting 1 has
a mean squared error of 1/6; to do better, a gradient must reach back to the marks, which a vanilla
RNN's does not. (Hochreiter and Schmidhuber 1997, "Long short-term memory", section 5.4.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nn import GRU, LSTM, RNN, Linear, MinGRUCell, Module, Recurrent, mse_loss
from ..nn.init import chrono_
from ..nn.utils import gradient_flow
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import inference
from .settings import Settings, check_memory, setting
from .trainer import RecipeTrainer


def _min_gru(features: int, hidden: int, generator: Generator) -> Recurrent:
    cell = MinGRUCell(features, hidden, generator=generator)
    if cell.bias_ih is not None:
        cell.bias_ih.data[:hidden] -= KEEP
    return Recurrent(cell, fused=True)


KEEP = 3.0  # added to the keep gates: one that starts at 1/2 forgets a sequence in a few steps
CELLS: dict[str, Callable[..., Module]] = {
    "rnn": RNN,
    "gru": GRU,
    "lstm": LSTM,
    "mingru": _min_gru,
}
HELD_OUT = 1000  # sequences for evaluation
SOLVED = 0.01  # mean squared error
WORST = 100.0  # mean squared error of predictions that miss by five times the sums' range, 2


@dataclass(frozen=True)
class AddingConfig(Settings):
    """All that determines a training."""

    cell: str = setting("gru", "Recurrent cell.", one_of=CELLS)
    length: int = setting(200, "Steps of a sequence.", at_least=2)
    hidden_size: int = setting(64, "Units.", at_least=1)
    batch_size: int = setting(32, "Sequences in an update.", at_least=1)
    steps: int = setting(2000, "Maximal number of updates.", at_least=1)
    lr: float = setting(1e-2, "Peak learning rate of Adam.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    seed: int = setting(0, "Seed of the weights and the sequences.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        # Sequences with their states, and the recurrent weights with their gradients.
        states = (HELD_OUT + 2 * self.batch_size) * self.length * (self.hidden_size + 8)
        check_memory(
            "a task of this size (`length`, `hidden_size`, `batch_size`)",
            4 * states + 8 * self.hidden_size**2,
        )


def additions(
    generator: Generator, length: int, batch: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draws sequences, and the sums of their marked numbers.

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
    """A recurrent layer, and a linear map of its last output.

    **Arguments** config: cell and sizes. generator: draws the initial weights.
    """

    def __init__(self, config: AddingConfig, generator: Generator) -> None:
        super().__init__()
        self.layer: Any = CELLS[config.cell](2, config.hidden_size, generator=generator)
        if config.cell in ("gru", "lstm"):
            chrono_(self.layer, config.length, generator=generator)
        self.head = Linear(config.hidden_size, 1, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """**Arguments** x: (T, B, 2). **Returns** the predicted sums, (B, 1)."""
        y: Tensor = self.head(self.layer(x)[0][-1])
        return y


class Adding(RecipeTrainer):
    """Trains on new sequences at each update; the held-out figure is the mean squared error.

    >>> training = Adding(AddingConfig(length=4, hidden_size=4, steps=3))
    >>> [progress.step for progress in training]
    [1, 2, 3]
    >>> len(training.gradient_norms())
    4
    """

    recipe, unit = "adding", "sequence"

    def __init__(self, config: AddingConfig, device: str | None = None) -> None:
        generator = Generator(config.seed)
        draw = partial(additions, generator, config.length, config.batch_size)
        batches = iter(draw, None)  # without an end
        super().__init__(Adder(config, generator), batches, config, generator, device, WORST)
        self.heldout = additions(Generator(config.seed + 1), config.length, HELD_OUT)

    def batch_loss(self, model: Any, batch: Any) -> tuple[Tensor, int]:
        """Computes the mean squared error of a batch, and its number of sequences."""
        return self._loss(*batch), self.config.batch_size

    def evaluate(self, quick: bool = False) -> float:
        """Computes the mean squared error on the held-out sequences."""
        with inference(self.model):
            return float(self._loss(*self.heldout).item())

    def gradient_norms(self) -> list[float]:
        """Computes the norms of the loss's gradient by step, |dL/dh_t|, on one batch."""
        x, sums = (array[..., : self.config.batch_size, :] for array in self.heldout)
        flow = gradient_flow(self.model, lambda: self._loss(x, sums))["layer"]
        h = flow[0] if isinstance(flow, tuple) else flow
        norms: list[float] = h[0].tolist()
        return norms

    def _loss(self, x: Any, sums: Any) -> Tensor:
        device = next(self.model.parameters()).device
        return mse_loss(self.model(as_tensor(x, device=device)), as_tensor(sums, device=device))
