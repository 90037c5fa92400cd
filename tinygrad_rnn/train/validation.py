"""The figures of a model on held-out data, or by a function of the user's."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidValueError
from ..nn.module import inference
from .arguments import figures_of
from .progress import Figures

if TYPE_CHECKING:
    from .trainer import Trainer


def validation_figures(trainer: Trainer, validation: Any) -> Figures:
    """Computes figures of a trainer's model: the mean loss on batches, or what a function returns.

    Several ranks divide the batches between them; rank 0 alone calls a function.
    """
    ranks = trainer.communicator
    if ranks.size > 1:  # running statistics are those of each rank's part
        for _, buffer in trainer.model.named_buffers():
            buffer.data = ranks.broadcast(buffer.data)
    with inference(trainer.model):
        if callable(validation):
            found = ranks.broadcast(validation(trainer.model) if ranks.rank == 0 else None)
            return figures_of(found)
        if validation is not trainer.data:  # which is divided within each batch
            validation = itertools.islice(validation, ranks.rank, None, ranks.size)
        total, counted = 0.0, 0
        for batch in validation:
            if batch is not None:
                loss, count = trainer.train_step.batch_loss(batch)
                total, counted = total + float(loss.item()) * count, counted + count
    if ranks.size > 1:
        total, counted = ranks.sum(np.array([total, counted])).tolist()
    if not counted:
        raise InvalidValueError(
            "Trainer: validation: expected batches with a count above 0, got none (a generator can "
            "be read only once: make it a list)"
        )
    return {"validation": total / counted}
