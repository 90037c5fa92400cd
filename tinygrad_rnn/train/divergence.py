"""Divergence: losses, weights and probabilities that are not finite, or absurd."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..errors import TinygradRnnError
from ..nn import Module
from ..tensor import ops, tree
from ..tensor.tensor import Tensor

if TYPE_CHECKING:
    from .trainer import Trainer

# Bits by which float32 can express a certainty: a model that needs more per symbol than guessing
# does, by this much, is surer of what is wrong than its numbers can express.
CERTAIN = 24


class DivergedError(TinygradRnnError, RuntimeError):
    """Training has diverged: a loss, gradient, weight or probability is not finite, or far off."""


def worst_bits(symbols: int) -> float:
    """Returns the bits per symbol beyond which a model has diverged: far above uniform guessing.

    >>> import tinygrad_rnn as tg
    >>> tg.train.worst_bits(64) > 6
    True
    """
    return math.log2(symbols) + CERTAIN


def is_finite(values: Any) -> bool:
    """Tells whether all numbers of a tree of Tensors and arrays are finite."""
    found = (leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in tree.leaves(values))
    return all(bool(ops.all(ops.isfinite(x)).item()) for x in found if x.dtype.kind in "fc")


def check_weights(model: Module) -> None:
    """Refuses a model with weights that are not finite. **Raises** DivergedError.

    >>> import tinygrad_rnn as tg
    >>> tg.train.check_weights(tg.nn.Linear(2, 2))
    """
    for name, weight in model.named_parameters():
        if not is_finite(weight):
            raise DivergedError(
                f"the weight {name} has entries that are not finite: training has diverged; train "
                "again with a lower `lr` or `clip`"
            )


def diverged(trainer: Trainer, how: str, why: str = "") -> DivergedError:
    """Describes a divergence, its causes, and the settings to change."""
    lr, clip = trainer.optimizer.param_groups[0]["lr"], trainer.clip
    limit = "pass `clip`" if clip is None else f"lower `clip` (it is {clip})"
    return DivergedError(
        f"training has diverged: {how}: lower `lr` (it is {lr:.4g}) or {limit}{why}"
    )
