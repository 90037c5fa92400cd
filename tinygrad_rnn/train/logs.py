"""Logs of a training: callbacks that write CSV and TensorBoard's event files."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError, needs, public
from ..io import CheckpointError
from ..io.weights import write

if TYPE_CHECKING:
    from .progress import Progress
    from .trainer import Trainer


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

    When a training resumes or rolls back, the log keeps the rows of the updates before, and no
    others.

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
        self._last: float = math.inf  # the step of the last row; infinite where a log begins

    def __call__(self, trainer: Trainer | None, progress: Progress) -> None:
        """Writes a row."""
        try:
            if progress.step <= self._last:
                self._start(progress.step)
            self._last = math.inf  # a row that fails may be half in the file
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                file.write(self._text([{"step": progress.step, **figures(progress)}]))
            self._last = progress.step
        except OSError as error:
            raise CheckpointError(f"CSVLog: cannot write {self.path}: {error.strerror}") from None
        except CheckpointError as error:
            raise CheckpointError(f"CSVLog: {error}") from None
        except (KeyError, ValueError, csv.Error):
            raise CheckpointError(
                f"CSVLog: {self.path} is no log of a training, whose rows could be kept: choose "
                "another file, or remove it"
            ) from None

    def _start(self, step: int) -> None:
        """Writes the names of the columns, and keeps the rows of the updates before a step."""
        rows: list[dict[str, Any]] = []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if step > 1 and self.path.is_file():
            with open(self.path, newline="", encoding="utf-8") as file:
                lines = [line for line in file if line.endswith("\n")]  # a full disk cuts the last
            rows = [row for row in csv.DictReader(lines) if int(row["step"] or 0) < step]
        text = self._text([{name: name for name in self.columns}, *rows])
        if rows:
            write(Path(os.path.realpath(self.path)), text.encode())  # a failed write leaves them
        else:
            with open(self.path, "w", newline="", encoding="utf-8") as file:
                file.write(text)

    def _text(self, rows: Sequence[Mapping[str, Any]]) -> str:
        held = io.StringIO()
        csv.DictWriter(held, self.columns, extrasaction="ignore", lineterminator="\n").writerows(
            rows
        )
        return held.getvalue()


class TensorBoard:
    """A callback that writes TensorBoard's event files (extra `tensorboard`).

    `tensorboard --logdir FOLDER` shows them. When a training resumes, the later events replace
    those of the same steps.

    **Arguments** folder: created if it does not exist. **Raises** ValueError if the package is
    missing.

    >>> import tensorboard, tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     callbacks = [tg.train.TensorBoard(folder)]  # Trainer(..., callbacks=callbacks)
    """

    @public
    def __init__(self, folder: str | Path) -> None:
        remedy = "pip install 'tinygrad_rnn[tensorboard]'"
        with needs("tensorboard", "TensorBoard", remedy, InvalidValueError):
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
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
        """Writes the pending events, and closes the file."""
        self._writer.close()
