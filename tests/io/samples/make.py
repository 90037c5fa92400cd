"""Makes the sample files of this folder, by the libraries that they come from.

    python -m tests.io.samples.make          # needs those of tests/oracles.txt

The files are committed and stay unchanged: they stand for files that users have kept. A new version
of a format gets new files beside them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import nn

HERE = Path(__file__).parent


def values(*shape: int) -> Any:
    """Numbers that a file must keep: -1.0, -0.9, ... repeated."""
    return ((np.arange(np.prod(shape)) % 21 - 10) / 10).astype("float32").reshape(shape)


def x() -> Any:
    """The input of all samples, (T, B, features) or, with the batch first, (B, T, features)."""
    return values(5, 4, 3)


def layer() -> Any:
    """A layer of ours."""
    made = nn.LSTM(3, 4, bidirectional=True, peephole=True)
    for p in made.parameters():
        p.data = values(*p.shape)
    return made


def ours() -> Any:
    """Files of this package: named tensors, a model, a checkpoint, an ONNX graph."""
    tg.save(HERE / "tensors.safetensors", layer().state_dict())
    tg.io.save_model(HERE / "model-1.safetensors", layer())
    state = {"step": 3, "rates": [0.1, 0.01], "model": layer().state_dict()}
    tg.io.save_checkpoint(HERE / "checkpoint-2", state)
    tg.io.export_onnx(layer(), HERE / "lstm.onnx", x())
    return layer()(tg.tensor(x()))[0].numpy()


def torch() -> Any:
    """A state dict of PyTorch's."""
    import torch as library

    made = library.nn.GRU(3, 4, num_layers=2)
    state = {n: library.from_numpy(values(*p.shape)) for n, p in made.state_dict().items()}
    library.save({"model": state, "epoch": 7}, HERE / "gru.pt")
    made.load_state_dict(state)
    return made(library.from_numpy(x()))[0].detach().numpy()


def keras() -> Any:
    """A model of Keras's, and its weights alone."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as library

    layers = library.layers
    model = library.Sequential([library.Input((None, 3)), layers.Bidirectional(layers.GRU(4))])
    model.set_weights([values(*w.shape) for w in model.weights])
    model.save(HERE / "chain.keras")
    model.save_weights(HERE / "chain.weights.h5")
    return model(x()).detach().numpy()


def flax() -> Any:
    """The parameters of a cell of Flax's, by their paths."""
    import jax
    from flax import linen, traverse_util

    cell = linen.GRUCell(4)
    tree = cell.init(jax.random.PRNGKey(0), values(5, 4), values(5, 3))["params"]
    flat = traverse_util.flatten_dict(tree, sep=".")
    flat = {name: values(*a.shape) for name, a in flat.items()}
    np.savez(HERE / "gru-cell.npz", **flat)
    params = traverse_util.unflatten_dict(flat, sep=".")
    return np.asarray(cell.apply({"params": params}, values(5, 4), values(5, 3))[1])


if __name__ == "__main__":
    outputs = {make.__name__: make() for make in (ours, torch, keras, flax)}
    np.savez(HERE / "outputs.npz", **outputs)
