"""Compiles a scan: traces the step, hoists what does not depend on the carry, plans the rest.

Loop-invariant operations run once, before the loop. Operations on the sequences alone, matrix
products above all, run once for all steps together where their rules allow it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, ShapeError
from ..kernels.elementwise import is_native
from ..tensor import tree
from ..tensor.backend import is_array
from ..tensor.graph import Traced, grad_mode, wrap
from ..tensor.operation import Op
from ..tensor.ops import elementwise
from ..tensor.ops.elementwise import alias
from ..tensor.ops.indexing import getitem, is_basic
from ..tensor.ops.movement import reshape, unstack
from ..tensor.ops.products import matmul
from .cache import cached_tape
from .execute import Executor, execute
from .indices import look_up
from .program import Tape
from .trace import Call, Trace, Var, detach_unless, fresh_copy

ELEMENTWISE = frozenset(op for op in vars(elementwise).values() if isinstance(op, Op))

MIN_ROWS = 32  # of a product in the loop, which reads its matrix once more at every step
CACHE_ELEMENTS = 1 << 20  # that fit into a few megabytes of cache

Body = Callable[..., tuple[Any, Any]]


def compile_scan(
    body: Body, carry: Any, xs: tuple[Any, ...], order: range, every: int | None, cls: type[Traced]
) -> tuple[Any, Any]:
    """Runs a loop of `body(carry, *x_t) -> (carry, y_t)` as one node; traces its first two steps.

    **Arguments** carry, xs: trees of arrays and Tensors. order: the time steps in running order.
    every: steps of a checkpointed segment. cls: the class of Tensors. **Returns** as `scan`.
    """

    def values(of: Any) -> list[Any]:
        return [v if isinstance(v, Traced) else wrap(cls, v, None) for v in tree.leaves(of)]

    state, sequences = values(carry), values(xs)

    def trace_step(
        t: int, state: list[Any], like: Trace | None = None
    ) -> tuple[Trace, list[Any], Any]:
        reals = [grad_mode.on and v.array.dtype.kind == "f" for v in state]
        before = [fresh_copy(v, live) for v, live in zip(state, reals, strict=True)]
        x = [fresh_copy(wrap(cls, v.array[t, ...], None), v.edge is not None) for v in sequences]
        trace = Trace("scan", [*before, *x], like)
        new, y = trace.run(lambda: body(tree.filled(carry, before), *tree.filled(xs, x)))
        changed = tree.difference(carry, new)
        if changed:
            trace.refuse(
                f"another structure of the carry before and after it ({changed})",
                "start with a carry of the final structure",
            )
        after = tree.leaves(new, carry)
        shapes = [[(v.shape, v.dtype) for v in parts] for parts in (state, after)]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                "scan: expected a step that keeps the shapes and dtypes of the carry, got "
                f"{_described(state)} before, and {_described(after)} after it: start with a carry "
                "of the final shapes and dtypes, or leave fused=False"
            )
        return trace, after, y

    trace, after, y = trace_step(order[0], state)
    second, later, other = trace_step(order[1], after, trace)
    changed = tree.difference(y, other, tree.is_item)
    if changed:
        trace.refuse(
            f"outputs of another structure at each step ({changed})", "return one structure"
        )
    ys, others = tree.leaves(y, y, tree.is_item), tree.leaves(other, y, tree.is_item)
    trace.agrees_with(second, [*after, *ys], [*later, *others])
    tape, sequences, constants = _hoist(trace, state, sequences, after, ys, cls)
    inputs = [*state, *sequences, *constants]
    keep = grad_mode.on and any(v.edge is not None for v in inputs)
    found = execute(*inputs, executor=Executor(tape, inputs, order, every, keep))
    reached = tape.reached(tuple([v.edge is not None for v in inputs]))
    outputs = [detach_unless(v, live) for v, live in zip(found, reached, strict=True)]
    last = tree.filled(carry, outputs[: len(state)])
    return last, tree.filled(y, outputs[len(state) :], tree.is_item)


def _described(values: list[Any]) -> str:
    return ", ".join(f"{v.dtype}{list(v.shape)}" for v in values)


def _hoist(
    trace: Trace,
    carry: list[Traced],
    sequences: list[Traced],
    new: list[Any],
    ys: list[Any],
    cls: type[Traced],
) -> tuple[Tape, list[Traced], list[Traced]]:
    """Moves loop-invariant code out of a traced step (LICM) and compiles the rest.

    An operation on constants alone leaves the loop: its result is a constant. So does one on
    elements of sequences that can be vectorized over the steps: its result is a sequence.
    **Returns** the Tape, its sequences, and its constants.
    """
    numbers = range(len(carry), len(carry) + len(sequences))
    per_step = dict(zip(numbers, sequences, strict=True))  # by the numbers of their elements
    fixed: dict[int, Traced] = {}  # the constants
    known: dict[Any, int] = {}
    varying = {*range(numbers.stop)}
    calls: list[Call] = []
    results: dict[int, Traced] = {}

    def constant(value: Traced) -> int:
        key = (value.edge, id(value.array))
        number = known.setdefault(key, trace.count + len(known))
        fixed[number] = value
        return number

    def variable(value: object) -> Any:
        """The Var of an argument or a result in the Tape; a Python constant as it is."""
        if isinstance(value, Var):
            if value.number in varying:
                return value
            value = detach_unless(results[value.number], value.live)
        if isinstance(value, Traced):
            return Var(constant(value), value.edge is not None)
        return value

    for call in trace.calls:
        results.update(zip(call.outs, call.results, strict=True))
        if not any(isinstance(a, Var) and a.number in varying for a in call.args):
            continue
        varying.update(call.outs)
        call = call._replace(args=tuple(map(variable, call.args)))
        params = _vectorized_params(call, per_step, fixed)
        if params is not None:
            whole = {**per_step, **fixed}
            args = [
                detach_unless(whole[a.number], a.live) if isinstance(a, Var) else a
                for a in call.args
            ]
            y = call.op(*args, **params)
            per_step.update(zip(call.outs, y if call.several else (y,), strict=True))
        else:
            calls.append(call)

    def result(value: object) -> Var:
        """The Var of a result; a constant is returned through an `alias`."""
        found: Var = variable(trace.find(_value(value, cls)))
        if found.number not in fixed:
            return found
        number, value, live = -1 - len(calls), fixed[found.number], (found.live,)
        shapes = (tuple(value.array.shape),)
        calls.append(Call(alias, (found,), {}, (number,), (value,), False, live, shapes))
        return Var(number, found.live)

    returned = [[result(v) for v in values] for values in (new, ys)]
    tape = cached_tape(calls, range(len(carry)), list(per_step), list(fixed), *returned)
    return tape, list(per_step.values()), list(fixed.values())


def _better_in_loop(call: Call, steps: int) -> bool:
    """Whether a product over all steps would leave the cache before the loop reads it.

    Native products are as fast step by step: their matrices are packed once for the loop.
    """
    array = call.results[0].array
    large = array.size >= MIN_ROWS * call.shapes[1][1] and steps * array.size > CACHE_ELEMENTS
    return large and type(array) is np.ndarray and is_native(np)


def _value(v: Any, cls: type[Traced]) -> Any:
    """A result of a step, which may also be a raw array."""
    if isinstance(v, Traced):
        return v
    if is_array(v):
        return wrap(cls, v, None)
    raise InvalidTypeError(f"scan: expected a step that returns Tensors, got {type(v).__name__}")


def _vectorized_params(
    call: Call, per_step: dict[int, Traced], fixed: dict[int, Traced]
) -> dict[str, Any] | None:
    """The parameters to apply an operation on elements of sequences to the whole sequences.

    None if it also reads the carry, or cannot be vectorized over the steps.
    """
    elements = [isinstance(a, Var) and a.number in per_step for a in call.args]
    if any(isinstance(a, Var) and a.number not in {*per_step, *fixed} for a in call.args):
        return None
    params, steps = call.params, len(next(iter(per_step.values())).array)
    if call.op in ELEMENTWISE:
        shape = call.results[0].shape
        fits = all(
            len(s) == len(shape) if element else len(s) <= len(shape)
            for s, element in zip(call.shapes, elements, strict=True)
        )
        return params if fits else None
    if call.op is matmul:
        whole = elements == [True, False] and len(call.shapes[1]) == 2
        return params if whole and not _better_in_loop(call, steps) else None
    if call.op is look_up:
        return params if elements == [False, True] else None
    if call.op is reshape:
        return {"shape": (steps, *call.results[0].shape)}
    if call.op is unstack:
        axis = params.get("axis", 0)
        return {"axis": axis if axis < 0 else axis + 1}
    if call.op is getitem and is_basic(params["index"]):
        index = params["index"]
        return {"index": (slice(None), *(index if isinstance(index, tuple) else (index,)))}
    return None
