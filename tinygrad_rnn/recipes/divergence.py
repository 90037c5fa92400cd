"""When training has diverged: losses, weights and probabilities that are no numbers any more."""

from __future__ import annotations

import math

from ..errors import TinygradRnnError
from ..nn import Module
from ..tensor import ops

# Bits that float32 can tell a certainty by: whoever pays more for every symbol is more certain of
# what is wrong than its numbers can express.
CERTAIN = 24


class DivergedError(TinygradRnnError, RuntimeError):
    """A loss, a gradient, a weight or a probability that no training leads to."""


def worst_bits(symbols: int) -> float:
    """Bits a symbol beyond which a model has diverged: far above those of guessing evenly."""
    return math.log2(symbols) + CERTAIN


def diverged_weight(model: Module) -> str:
    """The name of the first weight that has an entry that is not finite, "" if there is none."""
    for name, weight in model.named_parameters():
        if not ops.all(ops.isfinite(weight.detach())).item():
            return name
    return ""


def check_weights(model: Module) -> None:
    """Refuses a model of which no output would mean anything. **Raises** DivergedError."""
    if name := diverged_weight(model):
        raise DivergedError(
            f"the weight {name} has entries that are not finite: its training diverged; train it "
            "again with a lower lr or clip"
        )
