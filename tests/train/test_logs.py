"""Logs hold a row for each update, also after a resumed training; plots are PNGs."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import Any

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.train import CSVLog, Progress, TensorBoard, Trainer


def trainer(*callbacks: Any) -> Trainer:
    model = tg.nn.Linear(1, 1, generator=tg.Generator(0))
    data = tg.data.DataLoader([[float(n)] for n in range(6)], 2, collate=tg.tensor)
    return Trainer(
        model, data, lambda model, batch: (model(batch) ** 2).mean(),
        tg.optim.SGD(model.parameters(), lr=0.01), epochs=2, clip=1.0,
        validation=lambda model: {"error": 2.0}, callbacks=callbacks,
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_log_after_a_resumed_training(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.csv", tmp_path / "parts.csv"
    records = list(trainer(CSVLog(whole, ["error"])))
    assert [float(row["loss"]) for row in rows(whole)] == [p.loss for p in records]
    assert [row["error"] for row in rows(whole)] == ["", "", "2.0"] * 2

    first = trainer(CSVLog(parts, ["error"]))
    next(first)
    next(first)
    tg.io.save_checkpoint(tmp_path, first.state_dict())
    next(first)  # an update after the last checkpoint, which the next process repeats
    second = trainer(CSVLog(parts, ["error"]))
    second.load_state_dict(tg.io.load_checkpoint(tmp_path))
    list(second)
    assert parts.read_text() == whole.read_text()


def test_a_new_training_has_a_new_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for _ in range(2):
        list(trainer(CSVLog(path)))
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4", "5", "6"]


def test_a_rollback_takes_the_rows_that_it_undoes(tmp_path: Path) -> None:
    """A log has each update once; a link to it stays one."""
    path, link = tmp_path / "log.csv", tmp_path / "link.csv"
    path.touch()
    link.symlink_to(path)
    run = trainer(CSVLog(link))
    run.every, run.on_nan, seen = 2, "rollback", list[float]()

    def loss(model: tg.nn.Module, batch: tg.Tensor) -> tg.Tensor:
        seen.append(0.0)
        return (model(batch) ** 2).mean() * (math.nan if len(seen) in (4, 5) else 1)

    run.loss = loss
    with pytest.warns(UserWarning, match="step 4 gave loss nan.*: rolled back to step 2"):
        records = list(run)
    assert [p.step for p in records] == [1, 2, 3, 3, 4, 5, 6]
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4", "5", "6"]
    assert float(rows(path)[2]["loss"]) == records[3].loss != records[2].loss
    assert link.is_symlink()


def test_a_row_that_a_full_disk_has_cut_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    run = trainer(CSVLog(path))
    next(run), next(run)
    whole = path.read_text()
    for cut in ("1", "12,0.", "3,0.1,2.0,,0.1,", '3,"'):
        path.write_text(whole + cut)
        CSVLog(path)(None, Progress(14, None, 2.0, None, 0.1, 1))
        assert path.read_text() == whole + "14,,2.0,,0.1,\n"


def test_a_file_with_a_field_that_is_too_long_is_no_log(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step\n" + "1" * 200_000 + "\n")
    with pytest.raises(tg.io.CheckpointError, match="is no log of a training"):
        CSVLog(path)(None, Progress(2, None, 2.0, None, 0.1, 1))


def test_event_files_are_tensorboard_s(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    log = TensorBoard(tmp_path)
    records = list(trainer(log))
    log.close()
    [path] = tmp_path.iterdir()
    written: dict[str, dict[int, float]] = {}
    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            number = value.tensor.float_val[0] if value.HasField("tensor") else value.simple_value
            written.setdefault(value.tag, {})[event.step] = number
    assert written["loss"] == pytest.approx({p.step: p.loss for p in records})
    assert written["error"] == {3: 2.0, 6: 2.0}
    assert {"epoch", "grad norm", "lr"} < {*written}


def test_tensorboard_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(ValueError, match=r"pip install 'tinygrad_rnn\[tensorboard\]'"):
        TensorBoard(tmp_path)


def test_unknown_figures_are_left_out(tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "log.csv")
    log(None, Progress(1, None, 2.0, None, 0.1, 1, 3.0, {"other": 3.0}))
    assert (tmp_path / "log.csv").read_text().splitlines()[1] == "1,,2.0,,0.1,"
