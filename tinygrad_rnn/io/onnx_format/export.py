"""`export_onnx`: a model as a graph of ONNX operators, with dynamic batch and time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InvalidTypeError, InvalidValueError, public
from ...loops.scan import Lengths
from ...nn import Module, Seq2Seq
from ...tensor import tree
from ...tensor.autodiff import no_grad
from ...tensor.creation import as_tensor
from ...tensor.tensor import Tensor, TensorLike
from ..files import CheckpointError
from ..steps import evaluated
from ..tracing import Ref
from ..weights import as_path, write
from .exporter import Exporter
from .graph import IR, OPSET, Axis, Graph

# Of the axes of inputs, in the two traces. No difference of a pair is a multiple of another one, so
# that a multiple of one axis is never another axis with an offset.
LENGTHS = {"batch": (5, 9), "time": (11, 17), "target_time": (13, 23)}
MORE = ((19, 41), (9, 35), (25, 83))
AXES: dict[str, Any] = {  # of arguments by name; the others begin with time and batch
    "state": (None, "batch"), "lengths": ("batch",), "target": ("target_time", "batch"),
    "query": ("target_time", "batch"), "symbols": ("target_time", "batch"),
}  # fmt: skip
LIMIT = 2**31 - 2**20  # bytes of a file in the format


@public
def export_onnx(
    model: Module,
    path: str | Path,
    example: Any,
    *,
    method: str = "forward",
    axes: Mapping[str, Sequence[str | None]] | None = None,
) -> None:
    """Exports a model in the ONNX format, in evaluation mode.

    The sizes of named axes are those of the inputs at run time. Recurrent layers become the
    operators RNN, GRU and LSTM; with options that these do not have, and for other cells, a Scan of
    the traced step. `lengths` becomes `sequence_lens`.

    **Arguments** path: by custom it ends in `.onnx`. example: the arguments of a call, a tuple or a
    dict by name; of arrays only shape, dtype and the range of integers are read. method: `forward`;
    or `step`, for generation, whose state is an input and an output (of a layer, or of any module
    whose `step(x, state)` returns an output and the state; it begins with the state that
    `step(x)` returns, if the example has none). axes: names of the axes of inputs by argument, None
    for one of fixed size; where not given, `time` and `batch` come first, or `batch` alone
    in a vector of integers and a matrix of reals.

    Inputs have the arguments' names, with a number for the arrays of a tuple, and for the state of
    a step (`state_0`). Outputs are `output`, `output_1` and so on; of a step `output`,
    `next_state_0` and so on.

    **Raises** CheckpointError without the package onnx; InvalidValueError naming the operation that
    has no operator, or depends on the values of the inputs.

    >>> import onnx, tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.io.export_onnx(tg.nn.GRU(2, 3), f"{folder}/gru.onnx", tg.zeros((5, 1, 2)))
    ...     [output.name for output in onnx.load(f"{folder}/gru.onnx").graph.output]
    ['output', 'output_1']
    """
    at = as_path("export_onnx", path)
    if not isinstance(model, Module):
        raise InvalidTypeError(f"export_onnx: model: expected a module, got {model!r}")
    function = getattr(model, method, None) if isinstance(method, str) else None
    if not callable(function):
        raise InvalidValueError(f"export_onnx: method: {type(model).__name__} has no {method!r}")
    given = _arguments(function, example, f"{type(model).__name__}.{method}")
    named = {n: tuple(a) for n, a in (axes or {}).items()}
    if unknown := named.keys() - given.keys():
        raise InvalidValueError(
            f"export_onnx: axes: expected arguments of the example, {', '.join(given)}; got "
            f"{', '.join(sorted(unknown))}"
        )
    stepwise = method == "step"
    lengths = dict(LENGTHS)
    batch_first = bool(getattr(model, "batch_first", False))
    pair = [_example(given, named, lengths, batch_first, stepwise, k) for k in range(2)]
    with evaluated(model, "export_onnx"):
        if stepwise and len(given) == 1 and "state" in inspect.signature(function).parameters:
            with no_grad():
                for one in pair:
                    one["state"] = function(**one)[1]
        names = (lambda i: "output" if not i else f"next_state_{i - 1}") if stepwise else (
            lambda i: f"output_{i}" if i else "output"
        )  # fmt: skip
        call = lambda arguments: getattr(model, method)(**arguments)
        _export(at, model, call, pair, lengths, names, ["state"] if stepwise else [])


@public
def export_seq2seq(
    model: Seq2Seq,
    encoder: str | Path,
    decoder: str | Path,
    source: TensorLike,
    *,
    lengths: Lengths = None,
) -> None:
    """Exports an encoder-decoder model as two graphs: the encoder, and one step of the decoder.

    The encoder's outputs are `state_0`, `state_1`, ...: the prepared memory, and the state of the
    decoder. The decoder reads them, with `symbols`, the previous symbols of all rows, and returns
    the logits as `output`, and `next_state_i` for each `state_i` that it changes; with attention
    also its weights, as `weights`.

    **Arguments** encoder, decoder: the files. source, lengths: an example, as `Seq2Seq.start` takes
    it. **Raises** as `export_onnx`.

    >>> import onnx, tempfile, tinygrad_rnn as tg
    >>> encoder = tg.nn.Encoder(tg.nn.Embedding(9, 4), tg.nn.GRU(4, 5))
    >>> decoder = tg.nn.Decoder(tg.nn.Embedding(7, 4), tg.nn.GRU(4, 5))
    >>> model = tg.nn.Seq2Seq(encoder, decoder)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     one, two = f"{folder}/encoder.onnx", f"{folder}/decoder.onnx"
    ...     tg.io.export_seq2seq(model, one, two, tg.zeros((6, 2), dtype="int64"))
    ...     [output.name for output in onnx.load(two).graph.output]
    ['output', 'next_state_0']
    """
    if not isinstance(model, Seq2Seq):
        raise InvalidTypeError(f"export_seq2seq: model: expected a Seq2Seq, got {model!r}")
    paths = [as_path("export_seq2seq", path) for path in (encoder, decoder)]
    given = {"source": source, **({} if lengths is None else {"lengths": lengths})}
    given = {n: as_tensor(v, device="cpu") for n, v in given.items()}
    sizes = dict(LENGTHS)
    pair = [_example(given, {}, sizes, False, False, k) for k in range(2)]
    with evaluated(model, "export_seq2seq"):
        _export(paths[0], model, lambda a: model.start(**a), pair, sizes, lambda i: f"state_{i}")
        with no_grad():
            states = [model.start(**one) for one in pair]
        rng = np.random.default_rng(0)
        symbols = model.decoder.embedding.num_embeddings
        steps = [
            {
                "symbols": Tensor(rng.integers(0, symbols, sizes["batch"][k]), device="cpu"),
                "state": tree.mapped(lambda part: Tensor(part.numpy().copy(), device="cpu"), state),
            }
            for k, state in enumerate(states)
        ]
        count = len(tree.leaves(states[0]))
        names = lambda i: "output" if not i else f"next_state_{i - 1}" if i <= count else "weights"
        _export(
            paths[1], model, lambda a: model.step(a["symbols"], a["state"]), steps, sizes, names,
            ["state"],
        )  # fmt: skip


# ---------------------------------------------------------------- inputs


def _arguments(function: Callable[..., Any], example: Any, name: str) -> dict[str, Any]:
    """The example's arrays by argument."""
    signature = inspect.signature(function)
    try:
        if isinstance(example, Mapping):
            bound = signature.bind(**example)
        else:
            bound = signature.bind(*(example if isinstance(example, tuple) else (example,)))
    except TypeError as error:
        raise InvalidTypeError(f"export_onnx: example: {name}: {error}") from None
    found = {n: v for n, v in bound.arguments.items() if v is not None}
    return {n: as_tensor(v, device="cpu") if n == "lengths" else v for n, v in found.items()}


def _example(
    given: dict[str, Any],
    named: dict[str, tuple[str | None, ...]],
    lengths: dict[str, tuple[int, int]],
    batch_first: bool,
    stepwise: bool,
    trace: int,
) -> dict[str, Any]:
    """Arguments of a trace: the example's in other sizes, and with other values."""
    rng = np.random.default_rng(trace)

    def drawn(name: str, leaf: Any) -> Any:
        array = leaf.numpy() if isinstance(leaf, Tensor) else np.asarray(leaf)
        features = name == "state" or array.dtype.kind == "f"  # which come last
        usual = ("batch", "time") if batch_first else ("time", "batch")
        axes = named.get(name) or AXES.get(name, usual)
        if name not in named and (
            (stepwise and name != "state") or array.ndim == (2 if features else 1)
        ):
            axes = ("batch",)
        shape = list(array.shape)
        for i, axis in enumerate(axes[: len(shape)]):
            if axis is None:
                continue
            if axis not in lengths:
                lengths[axis] = MORE[len(lengths) - len(LENGTHS)]
            shape[i] = lengths[axis][trace]
        if name == "lengths":
            most = lengths["time"][trace]
            values = rng.integers(1, most, shape)
            values[0] = most
            return Tensor(values.astype(array.dtype), device="cpu")
        if array.dtype.kind == "f":
            return Tensor(rng.normal(size=shape).astype(array.dtype), device="cpu")
        if not array.size:
            raise InvalidValueError(f"export_onnx: example: {name} is empty")
        return Tensor(rng.choice(array.ravel(), shape), device="cpu")

    drawn_as: dict[str, Any] = {}
    for name, value in given.items():
        drawn_as[name] = tree.mapped(partial(drawn, name), value) if tree.leaves(value) else value
    return drawn_as


# ---------------------------------------------------------------- the file


def _export(
    path: Path,
    model: Module,
    function: Callable[[dict[str, Any]], Any],
    pair: Sequence[dict[str, Any]],
    lengths: dict[str, tuple[int, int]],
    naming: Callable[[int], str],
    numbered: Sequence[str] = (),
) -> None:
    """Traces, checks and writes a graph.

    **Arguments** numbered: inputs whose names have a number even if they are one array.
    """
    graph = Graph()
    exporter = Exporter(graph, model._named())
    names, leaves = [], []
    for name in pair[0]:
        parts = [tree.leaves(one[name]) for one in pair]
        many = len(parts[0]) > 1 or name in numbered
        names += [f"{name}_{i}" if many else name for i in range(len(parts[0]))]
        leaves += list(zip(*parts, strict=True))
    for name, values in zip(names, leaves, strict=True):
        sizes = list(zip(*(v.shape for v in values), strict=True))
        for axis, wanted in lengths.items():
            if wanted in sizes and axis not in graph.axes:
                graph.axes[axis] = Axis(wanted, name, sizes.index(wanted))
    exporter.inputs(names, leaves)
    results = exporter.run(lambda k: function(pair[k]), model)
    helper = graph.onnx.helper

    def info(name: str, values: Any) -> Any:
        first, second = values
        shape = [_dimension(n) for n in graph.solved(first.shape, second.shape, name)]
        return helper.make_tensor_value_info(name, graph.element(first.dtype), shape)

    unchanged = {exporter.recorders[0].numbers[id(first.array)] for first, _ in leaves}
    outputs = []
    for i, values in enumerate(results):
        refs = [r.ref(v) for r, v in zip(exporter.recorders, values, strict=True)]
        if isinstance(refs[0], Ref) and refs[0].number in unchanged and naming(i) != "output":
            continue
        found = exporter.value(refs[0], refs[1], naming(i))
        graph.nodes.append(helper.make_node("Identity", [found], [naming(i)]))
        outputs.append(info(naming(i), values))
    inputs = [info(n, values) for n, values in zip(names, leaves, strict=True)]
    weights = [
        graph.onnx.numpy_helper.from_array(np.ascontiguousarray(a) if a.ndim else a, n)
        for n, a in graph.initializers.items()
    ]
    if sum(a.nbytes for a in graph.initializers.values()) > LIMIT:
        raise CheckpointError(f"export_onnx: {path}: the format holds at most 2 GB")
    made = helper.make_model(
        helper.make_graph(graph.nodes, type(model).__name__, inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR,
        producer_name="tinygrad_rnn",
    )  # fmt: skip
    graph.onnx.checker.check_model(made, full_check=True)
    write(path, made.SerializeToString())


def _dimension(size: Any) -> Any:
    if isinstance(size, int):
        return size
    product = " * ".join([*([str(size.factor)] if size.factor != 1 else []), *size.axes])
    return f"{product} + {size.offset}" if size.offset else product
