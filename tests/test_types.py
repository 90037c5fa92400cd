"""Types for users: the operations' stubs, and mypy on a user's model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .changed import arguments
from .stubs import MODULES, ROOT, path, stub

# A line that ends in "refused" is one that a type checker must refuse; it must accept the others.
MODEL = """\
import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Tagger(nn.Module):
    def __init__(self) -> None:
        self.embedding = nn.Embedding(20, 8)
        self.lstm = nn.LSTM(8, 16, bidirectional=True)
        self.gru = nn.GRU(32, 16)
        self.cells = nn.GRUCell(16, 16), nn.LSTMCell(16, 16), nn.MGUCell(16, 16)
        self.head = tg.nn.Sequential(tg.nn.Linear(16, 8), nn.Dropout(0.1), nn.Linear(8, 5))

    def forward(self, ids: tg.Tensor, lengths: list[int]) -> tg.Tensor:
        y, (h, c) = self.lstm(self.embedding(ids), lengths=lengths)
        y, h = self.gru(tg.concat([y, c.sum() * y[..., :0]], axis=-1))
        return tg.softmax(self.head(tg.tanh(y)), axis=-1)

    def step(self, x: tg.Tensor, h: tg.Tensor) -> tg.Tensor:
        gru, lstm, mgu = self.cells
        h, c = lstm(gru(x, h))
        return mgu(h + c)


model = Tagger()
optimizer = tg.optim.Adam(model.parameters(), lr=1e-3)
x = tg.tensor([[1, 2], [3, 4]])
for _ in range(2):
    optimizer.zero_grad()
    loss: tg.Tensor = tg.nn.cross_entropy(model(x, [2, 1]), np.zeros((2, 2), int))
    loss.backward()
    tg.optim.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
shape: tuple[int, ...] = tg.sum(x, axis=0, keepdims=True).shape
inverse: tg.Tensor = tg.linalg.inv(tg.eye(3)).mT
first, *rest = x.unstack(axis=1)
whole: tg.Tensor = tg.where(x > 2, first, 0.0)
(gradient,) = tg.grad(whole.sum(), [x])
steep: tg.Tensor = gradient * 2

tg.softmax("x")  # refused
tg.softmax(x, axes=-1)  # refused
tg.softmax(x, axis="last")  # refused
x.sum(keepdims=0.5)  # refused
model(x)  # refused
model(x, lengths=3)  # refused
model.embedding(ids=x).T()  # refused
model.lstm(x, length=[2])  # refused
number: int = model.head(whole)  # refused
h, c = model.cells[0](whole, (x, x))  # refused
y, h, c = model.lstm(whole)  # refused
tg.nn.Linear("3", 5)  # refused
optimizer.step("now")  # refused
"""


@pytest.mark.parametrize("module", MODULES)
def test_the_stubs_are_those_of_the_operations(module: str) -> None:
    assert path(module).read_text("utf-8") == stub(module), "write them: python -m tests.stubs"


def test_a_users_model_is_accepted_and_wrong_calls_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(tmp_path / "model.py")],
        cwd=ROOT.parent,
        capture_output=True,
        encoding="utf-8",
    )
    wrong = [i for i, line in enumerate(MODEL.splitlines(), 1) if line.endswith("# refused")]
    found = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert sorted({int(line.split(":")[1]) for line in found}) == wrong, done.stdout + done.stderr


def test_modules_that_differ_from_main_are_checked_or_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*command: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *command], check=True, capture_output=True)

    monkeypatch.chdir(tmp_path)
    assert arguments() == ["-p", "tinygrad_rnn"]
    folder = tmp_path / "tinygrad_rnn" / "nn"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "same.py", "edited.py", "committed.py", "removed.py"):
        (folder / name).write_text("")
    git("init", "-b", "main")
    git("add", ".")
    git("commit", "-m", "main")
    git("checkout", "-b", "branch")
    (folder / "committed.py").write_text("1")
    git("commit", "-a", "-m", "branch")
    (folder / "edited.py").write_text("1")
    (folder / "__init__.pyi").write_text("1")
    (folder / "removed.py").unlink()
    changed = ["tinygrad_rnn", *(f"tinygrad_rnn.nn{m}" for m in ("", ".committed", ".edited"))]
    assert arguments() == [part for name in changed for part in ("-m", name)]
