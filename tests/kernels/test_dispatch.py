"""Which implementation runs: the one that is picked, or the one that the environment names."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import dispatch, reference


def test_backwards_runs_what_ran_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def noted(name: str) -> Any:
        def run(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return getattr(reference, name)(*args, **options)

        return run

    other: Any = SimpleNamespace(**{n: noted(n) for n in ("rnn_forward", "rnn_backward")})
    asked: list[Any] = []

    def pick(xp: Any, floats: Any) -> Any:
        asked.append((xp, [None if a is None else a.shape for a in floats]))
        return other

    monkeypatch.setattr(dispatch, "pick", pick)
    x, h, w = (tg.ones(s, requires_grad=True) for s in ((2, 1, 3), (1, 3), (3, 3)))
    y, _ = tg.rnn(x, h, w, w, reverse=True)
    monkeypatch.undo()
    y.sum().backward()
    assert calls == ["rnn_forward", "rnn_backward"]
    assert asked == [(np, [(2, 1, 3), (1, 3), (3, 3), (3, 3), None, None, None, None])]


def test_a_constant_that_requires_grad_is_refused_not_left_out() -> None:
    x, h, w = (tg.ones(s, requires_grad=True) for s in ((2, 1, 3), (1, 3), (3, 3)))
    mask = tg.ones((1, 3), requires_grad=True)
    with pytest.raises(TypeError, match="h_mask is a constant, but requires grad: detach") as told:
        tg.rnn(x, h, w, w, h_mask=mask)
    assert str(told.value).startswith("rnn: ")
    with tg.no_grad():
        tg.rnn(x, h, w, w, h_mask=mask)


def run(value: str) -> subprocess.CompletedProcess[str]:
    code = "from tinygrad_rnn import kernels; print(kernels.describe())"
    env = {**os.environ, "TINYGRAD_RNN_KERNELS": value}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)


def test_the_environment_names_one_for_everything() -> None:
    assert run("reference").stdout.startswith("reference")
    wrong = run("fastest")
    assert wrong.returncode != 0
    assert "TINYGRAD_RNN_KERNELS: expected one of reference" in wrong.stderr
