"""The operators that are imported, as functions of Tensors and arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InvalidValueError
from ...tensor import ops
from ...tensor.tensor import Tensor
from .names import BINARY, UNARY


class Node(NamedTuple):
    """A node of a graph."""

    kind: str
    name: str
    position: int
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    opset: int

    def __str__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"node {self.position}{name} ({self.kind})"

    def get(self, name: str, default: object = None) -> Any:
        """An attribute."""
        return self.attributes.get(name, default)


Operator = Callable[..., Any]
Value = Tensor | np.ndarray[Any, Any]  # of the graph, or known when it is imported
OPERATORS: dict[str, Operator] = {}


def operator(kind: str, *attributes: str) -> Callable[[Operator], Operator]:
    """Registers a function as an operator with these attributes."""

    def registered(function: Operator) -> Operator:
        function.attributes = frozenset(attributes)  # type: ignore[attr-defined]
        OPERATORS[kind] = function
        return function

    return registered


def elementwise(kind: str, function: Callable[..., Any]) -> None:
    """An operator without attributes."""
    operator(kind)(lambda node, *xs: function(*xs))


def host(value: Tensor | ArrayLike) -> np.ndarray[Any, Any]:
    """The array of a value that says a shape, an axis or a bound."""
    return np.asarray(value.numpy() if isinstance(value, Tensor) else value)


def ints(value: Tensor | ArrayLike) -> list[int]:
    """Whole numbers."""
    return [int(n) for n in host(value).ravel()]


for _ours, _theirs in {**UNARY, **BINARY, "matmul": "MatMul", "where": "Where"}.items():
    elementwise(_theirs, getattr(ops, _ours))
elementwise("Reciprocal", lambda x: 1 / x)
elementwise("Softsign", lambda x: x / (1 + ops.abs(x)))


@operator("Div")
def _div(node: Node, a: Any, b: Any) -> Any:
    if host(b).dtype.kind in "iu" and host(a).dtype.kind in "iu":  # towards zero
        return np.trunc(host(a) / host(b)).astype(host(a).dtype)
    return a / b


@operator("Mod", "fmod")
def _mod(node: Node, a: Any, b: Any) -> Any:
    if node.get("fmod"):
        raise InvalidValueError("fmod=1 has no equivalent")
    return ops.remainder(a, b)


elementwise("Max", lambda *xs: reduce(ops.maximum, xs))
elementwise("Min", lambda *xs: reduce(ops.minimum, xs))
elementwise("Sum", lambda *xs: reduce(ops.add, xs))
elementwise("Mean", lambda *xs: reduce(ops.add, xs) / len(xs))

ACTIVATIONS: dict[str, Callable[..., Any]] = {  # of x, alpha, beta
    "Tanh": lambda x, a, b: ops.tanh(x),
    "Sigmoid": lambda x, a, b: ops.sigmoid(x),
    "Relu": lambda x, a, b: ops.relu(x),
    "Softplus": lambda x, a, b: ops.softplus(x),
    "Softsign": lambda x, a, b: x / (1 + ops.abs(x)),
    "LeakyRelu": lambda x, a, b: ops.leaky_relu(x, negative_slope=a),
    "ThresholdedRelu": lambda x, a, b: ops.where(x > a, x, 0),
    "Elu": lambda x, a, b: ops.elu(x, alpha=a),
    "HardSigmoid": lambda x, a, b: ops.clip(a * x + b, 0, 1),
    "ScaledTanh": lambda x, a, b: a * ops.tanh(b * x),
    "Affine": lambda x, a, b: a * x + b,
}
CONSTANTS = {"LeakyRelu": (0.01, 0), "Elu": (1.0, 0), "HardSigmoid": (0.2, 0.5)}  # by default


def _activation(kind: str, *defaults: float) -> None:
    def activated(node: Node, x: Any) -> Any:
        named = zip(("alpha", "beta"), defaults, strict=True)
        return ACTIVATIONS[kind](x, *(node.get(name, default) for name, default in named))

    operator(kind, "alpha", "beta")(activated)


for _kind in CONSTANTS:
    _activation(_kind, *CONSTANTS[_kind])


@operator("Gelu", "approximate")
def _gelu(node: Node, x: Any) -> Any:
    if node.get("approximate", "none") != "none":
        raise InvalidValueError("approximate='tanh' has no equivalent")
    return ops.gelu(x)


@operator("Clip", "min", "max")
def _clip(node: Node, x: Any, low: Any = None, high: Any = None) -> Any:
    low, high = node.get("min", low), node.get("max", high)
    if low is not None:
        x = ops.maximum(x, low)
    return x if high is None else ops.minimum(x, high)


@operator("Dropout", "ratio", "seed")
def _dropout(node: Node, x: Any, ratio: Any = None, training: Any = None) -> Any:
    return x


# ---------------------------------------------------------------- products, sums


@operator("Gemm", "alpha", "beta", "transA", "transB")
def _gemm(node: Node, a: Any, b: Any, c: Any = None) -> Any:
    a = a.mT if node.get("transA") else a
    b = b.mT if node.get("transB") else b
    y = (a @ b) * node.get("alpha", 1.0) if node.get("alpha", 1.0) != 1 else a @ b
    return y if c is None else y + c * node.get("beta", 1.0)


@operator("Conv", "auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
def _conv(node: Node, x: Any, w: Any, b: Any = None) -> Any:
    axes = x.ndim - 2
    pads, auto = node.get("pads", [0, 0] * axes), node.get("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID"):
        raise InvalidValueError(f"auto_pad={auto!r} has no equivalent")
    if any(pads):  # which may differ before and after
        x = ops.pad(x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
    stride, dilation = (node.get(name, [1] * axes) for name in ("strides", "dilations"))
    return ops.conv(x, w, b, stride=stride, dilation=dilation, groups=node.get("group", 1))


@operator("Einsum", "equation")
def _einsum(node: Node, *xs: Any) -> Any:
    return ops.einsum(node.get("equation"), *xs)


def _axes(node: Node, axes: Value | None) -> tuple[int, ...] | None:
    found = node.get("axes") if axes is None else ints(axes)
    return tuple(found) if found else None


def _reduction(kind: str, function: Callable[..., Any]) -> None:
    def reduced(node: Node, x: Any, axes: Value | None = None) -> Any:
        over = _axes(node, axes)
        if over is None and node.get("noop_with_empty_axes"):
            return x
        return function(x, axis=over, keepdims=bool(node.get("keepdims", 1)))

    operator(kind, "axes", "keepdims", "noop_with_empty_axes")(reduced)


for _name in ("Sum", "Mean", "Max", "Min", "Prod", "LogSumExp"):
    _reduction(f"Reduce{_name}", getattr(ops, _name.lower()))
_reduction("ReduceSumSquare", lambda x, **options: ops.sum(x * x, **options))
_reduction("ReduceL2", lambda x, **options: ops.sqrt(ops.sum(x * x, **options)))


def _extreme(kind: str, function: Callable[..., Any]) -> None:
    def found(node: Node, x: Any) -> Any:
        if node.get("select_last_index"):
            raise InvalidValueError("select_last_index=1 has no equivalent")
        return function(x, axis=node.get("axis", 0), keepdims=bool(node.get("keepdims", 1)))

    operator(kind, "axis", "keepdims", "select_last_index")(found)


_extreme("ArgMax", ops.argmax)
_extreme("ArgMin", ops.argmin)


def _normalized(kind: str, function: Callable[..., Any]) -> None:
    def normalized(node: Node, x: Any) -> Any:
        if node.opset >= 13:
            return function(x, axis=node.get("axis", -1))
        axis = node.get("axis", 1) % x.ndim  # of older versions: over all axes from this one on
        flat = x.reshape((*x.shape[:axis], prod(x.shape[axis:])))
        return function(flat, axis=-1).reshape(x.shape)

    operator(kind, "axis")(normalized)


_normalized("Softmax", ops.softmax)
_normalized("LogSoftmax", ops.log_softmax)


@operator("LayerNormalization", "axis", "epsilon", "stash_type")
def _layer_norm(node: Node, x: Any, scale: Any, bias: Any = None) -> Any:
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    centred = x - ops.mean(x, axis=axes, keepdims=True)
    variance = ops.mean(centred * centred, axis=axes, keepdims=True)
    y = centred / ops.sqrt(variance + node.get("epsilon", 1e-5)) * scale
    return y if bias is None else y + bias


@operator("CumSum", "exclusive", "reverse")
def _cumsum(node: Node, x: Any, axis: Value) -> Any:
    if node.get("exclusive") or node.get("reverse"):
        raise InvalidValueError("exclusive=1 and reverse=1 have no equivalent")
    return ops.cumsum(x, axis=ints(axis)[0])


# ---------------------------------------------------------------- shapes


@operator("Shape", "start", "end")
def _shape(node: Node, x: Any) -> Any:
    return np.array(x.shape, np.int64)[node.get("start", 0) : node.get("end")]


@operator("Size")
def _size(node: Node, x: Any) -> Any:
    return np.array(prod(x.shape), np.int64)


@operator("Constant", "value", "value_int", "value_ints", "value_float", "value_floats")
def _constant(node: Node) -> Any:
    ((name, value),) = node.attributes.items()
    return np.asarray(value, np.float32 if "float" in name else None)


@operator("ConstantOfShape", "value")
def _filled(node: Node, shape: Value) -> Any:
    value = np.asarray(node.get("value", np.zeros(1, np.float32))).ravel()
    return np.full(ints(shape), value[0], value.dtype)


@operator("Range")
def _range(node: Node, start: Any, end: Any, step: Any) -> Any:
    bounds: list[Any] = [host(value) for value in (start, end, step)]
    return np.arange(*bounds, dtype=bounds[0].dtype)


@operator("Cast", "to", "saturate")
def _cast(node: Node, x: Any) -> Any:
    names = {1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
             9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64"}  # fmt: skip
    return x.astype(names[node.get("to")])


@operator("Reshape", "allowzero")
def _reshape(node: Node, x: Any, shape: Value) -> Any:
    wanted = ints(shape)
    if not node.get("allowzero"):
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    return x.reshape(tuple(wanted))


@operator("Flatten", "axis")
def _flatten(node: Node, x: Any) -> Any:
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape((prod(x.shape[:axis]), prod(x.shape[axis:])))


@operator("Expand")
def _expand(node: Node, x: Any, shape: Value) -> Any:
    return ops.broadcast_to(x, shape=np.broadcast_shapes(tuple(x.shape), tuple(ints(shape))))


@operator("Transpose", "perm")
def _transpose(node: Node, x: Any) -> Any:
    return ops.permute_dims(x, axes=tuple(node.get("perm") or range(x.ndim)[::-1]))


@operator("Squeeze", "axes")
def _squeeze(node: Node, x: Any, axes: Value | None = None) -> Any:
    over = _axes(node, axes)
    return ops.squeeze(x) if over is None else ops.squeeze(x, axis=over)


@operator("Unsqueeze", "axes")
def _unsqueeze(node: Node, x: Any, axes: Value | None = None) -> Any:
    return ops.expand_dims(x, axis=_axes(node, axes) or ())


@operator("Concat", "axis")
def _concat(node: Node, *xs: Any) -> Any:
    if all(isinstance(x, np.ndarray) for x in xs):
        return np.concatenate(xs, axis=node.get("axis"))
    like = next(x for x in xs if isinstance(x, Tensor))
    parts = [x if isinstance(x, Tensor) else Tensor(x, device=like.device) for x in xs]
    return ops.concat(parts, axis=node.get("axis"))


@operator("Split", "axis", "split", "num_outputs")
def _split(node: Node, x: Any, sizes: Value | None = None) -> Any:
    axis, count = node.get("axis", 0), len(node.outputs)
    given = node.get("split") if sizes is None else ints(sizes)
    if given is None:
        width = -(-x.shape[axis] // count)
        given = [width] * count
    ends = np.cumsum(given)[:-1].tolist()
    return tuple(ops.split(x, ends, axis=axis))


@operator("Slice", "starts", "ends", "axes")
def _slice(
    node: Node,
    x: Any,
    starts: Value | None = None,
    ends: Value | None = None,
    axes: Value | None = None,
    steps: Value | None = None,
) -> Any:
    first = node.get("starts") if starts is None else ints(starts)
    last = node.get("ends") if ends is None else ints(ends)
    over = node.get("axes", range(len(first))) if axes is None else ints(axes)
    by = [1] * len(first) if steps is None else ints(steps)
    index: list[Any] = [slice(None)] * x.ndim
    for axis, start, end, step in zip(over, first, last, by, strict=True):
        n = x.shape[axis]
        begin = min(max(start + n if start < 0 else start, 0), n - (step < 0))
        stop: Any = end + n if end < 0 else end
        stop = None if step < 0 and stop < 0 else min(max(stop, 0), n)
        index[axis] = slice(begin, stop, step)
    return x[tuple(index)]


@operator("Gather", "axis")
def _gather(node: Node, x: Any, ids: Any) -> Any:
    axis = node.get("axis", 0)
    n = x.shape[axis]
    ids = (ops if isinstance(ids, Tensor) else np).where(ids < 0, ids + n, ids)
    if isinstance(x, np.ndarray) and isinstance(ids, np.ndarray):
        return np.take(x, ids, axis=axis)
    return ops.take(x if isinstance(x, Tensor) else Tensor(x), ids, axis=axis)


@operator("GatherElements", "axis")
def _gather_elements(node: Node, x: Any, ids: Any) -> Any:
    return ops.take_along_axis(x, ids, axis=node.get("axis", 0))


@operator("Pad", "mode", "pads", "value")
def _pad(
    node: Node, x: Any, pads: Value | None = None, value: Any = None, axes: Value | None = None
) -> Any:
    widths = node.get("pads") if pads is None else ints(pads)
    number = node.get("value", 0.0) if value is None else host(value).item()
    over = range(x.ndim) if axes is None else ints(axes)
    pairs = [(0, 0)] * x.ndim
    for i, axis in enumerate(over):
        pairs[axis] = widths[i], widths[i + len(widths) // 2]
    return ops.pad(x, pairs, node.get("mode", "constant"), constant_values=number)
