"""The operators of our operations: a table by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InvalidValueError
from ...tensor.conversion import DType
from ..tracing import Recorder, Ref
from .graph import Graph
from .names import BINARY, UNARY

REDUCTIONS = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin",
              "prod": "ReduceProd"}  # fmt: skip
COMPARISONS = ("equal", "less", "greater", "less_equal", "greater_equal")


class Call:
    """A traced call with its values in the graph.

    **Attributes** names: of the inputs' values, None for a number or None. arrays: the inputs, as
    the first trace has them. shape: of the result, with sizes; shapes: of all results.
    """

    def __init__(
        self,
        graph: Graph,
        what: str,
        value: Callable[..., str],
        pair: tuple[Any, Any],
        recorders: tuple[Recorder, Recorder],
    ) -> None:
        self.graph, self.what, self.value, self.pair = graph, what, value, pair
        self.recorders = recorders  # of both traces
        first, second = pair
        self.inputs, self.params, self.results = first.inputs, first.params, first.arrays
        self.shapes = [
            graph.solved(a.shape, b.shape, what)
            for a, b in zip(first.arrays, second.arrays, strict=True)
        ]
        self.shape = self.shapes[0]
        self.dtype = first.arrays[0].dtype

    def arg(self, i: int, dtype: DType = None) -> str:
        """The value of an input, in a dtype if one is asked for."""
        first, second = self.pair
        return self.value(first.args[i], second.args[i], self.what, dtype)

    def axis(self, i: int = 0, name: str = "axis") -> int:
        """An axis of an input, from the front."""
        ndim: int = self.inputs[i].ndim
        return int(self.params[name]) % ndim

    def number(self, name: str) -> Any:
        """An integer of the parameters, which may be a size."""
        first, second = (event.params[name] for event in self.pair)
        return self.graph.solve(first, second, self.what)

    def common(self) -> list[str]:
        """All inputs in the dtype that NumPy computes in; truth values as `counted`."""
        dtype = np.result_type(*(a for a in self.inputs if a is not None))
        return [self.arg(i, _counted(dtype)) for i in range(len(self.inputs))]

    def counted(self, compute: Callable[..., str], *inputs: int) -> str:
        """A result of inputs in its dtype; of truth values by numbers, which operators take."""
        found = compute(*(self.arg(i, _counted(self.dtype)) for i in inputs))
        return found if self.dtype.kind != "b" else self.graph.cast(found, bool)


def _counted(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.int32) if dtype.kind == "b" else dtype


def emit(call: Call, name: str) -> list[str]:
    """Adds the operators of a call. **Returns** the names of its results."""
    g = call.graph
    if name in TABLE:
        found = TABLE[name](call)
        return found if isinstance(found, list) else [found]
    if name in ("floor", "ceil", "round") and call.dtype.kind != "f":
        return [call.arg(0)]
    if name in UNARY or name == "to":
        return [g.add(UNARY.get(name, "Identity"), call.arg(0))]
    if name.startswith("logical_"):
        return [g.add(BINARY[name], call.arg(0, bool), call.arg(1, bool))]
    if name in COMPARISONS:
        return [g.add(BINARY[name], *call.common())]
    if name in BINARY:
        return [call.counted(lambda a, b: g.add(BINARY[name], a, b), 0, 1)]
    if name in REDUCTIONS:
        return [call.counted(lambda x: _reduced(call, REDUCTIONS[name], x), 0)]
    raise InvalidValueError(
        f"export_onnx: {call.what}: there is no operator for {name!r}: leave it out of the "
        "exported model, or compute it by operations of the table in docs/interop.md"
    )


def _axes(call: Call, ndim: int | None = None) -> list[int]:
    """The axes of the parameters, from the front. **Arguments** ndim: of the input, if None."""
    axis, ndim = call.params.get("axis"), call.inputs[0].ndim if ndim is None else ndim
    return [int(a) % ndim for a in (range(ndim) if axis is None else np.atleast_1d(axis))]


def _reduced(call: Call, kind: str, x: str, keep: bool | None = None) -> str:
    axes = _axes(call)
    keepdims = bool(call.params.get("keepdims")) if keep is None else keep
    if not axes:
        return call.graph.add("Identity", x)
    return call.graph.add(kind, x, call.graph.ints(*axes), keepdims=int(keepdims))


def _any(call: Call) -> str:
    kind = "ReduceMax" if call.what.startswith("any") else "ReduceMin"
    g = call.graph
    return g.cast(_reduced(call, kind, g.cast(g.cast(call.arg(0), bool), np.int32)), bool)


def _count(call: Call) -> str:
    g = call.graph
    return _reduced(call, "ReduceSum", g.cast(g.cast(call.arg(0), bool), call.dtype))


def _arg_extreme(kind: str) -> Callable[[Call], str]:
    def emitted(call: Call) -> str:
        x = call.arg(0, _counted(call.inputs[0].dtype))
        if call.params.get("axis") is None:
            x = call.graph.add("Reshape", x, call.graph.ints(-1))
            return call.graph.add(kind, x, axis=0, keepdims=0)
        keepdims = int(bool(call.params.get("keepdims")))
        return call.graph.add(kind, x, axis=call.axis(), keepdims=keepdims)

    return emitted


def _variance(call: Call) -> str:
    g, x = call.graph, call.arg(0, call.dtype)
    centred = g.add("Sub", x, _reduced(call, "ReduceMean", x, keep=True))
    squares = g.add("Mul", centred, centred)
    correction = call.params.get("correction", 0)
    if not correction:
        y = _reduced(call, "ReduceMean", squares)
    else:
        axes = _axes(call)
        sizes = [call.inputs[0].shape[a] for a in axes]
        if [call.pair[1].inputs[0].shape[a] for a in axes] != sizes:
            raise InvalidValueError(f"export_onnx: {call.what}: correction needs a fixed count")
        count = g.constant(np.prod(sizes) - correction, call.dtype)
        y = g.add("Div", _reduced(call, "ReduceSum", squares), count)
    return g.add("Sqrt", y) if call.what.startswith("std") else y


def _where(call: Call) -> str:
    parts = [call.arg(i, call.dtype) for i in (1, 2)]
    return call.graph.add("Where", call.arg(0, bool), *parts)


def _clip(call: Call) -> str:
    g, y = call.graph, call.arg(0, call.dtype)
    for i, kind in ((1, "Max"), (2, "Min")):
        if len(call.inputs) > i and call.inputs[i] is not None:
            y = g.add(kind, y, call.arg(i, call.dtype))
    return y


def _composed(function: Callable[[Graph, str, Callable[[float], str]], str]) -> Any:
    """An operator made of others, of one input and constants of its dtype."""

    def emitted(call: Call) -> str:
        g = call.graph
        return function(g, call.arg(0, call.dtype), lambda v: g.constant(v, call.dtype))

    return emitted


def _gelu(g: Graph, x: str, c: Any) -> str:
    share = g.add("Add", g.add("Erf", g.add("Mul", x, c(0.5**0.5))), c(1))
    return g.add("Mul", g.add("Mul", x, share), c(0.5))


def _hard_sigmoid(g: Graph, x: str, c: Any) -> str:
    return g.add("Min", g.add("Max", g.add("Add", g.add("Div", x, c(6)), c(0.5)), c(0)), c(1))


def _real(call: Call) -> str:
    """The input as reals, which some operators expect."""
    return call.arg(0, None if call.inputs[0].dtype.kind == "f" else np.float32)


def _isfinite(call: Call) -> str:
    g, x = call.graph, _real(call)
    return g.add("Not", g.add("Or", g.add("IsNaN", x), g.add("IsInf", x)))


def _floor_divide(call: Call) -> str:
    g, (a, b) = call.graph, call.common()
    if call.dtype.kind in "iu":  # Div rounds towards zero
        return g.add("Div", g.add("Sub", a, g.add("Mod", a, b)), b)
    return g.add("Floor", g.add("Div", a, b))


def _remainder(call: Call) -> str:
    g, (a, b) = call.graph, call.common()
    if call.dtype.kind in "iu":
        return g.add("Mod", a, b)
    return g.add("Sub", a, g.add("Mul", g.add("Floor", g.add("Div", a, b)), b))


def _logaddexp(call: Call) -> str:
    g, (a, b) = call.graph, call.common()
    gap = g.add("Neg", g.add("Abs", g.add("Sub", a, b)))
    return g.add("Add", g.add("Max", a, b), g.add("Log", g.add("Add", g.add("Exp", gap),
                 g.constant(1, call.dtype))))  # fmt: skip


def _reshape(call: Call) -> str:
    return call.graph.add("Reshape", call.arg(0), call.graph.shape(call.shape))


def _filled(call: Call) -> str:
    value = {"zeros_like": 0, "ones_like": 1}.get(call.what.split("(")[0])
    value = call.params.get("fill_value") if value is None else value
    g = call.graph
    return g.add("Expand", g.constant(value, call.dtype), g.shape(call.shape))


def _expand_dims(call: Call) -> str:
    return call.graph.axes_on(call.arg(0), *_axes(call, call.results[0].ndim))


def _squeeze(call: Call) -> str:
    if call.params.get("axis") is None:
        return _reshape(call)
    axes = _axes(call)
    return call.graph.axes_off(call.arg(0), *axes) if axes else call.arg(0)


def _permutation(call: Call) -> str:
    """An operation that reorders axes, as applied to one whose axes have the lengths 1, 2, ..."""
    lengths = range(1, call.inputs[0].ndim + 1)
    moved = call.pair[0].what.forward(np, np.empty(tuple(lengths)), **call.params)
    return call.graph.add("Transpose", call.arg(0), perm=[n - 1 for n in moved.shape])


def _flip(call: Call) -> str:
    y = call.arg(0)
    for axis in _axes(call):
        y = call.graph.sliced(y, -1, -(2**31), axis, -1)
    return y


def _concat(call: Call) -> str:
    parts = [call.arg(i, call.dtype) for i in range(len(call.inputs))]
    return call.graph.add("Concat", *parts, axis=call.axis())


def _stack(call: Call) -> str:
    axis = call.params["axis"] % call.results[0].ndim
    parts = [call.graph.axes_on(call.arg(i, call.dtype), axis) for i in range(len(call.inputs))]
    return call.graph.add("Concat", *parts, axis=axis)


def _unstack(call: Call) -> list[str]:
    axis, count = call.axis(), len(call.results)
    parts = call.graph.several("Split", [call.arg(0)], count, axis=axis, num_outputs=count)
    return [call.graph.axes_off(part, axis) for part in parts]


def _einsum(call: Call) -> str:
    a, b, out = call.params["terms"]
    return call.graph.add("Einsum", *call.common(), equation=f"{a},{b}->{out}".lower())


def _softmax(kind: str) -> Callable[[Call], str]:
    return lambda call: call.graph.add(kind, call.arg(0), axis=call.axis())


def _sparsemax(call: Call) -> str:
    g, axis, dtype = call.graph, call.axis(), call.dtype
    x = call.arg(0)
    z = g.add("Sub", x, g.add("ReduceMax", x, g.ints(axis), keepdims=1))
    n = g.shape([call.shape[axis]])
    falling, _ = g.several("TopK", [z, n], 2, axis=axis)
    sums = g.add("CumSum", falling, g.constant(axis, np.int64))
    one = g.constant(1, np.int64)
    ranks = g.add("Range", one, g.add("Add", g.axes_off(n, 0), one), one)
    after = [1] * (len(call.shape) - axis - 1)
    ranks = g.cast(g.add("Reshape", ranks, g.ints(-1, *after)), dtype)
    inside = g.add(
        "Greater", g.add("Add", g.constant(1, dtype), g.add("Mul", ranks, falling)), sums
    )
    support = g.add("ReduceSum", g.cast(inside, np.int64), g.ints(axis), keepdims=1)
    at = g.add("Sub", support, one)
    excess = g.add("Sub", g.add("GatherElements", sums, at, axis=axis), g.constant(1, dtype))
    less = g.add("Sub", z, g.add("Div", excess, g.cast(support, dtype)))
    return g.add("Max", less, g.constant(0, dtype))


def _cumsum(call: Call) -> str:
    axis = call.params.get("axis")
    if axis is None:
        flat = call.graph.add("Reshape", call.arg(0), call.graph.ints(-1))
        return call.graph.add("CumSum", flat, call.graph.constant(0, np.int64))
    return call.graph.add("CumSum", call.arg(0, call.dtype),
                          call.graph.constant(call.axis(), np.int64))  # fmt: skip


def _pad(call: Call) -> str:
    pairs = call.params["pad_width"]
    widths = [before for before, _ in pairs] + [after for _, after in pairs]
    value = call.graph.constant(call.params["value"], call.dtype)
    return call.graph.add("Pad", call.arg(0), call.graph.ints(*widths), value)


def _windows(call: Call) -> str:
    """(..., *space) to (*lengths, ..., *counts), by a Gather for each axis of space."""
    g, x, lengths = call.graph, call.arg(0), call.params["lengths"]
    axes, lead = len(lengths), call.inputs[0].ndim - len(lengths)
    stride, dilation = (np.broadcast_to(call.params[n], axes) for n in ("stride", "dilation"))
    zero, one = g.constant(0, np.int64), g.constant(1, np.int64)
    for i, count in enumerate(call.shape[axes + lead :]):
        starts = g.add("Range", zero, g.axes_off(g.shape([count]), 0), one)
        starts = g.add("Mul", starts, g.constant(stride[i], np.int64))
        within = g.constant(np.arange(lengths[i])[:, None] * dilation[i], np.int64)
        x = g.add("Gather", x, g.add("Add", within, starts), axis=lead + 2 * i)
    last = lead + 2 * axes
    order = [*range(lead, last, 2), *range(lead), *range(lead + 1, last, 2)]
    return g.add("Transpose", x, perm=order)


def _triangle(call: Call) -> str:
    upper = int(call.what.startswith("triu"))
    k = call.graph.constant(call.params.get("k", 0), np.int64)
    return call.graph.add("Trilu", call.arg(0), k, upper=upper)


def _one_hot(call: Call) -> str:
    g, n = call.graph, call.number("num_classes")
    values = g.constant(np.array([0, 1], call.dtype))
    return g.add("OneHot", call.arg(0), g.shape([n]), values, axis=-1)


# ---------------------------------------------------------------- indices


def _parts(index: object) -> tuple[Any, ...]:
    return index if type(index) is tuple else (index,)


def _is_array(part: object) -> bool:
    return isinstance(part, Ref | np.ndarray | list)


def _getitem(call: Call) -> str:
    pairs = list(zip(*(_parts(event.params["index"]) for event in call.pair), strict=True))
    if not any(_is_array(first) for first, _ in pairs):
        return _basic(call, call.arg(0), pairs)
    places = [i for i, (first, _) in enumerate(pairs) if _is_array(first)]
    g, x = call.graph, call.arg(0)
    values = [call.value(*pairs[i], call.what, np.int64) for i in places]
    before = [first for i, (first, _) in enumerate(pairs) if i not in places]
    if before != [slice(None)] * len(before) or places != [*range(places[0], places[-1] + 1)]:
        raise InvalidValueError(
            f"export_onnx: {call.what}: an index of arrays and of parts at once: take the parts "
            "first"
        )
    if len(values) == 1:
        return g.add("Gather", x, values[0], axis=places[0])
    if places[0]:
        raise InvalidValueError(f"export_onnx: {call.what}: index the first axes by arrays")
    rest = call.inputs[0].ndim - len(values)
    shape = call.shape[: len(call.shape) - rest] if rest else call.shape
    return g.add("GatherND", x, _indices(g, values, shape))


def _indices(g: Graph, values: list[str], shape: list[Any]) -> str:
    """Broadcast indices side by side."""
    whole = g.shape(shape)
    parts = [g.axes_on(g.add("Expand", value, whole), len(shape)) for value in values]
    return g.add("Concat", *parts, axis=len(shape))


def _basic(call: Call, x: str, pairs: list[tuple[Any, Any]]) -> str:
    """Slices, numbers, None and `...`."""
    g, ndim = call.graph, call.inputs[0].ndim
    used = sum(first is not None and first is not ... for first, _ in pairs)
    expanded: list[tuple[Any, Any]] = []
    for pair in pairs:
        expanded += [(slice(None), slice(None))] * (ndim - used) if pair[0] is ... else [pair]
    axis, out, removed, added = 0, 0, [], []
    for first, second in expanded:
        if first is None:
            added.append(out)
            out += 1
            continue
        if isinstance(first, slice):
            sizes = call.inputs[0].shape[axis], call.pair[1].inputs[0].shape[axis]
            bounds = [s.indices(n) for s, n in zip((first, second), sizes, strict=True)]
            if bounds[0] != (0, sizes[0], 1) or bounds[1] != (0, sizes[1], 1):
                (start, end, step), (start2, end2, step2) = bounds
                if step != step2:
                    raise InvalidValueError(f"export_onnx: {call.what}: a step that varies")
                low = g.solve(start, start2, call.what)
                high = -(2**31) if step < 0 and end < 0 else g.solve(end, end2, call.what)
                x = g.sliced(x, low, high, axis, step)
            out += 1
        else:
            number = g.solve(int(first), int(second), call.what)
            x = g.add("Gather", x, g.shape([number]), axis=axis)
            removed.append(axis)
        axis += 1
    if removed:
        x = g.axes_off(x, *removed)
    return g.axes_on(x, *added) if added else g.add("Identity", x)


def _index_add(call: Call) -> str:
    g, kind = call.graph, "add" if call.what.startswith("index_add") else "none"
    first, second = (_parts(event.params["index"]) for event in call.pair)
    if not all(_is_array(part) for part in first):
        raise InvalidValueError(f"export_onnx: {call.what}: expected an index of arrays")
    values = [call.value(a, b, call.what, np.int64) for a, b in zip(first, second, strict=True)]
    shapes = [
        np.broadcast_shapes(*(np.shape(recorder.array(part)) for part in parts))
        for recorder, parts in zip(call.recorders, (first, second), strict=True)
    ]
    shape = g.solved(shapes[0], shapes[1], call.what)
    rest = call.shape[len(values) :]
    update = g.add("Expand", call.arg(1, call.dtype), g.shape([*shape, *rest]))
    return g.add("ScatterND", call.arg(0), _indices(g, values, shape), update, reduction=kind)


def _argsort(call: Call) -> str:
    g, axis = call.graph, call.axis()
    n = g.shape([call.shape[axis]])
    return g.several("TopK", [call.arg(0), n], 2, axis=axis, largest=0)[1]


TABLE: dict[str, Callable[[Call], Any]] = {
    "any": _any, "all": _any, "count_nonzero": _count, "var": _variance, "std": _variance,
    "argmax": _arg_extreme("ArgMax"), "argmin": _arg_extreme("ArgMin"),
    "where": _where, "clip": _clip, "isfinite": _isfinite,
    "isnan": lambda call: call.graph.add("IsNaN", _real(call)),
    "not_equal": lambda call: call.graph.add("Not", call.graph.add("Equal", *call.common())),
    "square": _composed(lambda g, x, c: g.add("Mul", x, x)),
    "rsqrt": _composed(lambda g, x, c: g.add("Div", c(1), g.add("Sqrt", x))),
    "exp2": _composed(lambda g, x, c: g.add("Pow", c(2), x)),
    "expm1": _composed(lambda g, x, c: g.add("Sub", g.add("Exp", x), c(1))),
    "log1p": _composed(lambda g, x, c: g.add("Log", g.add("Add", x, c(1)))),
    "log2": _composed(lambda g, x, c: g.add("Div", g.add("Log", x), c(np.log(2)))),
    "log10": _composed(lambda g, x, c: g.add("Div", g.add("Log", x), c(np.log(10)))),
    "silu": _composed(lambda g, x, c: g.add("Mul", x, g.add("Sigmoid", x))),
    "log_sigmoid": _composed(lambda g, x, c: g.add("Neg", g.add("Softplus", g.add("Neg", x)))),
    "trunc": _composed(lambda g, x, c: g.add("Mul", g.add("Sign", x), g.add("Floor",
                       g.add("Abs", x)))),
    "gelu": _composed(_gelu), "hard_sigmoid": _composed(_hard_sigmoid),
    "leaky_relu": lambda call: call.graph.add(
        "LeakyRelu", call.arg(0), alpha=float(call.params["negative_slope"])
    ),
    "elu": lambda call: call.graph.add("Elu", call.arg(0), alpha=float(call.params["alpha"])),
    "floor_divide": _floor_divide, "remainder": _remainder, "logaddexp": _logaddexp,
    "reshape": _reshape,
    "broadcast_to": lambda call: call.graph.add(
        "Expand", call.arg(0, call.dtype), call.graph.shape(call.shape)
    ),
    "expand_dims": _expand_dims,
    "zeros_like": _filled, "ones_like": _filled, "full_like": _filled,
    **dict.fromkeys(("permute_dims", "swapaxes", "moveaxis"), _permutation),
    "squeeze": _squeeze, "flip": _flip, "concat": _concat, "stack": _stack, "unstack": _unstack,
    "matmul": lambda call: call.graph.add("MatMul", *call.common()),
    "einsum": _einsum, "softmax": _softmax("Softmax"),
    "log_softmax": _softmax("LogSoftmax"),
    "logsumexp": lambda call: _reduced(call, "ReduceLogSumExp", call.arg(0, call.dtype)),
    "sparsemax": _sparsemax,
    "cumsum": _cumsum, "pad": _pad, "tril": _triangle, "triu": _triangle, "one_hot": _one_hot,
    "astype": lambda call: call.graph.cast(call.arg(0), call.dtype),
    "getitem": _getitem, "index_add": _index_add, "index_update": _index_add,
    "argsort": _argsort, "sliding_windows": _windows,
}  # fmt: skip
