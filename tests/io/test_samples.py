"""The files of every kind in `samples/` load, with the values that they were made with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import KerasChain, from_flax, from_keras, load_checkpoint, load_model, model

from .samples.make import HERE, layer, values, x


def agree(found: Any, of: str) -> None:
    with np.load(HERE / "outputs.npz") as outputs:
        np.testing.assert_allclose(found.numpy(), outputs[of], rtol=1e-5, atol=1e-6)


def whole(state: Any, count: int) -> None:
    """All tensors have the values that they were made with."""
    assert len(state) == count
    for name, value in state.items():
        np.testing.assert_array_equal(value, values(*value.shape), err_msg=name)


def test_named_tensors() -> None:
    whole(tg.load(HERE / "tensors.safetensors"), 10)


@pytest.mark.parametrize("version", [1, 2])  # a later version reads files of an earlier one
def test_a_model_of_version_1(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "VERSION", version)
    found = load_model(HERE / "model-1.safetensors")
    assert repr(found) == repr(layer())
    whole(found.state_dict(), 10)
    agree(found(tg.tensor(x()))[0], "ours")


def test_a_checkpoint_of_format_2() -> None:
    state = load_checkpoint(HERE / "checkpoint-2")
    assert (state["step"], state["rates"]) == (3, [0.1, 0.01])
    whole(state["model"], 10)


def test_a_file_of_pytorch() -> None:
    state = tg.load(HERE / "gru.pt")
    assert state["epoch"] == 7
    whole(state["model"], 8)
    gru = nn.GRU(3, 4, 2, reset_after=True)
    gru.load_state_dict(state["model"])
    agree(gru(tg.tensor(x()))[0], "torch")


@pytest.mark.oracle
def test_files_of_keras() -> None:
    pytest.importorskip("h5py")
    chain = from_keras(HERE / "chain.keras")
    agree(chain(tg.tensor(x())), "keras")
    gru = nn.GRU(3, 4, batch_first=True, bidirectional=True, reset_after=True)
    same = from_keras(HERE / "chain.weights.h5", KerasChain([gru], [False]))
    agree(same(tg.tensor(x())), "keras")


def test_a_tree_of_flax() -> None:
    tree: dict[str, Any] = {}
    with np.load(HERE / "gru-cell.npz") as flat:
        for name in flat.files:
            part, leaf = name.split(".")
            tree.setdefault(part, {})[leaf] = flat[name]
    agree(from_flax(tree)(tg.tensor(values(5, 3)), tg.tensor(values(5, 4))), "flax")


@pytest.mark.oracle
def test_a_graph_of_onnx() -> None:
    pytest.importorskip("onnx")
    agree(tg.io.import_onnx(HERE / "lstm.onnx")(x())[0], "ours")
