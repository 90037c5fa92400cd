"""Chains of layers from Keras 3's files, and to them: `.keras` and `.weights.h5`.

A `.keras` file is a zip archive: `config.json` has the layers, `model.weights.h5` their weights,
under `layers/NAME/vars` or, of a recurrent layer, `layers/NAME/cell/vars`. Kernels are (inputs,
outputs), the transpose of ours. Gates are stacked i, f, g, o as ours, and z, r, n where ours are
r, z, n. An LSTM has one bias where ours has two.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..errors import InvalidTypeError, InvalidValueError, public
from ..nn import Module
from ..tensor import ops
from .configuration import operation_name, option
from .extras import package
from .files import CheckpointError, open_to_read
from .weights import as_path, write

Array = np.ndarray[Any, Any]

KINDS = {"SimpleRNN": "RNN", "GRU": "GRU", "LSTM": "LSTM"}  # Keras's names, and ours
SNAKE = {"SimpleRNN": "simple_rnn", "GRU": "gru", "LSTM": "lstm", "Bidirectional": "bidirectional",
         "Embedding": "embedding", "Dense": "dense", "LayerNormalization": "layer_normalization",
         "Dropout": "dropout", "Activation": "activation", "InputLayer": "input_layer"}  # fmt: skip
MERGES = {"concat": "concat", "sum": "sum", "mul": "mul", "ave": "mean"}
ACTIVATIONS = {"tanh", "sigmoid", "relu", "softmax", "log_softmax", "softplus", "silu", "gelu",
               "hard_sigmoid", "log_sigmoid"}  # fmt: skip
GRU_ORDER = (1, 0, 2)  # of the other's gates, both ways
LIBRARY = "pip install 'tinygrad_rnn[keras]'"


class Stage(NamedTuple):
    """A layer of a chain: ours, or an operation."""

    what: Any
    sequences: bool  # a recurrent layer: whether it returns all outputs, or the last


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
        recurrent = [layer for layer in layers if isinstance(layer, (nn.RNN, nn.GRU, nn.LSTM))]
        self.sequences = list(sequences)
        if len(self.sequences) != len(recurrent):
            raise InvalidValueError(
                f"KerasChain: sequences: expected a truth for each of the {len(recurrent)} "
                f"recurrent layers, got {len(self.sequences)}"
            )
        if not all(layer.batch_first for layer in recurrent):
            raise InvalidValueError("KerasChain: layers: expected batch_first=True")

    def stages(self) -> Iterator[Stage]:
        """The layers, and whether each returns sequences."""
        sequences = iter(self.sequences)
        for layer in self.layers:
            recurrent = isinstance(layer, (nn.RNN, nn.GRU, nn.LSTM))
            yield Stage(layer, next(sequences) if recurrent else True)

    def forward(self, x: Any) -> Any:
        """**Arguments** x: ids, (B, T), or features, (B, T, F). **Returns** the last output."""
        for layer, sequences in self.stages():
            if not isinstance(layer, (nn.RNN, nn.GRU, nn.LSTM)):
                x = layer(x)
                continue
            x, state = layer(x)
            if not sequences:
                h = state[0] if isinstance(state, tuple) else state
                last = h[-layer.directions :].unstack()
                x = _merged(last, layer.merge)
            elif layer.reverse:
                x = ops.flip(x, axis=1)
        return x


def _merged(parts: Sequence[Any], merge: str | None) -> Any:
    """The last outputs of both directions as one."""
    if len(parts) == 1:
        return parts[0]
    a, b = parts
    if merge in ("concat", None):
        return ops.concat([a, b], axis=-1)
    return a * b if merge == "mul" else (a + b) / 2 if merge == "mean" else a + b


@public
def from_keras(path: str | Path, chain: KerasChain | None = None) -> KerasChain:
    """Builds a chain from a file of Keras 3, or loads its weights.

    It has Embedding, SimpleRNN, GRU, LSTM, Bidirectional, Dense, LayerNormalization, Dropout and
    Activation, in a Sequential or a functional model that is a chain.

    **Arguments** path: a `.keras` file; or `.weights.h5`, with the chain. chain: the layers for
    weights alone; they are replaced. **Returns** the chain, in evaluation mode. **Raises**
    CheckpointError for a damaged file, and naming layers and options that we do not have.
    """
    at = as_path("from_keras", path)
    h5py = package("h5py", "from_keras", LIBRARY)
    try:
        with open_to_read(at) as file:
            raw = file.read()
        if chain is None:
            config, raw = _archive(raw, at)
            specifications = _specifications(config)
        else:
            if not isinstance(chain, KerasChain):
                raise InvalidTypeError(f"from_keras: chain: expected a KerasChain, got {chain!r}")
            specifications = [part for stage in chain.stages() for part in _specification(stage)]
        with h5py.File(BytesIO(raw), "r") as weights:
            return _built(specifications, weights, h5py, len(raw)).eval()
    except (CheckpointError, InvalidTypeError):
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise CheckpointError(f"from_keras: cannot read {path}: {why}") from None
    except Exception as error:  # readers of damaged archives and HDF5 raise what they like
        why = str(error)[:300] or type(error).__name__
        raise CheckpointError(f"from_keras: {path} is damaged or of another kind: {why}") from None


@public
def to_keras(chain: KerasChain, path: str | Path) -> None:
    """Writes a chain as a `.keras` file, or its weights as `.weights.h5`, after the path's end.

    **Raises** InvalidValueError naming what Keras does not have.
    """
    at = as_path("to_keras", path)
    if not isinstance(chain, KerasChain):
        raise InvalidTypeError(f"to_keras: chain: expected a KerasChain, got {chain!r}")
    h5py = package("h5py", "to_keras", LIBRARY)
    specifications = [part for stage in chain.stages() for part in _specification(stage)]
    held, counts, layers = BytesIO(), dict[str, int](), [_input(chain)]
    with h5py.File(held, "w") as file:
        for specification in specifications:
            kind, options, weights = specification
            name = _folder(kind, counts)
            layers.append(_described(kind, {"name": name, **options}))
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
        files.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))
        files.writestr("config.json", json.dumps(config))
        files.writestr("model.weights.h5", held.getvalue())
    write(at, archive.getvalue())


# ---------------------------------------------------------------- reading

Specification = tuple[str, dict[str, Any], dict[str, list[Array]]]  # class, options, weights


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

    def read(folder: str, count: int) -> list[Array]:
        place = file
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
            raise CheckpointError(f"from_keras: layer {config.get('name')}: tg.nn has no {kind}")
        folder = f"layers/{_folder(kind, counts)}"
        who = f"from_keras: layer {config.get('name')} ({kind})"
        if kind == "Embedding":
            _refuse(who, config, mask_zero=False)
            (table,) = read(f"{folder}/vars", 1)
            ours.append(_loaded(nn.Embedding(*table.shape), {"weight": table}))
        elif kind == "Dense":
            w, *b = read(f"{folder}/vars", 1 + bool(config["use_bias"]))
            state = {"weight": w.T, **({"bias": b[0]} if b else {})}
            ours.append(_loaded(nn.Linear(w.shape[0], w.shape[1], bool(b)), state))
            ours += _activation(config.get("activation"), who)
        elif kind == "LayerNormalization":
            _refuse(who, config, center=True, scale=True, rms_scaling=False)
            gain, bias = read(f"{folder}/vars", 2)
            if gain.ndim != 1:
                raise CheckpointError(f"{who}: expected the last axis alone")
            norm = nn.LayerNorm(len(gain), config["epsilon"])
            ours.append(_loaded(norm, {"weight": gain, "bias": bias}))
        elif kind == "Dropout":
            ours.append(nn.Dropout(config["rate"]))
        elif kind == "Activation":
            ours += _activation(config["activation"], who)
        elif kind == "Bidirectional":
            inner = config["layer"]
            merge = config["merge_mode"]
            if inner["class_name"] not in KINDS or merge not in MERGES:
                raise CheckpointError(f"{who}: {inner['class_name']}, merge_mode={merge!r}")
            weights = [
                read(f"{folder}/{way}_layer/cell/vars", 2 + bool(inner["config"]["use_bias"]))
                for way in ("forward", "backward")
            ]
            made = _recurrent(inner["class_name"], inner["config"], weights, who, MERGES[merge])
            ours.append(made)
            sequences.append(bool(inner["config"]["return_sequences"]))
        elif kind in KINDS:
            weights = [read(f"{folder}/cell/vars", 2 + bool(config["use_bias"]))]
            ours.append(_recurrent(kind, config, weights, who, "concat"))
            sequences.append(bool(config["return_sequences"]))
    return KerasChain(ours, sequences)


def _refuse(who: str, config: dict[str, Any], **expected: Any) -> None:
    wrong = [f"{n}={config[n]!r}" for n, v in expected.items() if config.get(n, v) != v]
    if wrong:
        raise CheckpointError(f"{who}: tg.nn has no {', '.join(wrong)}")


def _loaded(module: Any, state: dict[str, Array]) -> Any:
    for name, p in module.named_parameters():
        if p.dtype != state[name].dtype:
            p.move_(str(state[name].dtype))
    module.load_state_dict(state)
    return module


def _activation(name: Any, who: str) -> list[Any]:
    if name in (None, "linear"):
        return []
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise CheckpointError(f"{who}: tg has no activation={name!r}")
    return [getattr(ops, name)]


def _recurrent(
    kind: str, config: dict[str, Any], weights: list[list[Array]], who: str, merge: str
) -> Any:
    """A recurrent layer, with the weights of its directions."""
    _refuse(who, config, stateful=False, dropout=0.0, recurrent_dropout=0.0)
    if len(weights) == 2:
        _refuse(who, config, go_backwards=False)
    if config.get("return_state"):
        raise CheckpointError(f"{who}: tg.nn has no return_state=True in a chain")
    bias = bool(config["use_bias"])
    options: dict[str, Any] = {}
    for theirs in ("activation", "recurrent_activation"):
        name = config.get(theirs)
        if name is not None and name not in ACTIVATIONS - {"softmax", "log_softmax"}:
            raise CheckpointError(f"{who}: tg has no {theirs}={name!r}")
        if theirs in config:
            options["nonlinearity" if kind == "SimpleRNN" else theirs] = name
    if kind == "GRU":
        options["reset_after"] = bool(config["reset_after"])
    features, size = weights[0][0].shape[0], weights[0][1].shape[0]
    layer = getattr(nn, KINDS[kind])(
        features, size, bias=bias, batch_first=True, bidirectional=len(weights) == 2, merge=merge,
        reverse=bool(config.get("go_backwards")), **options,
    )  # fmt: skip
    state: dict[str, Array] = {}
    for way, (w, u, *b) in zip(("", "_reverse"), weights, strict=False):
        state[f"weight_ih_l0{way}"], state[f"weight_hh_l0{way}"] = (
            _gates(kind, w.T),
            _gates(kind, u.T),
        )
        if b:
            both = b[0] if b[0].ndim == 2 else np.stack([b[0], np.zeros_like(b[0])])
            state[f"bias_ih_l0{way}"] = _gates(kind, both[0])
            if kind != "GRU" or options["reset_after"]:
                state[f"bias_hh_l0{way}"] = _gates(kind, both[1])
    return _loaded(layer, state)


def _gates(kind: str, array: Array) -> Array:
    """Stacked gates in the other library's order."""
    if kind != "GRU":
        return array
    parts = np.split(array, 3)
    return np.concatenate([parts[k] for k in GRU_ORDER])


# ---------------------------------------------------------------- writing


def _specification(stage: Stage) -> list[Specification]:
    """A stage as Keras's layer: its class, its options and its weights by folder."""
    layer, kind = stage.what, type(stage.what).__name__
    if name := operation_name(layer):
        if name not in ACTIVATIONS:
            raise InvalidValueError(f"to_keras: Keras has no activation {name!r}")
        return [("Activation", {"activation": name}, {})]
    if kind == "Dropout" and layer.shared_axis is None:
        return [("Dropout", {"rate": layer.p}, {})]
    if kind == "Embedding" and layer.padding_idx is None and not layer.dropout:
        table = layer.weight.numpy()
        config = {"input_dim": table.shape[0], "output_dim": table.shape[1]}
        return [("Embedding", config, {"": [table]})]
    if kind == "Linear":
        arrays = [layer.weight.numpy().T] + ([] if layer.bias is None else [layer.bias.numpy()])
        config = {"units": layer.out_features, "use_bias": len(arrays) == 2}
        return [("Dense", config, {"": arrays})]
    if kind == "LayerNorm":
        arrays = [layer.weight.numpy(), layer.bias.numpy()]
        return [("LayerNormalization", {"epsilon": layer.eps}, {"": arrays})]
    if kind in KINDS.values():
        return [_recurrent_specification(layer, stage.sequences)]
    got = f"{layer!r}".split("\n")[0]
    raise InvalidValueError(f"to_keras: Keras has no {got}")


def _recurrent_specification(layer: Any, sequences: bool) -> Specification:
    kind = next(theirs for theirs, ours in KINDS.items() if ours == type(layer).__name__)
    defaults = {
        "num_layers": 1, "dropout": 0.0, "recurrent_dropout": 0.0, "weight_dropout": 0.0,
        "zoneout": 0.0, "layer_norm": False, "residual": False, "learn_initial": False,
        **({"peephole": False, "coupled_gates": False, "cell_clip": None, "proj_size": 0}
           if kind == "LSTM" else {}),
    }  # fmt: skip
    wrong = [f"{n}={option(layer, n)!r}" for n, v in defaults.items() if option(layer, n) != v]
    config: dict[str, Any] = {"units": layer.hidden_size, "return_sequences": sequences}
    config |= {"go_backwards": True} if layer.reverse else {}
    names = ("nonlinearity",) if kind == "SimpleRNN" else ("activation", "recurrent_activation")
    for name in names:
        value = option(layer, name)
        wrong += [] if value in ACTIVATIONS else [f"{name}={value!r}"]
        config["activation" if name == "nonlinearity" else name] = value
    merges = {ours: theirs for theirs, ours in MERGES.items()}
    wrong += [] if layer.merge in merges else [f"merge={layer.merge!r}"]
    if wrong:
        raise InvalidValueError(
            f"to_keras: {type(layer).__name__}: Keras has no {', '.join(wrong)}"
        )
    config["use_bias"] = option(layer, "bias")
    if kind == "GRU":
        config["reset_after"] = layer.reset_after
    weights = [_recurrent_weights(layer, kind, way) for way in ("", "_reverse")[: layer.directions]]
    if layer.directions == 1:
        return kind, config, {"/cell": weights[0]}
    inner = _described(kind, config)
    folders = {f"/{n}_layer/cell": w for n, w in zip(("forward", "backward"), weights, strict=True)}
    return "Bidirectional", {"merge_mode": merges[layer.merge], "layer": inner}, folders


def _recurrent_weights(layer: Any, kind: str, way: str) -> list[Array]:
    held = {n: p.numpy() for n, p in layer.state_dict().items()}
    arrays = [_gates(kind, held[f"{n}_l0{way}"]).T for n in ("weight_ih", "weight_hh")]
    if f"bias_ih_l0{way}" not in held:
        return arrays
    biases = [_gates(kind, held[n]) for n in (f"bias_ih_l0{way}", f"bias_hh_l0{way}") if n in held]
    if kind == "GRU":
        return [*arrays, np.stack(biases) if len(biases) == 2 else biases[0]]
    return [*arrays, biases[0] + biases[1]]


def _described(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    return {
        "module": "keras.layers", "class_name": kind, "config": config, "registered_name": None
    }  # fmt: skip


def _input(chain: KerasChain) -> dict[str, Any]:
    """The shape of a chain's input: (batch, time), or (batch, time, features)."""
    first = chain.layers[0]
    features = getattr(first, "input_size", getattr(first, "in_features", None))
    shape = [None, None] if isinstance(first, nn.Embedding) else [None, None, features]
    config = {"batch_shape": shape, "dtype": "float32", "name": "input"}
    return _described("InputLayer", config)
