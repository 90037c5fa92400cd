"""A model in one file: its weights as safetensors, its class and options in the metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InvalidTypeError, public
from ..nn import Module, ModuleDict
from ..nn.module import limited
from ..nn.state_dict import StateDictError
from ..tensor.backend import default_device, parse
from ..tensor.creation import as_tensor
from ..tensor.tensor import Tensor
from .configuration import built, classes, described
from .files import CheckpointError
from .header import Header, mapped, read_header
from .weights import as_path, load, to_bytes, write

FORMAT = "tinygrad_rnn.model"
VERSION = 1
LEAST = 100_000  # that an option may be, however small the file


@public
def save_model(path: str | Path, model: Module, *, config: Mapping[str, Any] | None = None) -> None:
    """Saves a model in a file, atomically: its class, its options and its weights.

    Options are read from attributes with the names of the constructor's arguments. Tied parameters
    are tied again by `load_model`. The file is in the safetensors format, for any program that
    reads it.

    **Arguments** path: by custom it ends in `.safetensors`. model: of `tg.nn`, or of a class of
    your own. config: the constructor's arguments; None to read them from the model.

    **Raises** InvalidTypeError for an option that is not an attribute, or that a file cannot hold;
    CheckpointError if writing fails: an existing file keeps its contents.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(f"{folder}/m.safetensors", tg.nn.LSTM(3, 4, bidirectional=True))
    ...     load_model(f"{folder}/m.safetensors")
    LSTM(3, 4, bidirectional=True)
    """
    at = as_path("save_model", path)
    if not isinstance(model, Module):
        raise InvalidTypeError(
            f"save_model: model: expected a module, got {type(model).__name__}: tg.save saves "
            "named tensors, tg.io.save_checkpoint a training"
        )
    groups: dict[int, list[str]] = {}
    for name, p in model._named().items():
        groups.setdefault(id(p), []).append(name)
    metadata = {
        "format": FORMAT,
        "version": str(VERSION),
        "config": json.dumps(described(model, config), allow_nan=False),
        "tied": json.dumps([names for names in groups.values() if len(names) > 1]),
    }
    write(at, to_bytes(model.state_dict(), metadata))


@public
def load_model(path: str | Path, *, cls: Any = None, device: str | None = None) -> Any:
    """Loads a model from a file of `save_model`.

    Its weights are mapped into memory: they are read when they are used, and writing to them does
    not change the file.

    **Arguments** path: the file. cls: the model's class, or several that occur in it, if `tg.nn`
    does not have them: a file names classes and never imports any. device: where the weights go;
    the default device, if None.

    **Returns** the model. **Raises** CheckpointError for a file that is missing, damaged, of
    another format or of a newer version; StateDictError listing the tensors that do not fit.

    >>> import tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.io.save_model(f"{folder}/gru.safetensors", tg.nn.GRU(2, 3))
    ...     tg.io.load_model(f"{folder}/gru.safetensors")
    GRU(2, 3)
    """
    at, own = as_path("load_model", path), classes(cls)
    target = default_device() if device is None else device
    parse(target)  # refuses what is no device
    try:
        model = _loaded(at, own)
    except CheckpointError as error:
        raise CheckpointError(f"load_model: {error}") from None
    return model.to(target)


def _loaded(at: Path, own: Mapping[str, type]) -> Module:
    header = read_header(at)
    tree, tied = _metadata(at, header)
    try:
        with limited(size := 8 * sum(entry.size for entry in header.entries.values())):
            model = built(tree, own, max(size, LEAST))
    except (CheckpointError, MemoryError) as error:
        why = str(error) or "there is not enough memory"
        raise CheckpointError(f"cannot build the model in {at}: {why}") from None
    if not isinstance(model, Module):
        raise CheckpointError(f"cannot build the model in {at}: {type(model).__name__} is none")
    for first, *others in tied:
        for other in others:
            tie(model, first, other, f"build the model in {at}")
    arrays = mapped(at, header.entries)
    try:
        _fill(model, arrays)
    except StateDictError as error:
        raise StateDictError(f"load_model: {at}: {error}") from None
    return model


def _fill(model: Module, arrays: Mapping[str, Any]) -> None:
    """Gives a model the arrays of a file themselves, not copies, in the file's dtypes."""
    parameters = model._named()
    shapes = {name: p.shape for name, p in parameters.items()}
    reals = all(array.dtype.kind == "f" for array in arrays.values())
    first: dict[int, Any] = {id(p): arrays.get(name) for name, p in reversed(parameters.items())}
    tied = {n: first[id(p)] for n, p in parameters.items() if first[id(p)] is not arrays.get(n)}
    differ = any(not np.array_equal(arrays.get(n, 0), a, equal_nan=True) for n, a in tied.items())
    if differ or not reals or shapes != {name: array.shape for name, array in arrays.items()}:
        tensors = {name: as_tensor(array, device="cpu") for name, array in arrays.items()}
        model.load_state_dict(tensors)  # lists what does not fit
        return
    for name, p in parameters.items():
        p._overwrite(p._leaf("load_model"), arrays[name], None)  # .data = ... would copy


def _metadata(path: Path, header: Header) -> tuple[Any, list[list[str]]]:
    """The configuration of a file, and its groups of tied names."""
    metadata = header.metadata
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has tensors, but no model of tg.io.save_model: tg.load(path) reads the "
            "tensors, and model.load_state_dict takes them"
        )
    version = metadata.get("version", "")
    if not version.isascii() or not version.isdigit() or not 1 <= int(version[:9]) <= VERSION:
        raise CheckpointError(
            f"{path} has version {version[:20]!r} of the format; this package reads versions 1 to "
            f"{VERSION}: a newer one may read it"
        )
    try:
        tree, tied = json.loads(metadata["config"]), json.loads(metadata.get("tied", "[]"))
        if not all(names and all(isinstance(name, str) for name in names) for names in tied):
            raise ValueError
    except (ValueError, TypeError, KeyError, RecursionError):
        raise CheckpointError(f"{path} is damaged: its configuration is not JSON") from None
    return tree, tied


def tie(model: Module, first: str, other: str, task: str) -> None:
    """Makes the parameter of one name that of another. **Raises** CheckpointError."""
    named = model._named()
    holder: Any = model
    *above, last = other.split(".")
    try:
        p = named[first]
        if named[other] is p:
            return
        for key in above:
            holder = _member(holder, key)
        if isinstance(holder, Module):
            setattr(holder, last, p)
        else:
            holder[int(last) if isinstance(holder, list) else last] = p
    except (LookupError, AttributeError, TypeError, ValueError):
        raise CheckpointError(f"cannot {task}: {first!r} and {other!r} cannot be tied") from None


def _member(holder: Any, key: str) -> Any:
    if isinstance(holder, Mapping | ModuleDict):
        return holder[key]
    return holder[int(key)] if key.isdigit() else vars(holder)[key]


# ---------------------------------------------------------------- parts of a model


class LoadReport(NamedTuple):
    """The names that `load_matching` matched, and those that it did not.

    >>> import tinygrad_rnn as tg
    >>> report = tg.io.load_matching(tg.nn.Linear(2, 3), {"weight": tg.zeros((3, 2))})
    >>> report.loaded, report.missing
    (['weight'], ['bias'])
    """

    loaded: list[str]
    missing: list[str]  # of the model, which keep their values
    unexpected: list[str]  # of the source, which are not read
    mismatched: list[str]  # with both shapes, which keep their values

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} loaded"]
        for field in ("missing", "unexpected", "mismatched"):
            names = getattr(self, field)
            lines += [f"{len(names)} {field}: {', '.join(names)}"] if names else []
        return "\n".join(lines)


@public
def load_matching(model: Module, source: str | Path | Mapping[str, Any]) -> LoadReport:
    """Loads those tensors whose names and shapes match a model's parameters.

    **Arguments** model: its other parameters keep their values. source: a file that `tg.load`
    reads, or tensors by name. **Returns** the names: loaded, missing, unexpected, mismatched.

    >>> import tinygrad_rnn as tg
    >>> old, new = tg.nn.Linear(3, 4), tg.nn.Linear(3, 5)
    >>> print(tg.io.load_matching(new, {**old.state_dict(), "more": old.bias}))
    0 loaded
    1 unexpected: more
    2 mismatched: bias [4] for [5], weight [4, 3] for [5, 3]
    """
    if not isinstance(model, Module):
        raise InvalidTypeError(f"load_matching: model: expected a module, got {model!r}")
    if isinstance(source, Mapping):
        state = source
    else:
        at = as_path("load_matching", source, "source")
        try:
            state = load(at)
        except CheckpointError as error:
            raise CheckpointError(f"load_matching: source: {error}") from None
    parameters = model._named()
    fitting: dict[str, Any] = {}
    unexpected, mismatched = [], []
    for name, value in state.items():
        if name not in parameters:
            unexpected.append(str(name))
            continue
        array = value if isinstance(value, Tensor) else as_tensor(value)
        wanted = parameters[name]
        if array.shape != wanted.shape:
            mismatched.append(f"{name} {list(array.shape)} for {list(wanted.shape)}")
        elif array.dtype.kind not in "fiu":
            mismatched.append(f"{name} {array.dtype} for {wanted.dtype}")
        else:
            fitting[name] = array
    known = {id(parameters[name]) for name in fitting}
    missing = [n for n, p in parameters.items() if id(p) not in known and n not in state]
    kept = {n: p.detach() for n, p in parameters.items() if id(p) not in known}
    model.load_state_dict({**kept, **fitting})
    return LoadReport(sorted(fitting), sorted(missing), sorted(unexpected), sorted(mismatched))
