"""Progress of a training: a live bar in a terminal, a line at intervals anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..recipes import Progress, Trainer

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SAMPLE_EVERY = 20.0  # seconds
LINE_EVERY = 10.0  # seconds, where there is no bar


@contextmanager
def show(trainer: Trainer) -> Iterator[Lines | Live]:
    """Opens a display for the duration of a `with` block."""
    if not sys.stdout.isatty():
        yield Lines(trainer)
        return
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


class _Figures:
    """Formats the figures of a training, with the speed since the process started."""

    def __init__(self, trainer: Trainer) -> None:
        self.steps, self.unit = trainer.config.steps, trainer.unit
        self.first = trainer.step
        self.started = time.monotonic()
        self.sampled = -SAMPLE_EVERY
        self.heldout: float | None = None
        self.symbols = 0

    def read(self, progress: Progress) -> None:
        self.symbols += progress.symbols
        if progress.heldout is not None:
            self.heldout = progress.heldout

    @property
    def speed(self) -> float:
        """Symbols per second."""
        return self.symbols / self.seconds

    def words(self, progress: Progress) -> str:
        heldout = "" if self.heldout is None else f"held-out {self.heldout:.3f} bits/{self.unit}  "
        return f"loss {progress.loss:.3f}  {heldout}norm {progress.norm:.2f}"

    def left(self, progress: Progress) -> str:
        done = progress.step - self.first
        seconds = round(self.seconds / done * (self.steps - progress.step))
        return f"{seconds // 60}:{seconds % 60:02d} left"

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    def sample_due(self) -> bool:
        due = self.seconds - self.sampled >= SAMPLE_EVERY
        if due:
            self.sampled = self.seconds
        return due


class Lines(_Figures):
    """Prints a line at each evaluation, and every LINE_EVERY seconds between them."""

    printed = 0.0

    def update(self, progress: Progress) -> None:
        self.read(progress)
        if progress.heldout is None and self.seconds - self.printed < LINE_EVERY:
            return
        self.printed = self.seconds
        speed = f"{self.speed:,.0f} {self.unit}s/s"
        words = f"{self.words(progress)}  {speed}  {self.left(progress)}"
        print(f"step {progress.step}/{self.steps}  {words}", flush=True)

    def sample(self, text: str) -> None:
        if self.sample_due():
            print("\n".join(f"    | {line}" for line in text.split("\n")), flush=True)


class Live(_Figures):
    """Updates a bar in place; the samples scroll above it."""

    def __init__(self, trainer: Trainer, bar: Bar) -> None:
        super().__init__(trainer)
        self.bar = bar
        self.task = bar.add_task("", total=self.steps, completed=trainer.step)

    def update(self, progress: Progress) -> None:
        self.read(progress)
        speed = f"{self.speed / 1000:.0f}k {self.unit}s/s"
        words = f"{self.words(progress)}  {speed}  {self.left(progress)}"
        self.bar.update(self.task, completed=progress.step, description=words)

    def sample(self, text: str) -> None:
        if self.sample_due():
            self.bar.console.print(text, style="dim", markup=False)
            self.bar.console.print()
