"""Draws a valid call of each public name, and replaces some of its arguments.

Operations come from `testing`, by catching what a sample hands to its function. Everything
else has a line in a table here, or in `networks`.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn.io import has_checkpoint, load_checkpoint, save_checkpoint
from tinygrad_rnn.testing import OPERATIONS, OpInfo, SeededSampler

from .values import replaced

Arguments = dict[str, Any]


@dataclass
class Call:
    """A function of named arguments, and the arguments."""

    name: str
    run: Callable[[Arguments], Any]
    arguments: Arguments
    replaced: list[str] = field(default_factory=list)  # the arguments that are no longer as drawn
    same: bool = True  # whether they are other forms of the same values
    in_place: bool = False  # whether it writes to its arguments


class Draw(SeededSampler):
    """The choices of a sample, and a few more."""

    def tensor(self, *shape: int, grad: bool = True, dtype: str = "float32") -> tg.Tensor:
        return tg.tensor(self.reals(shape).astype(dtype), requires_grad=grad)

    def ids(self, below: int, *shape: int) -> Any:
        return self.generator.integers(0, below, shape)

    def sizes(self, count: int) -> list[int]:
        return [self.integer(1, 4) for _ in range(count)]


Template = Callable[[Draw], tuple[Callable[[Arguments], Any], Arguments]]


# ---------------------------------------------------------------- operations, by their OpInfos


class _CaughtError(Exception):
    """Ends a sample's call as soon as its function has been called."""


def operation(info: OpInfo) -> Template:
    """Valid calls of an operation: what a sample of it hands to its function."""

    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        sample = info.draw(d)
        dtype, traced = d.one_of(["float32", "float32", "float64"]), d.one_of([True, True, False])
        caught: list[tuple[tuple[Any, ...], Arguments]] = []

        def function(*args: Any, **given: Any) -> Any:
            caught.append((args, given))
            raise _CaughtError

        inputs = [
            tg.tensor(x, dtype, requires_grad=True) if traced and x.dtype.kind == "f" else x
            for x in sample.inputs
        ]
        try:
            sample.call(function, *inputs)
        except _CaughtError:
            args, given = caught[0]
        else:
            return lambda _: None, {}
        return by_position(info.function, args, given)

    return draw


def by_position(
    function: Callable[..., Any], args: tuple[Any, ...], given: Arguments
) -> tuple[Callable[[Arguments], Any], Arguments]:
    """A call by position, its arguments under the names of the function's parameters."""
    try:
        names = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.kind is p.POSITIONAL_OR_KEYWORD
        ]
    except ValueError:
        names = []
    if len(names) < len(args):
        names = [f"argument {i}" for i in range(len(args))]
    places = names[: len(args)]

    def run(a: Arguments) -> Any:
        return function(*(a[n] for n in places), **{n: a[n] for n in given})

    return run, {**dict(zip(places, args, strict=True)), **given}


def starred(value: Any) -> Any:
    """Positional arguments from a list or tuple, or from one value."""
    return value if isinstance(value, (list, tuple)) else [value]


def by_keyword(function: Callable[..., Any]) -> Callable[[Arguments], Any]:
    """A call in which each argument goes by its name."""
    return lambda a: function(**a)


# ---------------------------------------------------------------- the engine


def _smooth(x: Any, *_: Any) -> Any:
    return tg.tanh(x * x).sum()


def _graph(a: Arguments) -> Any:
    y = tg.tanh(a["x"] * a["x"])
    ys = y.sum() if a["ys"] is None else a["ys"]
    xs = [a["x"]] if a["xs"] is None else a["xs"]
    options = {name: a[name] for name in ("create_graph", "retain_graph")}
    return tg.grad(ys, xs, a["grad_outputs"], **options)


def _backward(a: Arguments) -> Any:
    x = a["x"]
    (x * x).backward(a["gradient"], retain_graph=a["retain_graph"])
    return x.grad


def _written(a: Arguments) -> Any:
    y = a["x"] * 1
    y[a["index"]] = a["value"]
    return y


def _leaf_written(a: Arguments) -> Any:
    x = a["x"]
    with tg.no_grad():
        x[a["index"]] = a["value"]
    return x.detach()


def _operators(a: Arguments) -> Any:
    x, y = a["x"], a["other"]
    if a["reflected"]:
        x, y = y, x
    return OPERATORS[a["operator"]](x, y)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "**": lambda x, y: x**y,
    "//": lambda x, y: x // y,
    "%": lambda x, y: x % y,
    "<": lambda x, y: x < y,
    ">=": lambda x, y: x >= y,
    "==": lambda x, y: x == y,
    "&": lambda x, y: (x > 0 if isinstance(x, tg.Tensor) else x) & y,
}


def _augmented(a: Arguments) -> Any:
    x = a["x"]
    with tg.no_grad():
        x -= a["other"]
    return x.detach()


ENGINE: dict[str, Template] = {
    "tensor": lambda d: (
        by_keyword(tg.tensor),
        {
            "data": d.one_of([1.5, [1, 2], [[0.5, 1], [2, 3]], d.reals((2, 3)), d.ids(5, 3)]),
            "dtype": d.one_of([None, "float32", "float64"]),
            "requires_grad": False,
        },
    ),
    "as_tensor": lambda d: (
        by_keyword(tg.as_tensor),
        {"data": d.one_of([1.5, [1, 2], d.reals((2, 3)), d.tensor(2)]), "device": None},
    ),
    "from_dlpack": lambda d: (by_keyword(tg.from_dlpack), {"x": d.reals((2, 3))}),
    "arange": lambda d: (
        by_keyword(tg.arange),
        {
            "start": d.integer(0, 3),
            "stop": d.one_of([None, 7, 2.5]),
            "step": d.one_of([1, 2, 0.5]),
            "dtype": None,
        },
    ),
    "eye": lambda d: (
        by_keyword(tg.eye),
        {"n": d.integer(0, 4), "m": d.one_of([None, 3]), "k": d.integer(-1, 1), "dtype": "float32"},
    ),
    "full": lambda d: (
        by_keyword(tg.full),
        {
            "shape": d.one_of([(2, 3), (), 3]),
            "value": 1.5,
            "dtype": "float32",
            "requires_grad": False,
        },
    ),
    "zeros": lambda d: (
        by_keyword(tg.zeros),
        {"shape": d.one_of([(2, 3), (), 3]), "dtype": "float32", "requires_grad": False},
    ),
    "ones": lambda d: (
        by_keyword(tg.ones),
        {"shape": d.one_of([(2, 3), (), 3]), "dtype": "float32", "requires_grad": False},
    ),
    "linspace": lambda d: (
        by_keyword(tg.linspace),
        {"start": 0.5, "stop": 2, "num": d.integer(0, 5), "endpoint": True, "dtype": "float32"},
    ),
    "randn": lambda d: (
        lambda a: tg.randn(*starred(a["shape"]), generator=a["generator"], dtype=a["dtype"]),
        {"shape": (2, 3), "generator": tg.Generator(1), "dtype": "float32"},
    ),
    "rand": lambda d: (
        lambda a: tg.rand(*starred(a["shape"]), generator=a["generator"], dtype=a["dtype"]),
        {"shape": (2, 3), "generator": tg.Generator(1), "dtype": "float32"},
    ),
    "randint": lambda d: (
        by_keyword(tg.randint),
        {"low": 0, "high": 5, "shape": (2, 3), "generator": tg.Generator(1)},
    ),
    "randperm": lambda d: (by_keyword(tg.randperm), {"n": 5, "generator": tg.Generator(1)}),
    "Generator": lambda d: (
        lambda a: tg.Generator(a["seed"]).normal((2,)),
        {"seed": d.integer(0, 9)},
    ),
    "manual_seed": lambda d: (by_keyword(tg.manual_seed), {"seed": d.integer(0, 9)}),
    "vjp": lambda d: (
        lambda a: tg.vjp(a["fn"], a["primal"])[1](a["cotangent"]),
        {"fn": _smooth, "primal": d.tensor(3), "cotangent": tg.tensor(1.0)},
    ),
    "jvp": lambda d: (
        by_keyword(tg.jvp),
        {"fn": _smooth, "primals": d.tensor(3), "tangents": d.tensor(3)},
    ),
    "jacobian": lambda d: (
        lambda a: tg.jacobian(a["fn"], a["primal"]),
        {"fn": tg.tanh, "primal": d.tensor(3)},
    ),
    "hessian": lambda d: (
        lambda a: tg.hessian(a["fn"], a["primal"]),
        {"fn": _smooth, "primal": d.tensor(3)},
    ),
    "hvp": lambda d: (
        lambda a: tg.hvp(a["fn"], a["primals"], a["tangents"]),
        {"fn": _smooth, "primals": d.tensor(3), "tangents": d.tensor(3)},
    ),
    "value_and_grad": lambda d: (
        lambda a: tg.value_and_grad(a["fn"])(a["primal"]),
        {"fn": _smooth, "primal": d.tensor(3)},
    ),
    "checkpoint": lambda d: (
        lambda a: tg.checkpoint(a["fn"], a["x"], generators=a["generators"]),
        {"fn": _smooth, "x": d.tensor(3), "generators": ()},
    ),
    "grad": lambda d: (
        _graph,
        {
            "x": d.tensor(3),
            "ys": None,
            "xs": None,
            "grad_outputs": None,
            "create_graph": True,
            "retain_graph": None,
        },
    ),
    "gradcheck": lambda d: (
        by_keyword(tg.gradcheck),
        {"fn": _smooth, "inputs": [d.reals((3,))], "order": d.integer(1, 2)},
    ),
    "Tensor.backward": lambda d: (
        _backward,
        {"x": d.tensor(3), "gradient": d.reals((3,)), "retain_graph": False},
    ),
    "Tensor.__getitem__": lambda d: (
        lambda a: a["x"][a["index"]],
        {
            "x": d.tensor(3, 4),
            "index": d.one_of(
                [
                    1,
                    (0, 2),
                    slice(1, 3),
                    [0, 2],
                    d.ids(3, 2),
                    np.array([True, False, True]),
                    (..., 1),
                    None,
                ]
            ),
        },
    ),
    "Tensor.__setitem__": lambda d: (
        _written,
        {
            "x": d.tensor(3, 4),
            "index": d.one_of([1, (0, 2), slice(1, 3), [0, 2], d.ids(3, 2)]),
            "value": d.one_of([0.5, 2, tg.tensor(0.5)]),
        },
    ),
    "Tensor.__setitem__ of a leaf": lambda d: (
        _leaf_written,
        {
            "x": d.tensor(3, 4),
            "index": d.one_of([1, (0, 2), slice(1, 3)]),
            "value": d.one_of([0.5, 2]),
        },
    ),
    "Tensor.operators": lambda d: (
        _operators,
        {
            "x": d.tensor(3, 3),
            "other": d.one_of([d.tensor(3, 3), 2, 0.5, True, d.reals((3, 3)).astype("float32")]),
            "operator": d.one_of(list(OPERATORS)),
            "reflected": d.one_of([False, True]),
        },
    ),
    "Tensor.__isub__": lambda d: (
        _augmented,
        {"x": d.tensor(3), "other": d.one_of([0.5, d.tensor(3)])},
    ),
    "Tensor.to": lambda d: (
        lambda a: a["x"].to(a["target"]),
        {"x": d.tensor(3), "target": d.one_of(["cpu", "float64"])},
    ),
    "Tensor.astype": lambda d: (
        lambda a: a["x"].astype(a["dtype"]),
        {"x": d.tensor(3), "dtype": "float64"},
    ),
    "Tensor.data": lambda d: (
        lambda a: setattr(a["x"], "data", a["data"]),
        {"x": d.tensor(3), "data": d.reals((3,))},
    ),
    "Tensor.grad": lambda d: (
        lambda a: setattr(a["x"], "grad", a["grad"]),
        {"x": d.tensor(3), "grad": d.tensor(3)},
    ),
    "Tensor.reshape": lambda d: (
        lambda a: a["x"].reshape(a["shape"]),
        {"x": d.tensor(2, 3), "shape": d.one_of([(3, 2), (-1,), 6])},
    ),
    "Tensor.permute_dims": lambda d: (
        lambda a: a["x"].permute_dims(*starred(a["axes"])),
        {"x": d.tensor(2, 3), "axes": (1, 0)},
    ),
    "Tensor.__format__": lambda d: (
        lambda a: format(a["x"], a["spec"]),
        {"x": tg.tensor(0.5), "spec": ".3f"},
    ),
    "Tensor.register_hook": lambda d: (
        lambda a: a["x"].register_hook(a["hook"]),
        {"x": d.tensor(2), "hook": lambda g: 2 * g},
    ),
    "device": lambda d: (lambda a: tg.device(a["name"]).__enter__(), {"name": "cpu"}),
    "set_default_device": lambda d: (by_keyword(tg.set_default_device), {"device": "cpu"}),
    "set_num_threads": lambda d: (lambda a: tg.set_num_threads(a["count"]), {"count": 1}),
    "Op": lambda d: (
        lambda a: tg.Op(a["name"], a["forward"]).vjp(x=a["x"])(tg.tensor(2.0, requires_grad=True)),
        {"name": "cube", "forward": lambda xp, x: x**3, "x": lambda g, x: 3 * g * x**2},
    ),
}

# ---------------------------------------------------------------- files


def _saved(a: Arguments) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        tg.save(Path(folder) / "w.safetensors", a["tensors"])
        return tg.load(Path(folder) / "w.safetensors")


def _checkpointed(a: Arguments) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(folder, a["state"])
        return load_checkpoint(folder)


STATE = {"step": 3, "rate": 0.25, "names": ["a", "b"], "model": {"w": np.arange(6.0).reshape(2, 3)}}


def _damage(a: Arguments, raw: bytes) -> bytes:
    """Some bytes with a bit flipped, cut off, or something else in front."""
    kind, at = a["damage"], int(a["at"] * max(1, len(raw)))
    if kind == "bit":
        changed = bytearray(raw)
        changed[min(at, len(raw) - 1)] ^= 1 << (at % 8)
        return bytes(changed)
    return raw[:at] if kind == "cut" else os.urandom(0) + b"x" * (at % 9) + raw


def _damaged_checkpoint(a: Arguments) -> Any:
    """The state, or CheckpointError, of a checkpoint one of whose files was damaged."""
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(folder, STATE)
        files = sorted(p for p in Path(folder).rglob("*") if p.is_file() and p.stat().st_size)
        path = files[int(a["file"] * len(files))]
        path.write_bytes(_damage(a, path.read_bytes()))
        if has_checkpoint(folder):
            found = load_checkpoint(folder)
            assert _plain(found) == _plain(STATE), f"another state: {found}"
    return None


def _plain(state: Any) -> str:
    return json.dumps(state, default=lambda v: np.asarray(v).tolist(), sort_keys=True)


def _damaged_weights(a: Arguments) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "w.safetensors"
        tg.save(path, {"w": STATE["model"]["w"], "b": np.ones(3, "float32")})  # type: ignore[index]
        path.write_bytes(_damage(a, path.read_bytes()))
        tg.load(path)  # safetensors has no checksum: any tensors, or CheckpointError
    return None


def _needs(package: str) -> Callable[[Any], Any]:
    """A call that does nothing where a package of another library is not installed."""

    def decorate(run: Any) -> Any:
        return run if importlib.util.find_spec(package) else (lambda a: None)

    return decorate


def _saved_model(a: Arguments) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        tg.io.save_model(Path(folder) / "m", a["model"], config=a["config"])
        return tg.io.load_model(Path(folder) / "m", device="cpu").state_dict()


def _damaged_model(a: Arguments) -> Any:
    """A model, or CheckpointError, of a file that was damaged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        tg.io.save_model(path, tg.nn.GRU(2, 3))
        path.write_bytes(_damage(a, path.read_bytes()))
        with suppress(tg.nn.StateDictError):
            tg.io.load_model(path)
    return None


@_needs("onnx")
def _exported(a: Arguments) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        tg.io.export_onnx(a["model"], f"{folder}/m", a["example"], method=a["method"],
                          axes=a["axes"])  # fmt: skip


def _exported_c(a: Arguments) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        tg.io.export_c(a["model"], f"{folder}/m.h", name=a["name"], int8=a["int8"])


@_needs("h5py")
def _to_keras(a: Arguments) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        tg.io.to_keras(a["chain"], f"{folder}/m.keras")


@_needs("h5py")
def _from_keras(a: Arguments) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.keras"
        with suppress(tg.io.CheckpointError):
            tg.io.to_keras(tg.io.KerasChain([tg.nn.Linear(2, 3)]), path)
        path.write_bytes(_damage(a, path.read_bytes() if path.exists() else b"PK"))
        tg.io.from_keras(path)


@_needs("onnx")
def _imported(a: Arguments) -> Any:
    """A model, or CheckpointError, of a file that was damaged."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        tg.io.export_onnx(tg.nn.Linear(2, 3), path, np.ones((2, 2), "float32"))
        path.write_bytes(_damage(a, path.read_bytes()))
        tg.io.import_onnx(path)


_SEQ2SEQ = tg.nn.Seq2Seq(
    tg.nn.Encoder(tg.nn.Embedding(4, 2), tg.nn.GRU(2, 3)),
    tg.nn.Decoder(tg.nn.Embedding(4, 2), tg.nn.GRU(2, 3), tg.nn.DotAttention(3)),
)


@_needs("onnx")
def _exported_seq2seq(a: Arguments) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        paths = f"{folder}/encoder", f"{folder}/decoder"
        tg.io.export_seq2seq(a["model"], *paths, a["source"], lengths=a["lengths"])


@_needs("torch")
def _from_torch(a: Arguments) -> Any:
    return str(tg.io.from_torch(**a))


@_needs("torch")
def _to_torch(a: Arguments) -> Any:
    return str(tg.io.to_torch(**a))


def _position(d: Draw) -> float:
    return d.integer(0, 9999) / 10_000


FILES: dict[str, Template] = {
    "save": lambda d: (_saved, {"tensors": {"w": d.tensor(2, 3), "b": d.reals((3,))}}),
    "save_checkpoint": lambda d: (_checkpointed, {"state": {**STATE, "more": {"x": d.tensor(2)}}}),
    "load_checkpoint": lambda d: (
        _damaged_checkpoint,
        {
            "damage": d.one_of(["bit", "bit", "cut", "front"]),
            "at": _position(d),
            "file": _position(d),
        },
    ),
    "load": lambda d: (
        _damaged_weights,
        {"damage": d.one_of(["bit", "bit", "cut", "front"]), "at": _position(d)},
    ),
    "load_model": lambda d: (
        _damaged_model,
        {"damage": d.one_of(["bit", "bit", "cut", "front"]), "at": _position(d)},
    ),
    "import_onnx": lambda d: (
        _imported,
        {"damage": d.one_of(["bit", "bit", "cut", "front"]), "at": _position(d)},
    ),
    "OnnxModel": lambda d: (
        lambda a: tg.io.OnnxModel([], {}, {}, a["inputs"], ["x"])(d.tensor(2)),
        {"inputs": ["x"]},
    ),
    "export_c": lambda d: (_exported_c, {"model": tg.nn.GRU(2, 3), "name": "m", "int8": False}),
    "export_onnx": lambda d: (
        _exported,
        {"model": tg.nn.GRU(2, 3), "example": d.tensor(4, 3, 2), "method": "forward", "axes": None},
    ),
    "export_seq2seq": lambda d: (
        _exported_seq2seq,
        {"model": _SEQ2SEQ, "source": d.ids(4, 3, 2), "lengths": [3, 1]},
    ),
    "KerasChain": lambda d: (
        lambda a: tg.io.KerasChain([tg.nn.Linear(2, 3)], a["sequences"]).sequences,
        {"sequences": []},
    ),
    "to_keras": lambda d: (_to_keras, {"chain": tg.io.KerasChain([tg.nn.Linear(2, 3)])}),
    "from_keras": lambda d: (
        _from_keras,
        {"damage": d.one_of(["bit", "bit", "cut", "front"]), "at": _position(d)},
    ),
    "from_flax": lambda d: (
        lambda a: tg.io.from_flax(a["tree"]).state_dict(),
        {"tree": tg.io.to_flax(tg.nn.GRU(2, 3, reset_after=True, generator=tg.Generator(0)))},
    ),
    "to_flax": lambda d: (
        by_keyword(tg.io.to_flax),
        {"cell": tg.nn.LSTM(2, 3, generator=tg.Generator(0)), "style": "linen"},
    ),
    "from_torch": lambda d: (_from_torch, {"source": {"w": d.tensor(2)}}),
    "to_torch": lambda d: (_to_torch, {"source": tg.nn.Linear(2, 3)}),
    "save_model": lambda d: (
        _saved_model,
        {"model": tg.nn.GRU(2, 3, generator=tg.Generator(0)), "config": None},
    ),
    "load_matching": lambda d: (
        by_keyword(tg.io.load_matching),
        {"model": tg.nn.Linear(3, 2), "source": {"weight": d.tensor(2, 3), "b": d.reals((3,))}},
    ),
    "LoadReport": lambda d: (
        lambda a: str(tg.io.LoadReport(*a.values())),
        {"loaded": ["w"], "missing": [], "unexpected": [], "mismatched": []},
    ),
    "has_checkpoint": lambda d: (by_keyword(has_checkpoint), {"folder": "."}),
}
UNTOUCHED = {
    "load_checkpoint",
    "load",
    "load_model",
    "LoadReport",
    "import_onnx",
    "from_keras",
    "OnnxModel",
}  # their draws are the damage


def templates() -> dict[str, Template]:
    """A template of every public name."""
    from .networks import NETWORKS

    rows = {info.name: operation(info) for info in OPERATIONS}
    return {**rows, **ENGINE, **NETWORKS, **FILES}


IN_PLACE = ("Tensor.", "optim.", "nn.init.", "set_", "SGD", "Adam", "RMSprop", "clip_grad")


def drawn(name: str, template: Template, seed: int, mutate: bool = True) -> Call:
    """A call by a seed: the same seed, the same call."""
    run, arguments = template(Draw(seed))
    call = Call(name, run, arguments, in_place=name.startswith(IN_PLACE))
    r = Random(seed)
    count = r.choice([0, 1, 1, 1, 1, 1, 2])
    if name in UNTOUCHED:
        call.replaced, call.same = ["damaged"], False
    elif arguments:
        _replace(call, r, count, mutate)
    return call


def _replace(call: Call, r: Random, count: int, mutate: bool) -> None:
    arguments = call.arguments
    for key in r.sample(list(arguments), min(count, len(arguments))):
        new, same = replaced(r, arguments[key])
        itself = key == "x" and call.name.startswith(("Tensor.", "grad", "checkpoint"))
        if itself and not (isinstance(new, tg.Tensor) and new.dtype.kind != "c"):
            continue  # whose method it is
        if key in ("operator", "reflected") or (key == "spec" and not isinstance(new, str)):
            continue
        if key in ("generator", "seed") and new is None:
            continue  # what comes is chance
        if key == "max_length" and isinstance(new, int) and new > 10**5:
            continue  # right, and slow
        if mutate:
            call.arguments[key] = new
            call.replaced.append(key)
            call.same = call.same and same
