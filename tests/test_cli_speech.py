"""`train speech`: users' .ts files, beside dynamic time warping; exact resuming; errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_rnn.data.ts import read_ts
from tinygrad_rnn.io import load_checkpoint
from tinygrad_rnn.recipes import TASKS_BY_NAME
from tinygrad_rnn.recipes.dtw import dtw

from .commands import Run, predictions, table

SMALL = ["--hidden-size", "10", "--embedding-dim", "8", "--noise", "0.1", "--lr", "0.01"]


def write(name: str, count: int, seed: int = 0) -> None:
    """Waves whose phase between two channels is the label; they begin anywhere, at any speed."""
    rng = np.random.default_rng(seed)
    lines = ["@problemName waves", "@classLabel true left right", "@data"]
    for _ in range(count):
        label, steps = rng.integers(2), rng.integers(8, 20)
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.uniform(0.4, 0.8, steps))
        turn = np.pi / 2 * (1 if label else -1)
        channels = [
            50 + 9 * (np.sin(angle + shift) + rng.normal(0, 0.3, steps)) for shift in (0, turn)
        ]  # fmt: skip
        written = [",".join(f"{x:.4f}" for x in channel) for channel in channels]
        lines.append(":".join([*written, ["left", "right"][label]]))
    Path(name).write_text("\n".join(lines) + "\n")


def test_sequences_of_users_own(run: Run) -> None:
    write("train.ts", 160)
    write("test.ts", 60, seed=1)
    files = ["--data", "train.ts", "--data", "test.ts"]
    said = run("train", "speech", *files, *SMALL, "--quick", "--out", "run")
    found = table(said, 2)
    assert found["gru"] > 95
    assert found["1-NN, DTW"] > found["majority"] + 10
    assert "144 to learn from, 16 for validation, 60 for the test; 8 to 19 steps" in said
    assert "95 % interval of the accuracy of gru: " in said
    records = predictions("test.ts", "run")
    labels = [label for _, label in read_ts("test.ts")]
    right = 100 * np.mean([r["label"] == y for r, y in zip(records, labels, strict=True)])
    assert right == pytest.approx(found["gru"], abs=0.01)
    shown = run("predict", "run", typed=Path("test.ts").read_text()).splitlines()
    assert [line.split()[0] for line in shown] == [record["label"] for record in records]
    predictor: Any = TASKS_BY_NAME["speech"].predictor.from_state(load_checkpoint("run"))
    frames = np.concatenate([predictor.encode(x) for x, _ in read_ts("train.ts")])
    np.testing.assert_allclose(frames.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(frames.std(axis=0), 1, atol=0.05)
    Path("other.ts").write_text("@data\n1,2,3\n")
    said = run("predict", "run", "other.ts", status=2)
    assert "other.ts has 1 channels, but the model reads 2" in said


HEAD = "@classLabel true a b\n@data\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + "1,2:a\n1,x:b\n", "own.ts: row 4, channel 1, step 2: expected a number, got 'x'"),
        (HEAD + "1,2:a\n1,nan:b\n", "own.ts: row 4, channel 1, step 2: missing value"),
        (HEAD + "1,2:a\n1,1e39:b\n", "own.ts: row 4, channel 1, step 2: '1e39' is too large"),
        (HEAD + "1,2:a\n" * 30, "every sequence to learn from has the label 'a'"),
        (HEAD + "1,2:a\n1,2:b\n", "2 items are too few"),
        ("text,label\n", "own.ts: row 1: expected a line of @ or #, until @data"),
        ("@data \xe9\n", "own.ts is not UTF-8"),
    ],
)
def test_files_that_cannot_be_learnt_from(run: Run, content: str, message: str) -> None:
    Path("own.ts").write_bytes(content.encode("latin-1"))
    said = run("train", "speech", "--data", "own.ts", "--out", "run", status=2)
    assert message in said


def test_files_of_other_channels_and_labels(run: Run) -> None:
    write("train.ts", 40)
    Path("test.ts").write_text(HEAD + "1,2:a\n")
    files = ["train", "speech", "--data", "train.ts", "--data", "test.ts", "--out", "run"]
    said = run(*files, status=2)
    assert "test.ts has 1 channels, but" in said
    assert "train.ts has 2" in said
    Path("test.ts").write_text(HEAD + "1,2:1,2:a\n")
    said = run(*files, status=2)
    assert "the training sequences have no label 'a', as others do: add some, or leave" in said


def slow_dtw(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    table = np.full((len(a) + 1, len(b) + 1), np.inf)
    table[0, 0] = 0
    for i in range(len(a)):
        for j in range(len(b)):
            cost = float(np.sum((a[i] - b[j]) ** 2))
            table[i + 1, j + 1] = cost + min(table[i, j], table[i, j + 1], table[i + 1, j])
    return float(table[-1, -1])


def test_warped_distances_are_those_of_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = (
        [rng.normal(size=(n, 3)).astype("float32") for n in rng.integers(1, 9, count)]
        for count in (7, 5)
    )
    monkeypatch.setattr("tinygrad_rnn.recipes.dtw.AT_A_TIME", 100)  # in several parts
    expected = [[slow_dtw(x, y) for y in b] for x in a]
    np.testing.assert_allclose(dtw(a, b), expected, rtol=1e-5, atol=1e-5)
