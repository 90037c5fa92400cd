"""Progress of a training: a bar in a terminal, one line in a notebook, lines anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from .progress import Progress
    from .trainer import Trainer

SAMPLE_EVERY = 20.0  # seconds
LINE_EVERY = 10.0  # seconds, where there is no bar
NARROW = 9  # columns of the percentage and a bar, at the least


@contextmanager
def show(trainer: Trainer, quiet: bool = False) -> Iterator[Display]:
    """Opens the display that fits the output, for the duration of a `with` block.

    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.Linear(1, 1)
    >>> batches = [(tg.ones((4, 1)), tg.zeros((4, 1)))]
    >>> loss = lambda model, batch: tg.nn.mse_loss(model(batch[0]), batch[1])
    >>> optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = tg.train.Trainer(model, batches, loss, optimizer, steps=2)
    >>> with tg.train.show(trainer, quiet=True) as display:
    ...     for progress in trainer:
    ...         display.update(progress)
    """
    if quiet:
        yield Display(trainer)
    elif (handle := _notebook()) is not None:
        yield Notebook(trainer, handle)
    elif not sys.stdout.isatty():
        yield Lines(trainer)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.table import Column

        columns = (
            TaskProgressColumn(),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),  # fills the line
            TextColumn("{task.description}"),
        )
        with Bar(*columns, console=Console(highlight=False, emoji=False), expand=True) as bar:
            yield Live(trainer, bar)


def _notebook() -> Any:
    """Returns a handle of an output that can be replaced, if a notebook shows it; else None."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        return None
    from IPython.display import display

    return display({"text/plain": ""}, raw=True, display_id=True)


class Display:
    """Formats the progress of a training as text: time left, speed, loss; its subclasses show it.

    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.Linear(1, 1)
    >>> batches = [(tg.ones((4, 1)), tg.zeros((4, 1)))]
    >>> loss = lambda model, batch: tg.nn.mse_loss(model(batch[0]), batch[1])
    >>> optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = tg.train.Trainer(model, batches, loss, optimizer, steps=2)
    >>> display = tg.train.Display(trainer)
    >>> display.read(next(trainer))  # the time left, the speed, and the loss
    ['0:00 left', '... steps/s', 'loss ...']
    """

    def __init__(self, trainer: Trainer) -> None:
        self.steps = trainer.steps
        self.unit = getattr(trainer, "unit", "")  # of the loss's count
        self.figure = getattr(trainer, "figure", "validation {:.4g}")
        self.first = trainer.step
        self.started = time.monotonic()
        self.sampled = -SAMPLE_EVERY
        self.validation: float | None = None
        self.count = 0

    def update(self, progress: Progress) -> None:
        """Shows an update."""

    def sample(self, text: str) -> None:
        """Shows a sample of the model's output, at intervals."""

    def read(self, progress: Progress) -> list[str]:
        """Reads an update. **Returns** its figures, the most important first."""
        self.count += progress.count
        if progress.validation is not None:
            self.validation = progress.validation
        done = progress.step - self.first
        seconds = round(self.seconds / done * (self.steps - progress.step))
        words = [f"{seconds // 60}:{seconds % 60:02d} left"]
        if self.unit:
            words.append(f"{_short(self.count / self.seconds)} {self.unit}s/s")
        else:
            words.append(f"{_short(done / self.seconds)} steps/s")
        words.append(f"loss {progress.loss:.3f}")
        if self.validation is not None:
            words.append(self.figure.format(self.validation))
        if progress.norm is not None:
            words.append(f"grad norm {progress.norm:.2f}")
        return words

    @property
    def seconds(self) -> float:
        """The time since the display was opened."""
        return max(time.monotonic() - self.started, 1e-9)

    def sample_due(self) -> bool:
        """Tells whether it is time to show a sample."""
        due = self.seconds - self.sampled >= SAMPLE_EVERY
        if due:
            self.sampled = self.seconds
        return due


class Lines(Display):
    """Prints a line at each evaluation, and every LINE_EVERY seconds between them."""

    printed = 0.0

    def update(self, progress: Progress) -> None:
        """Prints a line, if it is time."""
        words = self.read(progress)
        if progress.figures is None and self.seconds - self.printed < LINE_EVERY:
            return
        self.printed = self.seconds
        print(f"step {progress.step}/{self.steps}  {joined(words)}", flush=True)

    def sample(self, text: str) -> None:
        """Prints a sample, if it is time."""
        if self.sample_due():
            print("\n".join(f"    | {line}" for line in text.split("\n")), flush=True)


class Notebook(Display):
    """Replaces one line below the cell, without escape codes."""

    shown = 0.0

    def __init__(self, trainer: Trainer, handle: Any) -> None:
        super().__init__(trainer)
        self.handle = handle

    def update(self, progress: Progress) -> None:
        """Replaces the line, a few times a second."""
        words = self.read(progress)
        if progress.step < self.steps and self.seconds - self.shown < 0.2:
            return
        self.shown = self.seconds
        text = f"step {progress.step}/{self.steps}  {joined(words)}"
        self.handle.update({"text/plain": text}, raw=True)


class Live(Display):
    """Updates a bar in place; the samples scroll above it."""

    def __init__(self, trainer: Trainer, bar: Bar) -> None:
        super().__init__(trainer)
        self.bar = bar
        self.task = bar.add_task("", total=self.steps, completed=trainer.step)

    def update(self, progress: Progress) -> None:
        """Updates the bar, with as many figures as the terminal has room for."""
        words = fitted(self.read(progress), self.bar.console.width - NARROW)
        self.bar.update(self.task, completed=progress.step, description=words)

    def sample(self, text: str) -> None:
        """Prints a sample above the bar, if it is time."""
        if self.sample_due():
            self.bar.console.print(text, style="dim", markup=False)
            self.bar.console.print()


def fitted(words: list[str], width: int) -> str:
    """Returns the most important figures that fit a width, the time left as the last of them.

    >>> fitted(["0:12 left", "5k chars/s", "loss 1.234", "grad norm 0.50"], 36)
    'loss 1.234  5k chars/s  0:12 left'
    >>> fitted(["0:12 left", "5k chars/s", "loss 1.234", "grad norm 0.50"], 24)
    '5k chars/s  0:12 left'
    """
    while len(words) > 1 and len(joined(words)) > width:
        words = words[:-1]
    return joined(words)


def joined(words: list[str]) -> str:
    """Joins figures as they are read: the loss first, then speed and time left."""
    left, speed, *figures = [*words, ""] if len(words) == 1 else words
    return "  ".join(word for word in (*figures, speed, left) if word)


def _short(number: float) -> str:
    """Formats a speed with two digits at least.

    >>> _short(1.234), _short(4321.0), _short(123456.0)
    ('1.2', '4,321', '123k')
    """
    if number >= 10_000:
        return f"{number / 1000:,.0f}k"
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"
