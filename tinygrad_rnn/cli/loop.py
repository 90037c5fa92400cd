"""Shared by the `train` commands: new or resumed training, checkpoints, reports, signals."""

from __future__ import annotations

import itertools
import os
import shlex
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import typer

from .. import distributed, io
from ..recipes import RecipeTrainer
from ..recipes.comparison import Comparison
from ..recipes.runs import made_by, refuse_changes, refuse_other, refuse_results
from ..train import CSVLog, show, stop_requests
from ..train.trainer import BEST
from .options import Run, on
from .studies import report, show_comparison

MANY = 100  # weights for each symbol to learn from

T = TypeVar("T", bound=RecipeTrainer)


@contextmanager
def opened(
    recipe: type[T], command: str, settings: dict[str, Any], run: Run
) -> Iterator[Session[T]]:
    """Opens the session of a `train` command, which computes on a device for a `with` block.

    It never overwrites a checkpoint that it does not resume, and until the block ends no other
    process saves in the folder.

    **Arguments** recipe: the class of the trainer. command: what follows `tinygrad-rnn train`,
    without options. settings: those that the user typed. run: the options.
    """
    with ExitStack() as stack:
        stack.enter_context(on(run.device))
        session = Session(recipe, command, settings, run)
        if session.ranks.rank == 0:
            session.open(stack)
        else:
            stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w"))))
        session.saved = session.ranks.broadcast(session.saved)
        yield session


@dataclass
class Session(Generic[T]):
    """One call of a `train` command: its arguments, and the checkpoint that it resumes."""

    recipe: type[T]
    command: str
    settings: dict[str, Any]
    run: Run
    saved: dict[str, Any] | None = None  # None for a new training
    sources: list[Any] = field(default_factory=list)  # where the texts are
    ranks: distributed.Communicator = field(default_factory=distributed.communicator)

    @property
    def out(self) -> Path:
        """The checkpoint folder."""
        return self.run.out or Path("runs") / self.command.split()[-1]

    def open(self, stack: ExitStack) -> None:
        """Locks the folder, and loads the checkpoint to resume."""
        out, command = self.out, self.command
        if not self.run.resume or io.has_checkpoint(out):  # else there is nothing to guard
            stack.enter_context(io.lock_checkpoint(out))
        if self.run.resume:
            refuse_results(out, f"train {command}")
            saved = io.load_checkpoint(out)
            refuse_other(out, made_by(saved), command)
            self.saved = self.recipe.check(saved, out)
        elif io.has_checkpoint(out):
            raise io.CheckpointError(
                f"{out} holds a checkpoint already: add --resume to continue it, or choose another "
                "--out"
            )

    def locate(
        self, *typed: str | None, defaults: Iterable[Any] = itertools.repeat(None)
    ) -> list[Any]:
        """Returns where the texts are, for checkpoints to remember.

        **Arguments** typed: by the user; instead of None count the checkpoint's, then the defaults.
        """
        saved = (self.saved or {}).get("sources") or itertools.repeat(None)
        self.sources = [a or b or c for a, b, c in zip(typed, saved, defaults, strict=False)]
        return self.sources

    def start(self, data: Any, config: Any, **more: Any) -> T:
        """Creates a trainer, or restores it from the checkpoint.

        **Arguments** config: the settings that the user did not type. more: further arguments of
        the trainer. **Raises** SettingError for a setting that contradicts the checkpoint.
        """
        if self.saved is None:
            create: Callable[..., T] = self.recipe
            trainer = create(data, replace(config, **self.settings), self.run.device, **more)
            parameters = list(trainer.model.parameters())
            size = sum(parameter.size for parameter in parameters)
            print(f"model: {trainer.title} with {size:,} weights on {parameters[0].device}")
            if size > MANY * trainer.symbols:
                print(
                    f"hint: {trainer.symbols:,} symbols are little to learn from: the model will "
                    "memorise them. Use more data, or a smaller --hidden-size and "
                    f"fewer --{trainer.span}"
                )
            return trainer
        span = self.settings.pop(self.recipe.span, None)
        refuse_changes(self.settings, self.saved["config"], "checkpoint")
        trainer = self.recipe.resume(self.saved, data, span, self.run.device, **more)
        print(f"resuming after step {trainer.step} of {trainer.steps}")
        return trainer

    def train(self, trainer: T, compare: Callable[[], Comparison] | None = None) -> None:
        """Runs the remaining updates, saves at each evaluation, and reports the result.

        **Arguments** compare: the table of a finished training, also of one that was finished
        before.
        """
        first = trainer.step
        trainer.callbacks = [CSVLog(self.out / "log.csv")]
        trainer.on_nan, trainer.explosion = self.run.on_nan, self.run.explosion
        trainer.distribute(self.ranks)
        if self.ranks.size > 1:
            print(f"{self.ranks.size} ranks divide each batch")

        def save(place: Path = self.out, keep_last: int = self.run.keep_last) -> None:
            state = trainer.whole_checkpoint()
            if self.ranks.rank > 0:
                return
            state |= {"command": self.command, "sources": self.sources}
            io.save_checkpoint(place, state, keep_last=keep_last, verify=self.run.verify)

        with stop_requests() as requests:
            trainer.requests = requests
            save()  # before the first step: finds out now whether the folder can be written
            try:
                with show(trainer) as display:
                    for progress in trainer:
                        if progress.validation is not None:
                            if self.run.best and trainer.improved:
                                save(self.out / BEST, 1)
                            save()
                        display.update(progress)
                        if progress.validation is not None and (text := trainer.sample()):
                            display.sample(text)
                        if trainer.stopped:
                            break
            except OSError:  # the output: its reader or its terminal has gone, or its disk is full
                if self.ranks.size == 1:  # else the others know nothing of it
                    save()
                raise
            if trainer.step == trainer.steps and self.ranks.rank == 0:
                trainer.finish()
            save()
            if self.ranks.rank > 0:
                raise typer.Exit
            if trainer.result is None:
                print(f"stopped after step {trainer.step} of {trainer.steps} and saved; "
                      "to resume:")  # fmt: skip
                print(self._typed("train", self.command, "--resume"))
            else:
                print(f"saved in {self.out}")
                if self.run.best:
                    print(f"the best model is in {self.out / BEST}")
                print(trainer.summary)
                self._report(trainer, compare)
                if first == trainer.step:
                    print(f"all {first} updates were made before; to make more:")
                    more = 2 * getattr(trainer.config, trainer.span)
                    print(self._typed("train", self.command, "--resume", f"--{trainer.span}", more))
                print(f"to use it:\n{self._typed(trainer.uses[0])}")
        if trainer.stopped:  # by a signal to this rank, or to another one
            raise typer.Exit(128 + (requests or [signal.SIGTERM])[0])

    def _report(self, trainer: T, compare: Callable[[], Comparison] | None) -> None:
        """Shows the comparison, and draws the picture."""
        comparison = compare() if compare is not None else None
        if comparison is not None:
            show_comparison(comparison)
        name = self.command.split()[0]
        report(self.out, name, lambda picture: trainer.draw(picture, comparison))

    def _typed(self, name: str, task: str = "", *more: object) -> str:
        """Returns a command as the user types it, for this folder and device."""
        device = ["--device", self.run.device] if self.run.device else []
        out = ["--out", str(self.out)] if task else [str(self.out)]
        return shlex.join(["tinygrad-rnn", name, *task.split(), *out, *device, *map(str, more)])
