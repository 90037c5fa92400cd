"""A module as a tree of classes and options in JSON, and back.

    {"class": "Sequential", "items": [
        {"class": "Linear", "options": {"in_features": 3, "out_features": 4, "bias": true}},
        {"operation": "tanh"}]}

Options are the arguments of the class's constructor, read from attributes of the same names. A tree
names classes of `tg.nn`, and classes that the reader passes; it never imports anything.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .. import nn
from ..errors import InvalidTypeError, InvalidValueError, TinygradRnnError
from ..nn import Module, options
from ..tensor import ops
from ..tensor.tensor import Tensor
from .files import CheckpointError

Tree = dict[str, Any]

CLASSES: dict[str, type[Module]] = {
    name: found
    for name in nn.__all__
    if isinstance(found := getattr(nn, name), type) and issubclass(found, Module)
}
DEPTH = 50  # of modules in modules


def option(module: Module, name: str) -> Any:
    """The value of an option of a module: of its constructor's argument of that name.

    **Raises** AttributeError if the module does not know it.
    """
    reader = READERS.get((type(module), name))
    if reader is not None:
        return reader(module)
    value = options.option(module, name)
    if type(module) is nn.Seq2Seq and isinstance(value, nn.Bridge):
        return None  # the constructor builds it
    return value.p if name == "dropout" and isinstance(value, nn.Dropout) else value


READERS: dict[tuple[type, str], Callable[[Any], Any]] = {
    (nn.ModuleDict, "modules"): lambda m: dict(m.items()),
    (nn.Decoder, "tied"): lambda m: m.head.weight is m.embedding.weight,
    (nn.Decoder, "copy"): lambda m: m.pointer is not None,
    (nn.Pointer, "features"): lambda m: m.gate.in_features,
    (nn.LocationAttention, "filters"): lambda m: m.filters.out_features,
}


def operation_name(value: object) -> str:
    """The name of an operation of ours, or of a copy of one; empty for anything else."""
    name = getattr(value, "name", getattr(value, "__name__", ""))
    if not isinstance(name, str) or name not in ops.__all__:
        return ""
    ours = getattr(ops, name)
    return name if getattr(value, "forward", value) is getattr(ours, "forward", ours) else ""


# ---------------------------------------------------------------- writing


def described(module: Module, config: Mapping[str, Any] | None = None) -> Tree:
    """A module as a tree.

    **Arguments** config: the options of a class of the user's own; None to read them from its
    attributes. **Raises** InvalidTypeError, InvalidValueError naming what a file cannot hold.
    """
    kind = type(module)
    own = CLASSES.get(kind.__name__) is not kind
    tree: Tree = {"class": kind.__name__, **({"own": True} if own else {})}
    if config is not None:
        if not isinstance(config, Mapping):
            raise InvalidTypeError(
                "save_model: config: expected the constructor's arguments by name, as a dict, got "
                f"{type(config).__name__}"
            )
        try:
            inspect.signature(kind).bind(**config)
        except TypeError as error:
            raise InvalidTypeError(f"save_model: config: {kind.__name__}: {error}") from None
        return {**tree, "options": {n: _encoded(v, f"config: {n}") for n, v in config.items()}}
    if isinstance(module, nn.ModuleList) and kind in (nn.ModuleList, nn.Sequential):
        return {**tree, "items": [_encoded(item, f"{kind.__name__}[{i}]")
                                  for i, item in enumerate(module)]}  # fmt: skip
    found: Tree = {}
    for name, parameter in options.arguments(kind).items():
        if kind is nn.Recurrent and name == "cell":
            found["cells"] = [_encoded(cell, "Recurrent: cell") for cell in module.cells]  # type: ignore[attr-defined]
            continue
        try:
            value = option(module, name)
        except AttributeError:
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue  # no attribute: they are passed on to a base class
            raise InvalidTypeError(
                f"save_model: {kind.__name__}: the constructor takes {name!r}, but there is no "
                f"attribute of that name to read it from: assign self.{name} in __init__, or pass "
                f"config={{{name!r}: ...}}"
            ) from None
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise InvalidTypeError(
                f"save_model: {kind.__name__}: {name!r} cannot be passed by name, as load_model "
                f"does: let __init__ take {name}, a list"
            )
        if parameter.kind is parameter.VAR_KEYWORD:
            options_by_name = value if isinstance(value, Mapping) else {name: value}
            found |= {n: _encoded(v, f"{kind.__name__}: {n}") for n, v in options_by_name.items()}
            continue
        found[name] = _encoded(value, f"{kind.__name__}: {name}")
    return {**tree, "options": found}


def _encoded(value: object, what: str) -> Any:
    """A value in JSON's types."""
    if isinstance(value, Module):
        return described(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValueError(f"save_model: {what}: expected a finite number, got {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return {"tuple": [_encoded(v, what) for v in value]}
    if isinstance(value, list):
        return [_encoded(v, what) for v in value]
    if isinstance(value, frozenset | set):
        return [_encoded(v, what) for v in sorted(value)]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {"dict": {n: _encoded(v, f"{what}[{n!r}]") for n, v in value.items()}}
    if name := operation_name(value):
        return {"operation": name}
    got = "a Tensor" if isinstance(value, Tensor) else f"{value!r}"
    raise InvalidTypeError(
        f"save_model: {what}: a file holds numbers, words, modules and operations of tg by name, "
        f"not {got}: write a module of your own instead of a function"
    )


# ---------------------------------------------------------------- reading


def classes(cls: Any) -> dict[str, type]:
    """Classes of the reader's own by name. **Arguments** cls: a class, several, or None."""
    listed = [] if cls is None else list(cls) if isinstance(cls, Iterable) else [cls]
    for given in listed:
        if not isinstance(given, type):
            raise InvalidTypeError(
                f"load_model: cls: expected a class, or a list of classes; got {given!r}"
            )
    return {given.__name__: given for given in listed}


def built(tree: object, own: Mapping[str, type], most: int, depth: int = 0) -> Any:
    """The module of a tree.

    **Arguments** own: classes of the reader's own by name. most: the largest size that may be an
    option, before anything is allocated for it. **Raises** CheckpointError for JSON that is no
    tree, for a class that is unknown, and for options that do not fit.
    """
    if depth > DEPTH:
        raise CheckpointError(f"its modules are nested over {DEPTH} deep")
    if not isinstance(tree, dict) or not isinstance(name := tree.get("class"), str):
        raise CheckpointError("its configuration has a module without a class")
    kind: Any = (own if tree.get("own") or name in own else CLASSES).get(name)
    if kind is None:
        raise CheckpointError(
            f"it is of class {name}, which tg.nn does not have: pass it, load_model(path, "
            f"cls={name})"
        )
    try:
        if "items" in tree:
            items = [_decoded(item, own, most, depth) for item in tree["items"]]
            return kind(*items) if issubclass(kind, nn.Sequential) else kind(items)
        passed = {n: _decoded(v, own, most, depth) for n, v in tree["options"].items()}
        if kind in CLASSES.values():
            for n, v in passed.items():
                for number in v if isinstance(v, tuple) else (v,):
                    if type(number) is int and abs(number) > most:
                        raise CheckpointError(f"{name}: {n}={number} is larger than the file")
        if kind is nn.Recurrent:
            return _recurrent(passed)
        return kind(**passed)
    except CheckpointError:
        raise
    except (TinygradRnnError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"its options do not fit {name}: {error}") from error


def _recurrent(passed: Tree) -> nn.Recurrent:
    cells = passed.pop("cells")
    if len(cells) == 1:
        return nn.Recurrent(cells[0], **passed)
    following = iter(cells)
    return nn.Recurrent(lambda features: next(following), **passed)


def _decoded(value: object, own: Mapping[str, type], most: int, depth: int) -> Any:
    if isinstance(value, list):
        return [_decoded(v, own, most, depth + 1) for v in value]
    if not isinstance(value, dict):
        return value
    if "class" in value:
        return built(value, own, most, depth + 1)
    if "tuple" in value:
        return tuple([_decoded(v, own, most, depth + 1) for v in value["tuple"]])
    if "dict" in value:
        return {n: _decoded(v, own, most, depth + 1) for n, v in value["dict"].items()}
    name = value.get("operation")
    if not isinstance(name, str) or name not in ops.__all__:
        raise CheckpointError(f"its configuration has {str(value)[:60]}, which is no value")
    return getattr(ops, name)
