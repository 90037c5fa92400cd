"""Loops over time as the operator Scan, whose body is a traced step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...tensor import tree
from ...tensor.conversion import DType
from ...tensor.tensor import Tensor
from ..tracing import Event, values
from .exporter import Exporter
from .graph import Graph


class Values(NamedTuple):
    """The values of a loop in the graph."""

    what: str  # for errors
    xs: list[str]  # sequences, (T, B, ...)
    begin: list[str]  # the parts of the state before the first step, (B, ...)
    lengths: str | None = None  # (B,)
    reset: str | None = None  # (T, B)
    restart: list[str] | None = None  # the state that a reset begins from; None for zeros
    reverse: bool = False
    every: bool = False  # whether the states after all steps are wanted


def scanned(
    exporter: Exporter,
    loop: Values,
    step: Callable[[int], Any],
    xs: tuple[Sequence[Any], Sequence[Any]],
    states: Sequence[Sequence[Any]],
) -> tuple[list[str], list[str], list[str]]:
    """Adds a loop. **Returns** the outputs, the last state, and all states, leaf by leaf.

    **Arguments** step: of a trace, applied to the values of xs and states of that trace, returns
    the outputs and the new state. xs, states: Tensors of a step, for both traces.
    """
    g = exporter.graph
    body = Graph(g)
    inner = exporter.inside(body)
    names = [
        [body.name(hint) for _ in values[0]] for hint, values in (("state", states), ("x", xs))
    ]
    olds, x_names = names
    inputs = list(loop.xs)
    read = [(n, x.dtype, x.ndim) for n, x in zip(x_names, xs[0], strict=True)]  # at each step
    if loop.lengths is not None:
        inputs.append(times(g, loop.xs[0]))
        read.append((body.name("t"), np.int32, 0))
        valid = body.add("Less", read[-1][0], loop.lengths)
    state_names = olds
    if loop.reset is not None:
        inputs.append(loop.reset)
        read.append((body.name("reset"), np.bool_, 1))
        zeros = [body.constant(0, part.dtype) for part in states[0]]
        state_names = [
            body.add("Where", _wide(body, read[-1][0], part.ndim), new, old)
            for new, old, part in zip(loop.restart or zeros, olds, states[0], strict=True)
        ]
    inner.inputs([*x_names, *state_names], [*zip(*xs, strict=True), *zip(*states, strict=True)])
    results = inner.run(step, None)
    outputs = [
        inner.value(inner.recorders[0].ref(a), inner.recorders[1].ref(b), loop.what)
        for a, b in results
    ]
    count = len(outputs) - len(olds)
    ys, new = outputs[:count], outputs[count:]
    likes = [a for a, _ in results]
    every = new if loop.every else []
    if loop.lengths is not None:

        def running(values: list[str], others: list[str], like: list[Any]) -> list[str]:
            return [body.add("Where", _wide(body, valid, part.ndim), a, b)
                    for a, b, part in zip(values, others, like, strict=True)]  # fmt: skip

        ys, every = (
            running(values, [body.constant(0, part.dtype) for part in like], like)
            for values, like in ((ys, likes[:count]), (every, likes[count:] if loop.every else []))
        )
        # a reset past a row's length changes nothing
        new = running(new, olds, likes[count:])
    outputs = [body.add("Identity", n) for n in (*new, *ys, *every)]  # values of its own
    helper = g.root.onnx.helper

    def info(name: str, dtype: DType, axes: int) -> Any:
        return helper.make_tensor_value_info(name, g.element(dtype), [None] * axes)

    ins = [info(n, part.dtype, part.ndim) for n, part in zip(olds, states[0], strict=True)]
    ins += [info(*part) for part in read]
    parts = [*states[0], *likes[:count], *(likes[count:] if every else [])]
    outs = [info(n, part.dtype, part.ndim) for n, part in zip(outputs, parts, strict=True)]
    made = helper.make_graph(body.nodes, "step", ins, outs)
    turned = len(outs) - len(olds)
    found = g.several(
        "Scan", [*loop.begin, *inputs], len(outs), body=made, num_scan_inputs=len(inputs),
        scan_input_directions=[int(loop.reverse)] * len(inputs),
        scan_output_directions=[int(loop.reverse)] * turned,
    )  # fmt: skip
    last = len(olds)
    return found[last : last + count], found[:last], found[last + count :]


def emit_loop(exporter: Exporter, first: Event, second: Event) -> list[str]:
    """Adds a call of `tg.scan`. **Returns** the names of its results' leaves."""
    events, what = (first, second), "tg.scan"
    carry, xs = zip(*(tuple(map(values, event.args)) for event in events), strict=True)

    def arrays(k: int, parts: list[Any]) -> list[Any]:
        return [exporter.recorders[k].array(part) for part in parts]

    def names(parts: Any) -> list[str]:
        return [exporter.value(a, b, what) for a, b in zip(*parts, strict=True)]

    def option(name: str, dtype: DType) -> str | None:
        given = [event.params[name] for event in events]
        return None if given[0] is None else exporter.value(given[0], given[1], what, dtype)

    rng = np.random.default_rng(0)
    states = [[filled(a, rng) for a in arrays(k, carry[k])] for k in range(2)]
    steps = [[filled(a[0], rng) for a in arrays(k, xs[k])] for k in range(2)]

    def step(k: int) -> Any:
        loop = events[k].what
        new, y = loop.step(tree.filled(loop.carry, states[k]), tree.filled(loop.xs, steps[k]))
        return y, new

    made = Values(
        what, names(xs), names(carry), option("lengths", np.int32), option("reset", bool), None,
        first.params["reverse"],
    )  # fmt: skip
    ys, last, _ = scanned(exporter, made, step, (steps[0], steps[1]), states)
    return [*last, *ys]


def times(g: Graph, x: str) -> str:
    """The numbers of the steps of a sequence, (T,)."""
    steps = g.axes_off(g.add("Shape", x, start=0, end=1), 0)
    numbers = g.add("Range", g.constant(0, np.int64), steps, g.constant(1, np.int64))
    return g.cast(numbers, np.int32)


def filled(array: Any, rng: Any) -> Tensor:
    """Other values where an array has reals: values that no two traces share."""
    if array.dtype.kind == "f":
        array = rng.uniform(0.5, 1.5, array.shape).astype(array.dtype)
    return Tensor(array.copy(), device="cpu")


def _wide(g: Graph, valid: str, ndim: int) -> str:
    """A mask (B,) that broadcasts to (B, ...)."""
    return g.axes_on(valid, *range(1, ndim)) if ndim > 1 else valid
