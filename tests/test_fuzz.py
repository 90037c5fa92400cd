"""The fuzzer covers what is public, notices what it is there for, and finds nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import data, io
from tinygrad_rnn.nn import decoding, init, utils

from .fuzz.__main__ import fuzz
from .fuzz.calls import Call, drawn, templates
from .fuzz.outcome import difference, made

# Nothing to pass, or not to be called by a user.
LEFT_OUT = {
    "no_grad", "enable_grad", "detect_anomaly", "default_device", "get_num_threads", "Tensor",
    "operation", "Module", "StateDictError", "Attention", "Memory", "Hypothesis", "Vocabulary",
    "Schedule", "Optimizer", "Batch", "default_text", "python_topics", "shakespeare", "read_text",
    "BPEVocabulary", "VOCABULARIES", "PAD", "START", "END", "UNKNOWN", "without_blanks",
    "read_lines", "lines", "lock_checkpoint", "Dataset", "IterableDataset", "Subset",
    "PadSequences",
}  # fmt: skip


@pytest.mark.parametrize("module", [tg, tg.nn, decoding, init, utils, tg.optim, data, io])
def test_everything_public_is_drawn(module: Any) -> None:
    covered = {word for name in templates() for word in name.replace(".", " ").split()}
    public = {
        name
        for name in getattr(module, "__all__", [n for n in dir(module) if n.endswith("_")])
        if callable(thing := getattr(module, name)) and not name.startswith("_")
        if not (isinstance(thing, type) and issubclass(thing, Exception))
        if getattr(thing, "__module__", "tinygrad_rnn").startswith("tinygrad_rnn")
    }
    assert public <= covered | LEFT_OUT


def test_the_same_seed_is_the_same_call() -> None:
    for i, (name, template) in enumerate(templates().items()):
        once, again = drawn(name, template, i), drawn(name, template, i)
        assert once.replaced == again.replaced
        assert once.arguments.keys() == again.arguments.keys()


def planted(run: Any, replaced: list[str] | None = None) -> str:
    """What is said of a call that does something."""
    x = np.ones(2)
    return made(Call("planted", run, {"x": x}, replaced or ["x"])).fault


def test_faults_that_were_planted_are_found() -> None:
    def foreign(a: Any) -> None:
        raise KeyError("x")

    def unnamed(a: Any) -> None:
        raise tg.ShapeError("something is wrong")

    def changes(a: Any) -> None:
        a["x"] += 1

    def inner(a: Any) -> None:
        raise tg.ShapeError("planted: mse_loss: x: expected 3 elements")

    def right(a: Any) -> Any:
        raise tg.ShapeError("planted: x: expected 3 elements")

    assert planted(foreign).startswith("foreign KeyError")
    assert "names neither" in planted(unnamed)
    assert "that was not called" in planted(inner)
    assert planted(changes) == "an argument was changed"
    assert planted(right) == ""
    assert planted(lambda a: a["x"] * 2) == ""
    assert made(Call("planted", right, {"x": np.ones(2)})).fault.startswith("a valid call was")
    one, other = (
        made(Call("planted", lambda a, k=k: a["x"] * k, {"x": np.ones(2)})) for k in (1, 1.1)
    )
    assert difference(one, other)
    assert not difference(one, one)


def test_calls_end_in_a_right_value_or_in_an_error_that_says_what_is_wrong() -> None:
    counts, faults = fuzz(2000)
    assert not faults, "\n".join(faults[:10])
    assert counts["value"] > 400
    assert counts["error"] > 400
