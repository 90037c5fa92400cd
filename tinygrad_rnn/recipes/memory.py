"""Long dependencies: which cell can carry information across a hundred steps, and why.

A gradient must reach back to the symbols that matter, which a vanilla RNN's does not. Each problem
(`problems.py`) has its own rule for a sequence that was processed wrongly (`sample.py`); it is
solved if at most one held-out sequence of a hundred is. `explosion.py` shows a gradient that grows
instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..nn import Linear, MinGRUCell, Module, Recurrent
from ..nn.init import chrono_
from ..nn.utils import gradient_flow
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import inference
from . import cells
from .problems import PROBLEMS
from .sample import IGNORED, Draws, Sample
from .settings import Settings, check_memory, setting
from .trainer import RecipeTrainer

QUICK = {"length": 10, "hidden_size": 24, "steps": 200, "trials": 1}
KEEP = 3.0  # added to the keep gates: one that starts at 1/2 forgets a sequence in a few steps
HELD_OUT = 1000  # sequences for evaluation
WORST = 100.0  # loss, of sums that miss by five times their range, or of symbols
SOLVED = 0.01  # of the held-out sequences, those that are processed wrongly


def _min_gru(features: int, hidden: int, num_layers: int, generator: Generator) -> Recurrent:
    def layer(inputs: int) -> MinGRUCell:
        cell = MinGRUCell(inputs, hidden, generator=generator)
        assert cell.bias_ih is not None
        cell.bias_ih.data[:hidden] -= KEEP
        return cell

    return Recurrent(layer, features, num_layers, fused=True, generator=generator)


CELLS: dict[str, Callable[..., Module]] = {**cells.CELLS, "mingru": _min_gru}


@dataclass(frozen=True)
class MemoryConfig(Settings):
    """All that determines a training."""

    problem: str = setting("adding", "Problem.", one_of=PROBLEMS)
    cell: str = setting("gru", "Recurrent cell.", one_of=CELLS)
    length: int = setting(60, "Steps to remember; Reber's grammar has its own.", at_least=2)
    hidden_size: int = setting(64, "Units in a layer.", at_least=1)
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    batch_size: int = setting(32, "Sequences in an update.", at_least=1)
    steps: int = setting(2000, "Maximal number of updates.", at_least=1)
    lr: float = setting(1e-2, "Peak learning rate of Adam.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    seed: int = setting(0, "Seed of the weights and the sequences.", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        # Sequences with their states, and the recurrent weights with their gradients.
        size, layers = self.hidden_size, self.num_layers
        states = (HELD_OUT + 2 * self.batch_size) * self.length * (layers * size + 8)
        check_memory(
            "a problem of this size (`length`, `hidden_size`, `num_layers`, `batch_size`)",
            4 * states + 8 * layers * size**2,
        )


class Reader(Module):
    """A recurrent layer, and a linear map of its outputs.

    **Arguments** config: problem, cell and sizes. generator: draws the initial weights.
    """

    def __init__(self, config: MemoryConfig, generator: Generator) -> None:
        super().__init__()
        problem, size = PROBLEMS[config.problem], config.hidden_size
        create = CELLS[config.cell]
        self.layer: Any = create(problem.features, size, config.num_layers, generator=generator)
        if config.cell in ("gru", "lstm"):
            chrono_(self.layer, config.length, generator=generator)
        self.head = Linear(size, problem.outputs, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """**Arguments** x: (T, B, features). **Returns** (T, B, outputs)."""
        y: Tensor = self.head(self.layer(x)[0])
        return y


def outputs(model: Module, sample: Sample) -> Tensor:
    """Runs a model over sequences. **Returns** (T, B, outputs)."""
    y: Tensor = model(as_tensor(sample.x, device=next(model.parameters()).device))
    return y


def loss_of(model: Module, sample: Sample) -> Tensor:
    """Computes the loss of a model on sequences."""
    return sample.loss(outputs(model, sample))


def evaluated(model: Module, sample: Sample) -> float:
    """Computes the share of sequences that a model processes wrongly, or an absurd loss."""
    with inference(model):
        y = outputs(model, sample)
        loss = float(sample.loss(y).item())
    return float(sample.wrong(y).mean()) if loss <= WORST else loss


class Memory(RecipeTrainer):
    """Trains on new sequences at each update; the figure is the share of those processed wrongly.

    >>> training = Memory(MemoryConfig(length=4, hidden_size=4, steps=3))
    >>> [progress.step for progress in training]
    [1, 2, 3]
    >>> len(training.gradient_norms())
    4
    """

    recipe, unit, figure = "memory", "sequence", "held-out {:.1%} wrong"

    def __init__(self, config: MemoryConfig, device: str | None = None) -> None:
        generator, problem = Generator(config.seed), PROBLEMS[config.problem]
        draw = partial(problem.draw, generator, config.length, config.batch_size)
        batches = Draws(draw, config.batch_size)
        super().__init__(Reader(config, generator), batches, config, generator, device, WORST)
        self.heldout = problem.draw(Generator(config.seed + 1), config.length, HELD_OUT)

    def batch_loss(self, model: Any, batch: Sample) -> tuple[Tensor, int]:
        """Computes the loss of a batch, and the number of targets that it averages."""
        counted = batch.target.size - int(np.sum(batch.target == IGNORED))
        return loss_of(model, batch), counted

    def evaluate(self, quick: bool = False) -> float:
        """Computes the share of the held-out sequences that are processed wrongly."""
        return evaluated(self.model, self.heldout)

    def gradient_norms(self) -> list[float]:
        """Computes the norms of the gradient of the last step's loss, |dL/dh_t| for each t."""
        return reach(self.model, self.heldout.ends(self.config.batch_size))


def reach(model: Any, sample: Sample) -> list[float]:
    """Computes |dL/dh_t| for each t, of the first layer; of LSTM's states, h."""
    flow = gradient_flow(model, lambda: loss_of(model, sample))["layer"]
    h = flow[0] if isinstance(flow, tuple) else flow
    norms: list[float] = h[0].tolist()
    return norms
