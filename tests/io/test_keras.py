"""Chains of layers go to Keras's files and back."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.io import CheckpointError, KerasChain, from_keras, to_keras

h5py: Any = pytest.importorskip("h5py")
pytestmark = pytest.mark.oracle
COUNT = 100


def drawn(seed: int) -> tuple[KerasChain, Any]:
    """A chain with drawn layers, options and weights, and its input."""
    rng = np.random.default_rng(seed)

    def of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    layers: list[Any] = []
    x: Any = rng.normal(size=(2, 5, 3)).astype("float32")
    if of(0, 1):
        layers, x = [nn.Embedding(7, 3)], rng.integers(0, 7, (2, 5))
    features, sequences = 3, [True] * of(0, 1) + [of(False, True)]
    for _ in sequences:
        kind, size, both = of(nn.RNN, nn.GRU, nn.LSTM), of(2, 4), of(False, True)
        options: dict[str, Any] = {"bias": of(True, True, False), "batch_first": True,
                                   "bidirectional": both}  # fmt: skip
        if both:
            options["merge"] = of("concat", "sum", "mean", "mul")
        else:
            options["reverse"] = of(False, False, True)
        if kind is nn.RNN:
            options["nonlinearity"] = of("tanh", "relu", "sigmoid")
        else:
            options |= {"activation": of("tanh", "relu"),
                        "recurrent_activation": of("sigmoid", "hard_sigmoid")}  # fmt: skip
        if kind is nn.GRU:
            options["reset_after"] = of(False, True)
        layers.append(kind(features, size, **options))
        features = size * (2 if both and options["merge"] == "concat" else 1)
    layers += of([], [nn.LayerNorm(features, 1e-3)], [nn.Dropout(0.3)])
    layers += of([], [nn.Linear(features, 2), tg.softmax], [nn.Linear(features, 3, False), tg.tanh])
    chain = KerasChain(layers, sequences).eval()
    for name, p in chain.named_parameters():
        p.data = rng.normal(size=p.shape) * (0 if "bias_hh" in name and _one_bias(chain, p) else 1)
    return chain, x


def _one_bias(chain: KerasChain, p: Any) -> bool:
    """Whether Keras has no such bias, so that it cannot come back."""
    gru = [layer for layer in chain.layers if isinstance(layer, nn.GRU)]
    return not any(p is q for layer in gru for q in layer.parameters())


def same(back: KerasChain, chain: KerasChain) -> None:
    ours, theirs = chain.state_dict(), back.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        np.testing.assert_array_equal(theirs[name].numpy(), value.numpy(), strict=True)


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_chain_comes_back_bit_for_bit(seed: int, tmp_path: Path) -> None:
    chain, x = drawn(seed)
    to_keras(chain, tmp_path / "m.keras")
    back = from_keras(tmp_path / "m.keras")
    same(back, chain)
    assert back(tg.tensor(x)).tolist() == chain(tg.tensor(x)).tolist()
    to_keras(chain, tmp_path / "m.weights.h5")
    same(from_keras(tmp_path / "m.weights.h5", drawn(seed)[0]), chain)


@pytest.fixture(scope="session")
def keras() -> Any:
    """Keras on PyTorch, whose gradients are compared with ours."""
    os.environ["KERAS_BACKEND"] = "torch"
    pytest.importorskip("torch")
    return pytest.importorskip("keras")


def agree(chain: KerasChain, theirs: Any, keras: Any, x: Any, folder: Path) -> None:
    """Outputs, gradients of x and gradients of all weights are equal."""
    import torch

    given = torch.tensor(x, requires_grad=x.dtype.kind == "f")
    expected = theirs(given)
    (expected * expected).sum().backward()
    own = tg.tensor(x, requires_grad=x.dtype.kind == "f")
    y = chain(own)
    (y * y).sum().backward()
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5)
    if own.requires_grad:
        np.testing.assert_allclose(own.grad.numpy(), given.grad.numpy(), rtol=1e-3, atol=1e-4)
    for name, p in chain.named_parameters():  # gradients in the place of weights
        p.data = p.grad.numpy() * (0 if "bias_hh" in name and _one_bias(chain, p) else 1)
    to_keras(chain, folder / "gradients.keras")
    slopes = keras.saving.load_model(folder / "gradients.keras")
    assert len(slopes.weights) == len(theirs.weights)
    for slope, w in zip(slopes.weights, theirs.weights, strict=True):
        found, wanted = slope.value.detach().numpy(), w.value.grad.numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4, err_msg=w.path)


@pytest.mark.filterwarnings("ignore")  # of Keras itself
@pytest.mark.parametrize("seed", range(COUNT))
def test_keras_computes_the_same(seed: int, keras: Any, tmp_path: Path) -> None:
    chain, x = drawn(seed)
    to_keras(chain, tmp_path / "m.keras")
    theirs = keras.saving.load_model(tmp_path / "m.keras")
    theirs.save(tmp_path / "b.keras")
    same(from_keras(tmp_path / "b.keras"), chain)
    agree(chain, theirs, keras, x, tmp_path)


def theirs_drawn(seed: int, keras: Any) -> tuple[Any, Any]:
    """A model that Keras makes, sequential or functional, and its input."""
    rng = np.random.default_rng(seed)

    def of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    layers, ids = keras.layers, of(True, False)
    x: Any = rng.integers(0, 7, (2, 5)) if ids else rng.normal(size=(2, 5, 3)).astype("float32")
    parts = [layers.Embedding(7, 3)] if ids else []
    sequences = [True] * of(0, 1) + [of(False, True)]
    for whole in sequences:
        kind = of(layers.SimpleRNN, layers.GRU, layers.LSTM)
        options: dict[str, Any] = {"use_bias": of(True, True, False), "return_sequences": whole}
        options["activation"] = of("tanh", "relu", "softplus", "silu")
        if kind is not layers.SimpleRNN:
            options["recurrent_activation"] = of("sigmoid", "hard_sigmoid", "tanh")
        if kind is layers.GRU:
            options["reset_after"] = of(False, True)
        layer = kind(of(2, 4), bias_initializer="random_normal", **options)
        if of(False, True):
            layer = layers.Bidirectional(layer, merge_mode=of("concat", "sum", "mul", "ave"))
        parts.append(layer)
    parts += of([], [layers.LayerNormalization(epsilon=1e-3)], [layers.Dropout(0.3)])
    parts += of([], [layers.Dense(3, activation=of("softmax", None, "gelu"))],
                [layers.Dense(2), layers.Activation("sigmoid")])  # fmt: skip
    shape = (None,) if ids else (None, 3)
    if of(True, False):
        return keras.Sequential([keras.Input(shape, dtype="int32" if ids else None), *parts]), x
    start = found = keras.Input(shape, dtype="int32" if ids else None)
    for part in parts:
        found = part(found)
    return keras.Model(start, found), x


@pytest.mark.filterwarnings("ignore")  # of Keras itself
@pytest.mark.parametrize("seed", range(COUNT))
def test_models_that_keras_makes_compute_the_same_here(
    seed: int, keras: Any, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(seed)
    theirs, x = theirs_drawn(seed, keras)
    theirs.save(tmp_path / "m.keras")
    chain = from_keras(tmp_path / "m.keras")
    weights = [w.value.detach().numpy() for w in theirs.weights]
    to_keras(chain, tmp_path / "b.keras")
    back = keras.saving.load_model(tmp_path / "b.keras").weights
    for w, ours in zip(weights, back, strict=True):
        np.testing.assert_array_equal(ours.value.detach().numpy(), w)
    theirs.save_weights(tmp_path / "m.weights.h5")
    same(from_keras(tmp_path / "m.weights.h5", from_keras(tmp_path / "m.keras")), chain)
    agree(chain, theirs, keras, x, tmp_path)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
def test_keras_masks_are_ours(kind: str, tmp_path: Path) -> None:
    """Outputs are those of zero_output_for_mask=True, which Bidirectional always sets."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras: Any = pytest.importorskip("keras")
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(3, 6, 2)).astype("float32"), rng.random((3, 6)) > 0.4
    mask[2] = False
    made = getattr(keras.layers, kind)
    for way in ("forwards", "backwards", "both"):
        options = {"return_sequences": True, "zero_output_for_mask": True}
        theirs = made(4, go_backwards=way == "backwards", **options)
        theirs = keras.layers.Bidirectional(theirs) if way == "both" else theirs
        keras.Sequential([keras.Input((6, 2)), theirs]).save(tmp_path / "m.keras")
        expected = np.array(theirs(x, mask=mask).tolist())
        y = from_keras(tmp_path / "m.keras").layers[0](x, mask=mask)[0].numpy()
        y = y[:, ::-1] if way == "backwards" else y
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def write(path: Path, layers: Any, kind: str = "Sequential", weights: Any = None) -> None:
    to_keras(KerasChain([nn.Linear(2, 3)]), path)
    with zipfile.ZipFile(path) as archive:
        raw = archive.read("model.weights.h5") if weights is None else weights
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "config.json", json.dumps({"class_name": kind, "config": {"layers": layers}})
        )
        archive.writestr("model.weights.h5", raw)


def layer(kind: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "one", **config}}


GRU = {"use_bias": True, "reset_after": True, "return_sequences": True, "activation": "tanh"}
REFUSED: list[tuple[Any, str]] = [
    ([layer("Conv2D")], "layer one: a Conv2D is not converted"),
    ([layer("GRU", **GRU)], "the file has no layers/gru"),
    ([layer("Dense", use_bias=True, activation="mish")], "tg has no activation='mish'"),
    ([layer("Dense", use_bias=True, activation={"class_name": "Own"})], "activation={'class_name'"),
    ([layer("Embedding", mask_zero=True)], "tg.nn has no mask_zero=True"),
    ([layer("Bidirectional", merge_mode=None, layer=layer("GRU", **GRU))], "merge_mode=None"),
    ([layer("Bidirectional", merge_mode="sum", layer=layer("GRU", go_backwards=True, **GRU))],
     "the file has no layers"),
    ([{"config": {"name": "x"}}], "class_name"),
    ([3], "damaged"), (3, "damaged"),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "words"), REFUSED)
def test_what_we_lack_is_named(layers: Any, words: str, tmp_path: Path) -> None:
    write(tmp_path / "m.keras", layers)
    with pytest.raises(CheckpointError, match=words):
        from_keras(tmp_path / "m.keras")


def test_graphs_that_are_no_chains_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "m.keras", [], "Own")
    with pytest.raises(CheckpointError, match="a Own is no chain"):
        from_keras(tmp_path / "m.keras")
    nodes = [{"args": [{"keras_history": ["a"]}, {"keras_history": ["b"]}]}]
    write(tmp_path / "m.keras", [{**layer("Dense"), "inbound_nodes": nodes}], "Functional")
    with pytest.raises(CheckpointError, match="no chain of layers"):
        from_keras(tmp_path / "m.keras")


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (KerasChain([nn.LSTM(2, 3, peephole=True, zoneout=0.1, batch_first=True)], [True]),
         "zoneout=0.1, peephole=True"),
        (KerasChain([nn.MGUCell(2, 3)]), "Keras has no MGUCell"),
        (KerasChain([tg.erf]), "no activation 'erf'"),
        (KerasChain([nn.Embedding(2, 3, padding_idx=0)]), "Keras has no Embedding"),
    ],
)  # fmt: skip
def test_what_keras_lacks_is_named(chain: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(tg.InvalidValueError, match=f"to_keras: .*{words}"):
        to_keras(chain, tmp_path / "m.keras")
    assert not list(tmp_path.iterdir())


def test_what_to_type_for_other_files_and_models(tmp_path: Path) -> None:
    chain = KerasChain([nn.Linear(2, 3)])
    to_keras(chain, tmp_path / "m.weights.h5")
    with pytest.raises(CheckpointError, match=r"from_keras\(path, chain\).*model\.save"):
        from_keras(tmp_path / "m.weights.h5")
    with pytest.raises(ValueError, match=r"ends in \.keras or \.weights\.h5, got 'm\.h4'"):
        to_keras(chain, tmp_path / "m.h4")
    wrong: Any = nn.Sequential(nn.Linear(2, 3))
    with pytest.raises(TypeError, match=r"got Sequential: tg\.io\.KerasChain\("):
        to_keras(wrong, tmp_path / "m.keras")


@pytest.mark.filterwarnings("ignore:__array__")
def test_a_functional_model_with_two_outputs_is_no_chain(tmp_path: Path, keras: Any) -> None:
    x = keras.Input((5, 3))
    first = keras.layers.Dense(4)(x)
    keras.Model(x, [first, keras.layers.Dense(2)(first)]).save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError, match="a chain has one output, and this model 2"):
        from_keras(tmp_path / "m.keras")


def test_a_file_has_the_same_bytes_at_another_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, files = KerasChain([nn.Linear(2, 3)]), [tmp_path / "a.keras", tmp_path / "b.keras"]
    for year, file in zip((2001, 2031), files, strict=True):
        moment = time.struct_time((year, 1, 1, 0, 0, 0, 0, 1, 0))
        monkeypatch.setattr(time, "localtime", lambda *_, moment=moment: moment)
        to_keras(chain, file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_links_to_other_files_are_not_followed(tmp_path: Path) -> None:
    to_keras(KerasChain([nn.Linear(2, 3)]), tmp_path / "other.weights.h5")
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file["layers"] = h5py.ExternalLink(str(tmp_path / "other.weights.h5"), "/layers")
    with pytest.raises(CheckpointError, match="the file has no layers/dense"):
        from_keras(tmp_path / "m.weights.h5", KerasChain([nn.Linear(2, 3)]))
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", (2**40, 2**10), "f4", chunks=(1, 1))
    with pytest.raises(CheckpointError, match="no array of reals in the file"):
        from_keras(tmp_path / "m.weights.h5", KerasChain([nn.Linear(2, 3)]))


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps({}) + " " * 50_000_000)
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(CheckpointError, match="compressed too much"):
        from_keras(tmp_path / "m.keras")
    (tmp_path / "m.keras").write_bytes(b"PK words")
    with pytest.raises(CheckpointError, match="damaged"):
        from_keras(tmp_path / "m.keras")
