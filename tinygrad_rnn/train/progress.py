"""The figures of an update."""

from __future__ import annotations

from dataclasses import dataclass

Figures = dict[str, float]


@dataclass(frozen=True)
class Progress:
    """The figures of one update.

    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.Linear(1, 1)
    >>> batches = [(tg.ones((4, 1)), tg.zeros((4, 1)))]
    >>> loss = lambda model, batch: tg.nn.mse_loss(model(batch[0]), batch[1])
    >>> optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = tg.train.Trainer(model, batches, loss, optimizer, steps=2)
    >>> [(progress.step, progress.lr) for progress in trainer]
    [(1, 0.1), (2, 0.1)]
    """

    step: int  # updates so far
    epoch: float | None  # epochs so far; None if the data have no length
    loss: float  # before the update
    norm: float | None  # of the gradient, before clipping; None without clipping
    lr: float  # of the first group of parameters
    count: int  # of what the loss averages over, such as symbols or samples
    validation: float | None = None  # the first figure, on the steps that evaluate
    figures: Figures | None = None  # all of them
