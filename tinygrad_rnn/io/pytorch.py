"""Modules and states, from PyTorch and to it.

Names, shapes and gate order of parameters are PyTorch's, so that most weights are copied by name.
Each class is a row of a table: the options that both sides have, and those that only one has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from ..errors import InvalidTypeError, InvalidValueError, public
from ..nn import Module
from ..nn.options import option, plain_options
from ..optim.optimizers import Optimizer
from ..tensor import ops, tree
from ..tensor.backend import to_host
from ..tensor.tensor import Tensor
from .configuration import operation_name
from .extras import package
from .model import tie

ACTIVATIONS = {  # PyTorch's modules without options, and our operations
    "Tanh": "tanh", "ReLU": "relu", "Sigmoid": "sigmoid", "SiLU": "silu",
    "LogSigmoid": "log_sigmoid",
}  # fmt: skip
STACK = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout",
         "bidirectional")  # fmt: skip
CELL = ("input_size", "hidden_size", "bias")


class Row(NamedTuple):
    """A class of both sides.

    **Attributes** options: arguments of both constructors. ours: options of ours, with the value
    that PyTorch's class has. theirs: options of PyTorch's, with the value that our class has.
    """

    options: tuple[str, ...] = ()
    ours: Mapping[str, Any] = MappingProxyType({})
    theirs: Mapping[str, Any] = MappingProxyType({})


ROWS = {
    "RNN": Row((*STACK, "nonlinearity")),
    "GRU": Row(STACK, {"reset_after": True}),
    "LSTM": Row((*STACK, "proj_size")),
    "RNNCell": Row((*CELL, "nonlinearity")),
    "GRUCell": Row(CELL, {"reset_after": True}),
    "LSTMCell": Row(CELL),
    "Linear": Row(("in_features", "out_features", "bias")),
    "Embedding": Row(
        ("num_embeddings", "embedding_dim", "padding_idx"), {},
        {"max_norm": None, "scale_grad_by_freq": False, "sparse": False},
    ),
    "LayerNorm": Row(("features", "eps")),
    "Dropout": Row(("p",)),
    **dict.fromkeys(("Conv1d", "Conv2d"), Row(
        ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups",
         "bias"), {}, {"padding_mode": "zeros"},
    )),
    "Flatten": Row(("start_dim", "end_dim")),
    "BatchNorm1d": Row(("num_features", "eps", "momentum", "affine", "track_running_stats")),
    "GELU": Row(("approximate",)),
    **dict.fromkeys(("Tanh", "ReLU", "Sigmoid", "SiLU", "Identity"), Row()),
    "MultiheadAttention": Row(  # whose options and parameters have other names
        ("query_size", "memory_size", "heads", "hidden_size"), {},
        {"bias_k": None, "bias_v": None, "add_zero_attn": False, "dropout": 0.0}
    ),
}  # fmt: skip
CHAINS = ("Sequential", "ModuleList", "ModuleDict")


@public
def from_torch(source: Any) -> Any:
    """Builds our module from PyTorch's, or converts a state dict.

    **Arguments** source: a module of `torch.nn`: RNN, GRU, LSTM and their cells, Linear, Embedding,
    LayerNorm, BatchNorm1d, Conv1d, Conv2d, Flatten, Dropout, MultiheadAttention, activations, and
    Sequential, ModuleList and ModuleDict of these; or a state dict. It stays as it is. Shared
    modules and tied parameters are so here, too.

    **Returns** the module, with copies of the weights and in the same mode; or the dict, with
    Tensors. **Raises** InvalidTypeError, InvalidValueError naming the class or the option that
    we do not have.

    >>> import torch, tinygrad_rnn as tg
    >>> tg.io.from_torch(torch.nn.LSTM(2, 3))
    LSTM(2, 3)
    """
    torch = package("torch", "from_torch", "pip install torch")
    if isinstance(source, torch.Tensor | Mapping):
        return _states(dict(source) if isinstance(source, Mapping) else source, torch)
    if isinstance(source, torch.optim.Optimizer):
        raise InvalidTypeError(
            "from_torch: source: an optimizer's state loads as it is: "
            "optimizer.load_state_dict(theirs.state_dict())"
        )
    if not isinstance(source, torch.nn.Module):
        raise InvalidTypeError(
            f"from_torch: source: expected a module of torch.nn or a state dict, got {source!r}"
        )
    ours = _converted(source, (torch.nn, nn), partial(_from, torch=torch), "", {})
    if isinstance(ours, Module):
        _tie(dict(source.named_parameters(remove_duplicate=False)), ours)
        ours.train(source.training)
    return ours


@public
def to_torch(source: Any) -> Any:
    """Builds PyTorch's module from ours, or converts an optimizer's state or a state dict.

    **Arguments** source: a module as `from_torch` builds it; one of our optimizers; a state dict.

    **Returns** the module of `torch.nn`, with copies of the weights and in the same mode; the state
    dict that PyTorch's optimizer of the same name loads; or the dict, with PyTorch's tensors.
    **Raises** InvalidValueError naming the options that PyTorch does not have, all of them.

    >>> import torch, tinygrad_rnn as tg
    >>> tg.io.to_torch(tg.nn.LSTM(2, 3))
    LSTM(2, 3)
    """
    torch = package("torch", "to_torch", "pip install torch")
    if isinstance(source, Optimizer):
        return _optimizer(source, torch)
    if isinstance(source, Tensor | Mapping):
        return _tensors(dict(source) if isinstance(source, Mapping) else source, torch)
    if not isinstance(source, Module):
        raise InvalidTypeError(
            "to_torch: source: expected a module of tg.nn, an optimizer or a state dict, got "
            f"{source!r}"
        )
    theirs = _converted(source, (nn, torch.nn), partial(_to, torch=torch), "", {})
    _tie(source._named(), theirs)
    return theirs.train(source.training)


def _converted(
    source: Any, sides: tuple[Any, Any], one: Callable[..., Any], name: str, made: dict[int, Any]
) -> Any:
    """The other side's module for one of this side: one for each, however often it occurs.

    **Arguments** sides: `nn` and `torch.nn`, this one first. one: converts what is no container.
    """
    if id(source) in made:
        return made[id(source)]
    kind, (here, there) = type(source).__name__, sides
    if kind not in CHAINS or type(source) is not getattr(here, kind):
        found = one(source, name)
    else:
        items = source.items() if kind == "ModuleDict" else enumerate(source)
        parts = {k: _converted(p, sides, one, f"{name}[{k!r}]", made) for k, p in items}
        if kind == "ModuleDict":
            found = there.ModuleDict(parts)
        else:
            each = parts.values()
            found = there.Sequential(*each) if kind == "Sequential" else there.ModuleList(each)
    made[id(source)] = found
    return found


def _tie(named: Mapping[str, Any], made: Any) -> None:
    """Ties those parameters of the other side's module that are one parameter of this side's."""
    first: dict[int, str] = {}
    for name, p in named.items():
        earlier = first.setdefault(id(p), name)
        if earlier == name:
            continue
        if isinstance(made, Module):
            tie(made, earlier, name, "convert the module")
            continue
        above, _, last = name.rpartition(".")
        try:
            setattr(made.get_submodule(above), last, made.get_parameter(earlier))
        except AttributeError:
            raise InvalidValueError(
                f"to_torch: {earlier!r} and {name!r} are one parameter, and PyTorch's module has "
                "them in a larger one: untie them"
            ) from None


# ---------------------------------------------------------------- from PyTorch


def _from(theirs: Any, name: str, torch: Any) -> Any:
    """Our module, or operation, for theirs."""
    kind = type(theirs).__name__
    at = f"{name} " if name else "source "
    if type(theirs) is not getattr(torch.nn, kind, None) or kind not in ROWS | ACTIVATIONS:
        where = f"{type(theirs).__module__}.{kind}"
        raise InvalidTypeError(
            f"from_torch: {at}is a {where}, which is not converted: build it of modules of "
            "tg.nn, and load its weights: model.load_state_dict(tg.io.from_torch("
            "theirs.state_dict()))"
        )
    if kind not in ROWS:
        return getattr(ops, ACTIVATIONS[kind])
    who, row = f"from_torch: {name} {kind}".replace("  ", " "), ROWS[kind]
    wrong = [f"{n}={v!r}" for n, want in row.theirs.items() if (v := getattr(theirs, n)) != want]
    if wrong:
        raise InvalidValueError(f"{who}: tg.nn has no {', '.join(wrong)}")
    if kind == "MultiheadAttention":
        ours, state = _attention_from(theirs, who)
    else:
        options = {name: _read(theirs, name, who) for name in row.options}
        ours = getattr(nn, kind)(**options, **row.ours)
        state = {name: _array(p) for name, p in theirs.state_dict().items()}
    for key, p in ours._named().items():
        value = state[key]
        if value.dtype != p.dtype:
            p.move_(str(value.dtype))
        p.data = value
        original = dict(theirs.named_parameters()).get(key)
        if original is not None and not original.requires_grad:
            p.requires_grad = False
    return ours.train(theirs.training)


def _read(theirs: Any, name: str, who: str) -> Any:
    """An option of a module of PyTorch's, by our name."""
    if name == "features":
        if len(theirs.normalized_shape) != 1 or theirs.weight is None or theirs.bias is None:
            raise InvalidValueError(
                f"{who}: tg.nn normalizes one axis, with weight and bias; got "
                f"normalized_shape={theirs.normalized_shape}, elementwise_affine="
                f"{theirs.elementwise_affine}, bias={theirs.bias is not None}"
            )
        return theirs.normalized_shape[0]
    value = getattr(theirs, name)
    return value if name != "bias" or isinstance(value, bool) else value is not None


def _attention_from(theirs: Any, who: str) -> Any:
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


def _to(ours: Any, name: str, torch: Any) -> Any:
    """Their module for ours, or for an operation."""
    operation = operation_name(ours)
    for theirs_name, known in ACTIVATIONS.items():
        if operation == known:
            return getattr(torch.nn, theirs_name)()
    at = f"{name} " if name else "source "
    kind = "MultiheadAttention" if type(ours) is nn.MultiHeadAttention else type(ours).__name__
    if type(ours) is not getattr(nn, type(ours).__name__, None) or kind not in ROWS:
        got = f"a {type(ours).__name__}" if isinstance(ours, Module) else f"{ours!r}"
        raise InvalidTypeError(
            f"to_torch: {at}is {got}, which is not converted: build it of modules of "
            "torch.nn, and load its weights: theirs.load_state_dict(tg.io.to_torch("
            "model.state_dict()))"
        )
    who = f"to_torch: {name} {type(ours).__name__}".replace("  ", " ")
    _check_options(ours, who, ROWS[kind])
    if kind == "MultiheadAttention":
        theirs, state = _attention_to(ours, torch)
    else:
        options = {name: option(ours, name) for name in ROWS[kind].options}
        if "features" in options:
            options["normalized_shape"] = options.pop("features")
        theirs = getattr(torch.nn, kind)(**options)
        state = {name: _tensor(p, torch) for name, p in ours.state_dict().items()}
    dtypes = [value.dtype for value in state.values() if value.is_floating_point()]
    theirs = theirs.to(dtypes[0]) if dtypes else theirs
    theirs.load_state_dict(state)
    for key, p in ours._named().items():
        if not p.requires_grad and key in dict(theirs.named_parameters()):
            theirs.get_parameter(key).requires_grad_(False)
    if hasattr(theirs, "flatten_parameters"):
        theirs.flatten_parameters()
    return theirs.train(ours.training)


def _check_options(ours: Module, who: str, row: Row) -> None:
    """Refuses every option that PyTorch does not have, in one error."""
    found = plain_options(ours, changed=True)
    known = {*row.options, *row.ours, "forget_bias"}  # the last is where a bias starts
    known |= set() if np.any(np.atleast_1d(found.get("zoneout", 0))) else {"zoneout"}
    values = {n: option(ours, n) for n, v in row.ours.items() if option(ours, n) != v}
    values |= {n: v for n, v in found.items() if n not in known}
    wrong = [f"{name}={value!r}" for name, value in values.items()]
    if type(ours) in (nn.RNN, nn.RNNCell) and ours.nonlinearity not in ("tanh", "relu"):  # type: ignore[attr-defined]
        wrong.append(f"nonlinearity={ours.nonlinearity!r}")  # type: ignore[attr-defined]
    if type(ours) is nn.MultiHeadAttention and ours.hidden_size != ours.query_size:
        wrong.append(f"hidden_size={ours.hidden_size}")
    if wrong:
        raise InvalidValueError(
            f"{who}: PyTorch has no {', '.join(wrong)}: tg.io.export_onnx exports these"
        )


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


# ---------------------------------------------------------------- arrays


def _array(theirs: Any) -> np.ndarray[Any, Any]:
    """A copy of a tensor of PyTorch's; bfloat16 becomes float32."""
    if theirs.is_meta or str(theirs.layout) != "torch.strided":
        kind = "no elements (device 'meta')" if theirs.is_meta else f"layout {theirs.layout}"
        raise InvalidValueError(
            f"from_torch: a tensor {list(theirs.shape)} has {kind}: expected a dense one with "
            "elements"
        )
    found = theirs.detach().cpu()
    if str(found.dtype) == "torch.bfloat16":
        found = found.float()
    return np.array(found.numpy(), order="C")


def _tensor(ours: Any, torch: Any) -> Any:
    """A copy of a Tensor or an array as PyTorch's tensor."""
    return torch.from_numpy(np.array(to_host(ours.data if isinstance(ours, Tensor) else ours)))


def _states(value: Any, torch: Any) -> Any:
    """A tree with copies of PyTorch's tensors as Tensors; ours stay."""

    def is_theirs(leaf: Any) -> bool:
        return isinstance(leaf, torch.Tensor)

    leaves = tree.leaves(value, leaf=is_theirs)
    ours = (Tensor(_array(leaf)) if is_theirs(leaf) else leaf for leaf in leaves)
    return tree.filled(value, ours, is_theirs)


def _tensors(value: Any, torch: Any) -> Any:
    """A tree with copies of Tensors and arrays as PyTorch's tensors."""
    return tree.mapped(lambda leaf: _tensor(leaf, torch), value)


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
