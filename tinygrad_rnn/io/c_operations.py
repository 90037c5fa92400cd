"""The code of a traced function: its operations in C."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..errors import InvalidValueError
from ..tensor import tree
from ..tensor.autodiff import no_grad
from ..tensor.tensor import Tensor
from .c_program import Program, Value
from .tracing import Event, Recorder, Ref, recording, values

UNARY: dict[str, str] = {  # of v
    "sigmoid": "1.0f / (1.0f + expf(-v))", "relu": "v > 0.0f ? v : 0.0f",
    "rsqrt": "1.0f / sqrtf(v)", "abs": "v < 0.0f ? -v : v", "negative": "-v", "square": "v * v",
    "alias": "v",
    "silu": "v / (1.0f + expf(-v))", "gelu": "0.5f * v * (1.0f + erff(0.70710678f * v))",
    "softplus": "(v > 0.0f ? v : 0.0f) + logf(1.0f + expf(v > 0.0f ? -v : v))",
    "log_sigmoid": "(v < 0.0f ? v : 0.0f) - logf(1.0f + expf(v > 0.0f ? -v : v))",
    "hard_sigmoid": "v < -3.0f ? 0.0f : v > 3.0f ? 1.0f : v / 6.0f + 0.5f",
    "elu": "v > 0.0f ? v : {alpha} * (expf(v) - 1.0f)",
    "leaky_relu": "v > 0.0f ? v : {negative_slope} * v",
}  # fmt: skip
DIRECT = {"tanh": "tanhf", "exp": "expf", "log": "logf", "sqrt": "sqrtf"}
BINARY: dict[str, str] = {
    "add": "{} + {}", "subtract": "{} - {}", "multiply": "{} * {}", "divide": "{} / {}",
    "equal": "{} == {}", "less": "{} < {}", "less_equal": "{} <= {}", "greater": "{} > {}",
    "greater_equal": "{} >= {}",
}  # fmt: skip
CALLED = {"maximum": "a > b ? a : b", "minimum": "a < b ? a : b"}
MOVES = frozenset({"reshape", "unstack", "getitem", "swapaxes", "permute_dims", "moveaxis",
                   "expand_dims", "squeeze", "broadcast_to", "flip", "split"})  # fmt: skip
REDUCED = {"sum", "mean", "max"}
OTHERS = {"where", "clip", "matmul", "concat", "softmax", "log_softmax"}
EXPORTED = {*UNARY, *DIRECT, *BINARY, *CALLED, *MOVES, *REDUCED, *OTHERS}


def run(
    program: Program,
    function: Callable[..., Any],
    inputs: Sequence[Value],
    what: str,
    like: Any = None,
) -> list[Value]:
    """Adds the code of a function of Tensors. **Returns** the leaves of its result.

    It traces the function twice, and refuses operations that depend on values. **Arguments** like:
    the structure of its arguments after the first one.
    """
    traces = [_trace(function, inputs, k, like) for k in range(2)]
    (first, results), (second, _) = traces
    names = [[event.what.name for event in recorder.events] for recorder, _ in traces]
    if names[0] != names[1]:
        raise InvalidValueError(
            f"export_c: {what}: it calls other operations for other inputs: what depends on "
            "values cannot be exported"
        )
    values: dict[int, Any] = dict(enumerate(inputs))
    uses = Counter(n for event in first.events for n in _numbers((event.args, event.params)))
    uses.update(n for y in results for n in _numbers(first.ref(y)))
    for event, other in zip(first.events, second.events, strict=True):
        if not _same((event.args, event.params), (other.args, other.params)):
            raise InvalidValueError(
                f"export_c: {what}: {event.what.name}: a constant depends on the inputs: "
                "compute it by operations of tg"
            )
        _emit(program, event, values, uses, what)
    return [_value(program, first.ref(y), values) for y in results]


def _trace(
    function: Callable[..., Any], inputs: Sequence[Value], trace: int, like: Any
) -> tuple[Recorder, list[Any]]:
    """Records a call with drawn inputs. **Returns** the leaves of its result as well."""
    rng, recorder = np.random.default_rng(0), Recorder()
    scale = np.float32(-1.7 if trace else 1)  # so that values differ, and their signs
    drawn = [Tensor(rng.normal(size=v.shape).astype("f4") * scale, device="cpu") for v in inputs]
    for x in drawn:
        recorder.number(x.array)
    more = () if like is None else (tree.filled(like, drawn[1:]),)
    with no_grad(), recording(recorder):
        return recorder, tree.leaves(function(drawn[0], *more))


def _value(program: Program, argument: Any, values: dict[int, Any]) -> Value:
    """The value of an argument, a numbered one or a constant."""
    found = values[argument.number] if isinstance(argument, Ref) else np.asarray(argument)
    return found if isinstance(found, Value) else program.constant(found)


def _emit(
    program: Program, event: Event, values: dict[int, Any], uses: Counter[int], what: str
) -> None:
    """Adds the code of an operation; one on constants is a constant."""
    name = event.what.name.split(": ")[-1]
    numbers = _numbers((event.args, event.params))
    if not any(isinstance(values[n], Value) for n in numbers):
        values |= dict(zip(event.outs, event.arrays, strict=True))
        return
    if name not in EXPORTED or _numbers(event.params):
        raise InvalidValueError(
            f"export_c: {what}: the operation {name!r} is not exported to C: docs/interop.md "
            "lists those that are"
        )
    parts = [None if a is None else _value(program, a, values) for a in event.args]
    if name in MOVES:
        source = _value(program, event.args[0], values)
        if any(uses[number] > 1 for number in event.outs):
            source = program.held(source)
        places = np.arange(source.size).reshape(source.shape)
        moved = event.what.forward(np, places, **event.params)
        results = [program.moved(source, p) for p in (moved if type(moved) is tuple else [moved])]
    else:
        results = [_computed(program, name, event.params, parts)]
    for number, result in zip(event.outs, results, strict=True):
        computed = name not in MOVES and (uses[number] > 1 or result.size == 1)
        values[number] = program.held(result) if computed else result


def _computed(program: Program, name: str, params: dict[str, Any], parts: list[Any]) -> Value:
    """The value of an operation that computes."""
    if name == "matmul":
        return _matmul(program, *parts)
    if name == "add":
        return program.added(*parts)
    if name in BINARY:
        return program.elementwise(f"({BINARY[name]})", parts)
    if name in DIRECT:
        return program.elementwise(f"{DIRECT[name]}({{}})", parts)
    if name in UNARY:
        numbers = {k: f"{float(v):.9e}f" for k, v in params.items() if isinstance(v, float)}
        constants = "".join(str(v) for v in numbers.values())
        code = UNARY[name].format(**numbers)
        own = name if not constants else f"{name}{len(program.helpers)}"
        return program.elementwise(f"{program.function(own, code, 'v')}({{}})", parts)
    if name in CALLED:
        return program.elementwise(
            f"{program.function(name, CALLED[name], 'ab')}({{}}, {{}})", parts
        )
    if name == "where":
        return program.elementwise("({} ? {} : {})", parts)
    if name == "clip":
        value: Value = parts[0]
        for kind, bound in zip(("maximum", "minimum"), parts[1:], strict=False):
            if bound is not None:
                called = program.function(kind, CALLED[kind], "ab")
                value = program.elementwise(f"{called}({{}}, {{}})", [value, bound])
        return value
    axis: Any = params.get("axis")
    if name == "concat":
        return program.joined(parts, axis)
    if name in REDUCED:
        axes = range(len(parts[0].shape)) if axis is None else np.atleast_1d(axis).tolist()
        return program.reduced(name, parts[0], axes, bool(params.get("keepdims")))
    x = program.held(parts[0])
    less = program.elementwise("({} - {})", [x, program.reduced("max", x, [axis], True)])
    exps = program.held(program.elementwise("expf({})", [less]))
    total = program.reduced("sum", exps, [axis], True)
    if name == "softmax":
        return program.elementwise("({} / {})", [exps, total])
    return program.elementwise("({} - logf({}))", [less, total])


def _matmul(program: Program, a: Value, b: Value) -> Value:
    """A product with a constant matrix, or of two values."""
    if b.constant is not None and b.constant.ndim == 2 and a.size == a.shape[-1] and not b.products:
        x = program.held(a).array
        zero = program.constant(np.zeros((*a.shape[:-1], b.shape[1])))
        return Value(zero.shape, zero.at, "", [(b.constant.T, x)], zero.constant)
    if len(a.shape) < 2 or len(b.shape) < 2:
        raise InvalidValueError("export_c: matmul: expected matrices")
    wide = program.moved(a, np.arange(a.size).reshape(*a.shape, 1))
    other = program.moved(b, np.arange(b.size).reshape(*b.shape[:-2], 1, *b.shape[-2:]))
    program.multiplications += prod(np.broadcast_shapes(wide.shape, other.shape))
    return program.reduced("sum", program.elementwise("({} * {})", [wide, other]), [-2], False)


def _numbers(value: object) -> list[int]:
    """The numbers of the references in arguments."""
    return [ref.number for ref in values(value) if isinstance(ref, Ref)]


def _same(a: Any, b: Any) -> bool:
    """Tells whether arguments are equal in two traces."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)
