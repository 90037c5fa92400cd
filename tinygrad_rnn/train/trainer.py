"""The trainer: an iterator whose `next` makes one update of the weights.

The caller that iterates (`fit`, the command line, a notebook) decides when to save. The state dict
holds all that determines the next updates: a resumed training equals an uninterrupted one, bit for
bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from .. import io
from ..distributed import Communicator
from ..errors import InvalidTypeError, InvalidValueError, answer_in, public
from ..io.files import fitting
from ..nn import Module
from ..optim import Optimizer, ReduceLROnPlateau
from ..tensor.random import Generator, default_generator
from ..tensor.shapes import integer
from . import arguments
from .display import show
from .divergence import DivergedError, check_weights, diverged
from .progress import Figures, Progress
from .recovery import OnNaN, Recovery
from .signals import stop_requests
from .train_step import TrainStep
from .validation import validation_figures

Loss = Callable[[Module, Any], Any]
LAST, BEST = "last", "best"  # folders of checkpoints


class Trainer(Iterator[Progress]):
    """Trains a model: iterating yields the remaining updates, `fit` also shows and saves them.

    **Arguments** data: a `DataLoader`, or any iterable of batches. loss: `loss(model, batch)`
    returns a scalar Tensor, or `(scalar, count)` if it is a mean over `count` symbols or samples:
    then means over batches of different sizes are exact. steps: updates in all; or epochs.
    schedule: of learning rates, stepped once an update (`ReduceLROnPlateau` observes the validation
    figure instead). clip: the largest norm of the gradient. accumulate: batches for an update.
    validation: batches to compute the mean loss on, or a function of the model that returns a
    figure or a dict of figures; of the first one, lower is better. evaluate_every: updates between
    two evaluations; an epoch, if None. patience: stops after so many evaluations without a better
    figure. callbacks: functions of the trainer and the `Progress` of each update; rank 0 calls
    them. worst: a last figure above it shows divergence. on_nan: what happens when a loss or a
    gradient is not finite, or a loss explodes: "stop" raises; "skip" leaves out the batch;
    "rollback" returns to the state of the last evaluation, or of the beginning or the resumption,
    and continues with later batches. The latter two warn, and stop after 10 failures in a row.
    explosion: a loss that is so many times the largest one before explodes; math.inf if such a loss
    is right. communicator: of the ranks that divide each batch (`tg.distributed.communicator()`);
    this process alone, if None.

    The state includes that of every `Generator` that the model holds, and of the default one.

    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.Linear(1, 1, generator=tg.Generator(0))
    >>> data = tg.data.DataLoader([([x], [2 * x]) for x in (0.0, 1.0, 2.0)], 3, collate=tg.tensor)
    >>> trainer = tg.train.Trainer(
    ...     model, data, lambda model, batch: tg.nn.mse_loss(model(batch[:, 0]), batch[:, 1]),
    ...     tg.optim.SGD(model.parameters(), lr=0.3), epochs=60)
    >>> trainer.fit(quiet=True)[-1]["loss"] < 1e-3
    True
    """

    carried: Any = None  # by the loss from batch to batch; None where a new sequence begins

    @public
    def __init__(
        self,
        model: Module,
        data: Iterable[Any],
        loss: Loss,
        optimizer: Optimizer,
        *,
        steps: int | None = None,
        epochs: int | None = None,
        schedule: Any = None,
        clip: float | None = None,
        accumulate: int = 1,
        validation: Any = None,
        evaluate_every: int | None = None,
        patience: int | None = None,
        callbacks: Sequence[Callable[[Trainer, Progress], object]] = (),
        worst: float = math.inf,
        on_nan: OnNaN = "stop",
        explosion: float = 10.0,
        communicator: Communicator | None = None,
    ) -> None:
        arguments.check_parts(model, loss, optimizer, schedule, callbacks)
        arguments.check_data("data", data)
        if validation is not None and not callable(validation):
            arguments.check_data("validation", validation)
        arguments.check_settings(
            steps, epochs, accumulate, evaluate_every, patience, clip, explosion, on_nan
        )
        arguments.check_figures(schedule, validation, patience)
        self.model, self.data, self.loss, self.optimizer = model, data, loss, optimizer
        self.on_nan, self.explosion, self.worst = on_nan, explosion, worst
        self.schedule, self.clip, self.accumulate = schedule, clip, accumulate
        self.validation, self.patience, self.callbacks = validation, patience, callbacks
        length = arguments.epoch_length(data)
        self.updates = None if length is None else -(-length // accumulate)  # in an epoch
        if epochs is not None and self.updates is None:
            raise InvalidValueError("Trainer: epochs: the data have no length: pass steps instead")
        self.steps: int = steps or (epochs or 0) * (self.updates or 0)
        self.every = evaluate_every or self.updates or self.steps
        self.step = 0
        self.best: float | None = None
        self.waited = 0  # evaluations without a better figure
        self.history: list[dict[str, float]] = []
        self.batches: Iterator[Any] | None = None  # the rest of this epoch; None before one begins
        self._position = data.state_dict() if hasattr(data, "state_dict") else None
        self._nats, self._count = 0.0, 0  # since the last evaluation
        self.train_step = TrainStep(self)
        self._recovery = Recovery(self)
        self.requests: list[int] = []  # to stop, such as signals
        self._asked = False  # whether any rank has such a request
        self.communicator, self._alike = Communicator(), True
        if communicator is not None:
            self.distribute(communicator)

    def distribute(self, communicator: Communicator) -> None:
        """Divides each batch from now on among ranks, which start from the state of rank 0.

        **Raises** TypeError if the data cannot be divided.
        """
        if communicator.size > 1:
            if not hasattr(self.data, "shard"):
                raise InvalidTypeError(
                    f"Trainer: data: {communicator.size} ranks divide each batch: expected a "
                    "DataLoader, Streams, or an iterable with a method shard(rank, size), got "
                    f"{type(self.data).__name__}"
                )
            self.data.shard(communicator.rank, communicator.size)
        self.communicator, self._alike = communicator, communicator.size == 1

    @property
    def done(self) -> bool:
        """Tells whether all updates are made, or the last `patience` evaluations were no better."""
        return self.step >= self.steps or self.waited >= (self.patience or math.inf)

    @property
    def stopped(self) -> bool:
        """Tells whether a request to stop has come: to any of the ranks, which stop together."""
        return self._asked if self.communicator.size > 1 else bool(self.requests)

    @property
    def improved(self) -> bool:
        """Tells whether the last evaluation gave the best figure so far."""
        return self.best is not None and self.waited == 0

    def __next__(self) -> Progress:
        """Makes one update.

        **Raises** DivergedError, before the weights change, if the loss or the gradient is not
        finite, or the loss explodes, and on the steps that evaluate, if the weights or the figure
        show that the training has diverged, unless `on_nan` recovers; StopIteration after the last
        update.
        """
        if not self._alike:
            self._start_alike()
        while not self.done:
            if (progress := self._update()) is not None:
                for callback in self.callbacks if self.communicator.rank == 0 else ():
                    callback(self, progress)
                return progress
        raise StopIteration

    def _update(self) -> Progress | None:
        """Makes an update. **Returns** None if it went wrong and has been undone."""
        self._recovery.before()
        batches = self._next_batches()
        loss, count, norm = self.train_step.gradients(batches)
        if self.communicator.size > 1:
            self._asked = bool(self.communicator.sum(np.array([float(len(self.requests))]))[0])
        if fault := self._recovery.fault(loss, norm):
            self._recovery.handle(f"step {self.step + 1} {fault}", batches)
            return None
        lr = self.optimizer.param_groups[0]["lr"]
        self.train_step.apply()
        self.step += 1
        self._nats, self._count = self._nats + loss * count, self._count + count
        epoch = None if self.updates is None else self.step / self.updates
        figures = None
        if self.step % self.every == 0 or self.step == self.steps:
            try:
                figures = self._evaluated(epoch, lr)
            except DivergedError as error:
                self._recovery.handle_evaluation(error)
                return None
            self._recovery.evaluated()
        first = next(iter(figures.values()), None) if figures is not None else None
        if first is not None and isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.observe(first)
        shown = norm if self.clip else None
        return Progress(self.step, epoch, loss, shown, lr, count, first, figures)

    def _next_batches(self) -> list[Any]:
        """Reads the batches of an update; those of one update are of one epoch."""
        for _ in range(2):
            if self.batches is None:
                if self._position is not None:  # a validation may have read the data meanwhile
                    self.data.load_state_dict(self._position)  # type: ignore[attr-defined]
                self.batches = iter(self.data)
            batches = list(itertools.islice(self.batches, self.accumulate))
            if hasattr(self.data, "state_dict"):
                self._position = self.data.state_dict()
            if len(batches) < self.accumulate:
                self.batches = None
            if batches:
                return batches
        raise InvalidValueError(
            "Trainer: data: expected batches in each epoch, got none (a generator can be read only "
            "once: make it a list, or a class with __iter__)"
        )

    def _start_alike(self) -> None:
        """Gives all ranks the state of rank 0: weights, random numbers, position, all.

        **Raises** ValueError on all, if their trainings differ in more than the state.
        """
        rank = self.communicator.rank
        arguments.check_alike(self.communicator.gather(self.common()))
        state = self.communicator.broadcast(None if rank else self.state_dict())
        if rank and state is not None:
            self.load_state_dict(state)
        self._alike = True

    def common(self) -> dict[str, object]:
        """Returns by name what all ranks must have in common, besides the state."""
        return {
            **{
                name: arguments.kind(getattr(self, name))
                for name in ("data", "validation", "optimizer", "schedule")
            },
            **{name: arguments.kind(p) for name, p in self.model.named_parameters()},
            "accumulate": self.accumulate, "steps": self.steps, "evaluate_every": self.every,
            "clip": self.clip, "patience": self.patience, "on_nan": self.on_nan,
            "explosion": self.explosion, "worst": self.worst,
        }  # fmt: skip

    # ------------------------------------------------------------ evaluation

    def _evaluated(self, epoch: float | None, lr: float) -> Figures:
        """Evaluates, and adds a record to the history."""
        figures = self.validate()
        if figures:
            first = next(iter(figures.values()))
            self.check_learnt(first)
            better = self.best is None or first < self.best
            self.best, self.waited = (first, 0) if better else (self.best, self.waited + 1)
        else:
            check_weights(self.model)
        if not self._count:
            raise arguments.nothing_counted()
        record = {"step": self.step, "epoch": epoch, "loss": self._nats / self._count, "lr": lr}
        self.history.append({n: v for n, v in record.items() if v is not None} | figures)
        self._nats, self._count = 0.0, 0
        return figures

    def validate(self, batches: Iterable[Any] | None = None) -> Figures:
        """Computes the validation figures, without dropout and without a graph.

        Several ranks divide the batches between them, so all call it; a function of the model is
        called by rank 0, and the others take its figures.

        **Arguments** batches: others than those of `validation`, such as test data.
        """
        validation = self.validation if batches is None else batches
        if validation is None:
            return {}
        return validation_figures(self, validation)

    def check_learnt(self, figure: float) -> None:
        """Refuses a figure or weights that show divergence. **Raises** DivergedError."""
        worst = self.worst if self.step == self.steps else math.inf
        if not (math.isfinite(figure) and figure <= worst):
            worse = f", worse than {worst:.4g}" * math.isfinite(worst)
            how = f"step {self.step} left {figure:.6g} as the validation figure{worse}"
            raise diverged(self, how)
        check_weights(self.model)

    # ------------------------------------------------------------ state

    def generators(self) -> list[Generator]:
        """Returns the default generator, and those that the model holds, each once."""
        found = {id(g): g for g in (default_generator(),)}
        for _, module in self.model.named_modules():
            found |= {id(g): g for g in vars(module).values() if isinstance(g, Generator)}
        return list(found.values())

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the training, as `io.save_checkpoint` takes it.

        The arrays share memory with the model and the optimizer, whose next update changes them.
        """
        return {
            "step": self.step,
            "best": self.best,
            "waited": self.waited,
            "sums": [self._nats, self._count],
            "largest": self._recovery.largest,
            "history": [dict(record) for record in self.history],
            "generators": [generator.state for generator in self.generators()],
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "position": self._position,
            "optimizer": self.optimizer.state_dict(),
            "model": self.model.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores a state: the next updates are those that followed it.

        **Raises** CheckpointError if it is one of another training.
        """
        generators = self.generators()
        with fitting():
            if len(state["generators"]) != len(generators):
                raise io.CheckpointError(
                    f"the checkpoint has {len(state['generators'])} generators of random numbers, "
                    f"and this training {len(generators)}"
                )
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.schedule is not None:
                self.schedule.load_state_dict(state["schedule"])
            self._position = state["position"]
            if self._position is not None:
                self.data.load_state_dict(self._position)  # type: ignore[attr-defined]
            self.step = integer(state["step"], "step", 0)
            self.best = None if state["best"] is None else float(state["best"])
            self.waited = integer(state["waited"], "waited", 0)
            self._nats, self._count = state["sums"]
            self._recovery.restart(state.get("largest", 0.0))
            self.history = [dict(record) for record in state["history"]]
            for generator, saved in zip(generators, state["generators"], strict=True):
                generator.state = saved
        self.batches = None

    # ------------------------------------------------------------ the whole training

    @public
    def fit(
        self,
        folder: str | Path | None = None,
        *,
        resume: bool = False,
        quiet: bool = False,
        keep_last: int = 1,
        verify: bool = False,
    ) -> list[dict[str, float]]:
        """Makes the remaining updates, with a display of the progress.

        Ctrl-C ends the training after the current update, and saves.

        Of several ranks, rank 0 alone shows, reads and writes.

        **Arguments** folder: for the checkpoints `last`, saved at each evaluation, and `best`.
        resume: continues from `last`, if there is one. quiet: no display. keep_last: the
        checkpoints to keep in `last`; of a damaged one the one before it is resumed. verify: reads
        back what a save has written.
        **Returns** the history: a dict for each evaluation.
        **Raises** CheckpointError if the folder holds a checkpoint already, and resume is False, or
        another process trains in it.
        """
        integer(keep_last, "Trainer.fit: keep_last", 1)
        apart = self.communicator.rank > 0
        folders = None if folder is None or apart else (Path(folder) / LAST, Path(folder) / BEST)

        def save(place: Path, keep: int = 1) -> None:
            io.save_checkpoint(place, self.state_dict(), keep_last=keep, verify=verify)

        with ExitStack() as stack:
            if folders:
                stack.enter_context(io.lock_checkpoint(folders[0]))
                if any(map(io.has_checkpoint, folders)):  # never overwrites one
                    if not resume:
                        raise io.CheckpointError(
                            f"fit: folder: {folder} holds a checkpoint already: pass resume=True "
                            "to continue it, or choose another folder"
                        )
                    self._resume(folders[0])
            self.requests = stack.enter_context(stop_requests())
            display = stack.enter_context(show(self, quiet or apart))
            if folders:
                save(folders[0], keep_last)  # can it be written?
            for progress in self:
                display.update(progress)
                if folders and progress.figures is not None:
                    if self.improved:
                        save(folders[1])
                    save(folders[0], keep_last)
                if self.stopped:
                    break
            if folders:
                save(folders[0], keep_last)
        return self.history

    def _resume(self, folder: Path) -> None:
        """Restores the state in a folder. **Raises** CheckpointError that names it."""
        state = io.load_checkpoint(folder)
        try:
            self.load_state_dict(state)
        except io.CheckpointError as error:
            raise io.CheckpointError(
                f"fit: folder: {folder} is of another training, {error}: pass the model, the data "
                "and the optimizer that it was saved with, or choose another folder"
            ) from None

    def load_best(self, folder: str | Path) -> None:
        """Loads the weights of the best validation figure, which `fit` saved in a folder."""
        ranks = self.communicator
        at = Path(folder) / BEST
        if ranks.rank == 0 and self.validation is None and not io.has_checkpoint(at):
            raise io.CheckpointError(
                f"load_best: {folder} has no best weights: fit saves them if Trainer is given "
                "validation="
            )
        state = io.load_checkpoint(at)["model"] if ranks.rank == 0 else None
        self.model.load_state_dict(ranks.broadcast(state))


answer_in(Trainer)
