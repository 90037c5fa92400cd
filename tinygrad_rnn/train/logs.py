"""Logs of a training: callbacks that write CSV and TensorBoard's event files; the loss curve."""

from __future__ import annotations

import csv
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError, public

if TYPE_CHECKING:
    from .trainer import Progress, Trainer

PIXELS, SIDE = 50e6, 60_000  # upper bounds of a plot: a large figure gets a lower resolution


def figures(progress: Progress) -> dict[str, float]:
    """Returns the figures of an update by name, without those that it lacks."""
    known = {
        "epoch": progress.epoch,
        "loss": progress.loss,
        "grad norm": progress.norm,
        "lr": progress.lr,
    }
    return {n: v for n, v in known.items() if v is not None} | (progress.figures or {})


class CSVLog:
    """A callback that writes a row of figures for each update.

    When a training resumes, the log keeps the rows of the updates before, and no others.

    **Arguments** path: of the file. figures: the names of the validation figures.

    >>> import tempfile
    >>> from tinygrad_rnn.train import Progress
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = CSVLog(f"{folder}/log.csv")
    ...     log(None, Progress(1, 0.5, 2.0, None, 0.1, 1, 3.5, {"validation": 3.5}))
    ...     print(Path(f"{folder}/log.csv").read_text())
    step,epoch,loss,grad norm,lr,validation
    1,0.5,2.0,,0.1,3.5
    """

    @public
    def __init__(self, path: str | Path, figures: Sequence[str] = ("validation",)) -> None:
        self.path = Path(path)
        self.columns = ["step", "epoch", "loss", "grad norm", "lr", *figures]
        self._started = False

    def __call__(self, trainer: Trainer | None, progress: Progress) -> None:
        """Writes a row."""
        if not self._started:
            self._start(progress.step)
        row = {"step": progress.step, **figures(progress)}
        with open(self.path, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", lineterminator="\n")
            writer.writerow(row)

    def _start(self, step: int) -> None:
        rows: list[dict[str, str]] = []
        if step > 1 and self.path.exists():
            with open(self.path, newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"] or 0) < step]
        with open(self.path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self._started = True


class TensorBoard:
    """A callback that writes TensorBoard's event files (extra `tensorboard`).

    `tensorboard --logdir FOLDER` shows them. When a training resumes, the later events replace
    those of the same steps.

    **Arguments** folder: created if it does not exist. **Raises** ValueError if the package is
    missing.
    """

    @public
    def __init__(self, folder: str | Path) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError:
            raise InvalidValueError(
                "TensorBoard: needs the package tensorboard: pip install "
                "'tinygrad_rnn[tensorboard]'"
            ) from None
        self._event, self._summary = Event, Summary
        self._writer = EventFileWriter(str(folder))

    def __call__(self, trainer: Trainer, progress: Progress) -> None:
        """Writes the figures of an update."""
        values = [
            self._summary.Value(tag=name, simple_value=value)
            for name, value in figures(progress).items()
        ]
        event = self._event(
            wall_time=time.time(), step=progress.step, summary=self._summary(value=values)
        )
        self._writer.add_event(event)
        if progress.figures is not None or progress.step == trainer.steps:
            self._writer.flush()

    def close(self) -> None:
        """Writes what is pending, and closes the file."""
        self._writer.close()


@public
def draw_losses(path: str | Path, history: Sequence[Mapping[str, float]]) -> None:
    """Plots a training's history as a PNG: the loss and the validation figures by step.

    **Arguments** history: of a `Trainer`, a dict for each evaluation. **Raises** ValueError if
    there is none, the file cannot be written, or matplotlib (extra `plot`) is missing.
    """
    path = Path(path)
    check_plot(path)
    if not history:
        raise InvalidValueError("draw_losses: history: expected at least one evaluation, got none")
    figure = figure_class()(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    names = [n for n in dict.fromkeys(n for r in history for n in r) if n not in LEFT_OUT]
    for name in names:
        points = [(record["step"], record[name]) for record in history if name in record]
        axes.plot(*zip(*points, strict=True), label=name, marker="." if len(points) < 50 else "")
    axes.set(xlabel="updates", ylabel="loss")
    axes.legend()
    save_figure(figure, path)


LEFT_OUT = ("step", "epoch", "lr")  # of a loss curve


def check_plot(path: Path) -> None:
    """Refuses a file that cannot become a plot, before the work that it would show.

    **Raises** ValueError if the package matplotlib is missing, the name does not end in `.png`, or
    the file cannot be written.
    """
    figure_class()
    if path.suffix.lower() != ".png":
        raise InvalidValueError(f"a plot is a PNG file: end its name in .png, not {str(path)!r}")
    try:
        there = path.exists()
        if there and not path.is_file():
            raise InvalidValueError(f"cannot write {path}: it is not a regular file")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        if not there:
            path.unlink()
    except OSError as error:
        raise InvalidValueError(f"cannot write {path}: {error.strerror}") from None


def figure_class() -> Callable[..., Any]:
    """Returns matplotlib's Figure. **Raises** ValueError if the package is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InvalidValueError(
            "a plot needs the package matplotlib: pip install 'tinygrad_rnn[plot]'"
        ) from None
    factory: Callable[..., Any] = Figure
    return factory


def save_figure(figure: Any, path: Path) -> bool:
    """Saves a figure as PNG. **Returns** whether its font has all letters."""
    width, height = figure.get_size_inches()
    dpi = min(150.0, (PIXELS / (width * height)) ** 0.5, SIDE / max(width, height))
    try:
        with warnings.catch_warnings(record=True) as messages:
            warnings.simplefilter("always")
            figure.savefig(path, format="png", dpi=dpi)
    except OSError as error:
        raise InvalidValueError(f"cannot write {path}: {error.strerror}") from None
    return not any("missing from font" in str(warning.message) for warning in messages)
