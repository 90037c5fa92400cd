"""Training is what a loop by hand computes; stopped and resumed, it is the same to the bit."""

from __future__ import annotations

import io
import itertools
import math
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import CheckpointError, load_checkpoint
from tinygrad_rnn.train import DivergedError, Progress, Trainer, display

from ..strict import strict_device

ROWS = 22
EXAMPLE = Path(__file__).parents[1] / "users/classifier.py"


class Net(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        generator = tg.Generator(seed)
        self.layer = nn.LSTM(3, 5, generator=generator)
        self.dropout = nn.Dropout(0.3, generator=generator)
        self.head = nn.Linear(5, 2, generator=generator)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        return self.head(self.dropout(self.layer(tg.moveaxis(x, 1, 0))[0][-1]))


def arrays() -> tuple[np.ndarray, np.ndarray]:
    drawn = np.random.default_rng(1)
    return drawn.normal(size=(ROWS, 4, 3)).astype("float32"), drawn.integers(0, 2, ROWS)


def mean_loss(model: nn.Module, batch: Any) -> tuple[tg.Tensor, int]:
    x, y = batch
    return nn.cross_entropy(model(x), y), len(y)


def trainer(seed: int = 0, dropout: float = 0.3, batch: int = 4, **settings: Any) -> Trainer:
    model = Net(seed)
    model.dropout.p = dropout
    loader = tg.data.DataLoader(
        tg.data.TensorDataset(*arrays()), batch, shuffle=True, generator=tg.Generator(seed)
    )
    optimizer = settings.pop("optimizer", tg.optim.Adam)(model.parameters(), lr=0.02)
    if "schedule" in settings:
        settings["schedule"] = settings["schedule"](optimizer)
    if settings.get("validation") == "the training data":
        settings["validation"] = loader
    return Trainer(
        model, loader, settings.pop("loss", mean_loss), optimizer, **{"epochs": 3, **settings}
    )


def weights(run: Trainer) -> dict[str, bytes]:
    return {name: p.numpy().tobytes() for name, p in run.model.state_dict().items()}


def test_it_is_the_loop_by_hand() -> None:
    run, other = trainer(clip=0.5), trainer()
    schedule = tg.optim.CosineLR(run.optimizer, 18)
    run.schedule = schedule
    again = tg.optim.CosineLR(other.optimizer, 18)
    losses = []
    for _ in range(3):
        for batch in other.data:
            loss, _ = mean_loss(other.model, batch)
            other.optimizer.zero_grad()
            loss.backward()
            tg.optim.clip_grad_norm_(other.model.parameters(), 0.5)
            other.optimizer.step()
            again.step()
            losses.append(loss.item())
    assert [progress.loss for progress in run] == losses
    assert len(losses) == run.steps == 18
    assert weights(run) == weights(other)


@pytest.mark.parametrize("stop", [0, 1, 5, 6, 12, 17])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"accumulate": 4, "clip": 0.1},
        {"schedule": lambda o: tg.optim.ReduceLROnPlateau(o, 0.5, 1, 0.1), "evaluate_every": 2},
        {"schedule": lambda o: tg.optim.StepLR(o, 4, 0.5)},
        {"validation": lambda model: 1.0, "evaluate_every": 1, "patience": 8},
        {"validation": "the training data", "evaluate_every": 4},
    ],
)
def test_resumed_is_uninterrupted(tmp_path: Path, stop: int, settings: dict[str, Any]) -> None:
    heldout = tg.data.DataLoader(tg.data.TensorDataset(*arrays()), 9)
    settings = {"validation": heldout, **settings}
    whole = trainer(**settings)
    records = list(whole)
    first = trainer(**settings)
    before = [progress for _, progress in zip(range(min(stop, first.steps)), first, strict=False)]
    tg.io.save_checkpoint(tmp_path, first.state_dict())
    second = trainer(seed=5, **settings)
    second.load_state_dict(load_checkpoint(tmp_path))
    assert before + list(second) == records
    assert weights(second) == weights(whole)
    assert second.history == whole.history
    assert (second.best, second.waited) == (whole.best, whole.waited)


class Rows:
    """An iterable dataset."""

    def __iter__(self) -> Iterator[list[float]]:
        return iter([[float(n)] for n in range(5)])


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_iterable_resumes_too(tmp_path: Path, stop: int, accumulate: int) -> None:
    def one() -> Trainer:
        model = nn.Linear(1, 1, generator=tg.Generator(0))
        return Trainer(
            model, tg.data.DataLoader(Rows(), 2, collate=tg.tensor),
            lambda model, batch: (model(batch) ** 2).mean(),
            tg.optim.SGD(model.parameters(), lr=0.01), steps=9, accumulate=accumulate,
        )  # fmt: skip

    whole, first, second = one(), one(), one()
    before = [next(first) for _ in range(stop)]
    tg.io.save_checkpoint(tmp_path, first.state_dict())
    second.load_state_dict(load_checkpoint(tmp_path))
    assert before + list(second) == list(whole)


def test_the_default_generator_resumes_too(tmp_path: Path) -> None:
    def one() -> Trainer:
        model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5))
        data = tg.data.DataLoader([(x[0], y) for x, y in zip(*arrays(), strict=True)], 4)
        return Trainer(model, data, mean_loss, tg.optim.SGD(model.parameters(), lr=0.1), steps=9)

    tg.manual_seed(3)
    whole = one()
    next(whole)
    state = whole.state_dict()
    tg.io.save_checkpoint(tmp_path, state)
    rest = list(whole)
    tg.manual_seed(99)
    other = one()
    other.load_state_dict(load_checkpoint(tmp_path))
    assert list(other) == rest


def test_running_statistics_resume_too(tmp_path: Path) -> None:
    def one() -> Trainer:
        generator = tg.Generator(0)
        model = nn.Sequential(nn.Linear(3, 4, generator=generator), nn.BatchNorm1d(4))
        x, y = arrays()
        data = tg.data.DataLoader(tg.data.TensorDataset(x[:, 0], y), 4)
        held_out = tg.data.DataLoader(tg.data.TensorDataset(x[:, 1], y), 9)
        optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
        return Trainer(model, data, mean_loss, optimizer, epochs=2, validation=held_out)

    whole, first, second = one(), one(), one()
    before = [next(first) for _ in range(4)]
    tg.io.save_checkpoint(tmp_path, first.state_dict())
    second.load_state_dict(load_checkpoint(tmp_path))
    assert before + list(second) == list(whole)


def test_accumulated_batches_are_one_large_batch() -> None:
    many = trainer(dropout=0.0, batch=4, accumulate=99, optimizer=tg.optim.SGD)
    one = trainer(dropout=0.0, batch=ROWS, optimizer=tg.optim.SGD)
    assert many.steps == one.steps == 3
    for a, b in zip(many, one, strict=True):
        assert a.count == b.count == ROWS
        assert a.loss == pytest.approx(b.loss, rel=1e-5)
    for p, q in zip(many.model.parameters(), one.model.parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-4, atol=1e-6)


def test_the_validation_loss_is_that_of_all_samples() -> None:
    x, y = arrays()
    run = trainer(validation=tg.data.DataLoader(tg.data.TensorDataset(x, y), 9), epochs=1)
    *_, last = run
    with tg.no_grad():
        run.model.eval()
        loss = mean_loss(run.model, (tg.tensor(x), tg.tensor(y)))[0].item()
    assert last.validation == pytest.approx(loss, rel=1e-5)
    assert run.history == [
        {"step": 6, "epoch": 1.0, "loss": run.history[0]["loss"], "lr": 0.02,
         "validation": last.validation},
    ]  # fmt: skip


def test_early_stopping_and_the_best_weights(tmp_path: Path) -> None:
    figures = iter([3.0, 2.0, 2.5, 2.0, 1.0])
    seen: dict[float, dict[str, bytes]] = {}

    def validation(model: nn.Module) -> dict[str, float]:
        figure = next(figures)
        seen.setdefault(figure, {n: p.numpy().tobytes() for n, p in model.state_dict().items()})
        return {"error": figure, "accuracy": 0.5}

    run = trainer(validation=validation, evaluate_every=2, patience=2)
    history = run.fit(tmp_path, quiet=True)
    assert [record["error"] for record in history] == [3.0, 2.0, 2.5, 2.0]
    assert run.done
    assert run.best == 2.0
    assert run.step == 8
    assert weights(run) != seen[2.0]
    run.load_best(tmp_path)
    assert weights(run) == seen[2.0]
    assert load_checkpoint(tmp_path / "last")["step"] == 8
    assert load_checkpoint(tmp_path / "best")["step"] == 4


def test_ctrl_c_saves_and_the_rest_follows(tmp_path: Path) -> None:
    def interrupt(run: Trainer, progress: Progress) -> None:
        if progress.step == 4:
            signal.raise_signal(signal.SIGINT)

    run = trainer(callbacks=[interrupt])
    run.fit(tmp_path, quiet=True)
    assert run.step == 4
    with pytest.raises(CheckpointError, match="resume=True"):
        trainer().fit(tmp_path, quiet=True)
    again, whole = trainer(seed=2), trainer()
    again.fit(tmp_path, resume=True, quiet=True)
    assert whole.fit(quiet=True) == again.history
    assert weights(again) == weights(whole)


def test_no_other_process_saves_in_the_folder(tmp_path: Path) -> None:
    code = f"import tinygrad_rnn as tg; tg.io.save_checkpoint({str(tmp_path / 'last')!r}, {{}})"
    refused: list[str] = []

    def another(run: Trainer, progress: Progress) -> None:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        refused.append(done.stderr)

    trainer(callbacks=[another], epochs=None, steps=1).fit(tmp_path, quiet=True)
    assert "CheckpointError" in refused[0]
    assert "saves there" in refused[0]


def test_evaluation_restores_the_mode_of_every_module() -> None:
    run = trainer(validation=lambda model: float(model.training))
    run.model.dropout.eval()  # a part that is frozen
    assert run.validate() == {"validation": 0.0}
    (batch, *_) = run.data
    loss, _ = run.loss(run.model.eval(), batch)
    run.model.train().dropout.eval()
    assert run.validate([batch, batch]) == pytest.approx({"validation": loss.item()})
    assert run.model.training
    assert not run.model.dropout.training


def test_divergence_names_the_step_and_changes_nothing() -> None:
    def diverging(model: nn.Module, batch: Any) -> Any:
        return mean_loss(model, batch)[0] * math.nan

    run = trainer(loss=diverging)
    before = weights(run)
    with pytest.raises(DivergedError, match=r"step 1 gave loss nan: lower `lr` .* or pass `clip`"):
        next(run)
    assert weights(run) == before
    run = trainer(validation=lambda model: math.inf, evaluate_every=1)
    with pytest.raises(DivergedError, match="step 1 left inf as the validation figure"):
        next(run)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": None}, "either steps or epochs"),
        ({"epochs": 0}, "epochs: expected 1 or more"),
        ({"patience": 0}, "patience: expected 1 or more"),
        ({"loss": lambda model, batch: 3.0}, "loss: expected a scalar Tensor"),
        ({"validation": []}, "validation: expected batches"),
    ],
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=message):
        list(trainer(**settings))


def test_other_data() -> None:
    model = nn.Linear(1, 1)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)

    def loss(model: nn.Module, batch: tg.Tensor) -> tg.Tensor:
        return model(batch).mean()

    endless = itertools.repeat(tg.ones((2, 1)))
    assert [p.step for p in Trainer(model, endless, loss, optimizer, steps=3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="no length: pass steps"):
        Trainer(model, endless, loss, optimizer, epochs=3)
    with pytest.raises(ValueError, match="expected batches in each epoch"):
        next(Trainer(model, [], loss, optimizer, steps=3))
    with pytest.raises(TypeError, match="an optimizer of its parameters, got list"):
        Trainer(model, endless, loss, [], steps=3)  # type: ignore[arg-type]


def test_batches_follow_the_model_to_its_device(tmp_path: Path) -> None:
    def run(device: str) -> Trainer:
        model = nn.Linear(1, 1, generator=tg.Generator(0))
        model.to(device)
        data = tg.data.DataLoader([[float(n)] for n in range(6)], 2, collate=tg.tensor)
        return Trainer(
            model, data, lambda model, batch: (model(batch) ** 2).mean(),
            tg.optim.Adam(model.parameters(), lr=0.1), epochs=2, clip=1.0, validation=data,
        )  # fmt: skip

    with strict_device() as name:
        there, here = run(name), run("cpu")
        losses = [progress.loss for progress in there]
        assert losses == pytest.approx([progress.loss for progress in here])
        assert {p.device for p in there.model.parameters()} == {name}


def test_a_state_of_another_training() -> None:
    state = trainer().state_dict()
    with pytest.raises(CheckpointError, match="generators"):
        trainer().load_state_dict({**state, "generators": []})
    with pytest.raises(CheckpointError, match="'best' is missing"):
        trainer().load_state_dict({n: v for n, v in state.items() if n != "best"})


def test_the_example_has_under_30_lines_and_resumes_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line.strip()]
    assert len(lines) < 30
    monkeypatch.chdir(tmp_path)

    def run(folder: str, epochs: int) -> dict[str, Any]:
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), folder, str(epochs)])
        return runpy.run_path(str(EXAMPLE))

    whole = run("whole", 4)
    run("parts", 2)
    parts = run("parts", 4)
    assert whole["history"] == parts["history"]
    assert weights(whole["trainer"]) == weights(parts["trainer"])
    assert whole["history"][-1]["validation"] < 0.5 * whole["history"][0]["validation"]
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert re.search(r"step 52/52  loss [\d.]+  validation [\d.]+  grad norm [\d.]+ ", shown)
    assert "\x1b" not in shown


# ---------------------------------------------------------------- displays


@pytest.mark.parametrize("width", [34, 54, 90, 120])
def test_terminals_of_any_width(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    trainer(validation=lambda model: 1.0, clip=1.0).fit()
    lines = re.split(r"[\r\n]", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", out.getvalue()))
    last = [line for line in lines if line.strip()][-1]
    assert len(last) <= width
    assert re.search(r"100% ━.*[\d.,k]+ steps/s  0:00 left", last)
    assert ("loss" in last) is (width >= 54)
    assert ("grad norm" in last) is (width >= 90)


def test_a_notebook_gets_one_line_without_escape_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handle:
        shown: list[str] = []  # noqa: RUF012

        def update(self, data: dict[str, str], raw: bool) -> None:
            assert raw
            self.shown.append(data["text/plain"])

    monkeypatch.setattr(display, "_notebook", Handle)
    trainer().fit()
    assert re.fullmatch(r"step 18/18  loss [\d.]+  [\d.,k]+ steps/s  0:00 left", Handle.shown[-1])
    assert not any("\x1b" in line for line in Handle.shown)


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    trainer().fit(quiet=True)
    assert capsys.readouterr().out == ""
