"""`import_onnx`: a graph of ONNX operators as a module, which computes and can be trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import InvalidTypeError, InvalidValueError, public
from ...nn import Module, Parameter
from ...tensor.creation import as_tensor
from ...tensor.tensor import Tensor
from ..extras import package
from ..files import CheckpointError, open_to_read, reading
from ..weights import as_path
from .operators import OPERATORS, Node, host
from .recurrences import RECURRENT

KNOWN = {**OPERATORS, **RECURRENT}
BRANCHES = ("then_branch", "else_branch")
MOST = 10_000  # nodes


class OnnxModel(Module):
    """A graph of ONNX operators.

    Its inputs and outputs have the graph's order and, as keywords, the graph's names. Arrays of
    reals in the file are parameters, under `weights`.

    **Arguments** nodes: in their order. weights: arrays of reals. constants: other arrays. inputs,
    outputs: names. optional: inputs that need not be passed.

    >>> import onnx, tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.io.export_onnx(tg.nn.Linear(2, 3), f"{folder}/a.onnx", tg.zeros((1, 2)))
    ...     model = tg.io.import_onnx(f"{folder}/a.onnx")
    >>> type(model).__name__, model.outputs
    ('OnnxModel', ['output'])
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        weights: dict[str, Any],
        constants: dict[str, Any],
        inputs: Sequence[str],
        outputs: Sequence[str],
    ) -> None:
        self.nodes, self.inputs, self.outputs = list(nodes), list(inputs), list(outputs)
        self.weights = {name: Parameter(Tensor(array)) for name, array in weights.items()}
        self.constants = [constants]  # in a list: its arrays are no parameters

    def forward(self, *args: Any, **named: Any) -> Any:
        """Computes the outputs: one, or a tuple."""
        if len(args) > len(self.inputs) or named.keys() - {*self.inputs[len(args) :]}:
            raise InvalidTypeError(
                f"OnnxModel: expected the inputs {', '.join(self.inputs)}; got {len(args)} and "
                f"{', '.join(named) or 'no others'}"
            )
        values: dict[str, Any] = {"": None, **self.constants[0], **self.weights}
        given = {**dict(zip(self.inputs, args, strict=False)), **named}
        if missing := [n for n in self.inputs if n not in given]:
            raise InvalidTypeError(f"OnnxModel: missing inputs: {', '.join(missing)}")
        device = next(iter(self.parameters())).device if self.weights else None
        values |= {name: as_tensor(value, device=device) for name, value in given.items()}
        self._run(self.nodes, values)
        outputs = tuple(as_tensor(values[name], device=device) for name in self.outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def _run(self, nodes: Sequence[Node], values: dict[str, Any]) -> None:
        """Computes nodes, and adds their outputs to the values."""
        for node in nodes:
            try:
                if node.kind == "If":
                    name = "then_branch" if host(values[node.inputs[0]]).item() else "else_branch"
                else:
                    results = KNOWN[node.kind](node, *(values[name] for name in node.inputs))
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise InvalidValueError(f"OnnxModel: {node}: {error}") from error
            if node.kind == "If":
                results = self._branch(node.get(name), values)
            found = results if isinstance(results, tuple) else (results,)
            values |= {n: v for n, v in zip(node.outputs, found, strict=False) if n}

    def _branch(self, branch: Branch, values: dict[str, Any]) -> tuple[Any, ...]:
        """The outputs of a branch, which sees the values outside."""
        weights = {name: self.weights[held] for name, held in branch.weights.items()}
        inside = {**values, **branch.constants, **weights}
        self._run(branch.nodes, inside)
        return tuple(inside[name] for name in branch.outputs)

    def describe(self) -> str:
        """Its sizes."""
        return f"{len(self.nodes)} nodes, {', '.join(self.inputs)} to {', '.join(self.outputs)}"


@public
def import_onnx(path: str | Path) -> OnnxModel:
    """Imports a graph in the ONNX format as a module.

    It has the operators RNN, GRU and LSTM with all attributes, convolutions, linear algebra,
    elementwise operations, reductions, normalization, those that change shapes, and If. The module
    is differentiable: you can train an imported model.

    **Arguments** path: the file, with all weights in it.

    **Returns** the module. **Raises** CheckpointError for a damaged file, for weights in other
    files, and naming each node that cannot be imported.

    >>> import onnx, tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.io.export_onnx(tg.nn.Linear(2, 3), f"{folder}/a.onnx", tg.zeros((1, 2)))
    ...     tg.io.import_onnx(f"{folder}/a.onnx")(tg.zeros((4, 2))).shape
    (4, 3)
    """
    at = as_path("import_onnx", path)
    onnx = package("onnx", "import_onnx", "pip install 'tinygrad_rnn[onnx]'")
    with reading(path, "import_onnx: ", "not in the ONNX format"):
        with open_to_read(at) as file:
            model = onnx.ModelProto.FromString(file.read())
        opset = max(
            (o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0
        )
        reader = _Reader(onnx, opset, at)
        graph = reader.branch(model.graph)
        weights, constants = reader.weights, graph.constants
        inputs = [v.name for v in model.graph.input if v.name not in weights.keys() | constants]
        faults = list(_faults(graph, {"", *inputs}))
    if reader.count > MOST:
        raise CheckpointError(f"import_onnx: {path} has over {MOST:,} nodes")
    if not graph.outputs:
        faults.append("it has no outputs: it is damaged or not in the ONNX format")
    if faults:
        shown = "; ".join(faults[:20]) + (f"; and {len(faults) - 20} more" if faults[20:] else "")
        raise CheckpointError(f"import_onnx: {path}: {shown}")
    return OnnxModel(graph.nodes, weights, constants, inputs, graph.outputs)


class Branch(NamedTuple):
    """A graph: the whole one, or one of the two of an If."""

    nodes: list[Node]
    weights: dict[str, str]  # by their names in the graph, the names in the model
    constants: dict[str, Any]
    outputs: list[str]


class _Other(NamedTuple):
    """Stands for an attribute of a type that is not read."""


class _Reader:
    """Reads graphs, and collects their weights."""

    def __init__(self, onnx: Any, opset: int, path: Path) -> None:
        self.onnx, self.opset, self.path = onnx, opset, path
        self.weights: dict[str, Any] = {}
        self.count = 0  # of nodes

    def branch(self, graph: Any) -> Branch:
        """A graph; of weights with one name in both branches of an If, one has another name."""
        found = Branch([], {}, {}, [v.name for v in graph.output])
        for tensor in graph.initializer:
            array = self.array(tensor)
            if array.dtype.kind != "f" or not array.ndim:
                found.constants[tensor.name] = array
                continue
            name = tensor.name if tensor.name not in self.weights else (
                f"{tensor.name}_{len(self.weights)}"
            )  # fmt: skip
            found.weights[tensor.name], self.weights[name] = name, array
        for position, node in enumerate(graph.node):
            self.count += 1
            if self.count > MOST:
                break
            found.nodes.append(self.node(node, position))
        return found

    def array(self, tensor: Any) -> np.ndarray[Any, Any]:
        """An array of numbers in the file."""
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise CheckpointError(
                f"import_onnx: {self.path}: {tensor.name!r} is in another file: save the model "
                "with all weights in one file"
            )
        array = np.array(self.onnx.numpy_helper.to_array(tensor))
        if array.dtype.kind not in "fiub":
            raise CheckpointError(
                f"import_onnx: {self.path}: {tensor.name!r} has dtype {array.dtype}"
            )
        return array

    def node(self, node: Any, position: int) -> Node:
        """A node with its attributes."""
        attributes = {part.name: self.attribute(part) for part in node.attribute}
        kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        return Node(
            kind, node.name, position, list(node.input), list(node.output), attributes, self.opset
        )

    def attribute(self, attribute: Any) -> Any:
        """Numbers, words, an array, or a branch."""
        onnx = self.onnx
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            return self.array(value)
        if isinstance(value, onnx.GraphProto):
            return self.branch(value)
        if isinstance(value, bytes):
            return value.decode()
        if attribute.type == onnx.AttributeProto.STRINGS:
            return [v.decode() for v in value]
        if isinstance(value, int | float):
            return value + 0
        if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
            return list(value)
        return _Other()


def _faults(graph: Branch, outside: set[str]) -> Iterator[str]:
    """Names every node that cannot be imported, in branches as well."""
    values = {*outside, *graph.weights, *graph.constants}
    for node in graph.nodes:
        attributes = node.attributes
        if node.kind == "If" and [type(attributes.get(n)) for n in BRANCHES] == [Branch, Branch]:
            for name in BRANCHES:
                yield from (f"{node}: {fault}" for fault in _faults(attributes[name], values))
        elif node.kind not in KNOWN:
            yield f"{node} has no equivalent"
        elif more := attributes.keys() - getattr(KNOWN[node.kind], "attributes", frozenset()):
            yield f"{node} has {', '.join(sorted(more))}, which has no equivalent"
        if missing := [name for name in node.inputs if name not in values]:
            yield f"{node} reads {', '.join(missing)}, which no node before computes"
        values.update(node.outputs)
    yield from (f"no node computes the output {n}" for n in graph.outputs if n not in values)
