"""`import_onnx`: a graph of ONNX operators as a module, which computes and can be trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import InvalidTypeError, InvalidValueError, public
from ...nn import Module, Parameter
from ...tensor.creation import as_tensor
from ...tensor.tensor import Tensor
from ..extras import package
from ..files import CheckpointError, open_to_read
from ..weights import as_path
from .operators import OPERATORS, Node
from .recurrences import RECURRENT

KNOWN = {**OPERATORS, **RECURRENT}
MOST = 10_000  # nodes


class OnnxModel(Module):
    """A graph of ONNX operators.

    Its inputs and outputs have the graph's order and, as keywords, the graph's names. Arrays of
    reals in the file are parameters, under `weights`.

    **Arguments** nodes: in their order. weights: arrays of reals. constants: other arrays. inputs,
    outputs: names. optional: inputs that need not be passed.
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
        for node in self.nodes:
            try:
                results = KNOWN[node.kind](node, *(values[name] for name in node.inputs))
            except (TypeError, ValueError, LookupError, AttributeError) as error:
                raise InvalidValueError(f"OnnxModel: {node}: {error}") from error
            found = results if isinstance(results, tuple) else (results,)
            values |= {n: v for n, v in zip(node.outputs, found, strict=False) if n}
        outputs = tuple(as_tensor(values[name], device=device) for name in self.outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def describe(self) -> str:
        """Its sizes."""
        return f"{len(self.nodes)} nodes, {', '.join(self.inputs)} to {', '.join(self.outputs)}"


@public
def import_onnx(path: str | Path) -> OnnxModel:
    """Imports a graph in the ONNX format as a module.

    It has the operators RNN, GRU and LSTM with all attributes, linear algebra, elementwise
    operations, reductions, normalization, and those that change shapes. What it computes is
    differentiable: a model can be trained on.

    **Arguments** path: the file, with all weights in it.

    **Returns** the module. **Raises** CheckpointError for a damaged file, for weights in other
    files, and naming each node that cannot be imported.
    """
    at = as_path("import_onnx", path)
    onnx = package("onnx", "import_onnx", "pip install 'tinygrad_rnn[onnx]'")
    try:
        with open_to_read(at) as file:
            model = onnx.ModelProto.FromString(file.read())
        graph = model.graph
        opset = max(
            (o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0
        )
        weights: dict[str, Any] = {}
        constants: dict[str, Any] = {}
        for tensor in graph.initializer:
            array = _array(onnx, tensor, at)
            (weights if array.dtype.kind == "f" and array.ndim else constants)[tensor.name] = array
        nodes = [_node(onnx, n, i, opset, at) for i, n in enumerate(graph.node[: MOST + 1])]
        inputs = [v.name for v in graph.input if v.name not in weights.keys() | constants.keys()]
        outputs = [v.name for v in graph.output]
    except OSError as error:
        raise CheckpointError(f"import_onnx: cannot read {path}: {error.strerror}") from None
    except (CheckpointError, InvalidTypeError, InvalidValueError):
        raise
    except Exception as error:  # the readers of a damaged file raise what they like
        why = str(error)[:200] or type(error).__name__
        raise CheckpointError(
            f"import_onnx: {path} is damaged or not in the ONNX format: {why}"
        ) from None
    _check(nodes, {*inputs, *weights, *constants}, outputs, at)
    return OnnxModel(nodes, weights, constants, inputs, outputs)


def _array(onnx: Any, tensor: Any, path: Path) -> np.ndarray[Any, Any]:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise CheckpointError(
            f"import_onnx: {path}: {tensor.name!r} is in another file: save the model with all "
            "weights in one file"
        )
    array = np.array(onnx.numpy_helper.to_array(tensor))
    if array.dtype.kind not in "fiub":
        raise CheckpointError(f"import_onnx: {path}: {tensor.name!r} has dtype {array.dtype}")
    return array


def _node(onnx: Any, node: Any, position: int, opset: int, path: Path) -> Node:
    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, onnx.TensorProto):
            value = _array(onnx, value, path)
        elif isinstance(value, bytes):
            value = value.decode()
        elif attribute.type == onnx.AttributeProto.STRINGS:
            value = [v.decode() for v in value]
        elif isinstance(value, int | float):
            value = value + 0
        elif attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
            value = list(value)
        else:
            value = _Other()
        attributes[attribute.name] = value
    kind = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
    return Node(kind, node.name, position, list(node.input), list(node.output), attributes, opset)


class _Other(NamedTuple):
    """A graph, or what else an attribute may be."""


def _check(nodes: Sequence[Node], known: set[str], outputs: Sequence[str], path: Path) -> None:
    """Names every node that cannot be imported."""
    if len(nodes) > MOST:
        raise CheckpointError(f"import_onnx: {path} has over {MOST:,} nodes")
    faults, values = [], {"", *known}
    for node in nodes:
        if node.kind not in KNOWN:
            faults.append(f"{node} has no equivalent")
        else:
            allowed: Callable[..., Any] = KNOWN[node.kind]
            more = node.attributes.keys() - getattr(allowed, "attributes", frozenset())
            if more:
                faults.append(f"{node} has {', '.join(sorted(more))}, which has no equivalent")
        if missing := [name for name in node.inputs if name not in values]:
            faults.append(f"{node} reads {', '.join(missing)}, which no node before computes")
        values.update(node.outputs)
    if not outputs:
        faults.append("it has no outputs: it is damaged or not in the ONNX format")
    faults += [f"no node computes the output {name}" for name in outputs if name not in values]
    if faults:
        shown = "; ".join(faults[:20]) + (f"; and {len(faults) - 20} more" if faults[20:] else "")
        raise CheckpointError(f"import_onnx: {path}: {shown}")
