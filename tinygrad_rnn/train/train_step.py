"""A training step: the gradient of some batches, then an update of the weights.

Between the two the caller sees the loss and the gradient's norm, and can leave out the update.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from ..distributed import average_gradients
from ..optim import ReduceLROnPlateau
from ..optim.clipping import clip_and_read, norm_and_read
from ..tensor import tree
from ..tensor.autodiff import no_grad
from ..tensor.creation import as_tensor
from ..tensor.tensor import Tensor
from .arguments import loss_and_count

if TYPE_CHECKING:
    from .trainer import Trainer


class TrainStep:
    """The training step of a trainer, with the trainer's current loss, optimizer and clipping.

    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.Linear(1, 1)
    >>> batch = (tg.ones((4, 1)), tg.zeros((4, 1)))
    >>> loss = lambda model, batch: tg.nn.mse_loss(model(batch[0]), batch[1])
    >>> optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    >>> step = tg.train.Trainer(model, [batch], loss, optimizer, steps=1).train_step
    >>> value, count, norm = step.gradients([batch])
    >>> step.apply()
    >>> step.gradients([batch])[0] < value
    True
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def gradients(self, batches: list[Any]) -> tuple[float, Any, float]:
        """Computes the gradient of the mean over the batches of all ranks, and clips it.

        **Returns** the loss, the count that it averages over, and the norm before clipping.
        """
        trainer = self.trainer
        loss, count = self.backward(batches)
        if trainer.communicator.size > 1:
            loss, count = self._averaged(loss, count)
        if trainer.clip is None:
            norm, value = norm_and_read(trainer.optimizer.param_groups, loss)
        else:
            norm, value = clip_and_read(trainer.model.parameters(), trainer.clip, loss)
        return value, count, norm

    def apply(self) -> None:
        """Updates the weights with the gradient, then the learning rates by the schedule."""
        schedule = self.trainer.schedule
        self.trainer.optimizer.step()
        if schedule is not None and not isinstance(schedule, ReduceLROnPlateau):
            schedule.step()

    def backward(self, batches: list[Any]) -> tuple[Tensor, int]:
        """Computes this rank's gradient of the mean over batches, without communication.

        **Returns** the loss, and the count that it averages over.
        """
        self.trainer.optimizer.zero_grad()
        batches = [batch for batch in batches if batch is not None]  # None: all of other ranks
        with self._own_numbers() if self.trainer.communicator.size > 1 else nullcontext():
            if not batches:
                return as_tensor(0.0), 0
            if len(batches) == 1:
                loss, count = self.batch_loss(batches[0])
                loss.backward()
                return loss.detach(), count
            total: Any = 0.0
            counted = 0
            for batch in batches:
                loss, count = self.batch_loss(batch)
                (loss * count).backward()
                total, counted = total + loss.detach() * count, counted + count
        mean = 1 / (counted or 1)  # where nothing counts, here or on any rank, the gradient is 0
        with no_grad():
            for p in self.trainer.model.parameters():
                if p.grad is not None:
                    p.grad = p.grad * mean
        return total * mean, counted

    def batch_loss(self, batch: Any) -> tuple[Tensor, int]:
        """Computes the loss of a batch, on the device of the weights, and its count."""
        trainer = self.trainer
        device = trainer.optimizer.param_groups[0]["params"][0].device
        if device != "cpu":
            batch = tree.mapped(lambda x: x.to(device) if isinstance(x, Tensor) else x, batch)
        return loss_and_count(trainer.loss(trainer.model, batch))

    def _averaged(self, loss: Tensor, count: float) -> tuple[Tensor, Any]:
        """Averages gradients over the ranks. **Returns** the loss and the count of all."""
        trainer = self.trainer
        groups = trainer.optimizer.param_groups
        parameters = [*trainer.model.parameters(), *(p for g in groups for p in g["params"])]
        total, mean = average_gradients(parameters, count, loss, ranks=trainer.communicator)
        return as_tensor(np.array(mean), device="cpu"), int(total) if total.is_integer() else total

    @contextmanager
    def _own_numbers(self) -> Iterator[None]:
        """Gives each rank other random numbers (dropout's), then all ranks the same again."""
        generators, rank = self.trainer.generators(), self.trainer.communicator.rank
        forks = [generator.fork(rank) for generator in generators]
        common = [generator.state for generator in generators]
        for generator, fork in zip(generators, forks, strict=True):
            generator.state = fork.state
        try:
            yield
        finally:
            for generator, state in zip(generators, common, strict=True):
                generator.state = state
