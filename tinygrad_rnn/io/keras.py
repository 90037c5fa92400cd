"""Chains of layers from Keras 3's files, and to them: `.keras` and `.weights.h5`.

A `.keras` file is a zip archive: `config.json` has the layers, `model.weights.h5` their weights,
under `layers/NAME/vars` or, of a recurrent layer, `layers/NAME/cell/vars`. Layers are
converted in `keras_layers.py`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from ..errors import InvalidTypeError, InvalidValueError, public
from ..nn import Module
from ..nn.recurrent.layer import merged
from ..tensor import ops
from ..tensor.tensor import TensorLike
from .extras import package
from .files import CheckpointError, open_to_read, reading
from .keras_layers import SNAKE, Specification, described, from_layer, to_layer
from .weights import as_path, write

Array = np.ndarray[Any, Any]

LIBRARY = "pip install 'tinygrad_rnn[keras]'"
RECURRENT = (nn.RNN, nn.GRU, nn.LSTM)


class KerasChain(Module):
    """A chain of layers as Keras has it: the batch first, and recurrent layers with one output.

    **Arguments** layers: modules of `tg.nn` and operations; recurrent layers with
    `batch_first=True`. sequences: for each recurrent layer whether it returns the outputs of all
    steps, or those after the last. As Keras's, layers with `reverse=True` give their outputs in the
    order in which they compute them, the last step's first.

    >>> import tinygrad_rnn as tg
    >>> layers = [tg.nn.GRU(3, 4, batch_first=True, bidirectional=True), tg.nn.Linear(8, 2)]
    >>> KerasChain(layers, [False])(tg.zeros((5, 7, 3))).shape
    (5, 2)
    """

    def __init__(self, layers: Sequence[Any], sequences: Sequence[bool] = ()) -> None:
        self.layers = list(layers)
        recurrent = [layer for layer in layers if isinstance(layer, RECURRENT)]
        self.sequences = list(sequences)
        if len(self.sequences) != len(recurrent):
            raise InvalidValueError(
                f"KerasChain: sequences: expected a truth for each of the {len(recurrent)} "
                f"recurrent layers, got {len(self.sequences)}"
            )
        if not all(layer.batch_first for layer in recurrent):
            raise InvalidValueError("KerasChain: layers: expected batch_first=True")

    def stages(self) -> Iterator[tuple[Any, bool | None]]:
        """The layers; of a recurrent one, whether it returns all outputs, or the last."""
        sequences = iter(self.sequences)
        for layer in self.layers:
            yield layer, next(sequences) if isinstance(layer, RECURRENT) else None

    def forward(self, x: TensorLike) -> Any:
        """**Arguments** x: ids, (B, T), or features, (B, T, F). **Returns** the last output."""
        for layer, sequences in self.stages():
            if sequences is None:
                x = layer(x)
                continue
            x, state = layer(x)
            if not sequences:
                h = state[0] if isinstance(state, tuple) else state
                last = h[-layer.directions :].unstack()
                x = merged(last, layer.merge)
            elif layer.reverse:
                x = ops.flip(x, axis=1)
        return x


@public
def from_keras(path: str | Path, chain: KerasChain | None = None) -> KerasChain:
    """Builds a chain from a file of Keras 3, or loads its weights.

    It reads Embedding, SimpleRNN, GRU, LSTM, Bidirectional, Dense, LayerNormalization, Dropout and
    Activation, in a Sequential or a functional model that is a chain.

    **Arguments** path: a `.keras` file; or `.weights.h5`, with the chain. chain: the layers of a
    `.weights.h5`, which has weights alone. **Returns** a new chain, in evaluation mode. **Raises**
    CheckpointError for a damaged file, and naming layers and options that we do not have.

    >>> import h5py, tempfile, tinygrad_rnn as tg
    >>> chain = tg.io.KerasChain([tg.nn.GRU(2, 3, batch_first=True, reset_after=True)], [True])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.io.to_keras(chain, f"{folder}/chain.keras")
    ...     again = tg.io.from_keras(f"{folder}/chain.keras")
    >>> again(tg.zeros((5, 7, 2))).shape
    (5, 7, 3)
    """
    at = as_path("from_keras", path)
    if not (chain is None or isinstance(chain, KerasChain)):
        raise InvalidTypeError(f"from_keras: chain: expected a KerasChain, got {chain!r}")
    h5py = package("h5py", "from_keras", LIBRARY)
    with reading(path, "from_keras: ", "of another kind"):
        with open_to_read(at) as file:
            raw = file.read()
        if chain is None:
            if raw.startswith(b"\x89HDF"):
                raise CheckpointError(
                    f"from_keras: {path} is an HDF5 file: pass the layers for weights alone, "
                    "from_keras(path, chain); a whole model is saved in Keras by "
                    "model.save('model.keras')"
                )
            config, raw = _archive(raw, at)
            specifications = _specifications(config)
        else:
            specifications = [to_layer(*stage) for stage in chain.stages()]
        with h5py.File(BytesIO(raw), "r") as weights:
            return _built(specifications, weights, h5py, len(raw)).eval()


@public
def to_keras(chain: KerasChain, path: str | Path) -> None:
    """Writes a chain as a `.keras` file, or its weights as `.weights.h5`, after the path's end.

    **Raises** InvalidValueError naming what Keras does not have.

    >>> import h5py, tempfile, tinygrad_rnn as tg
    >>> chain = tg.io.KerasChain([tg.nn.GRU(2, 3, batch_first=True, reset_after=True)], [True])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.io.to_keras(chain, f"{folder}/chain.keras")
    ...     again = tg.io.from_keras(f"{folder}/chain.keras")
    >>> again(tg.zeros((5, 7, 2))).shape
    (5, 7, 3)
    """
    at = as_path("to_keras", path)
    if not isinstance(chain, KerasChain):
        raise InvalidTypeError(
            f"to_keras: chain: expected a KerasChain, got {type(chain).__name__}: "
            "tg.io.KerasChain([layer, ...], sequences=[False]) makes one"
        )
    if not at.name.endswith((".keras", ".weights.h5")):
        raise InvalidValueError(
            f"to_keras: path: expected one that ends in .keras or .weights.h5, got {at.name!r}"
        )
    h5py = package("h5py", "to_keras", LIBRARY)
    held, counts, layers = BytesIO(), dict[str, int](), [_input(chain)]
    with h5py.File(held, "w") as file:
        for stage in chain.stages():
            kind, options, weights = to_layer(*stage)
            name = _folder(kind, counts)
            layers.append(described(kind, {"name": name, **options}))
            for place, arrays in weights.items():
                group = file.create_group(f"layers/{name}{place}/vars")
                for i, array in enumerate(arrays):
                    group[str(i)] = array
    if at.name.endswith(".h5"):
        write(at, held.getvalue())
        return
    config = {"module": "keras", "class_name": "Sequential", "registered_name": None,
              "config": {"name": "chain", "layers": layers}}  # fmt: skip
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for name, contents in (
            ("metadata.json", json.dumps({"keras_version": "3.0.0"})),
            ("config.json", json.dumps(config)),
            ("model.weights.h5", held.getvalue()),
        ):
            files.writestr(zipfile.ZipInfo(name), contents)  # without the time of day
    write(at, archive.getvalue())


# ---------------------------------------------------------------- reading


def _archive(raw: bytes, path: Path) -> tuple[Any, bytes]:
    with zipfile.ZipFile(BytesIO(raw)) as archive:
        for name in ("config.json", "model.weights.h5"):
            info = archive.getinfo(name)
            if info.file_size > max(1 << 20, 20 * info.compress_size):
                raise CheckpointError(f"from_keras: {path}: {name} is compressed too much")
        return json.loads(archive.read("config.json")), archive.read("model.weights.h5")


def _specifications(config: Any) -> list[Specification]:
    """The layers of a chain, in order."""
    kind, layers = config["class_name"], config["config"]["layers"]
    if kind not in ("Sequential", "Functional"):
        raise CheckpointError(f"from_keras: a {kind} is no chain of layers")
    outputs = config["config"].get("output_layers", [])
    if len(outputs) > 1 and isinstance(outputs[0], list):
        raise CheckpointError(f"from_keras: a chain has one output, and this model {len(outputs)}")
    before = None
    found: list[Specification] = []
    for layer in layers:
        name = layer["config"].get("name")
        if kind == "Functional" and layer["class_name"] != "InputLayer":
            nodes = json.dumps(layer["inbound_nodes"])
            if len(layer["inbound_nodes"]) != 1 or nodes.count("keras_history") != 1 or (
                json.dumps(before) not in nodes
            ):  # fmt: skip
                raise CheckpointError(f"from_keras: layer {name}: the model is no chain of layers")
        before = name
        found.append((layer["class_name"], layer["config"], {}))
    return found


def _folder(kind: str, counts: dict[str, int]) -> str:
    """The folder of a layer's weights."""
    name = SNAKE[kind]
    counts[name] = counts.get(name, -1) + 1
    return f"{name}_{counts[name]}" if counts[name] else name


def _built(layers: list[Specification], file: Any, h5py: Any, size: int) -> KerasChain:
    counts: dict[str, int] = {}
    ours: list[Any] = []
    sequences: list[bool] = []

    def read(layer: str, part: str, count: int) -> list[Array]:
        place, folder = file, f"{layer}{part}/vars"
        for part in folder.split("/"):
            if not isinstance(place.get(part, getlink=True), h5py.HardLink):
                raise CheckpointError(f"from_keras: the file has no {folder}")
            place = place[part]
        arrays = []
        for i in range(count):
            if not isinstance(place.get(str(i), getlink=True), h5py.HardLink):
                raise CheckpointError(f"from_keras: the file has no {folder}/{i}")
            data = place[str(i)]
            if data.external or data.is_virtual or data.nbytes > size or data.dtype.kind != "f":
                raise CheckpointError(f"from_keras: {folder}/{i} is no array of reals in the file")
            arrays.append(np.array(data))
        return arrays

    for kind, config, _ in layers:
        if kind not in SNAKE:
            raise CheckpointError(
                f"from_keras: layer {config.get('name')}: a {kind} is not converted: expected a "
                f"chain of {', '.join(sorted({*SNAKE} - {'InputLayer'}))}"
            )
        folder = f"layers/{_folder(kind, counts)}"
        who = f"from_keras: layer {config.get('name')} ({kind})"
        found, whole = from_layer(kind, config, partial(read, folder), who)
        ours += found
        sequences += whole
    return KerasChain(ours, sequences)


# ---------------------------------------------------------------- writing


def _input(chain: KerasChain) -> dict[str, Any]:
    """The shape of a chain's input: (batch, time), or (batch, time, features)."""
    first = chain.layers[0]
    features = getattr(first, "input_size", getattr(first, "in_features", None))
    shape = [None, None] if isinstance(first, nn.Embedding) else [None, None, features]
    config = {"batch_shape": shape, "dtype": "float32", "name": "input"}
    return described("InputLayer", config)
