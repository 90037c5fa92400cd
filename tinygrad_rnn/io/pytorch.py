"""Modules and states, from PyTorch and to it.

Names, shapes and gate order of parameters are PyTorch's, so that most weights are copied by name.
Each class is one row of a table: the options that both sides have, and how the rest is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..errors import InvalidTypeError, InvalidValueError, public
from ..nn import Module
from ..optim.optimizers import Optimizer
from ..tensor import ops
from ..tensor.backend import is_array, to_host
from ..tensor.tensor import Tensor
from .configuration import operation_name, option
from .extras import package

ACTIVATIONS = {  # PyTorch's modules without options, and our operations
    "Tanh": "tanh", "ReLU": "relu", "Sigmoid": "sigmoid", "SiLU": "silu",
    "LogSigmoid": "log_sigmoid",
}  # fmt: skip
STACK = (
    "input_size",
    "hidden_size",
    "num_layers",
    "bias",
    "batch_first",
    "dropout",
    "bidirectional",
)
CELL = ("input_size", "hidden_size", "bias")
CONVOLUTION = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
)
BATCH_NORM = ("num_features", "eps", "momentum", "affine", "track_running_stats")
DEFAULTS: dict[str, Any] = {  # of options of ours that PyTorch does not have
    "recurrent_dropout": 0.0, "weight_dropout": 0.0, "dropout_same_mask": False, "zoneout": 0.0,
    "layer_norm": False, "peephole": False, "coupled_gates": False, "cell_clip": None,
    "activation": "tanh", "recurrent_activation": "sigmoid", "residual": False, "merge": "concat",
    "learn_initial": False, "reverse": False, "shared_axis": None, "normalize": "softmax",
}  # fmt: skip


@public
def from_torch(source: Any) -> Any:
    """Builds our module from PyTorch's, or converts a state dict.

    **Arguments** source: a module of `torch.nn`: RNN, GRU, LSTM and their cells, Linear, Embedding,
    LayerNorm, Dropout, MultiheadAttention, activations, Sequential and ModuleList of these; or a
    state dict of a module or an optimizer. It stays as it is.

    **Returns** the module, with copies of the weights and in the same mode; or the dict, with
    Tensors. **Raises** InvalidTypeError, InvalidValueError naming the class or the option that
    we do not have.
    """
    torch = package("torch", "from_torch", "pip install torch")
    if isinstance(source, torch.Tensor):
        return Tensor(_array(source))
    if isinstance(source, Mapping):
        return {name: _states(value, torch) for name, value in source.items()}
    if not isinstance(source, torch.nn.Module):
        raise InvalidTypeError(
            f"from_torch: source: expected a module of torch.nn or a state dict, got {source!r}"
        )
    made = _from(source, torch, "")
    return made.train(source.training) if isinstance(made, Module) else made


@public
def to_torch(source: Any) -> Any:
    """Builds PyTorch's module from ours, or converts an optimizer's state or a state dict.

    **Arguments** source: a module as `from_torch` builds it; one of our optimizers; a state dict.

    **Returns** the module of `torch.nn`, with copies of the weights and in the same mode; the state
    dict that PyTorch's optimizer of the same name loads; or the dict, with PyTorch's tensors.
    **Raises** InvalidValueError naming the options that PyTorch does not have, all of them.
    """
    torch = package("torch", "to_torch", "pip install torch")
    if isinstance(source, Tensor):
        return _tensor(source, torch)
    if isinstance(source, Optimizer):
        return _optimizer(source, torch)
    if isinstance(source, Mapping):
        return {name: _tensors(value, torch) for name, value in source.items()}
    if not isinstance(source, Module):
        raise InvalidTypeError(
            "to_torch: source: expected a module of tg.nn, an optimizer or a state dict, got "
            f"{source!r}"
        )
    return _to(source, torch, "").train(source.training)


# ---------------------------------------------------------------- from PyTorch


def _from(theirs: Any, torch: Any, name: str) -> Any:
    """Our module, or operation, for theirs."""
    kind = type(theirs).__name__
    at = f"{name} " if name else ""
    if type(theirs) is not getattr(torch.nn, kind, None) or kind not in {*MODULES, *ACTIVATIONS}:
        where = f"{type(theirs).__module__}.{kind}"
        raise InvalidTypeError(
            f"from_torch: {at}is a {where}, which tg.nn does not have: build it of modules of "
            "tg.nn, and load its weights: model.load_state_dict(tg.io.from_torch("
            "theirs.state_dict()))"
        )
    if kind not in MODULES:
        return getattr(ops, ACTIVATIONS[kind])
    if kind in ("Sequential", "ModuleList"):
        parts = [_from(part, torch, f"{name}[{i}]") for i, part in enumerate(theirs)]
        return nn.Sequential(*parts) if kind == "Sequential" else nn.ModuleList(parts)
    ours, state = MODULES[kind][0](theirs, f"from_torch: {at}{kind}")
    for key, p in ours._named().items():
        value = state[key]
        if value.dtype != p.dtype:
            p.move_(str(value.dtype))
        p.data = value
        original = dict(theirs.named_parameters()).get(key)
        if original is not None and not original.requires_grad:
            p.requires_grad = False
    return ours.train(theirs.training)


def _refuse(who: str, theirs: Any, **expected: Any) -> None:
    """Refuses options of PyTorch's that we do not have."""
    wrong = [f"{n}={v!r}" for n, want in expected.items() if (v := getattr(theirs, n)) != want]
    if wrong:
        raise InvalidValueError(f"{who}: tg.nn has no {', '.join(wrong)}")


def _copied(theirs: Any) -> dict[str, Any]:
    return {name: _array(p) for name, p in theirs.state_dict().items()}


def _layer_from(theirs: Any, who: str) -> Any:
    kind = type(theirs).__name__
    more: dict[str, Any] = {"GRU": {"reset_after": True}}.get(kind, {})
    if kind == "RNN":
        more = {"nonlinearity": theirs.nonlinearity}
    if kind == "LSTM":
        more = {"proj_size": theirs.proj_size}
    options = {name: getattr(theirs, name) for name in STACK}
    return getattr(nn, kind)(**options, **more), _copied(theirs)


def _cell_from(theirs: Any, who: str) -> Any:
    kind = type(theirs).__name__
    more: dict[str, Any] = {"GRUCell": {"reset_after": True}}.get(kind, {})
    if kind == "RNNCell":
        more = {"nonlinearity": theirs.nonlinearity}
    return getattr(nn, kind)(**{n: getattr(theirs, n) for n in CELL}, **more), _copied(theirs)


def _linear_from(theirs: Any, who: str) -> Any:
    bias = theirs.bias is not None
    return nn.Linear(theirs.in_features, theirs.out_features, bias), _copied(theirs)


def _embedding_from(theirs: Any, who: str) -> Any:
    _refuse(who, theirs, max_norm=None, scale_grad_by_freq=False, sparse=False)
    ours = nn.Embedding(theirs.num_embeddings, theirs.embedding_dim, theirs.padding_idx)
    return ours, _copied(theirs)


def _norm_from(theirs: Any, who: str) -> Any:
    if len(theirs.normalized_shape) != 1 or theirs.weight is None or theirs.bias is None:
        raise InvalidValueError(
            f"{who}: tg.nn normalizes one axis, with weight and bias; got "
            f"normalized_shape={theirs.normalized_shape}, elementwise_affine="
            f"{theirs.elementwise_affine}, bias={theirs.bias is not None}"
        )
    return nn.LayerNorm(theirs.normalized_shape[0], theirs.eps), _copied(theirs)


def _dropout_from(theirs: Any, who: str) -> Any:
    return nn.Dropout(theirs.p), {}


def _plain_from(theirs: Any, who: str) -> Any:
    if type(theirs).__name__ == "GELU":
        return nn.GELU(theirs.approximate), {}
    return getattr(nn, type(theirs).__name__)(), {}


def _convolution_from(theirs: Any, who: str) -> Any:
    _refuse(who, theirs, padding_mode="zeros")
    options = {name: getattr(theirs, name) for name in CONVOLUTION}
    return nn.Conv1d(**options, bias=theirs.bias is not None), _copied(theirs)


def _batch_norm_from(theirs: Any, who: str) -> Any:
    options = {name: getattr(theirs, name) for name in BATCH_NORM}
    return nn.BatchNorm1d(**options), _copied(theirs)


def _attention_from(theirs: Any, who: str) -> Any:
    _refuse(who, theirs, bias_k=None, bias_v=None, add_zero_attn=False, dropout=0.0)
    if theirs.in_proj_bias is None or theirs.kdim != theirs.vdim or theirs.batch_first:
        raise InvalidValueError(
            f"{who}: tg.nn has biases, one memory for keys and values, and time first; got "
            f"bias={theirs.in_proj_bias is not None}, kdim={theirs.kdim}, vdim={theirs.vdim}, "
            f"batch_first={theirs.batch_first}"
        )
    if theirs.in_proj_weight is not None:
        maps = np.split(_array(theirs.in_proj_weight), 3)
    else:
        maps = [_array(getattr(theirs, f"{n}_proj_weight")) for n in "qkv"]
    biases = np.split(_array(theirs.in_proj_bias), 3)
    parts = zip(("query", "key", "value"), maps, biases, strict=True)
    state = {f"{n}.{kind}": v for n, w, b in parts for kind, v in (("weight", w), ("bias", b))}
    state |= {f"out.{n}": _array(p) for n, p in theirs.out_proj.state_dict().items()}
    return nn.MultiHeadAttention(theirs.embed_dim, theirs.kdim, theirs.num_heads), state


# ---------------------------------------------------------------- to PyTorch


def _to(ours: Any, torch: Any, name: str) -> Any:
    """Their module for ours, or for an operation."""
    operation = operation_name(ours)
    for theirs_name, known in ACTIVATIONS.items():
        if operation == known:
            return getattr(torch.nn, theirs_name)()
    at = f"{name} " if name else ""
    kind = "MultiheadAttention" if type(ours) is nn.MultiHeadAttention else type(ours).__name__
    if type(ours) is not getattr(nn, type(ours).__name__, None) or kind not in MODULES:
        got = f"a {type(ours).__name__}" if isinstance(ours, Module) else f"{ours!r}"
        raise InvalidTypeError(
            f"to_torch: {at}is {got}, which torch.nn does not have: build it of modules of "
            "torch.nn, and load its weights: theirs.load_state_dict(tg.io.to_torch("
            "model.state_dict()))"
        )
    if kind in ("Sequential", "ModuleList"):
        parts = [_to(part, torch, f"{name}[{i}]") for i, part in enumerate(ours)]
        return torch.nn.Sequential(*parts) if kind == "Sequential" else torch.nn.ModuleList(parts)
    _check_options(ours, f"to_torch: {at}{type(ours).__name__}")
    theirs, state = MODULES[kind][1](ours, torch)
    for key, value in state.items():
        holder = theirs
        *above, last = key.split(".")
        for part in above:
            holder = getattr(holder, part)
        old = getattr(holder, last)
        setattr(holder, last, torch.nn.Parameter(value, requires_grad=old.requires_grad))
    for key, p in ours._named().items():
        if not p.requires_grad and key in dict(theirs.named_parameters()):
            theirs.get_parameter(key).requires_grad_(False)
    if hasattr(theirs, "flatten_parameters"):
        theirs.flatten_parameters()
    return theirs.train(ours.training)


def _check_options(ours: Module, who: str) -> None:
    """Refuses every option that PyTorch does not have, in one error."""
    wrong = []
    for name, default in DEFAULTS.items():
        try:
            value = option(ours, name)
        except AttributeError:
            continue
        if value != default and not (name == "zoneout" and not any(np.atleast_1d(value))):
            wrong.append(f"{name}={value!r}")
    if type(ours) in (nn.GRU, nn.GRUCell) and not ours.reset_after:  # type: ignore[attr-defined]
        wrong.append("reset_after=False")
    if type(ours) in (nn.RNN, nn.RNNCell) and ours.nonlinearity not in ("tanh", "relu"):  # type: ignore[attr-defined]
        wrong.append(f"nonlinearity={ours.nonlinearity!r}")  # type: ignore[attr-defined]
    if type(ours) is nn.LSTMCell and ours.proj_size:
        wrong.append(f"proj_size={ours.proj_size}")
    if type(ours) is nn.Embedding and ours.dropout:
        wrong.append(f"dropout={ours.dropout}")
    if type(ours) is nn.MultiHeadAttention and ours.hidden_size != ours.query_size:
        wrong.append(f"hidden_size={ours.hidden_size}")
    if wrong:
        raise InvalidValueError(
            f"{who}: PyTorch has no {', '.join(wrong)}: tg.io.export_onnx exports these"
        )


def _same_names(ours: Module, torch: Any) -> dict[str, Any]:
    return {name: _tensor(p, torch) for name, p in ours.state_dict().items()}


def _layer_to(ours: Any, torch: Any) -> Any:
    options = {name: option(ours, name) for name in STACK}
    kind = type(ours).__name__
    more = {"RNN": ("nonlinearity",), "LSTM": ("proj_size",)}.get(kind, ())
    options |= {name: option(ours, name) for name in more}
    return getattr(torch.nn, kind)(**options), _same_names(ours, torch)


def _cell_to(ours: Any, torch: Any) -> Any:
    options = {name: option(ours, name) for name in CELL}
    if type(ours) is nn.RNNCell:
        options["nonlinearity"] = ours.nonlinearity
    return getattr(torch.nn, type(ours).__name__)(**options), _same_names(ours, torch)


def _linear_to(ours: Any, torch: Any) -> Any:
    bias = ours.bias is not None
    return torch.nn.Linear(ours.in_features, ours.out_features, bias), _same_names(ours, torch)


def _embedding_to(ours: Any, torch: Any) -> Any:
    theirs = torch.nn.Embedding(ours.num_embeddings, ours.embedding_dim, ours.padding_idx)
    return theirs, _same_names(ours, torch)


def _norm_to(ours: Any, torch: Any) -> Any:
    return torch.nn.LayerNorm(ours.features, ours.eps), _same_names(ours, torch)


def _dropout_to(ours: Any, torch: Any) -> Any:
    return torch.nn.Dropout(ours.p), {}


def _plain_to(ours: Any, torch: Any) -> Any:
    if type(ours) is nn.GELU:
        return torch.nn.GELU(approximate=ours.approximate), {}
    return getattr(torch.nn, type(ours).__name__)(), {}


def _convolution_to(ours: Any, torch: Any) -> Any:
    options = {name: getattr(ours, name) for name in CONVOLUTION}
    return torch.nn.Conv1d(**options, bias=ours.bias is not None), _same_names(ours, torch)


def _batch_norm_to(ours: Any, torch: Any) -> Any:
    theirs = torch.nn.BatchNorm1d(**{name: option(ours, name) for name in BATCH_NORM})
    state = _same_names(ours, torch)
    dtypes = [value.dtype for value in state.values() if value.is_floating_point()]
    theirs = theirs.to(dtypes[0]) if dtypes else theirs
    theirs.load_state_dict(state)
    return theirs, {}


def _attention_to(ours: Any, torch: Any) -> Any:
    memory = ours.memory_size
    theirs = torch.nn.MultiheadAttention(ours.query_size, ours.heads, kdim=memory, vdim=memory)
    parts = (ours.query, ours.key, ours.value)
    weights = [_tensor(part.weight, torch) for part in parts]
    if theirs.in_proj_weight is not None:
        state = {"in_proj_weight": torch.cat(weights)}
    else:
        names = (f"{n}_proj_weight" for n in "qkv")
        state = dict(zip(names, weights, strict=True))
    state["in_proj_bias"] = torch.cat([_tensor(part.bias, torch) for part in parts])
    state |= {f"out_proj.{n}": _tensor(p, torch) for n, p in ours.out.state_dict().items()}
    return theirs, state


Convert = Callable[..., Any]
MODULES: dict[str, tuple[Convert, Convert]] = {
    **dict.fromkeys(("RNN", "GRU", "LSTM"), (_layer_from, _layer_to)),
    **dict.fromkeys(("RNNCell", "GRUCell", "LSTMCell"), (_cell_from, _cell_to)),
    **dict.fromkeys(("Sequential", "ModuleList"), (_from, _to)),
    **dict.fromkeys(
        ("Tanh", "ReLU", "Sigmoid", "SiLU", "GELU", "Identity"), (_plain_from, _plain_to)
    ),
    "Conv1d": (_convolution_from, _convolution_to),
    "BatchNorm1d": (_batch_norm_from, _batch_norm_to),
    "Linear": (_linear_from, _linear_to),
    "Embedding": (_embedding_from, _embedding_to),
    "LayerNorm": (_norm_from, _norm_to),
    "Dropout": (_dropout_from, _dropout_to),
    "MultiheadAttention": (_attention_from, _attention_to),
}


# ---------------------------------------------------------------- arrays


def _array(theirs: Any) -> np.ndarray[Any, Any]:
    """A copy of a tensor of PyTorch's; bfloat16 becomes float32."""
    found = theirs.detach().cpu()
    if str(found.dtype) == "torch.bfloat16":
        found = found.float()
    return np.array(found.numpy(), order="C")


def _tensor(ours: Any, torch: Any) -> Any:
    """A copy of a Tensor or an array as PyTorch's tensor."""
    return torch.from_numpy(np.array(to_host(ours.data if isinstance(ours, Tensor) else ours)))


def _states(value: Any, torch: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return Tensor(_array(value))
    if isinstance(value, Mapping):
        return {name: _states(inner, torch) for name, inner in value.items()}
    return [_states(inner, torch) for inner in value] if isinstance(value, list) else value


def _tensors(value: Any, torch: Any) -> Any:
    if isinstance(value, Tensor) or is_array(value):
        return _tensor(value, torch)
    if isinstance(value, Mapping):
        return {name: _tensors(inner, torch) for name, inner in value.items()}
    return [_tensors(inner, torch) for inner in value] if isinstance(value, list) else value


def _optimizer(ours: Optimizer, torch: Any) -> dict[str, Any]:
    """An optimizer's state as PyTorch's of the same name has it."""
    kind = type(ours).__name__
    theirs = getattr(torch.optim, kind, None)
    if theirs is None or type(ours).__module__ != Optimizer.__module__:
        raise InvalidTypeError(f"to_torch: torch.optim has no {kind}")
    settings = theirs([torch.zeros(1)]).param_groups[0]
    saved = ours.state_dict()
    count = {"step": torch.tensor(0.0)} if kind == "RMSprop" else {}  # which the rule does not read
    state = {
        int(i): count
        | {n: torch.tensor(float(v)) if n == "step" else _tensors(v, torch) for n, v in s.items()}
        for i, s in saved["state"].items()
        if s
    }
    return {"state": state, "param_groups": [{**settings, **g} for g in saved["param_groups"]]}
