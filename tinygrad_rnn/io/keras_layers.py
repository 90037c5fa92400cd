"""Layers of Keras and ours: their options and weights, in both directions.

`conventions.py` converts kernels and gates. An LSTM has one bias where ours has two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn
from ..errors import InvalidValueError
from ..nn.module import Module
from ..nn.options import option, plain_options
from ..nn.recurrent.layers import BuiltInLayer
from ..tensor import ops
from .configuration import operation_name
from .conventions import KERAS, OURS, converted
from .files import CheckpointError

Array = np.ndarray[Any, Any]
Specification = tuple[str, dict[str, Any], dict[str, list[Array]]]  # class, options, weights

KINDS = {"SimpleRNN": "RNN", "GRU": "GRU", "LSTM": "LSTM"}  # Keras's names, and ours
SNAKE = {"SimpleRNN": "simple_rnn", "GRU": "gru", "LSTM": "lstm", "Bidirectional": "bidirectional",
         "Embedding": "embedding", "Dense": "dense", "LayerNormalization": "layer_normalization",
         "Dropout": "dropout", "Activation": "activation", "InputLayer": "input_layer"}  # fmt: skip
MERGES = {"concat": "concat", "sum": "sum", "mul": "mul", "ave": "mean"}
ACTIVATIONS = {"tanh", "sigmoid", "relu", "softmax", "log_softmax", "softplus", "silu", "gelu",
               "hard_sigmoid", "log_sigmoid"}  # fmt: skip
RECURRENT = {  # options that Keras has, and others that change nothing in a trained layer
    "input_size", "hidden_size", "bias", "batch_first", "bidirectional", "reverse", "merge",
    "nonlinearity", "activation", "recurrent_activation", "reset_after",
    "forget_bias", "dropout_same_mask",
}  # fmt: skip
WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

# ---------------------------------------------------------------- from Keras


def from_layer(
    kind: str, config: dict[str, Any], read: Callable[[str, int], list[Array]], who: str
) -> tuple[list[Any], list[bool]]:
    """Our modules and operations for a layer of Keras's; whether a recurrent one gives sequences.

    **Arguments** read: a number of arrays from a folder of the layer's.
    """
    ours: list[Any] = []
    sequences: list[bool] = []
    if kind == "Embedding":
        _refuse(who, config, mask_zero=False)
        (table,) = read("", 1)
        ours.append(_loaded(nn.Embedding(*table.shape), {"weight": table}))
    elif kind == "Dense":
        w, *b = read("", 1 + bool(config["use_bias"]))
        state = {"weight": w.T, **({"bias": b[0]} if b else {})}
        ours.append(_loaded(nn.Linear(w.shape[0], w.shape[1], bool(b)), state))
        ours += _activation(config.get("activation"), who)
    elif kind == "LayerNormalization":
        _refuse(who, config, center=True, scale=True, rms_scaling=False)
        gain, bias = read("", 2)
        if gain.ndim != 1:
            raise CheckpointError(f"{who}: expected the last axis alone")
        norm = nn.LayerNorm(len(gain), config["epsilon"])
        ours.append(_loaded(norm, {"weight": gain, "bias": bias}))
    elif kind == "Dropout":
        ours.append(nn.Dropout(config["rate"]))
    elif kind == "Activation":
        ours += _activation(config["activation"], who)
    elif kind in KINDS or kind == "Bidirectional":
        name, options, merge, places = kind, config, "concat", ["/cell"]
        if kind == "Bidirectional":
            name, options = config["layer"]["class_name"], config["layer"]["config"]
            merge, places = config["merge_mode"], ["/forward_layer/cell", "/backward_layer/cell"]
        if name not in KINDS or merge not in MERGES:
            raise CheckpointError(f"{who}: {name}, merge_mode={merge!r}")
        weights = [read(place, 2 + bool(options["use_bias"])) for place in places]
        ours.append(_recurrent(name, options, weights, who, MERGES[merge]))
        sequences.append(bool(options["return_sequences"]))
    return ours, sequences


def _refuse(who: str, config: dict[str, Any], **expected: Any) -> None:
    wrong = [f"{n}={config[n]!r}" for n, v in expected.items() if config.get(n, v) != v]
    if wrong:
        raise CheckpointError(f"{who}: tg.nn has no {', '.join(wrong)}")


def _loaded(module: Module, state: dict[str, Array]) -> Any:
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
        found = {"weight_ih": w, "weight_hh": u}
        if b:
            both = b[0] if b[0].ndim == 2 else np.stack([b[0], np.zeros_like(b[0])])
            found["bias_ih"] = both[0]
            if kind != "GRU" or options["reset_after"]:
                found["bias_hh"] = both[1]
        state |= {
            f"{name}_l0{way}": converted(KINDS[kind], array, KERAS, OURS)
            for name, array in found.items()
        }
    return _loaded(layer, state)


# ---------------------------------------------------------------- to Keras


def to_layer(layer: Any, sequences: bool | None) -> Specification:
    """Keras's layer for a module or an operation: its class, its options, its weights by folder."""
    kind = type(layer).__name__
    if name := operation_name(layer):
        if name not in ACTIVATIONS:
            raise InvalidValueError(f"to_keras: Keras has no activation {name!r}")
        return "Activation", {"activation": name}, {}
    if kind == "Dropout" and layer.shared_axis is None:
        return "Dropout", {"rate": layer.p}, {}
    if kind == "Embedding" and layer.padding_idx is None and not layer.dropout:
        table = layer.weight.numpy()
        config = {"input_dim": table.shape[0], "output_dim": table.shape[1]}
        return "Embedding", config, {"": [table]}
    if kind == "Linear":
        arrays = [layer.weight.numpy().T] + ([] if layer.bias is None else [layer.bias.numpy()])
        config = {"units": layer.out_features, "use_bias": len(arrays) == 2}
        return "Dense", config, {"": arrays}
    if kind == "LayerNorm":
        arrays = [layer.weight.numpy(), layer.bias.numpy()]
        return "LayerNormalization", {"epsilon": layer.eps}, {"": arrays}
    if kind in KINDS.values():
        return _recurrent_specification(layer, sequences)
    got = f"{layer!r}".split("\n")[0]
    raise InvalidValueError(f"to_keras: Keras has no {got}")


def _recurrent_specification(layer: Any, sequences: bool | None) -> Specification:
    kind = next(theirs for theirs, ours in KINDS.items() if ours == type(layer).__name__)
    changed = plain_options(layer, changed=True).items()
    wrong = [f"{name}={value!r}" for name, value in changed if name not in RECURRENT]
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
    inner = described(kind, config)
    folders = {f"/{n}_layer/cell": w for n, w in zip(("forward", "backward"), weights, strict=True)}
    back = described(
        kind, {**config, "go_backwards": True}
    )  # derived by Keras, it may be another model's
    both = {"merge_mode": merges[layer.merge], "layer": inner, "backward_layer": back}
    return "Bidirectional", both, folders


def _recurrent_weights(layer: BuiltInLayer, kind: str, way: str) -> list[Array]:
    """Kernel, recurrent kernel and bias of a direction."""
    ours = ((n, layer.state_dict().get(f"{n}_l0{way}")) for n in WEIGHTS)
    held = {n: converted(KINDS[kind], p.numpy(), OURS, KERAS) for n, p in ours if p is not None}
    *arrays, first, second = [*held.values(), None, None][:4]
    if first is None:
        return arrays
    if second is None:
        return [*arrays, first]
    return [*arrays, np.stack([first, second]) if kind == "GRU" else first + second]


def described(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """The description of a layer in a file."""
    return {
        "module": "keras.layers", "class_name": kind, "config": config, "registered_name": None
    }  # fmt: skip
