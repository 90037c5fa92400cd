"""How training looks: a live bar in a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ..recipes import Progress, Run

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SAMPLE_EVERY = 20.0  # seconds
LINE_EVERY = 10.0  # seconds, where there is no bar


class Display(Protocol):
    """What a training loop tells its onlooker."""

    def update(self, progress: Progress) -> None:
        """Shows what an update has shown."""

    def sample(self, text: str) -> None:
        """Shows a sample of text, unless one was shown a short while ago."""


@contextmanager
def show(run: Run) -> Iterator[Display]:
    """A display for a run, which ends with the `with` block."""
    if not sys.stdout.isatty():
        yield Lines(run)
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    columns = (
        TaskProgressColumn(),
        BarColumn(bar_width=None, table_column=Column(ratio=1)),  # what the figures leave
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(highlight=False, emoji=False), expand=True) as bar:
        yield Live(run, bar)


class _Figures:
    """The figures of a run in words, with the speed since this start of it."""

    def __init__(self, run: Run) -> None:
        self.steps, self.unit = run.config.steps, run.unit
        self.first = run.step
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
        """Symbols a second."""
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
    """A line at each evaluation, and where they are far apart, between them."""

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
    """A bar that stays in place, with the samples scrolling above it."""

    def __init__(self, run: Run, bar: Bar) -> None:
        super().__init__(run)
        self.bar = bar
        self.task = bar.add_task("", total=self.steps, completed=run.step)

    def update(self, progress: Progress) -> None:
        self.read(progress)
        speed = f"{self.speed / 1000:.0f}k {self.unit}s/s"
        words = f"{self.words(progress)}  {speed}  {self.left(progress)}"
        self.bar.update(self.task, completed=progress.step, description=words)

    def sample(self, text: str) -> None:
        if self.sample_due():
            self.bar.console.print(text, style="dim", markup=False)
            self.bar.console.print()
