"""A machine of one bit, which a GRU of one unit is, if its gates are 0 and 1.

    .  keeps the bit     update = 1                h' = h                       (keep)
    !  inverts it        update = 0, reset = 1     h' = tanh(U x + W h + b)     (RNN)
    0  sets it to 0      update = 0, reset = 0     h' = tanh(U x + b)           (MLP)
    1  sets it to 1      update = 0, reset = 0     h' = tanh(U x + b)           (MLP)

`forced` sets the weights by hand, so that the gates are these for each symbol. `learned` trains the
same network on random sentences of the machine, from which it finds the gates itself.
`gates_table.py` reads the gates of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nn import GRU, Linear, Module, binary_cross_entropy_with_logits
from ..optim import Adam, clip_grad_norm_
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import check_weights, inference
from .settings import SettingError, Settings, setting

SYMBOLS = ".!01"
OFTEN = (0.4, 0.3, 0.15, 0.15)  # how often each is drawn
SHUT, STRONG = 40.0, 3.0  # before the sigmoid: 0 or 1 in float32; before the tanh: almost -1 or 1
STEPS, BATCH = 30, 32  # of the sentences in training
QUICK = {"steps": 150, "restarts": 2}


@dataclass(frozen=True)
class GatesConfig(Settings):
    """All that determines a training."""

    hidden_size: int = setting(1, "Units.", at_least=1)
    steps: int = setting(800, "Updates of a training.", at_least=1)
    restarts: int = setting(4, "Trainings, of which the best is shown.", at_least=1)
    lr: float = setting(0.03, "Learning rate of Adam.", above=0)
    seed: int = setting(0, "Seed of the weights and the sentences.", at_least=0)
    sentence: str = setting(
        "1..!.!!.0..!.1.0!!!.", "Symbols to read: . keeps the bit, ! inverts it, 0 and 1 set it."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        encode(self.sentence)


class Machine(Module):
    """A GRU that reads symbols, and a linear map of its state to the logit of the bit."""

    def __init__(self, hidden_size: int, generator: Generator) -> None:
        super().__init__()
        self.layer = GRU(len(SYMBOLS), hidden_size, generator=generator)
        self.head = Linear(hidden_size, 1, generator=generator)

    def forward(self, ids: NDArray[np.int64]) -> Tensor:
        """**Arguments** ids: (T, B) symbols. **Returns** logits of the bit after each, (T, B)."""
        y: Tensor = self.head(self.layer(as_tensor(inputs(ids)))[0])[..., 0]
        return y


def inputs(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Encodes symbols as unit vectors."""
    found: NDArray[np.float32] = np.eye(len(SYMBOLS), dtype="float32")[ids]
    return found


def encode(sentence: str) -> NDArray[np.int64]:
    """Returns the ids of a sentence's symbols, (T, 1). **Raises** SettingError for others."""
    if not {*sentence} <= {*SYMBOLS} or sentence[:1] not in ("0", "1"):
        raise SettingError(
            f"`sentence` must consist of the symbols {' '.join(SYMBOLS)} and begin with 0 or 1, "
            f"not {sentence!r}"
        )
    return np.array([[SYMBOLS.index(symbol)] for symbol in sentence])


def bits(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Runs the machine: the bit after each symbol.

    >>> bits(encode("1.!.!!0!"))[:, 0].tolist()
    [1, 1, 0, 0, 1, 0, 0, 1]
    """
    found, bit = np.empty_like(ids), np.zeros_like(ids[0])
    for t, row in enumerate(ids):
        bit = np.where(row == 0, bit, np.where(row == 1, 1 - bit, row - 2))
        found[t] = bit
    return found


def forced() -> Machine:
    """Builds the machine by hand: the gates are 0 or 1 by symbol, the bit is the sign of h.

    >>> ids = encode("1.!.!!0!")
    >>> (forced()(ids).numpy() > 0).astype(int)[:, 0].tolist() == bits(ids)[:, 0].tolist()
    True
    """
    machine = Machine(1, Generator(0))
    layer: Any = machine.layer
    keep, invert, zero, one = np.eye(4, dtype="float32")
    layer.weight_ih_l0.data[:] = np.stack(
        [
            SHUT * (2 * invert - 1),  # reset: open to invert, which alone reads the old state
            SHUT * (2 * keep - 1),  # update: keeps
            STRONG * (one - zero),
        ]
    )
    layer.weight_hh_l0.data[:] = [[0.0], [0.0], [-STRONG]]
    layer.bias_ih_l0.data[:] = 0
    machine.head.weight.data[:] = 1
    machine.head.bias.data[:] = 0  # type: ignore[union-attr]
    return machine


def learned(config: GatesConfig) -> tuple[Machine, float]:
    """Trains machines on random sentences. **Returns** the one of least loss, and its loss.

    **Raises** DivergedError if weights are not finite.
    """
    trained = []
    for restart in range(config.restarts):
        generator = Generator(config.seed + restart)
        machine = Machine(config.hidden_size, generator)
        optimizer = Adam(machine.parameters(), lr=config.lr)
        for _ in range(config.steps):
            optimizer.zero_grad()
            loss = _loss(machine, draw(generator, STEPS, BATCH))
            loss.backward()
            clip_grad_norm_(machine.parameters(), 1.0)
            optimizer.step()
        check_weights(machine)
        with inference(machine):
            held_out = float(_loss(machine, draw(Generator(config.seed), 4 * STEPS, 256)).item())
        trained.append((machine, held_out))
    return min(trained, key=lambda one: one[1])


def _loss(machine: Machine, ids: NDArray[np.int64]) -> Tensor:
    targets = as_tensor(bits(ids).astype("float32"))
    loss: Tensor = binary_cross_entropy_with_logits(machine(ids), targets)
    return loss


def draw(generator: Generator, steps: int, batch: int) -> NDArray[np.int64]:
    """Draws sentences, (steps, batch), which set the bit first."""
    drawn = generator.random((steps, batch))
    ids: NDArray[np.int64] = np.searchsorted(np.cumsum(OFTEN[:-1]), drawn)
    ids[0] = generator.integers(2, 4, (batch,))
    return ids
