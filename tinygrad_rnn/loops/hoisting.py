"""A loop whose step is recorded, and repeated as one node: what is settled between the two.

What does not depend on the step is computed once, in front of the loop, and what depends on the
sequences alone in a few kinds of operation, products above all, for all steps together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, ShapeError
from ..kernels.elementwise import is_native
from ..tensor import tree
from ..tensor.backend import is_array
from ..tensor.graph import Op, Traced, grad_mode, wrap
from ..tensor.ops import elementwise
from ..tensor.ops.elementwise import alias
from ..tensor.ops.indexing import getitem, is_basic
from ..tensor.ops.movement import reshape, unstack
from ..tensor.ops.products import matmul
from .cache import planned
from .execute import Loop, replayed
from .indices import look_up
from .program import Program
from .trace import Call, Recording, Slot, held, stranger

ELEMENTWISE = frozenset(op for op in vars(elementwise).values() if isinstance(op, Op))

MANY = 32  # rows, with which a product is worth reading its matrix once more
NEAR = 1 << 20  # elements: what a few megabytes of cache hold

Body = Callable[..., tuple[Any, Any]]


def repeated(
    body: Body, carry: Any, xs: tuple[Any, ...], order: range, every: int | None, made: type[Traced]
) -> tuple[Any, Any]:
    """A loop of `body(carry, *x_t) -> (carry, y_t)`, which is called for the first two steps only.

    **Arguments** carry, xs: trees of arrays and values. order: the steps as they follow each
    other. every: the steps of a segment. made: the class of values. **Returns** as `scan`.
    """

    def values(of: Any) -> list[Any]:
        return [v if isinstance(v, Traced) else wrap(made, v, None) for v in tree.leaves(of)]

    state, sequences = values(carry), values(xs)

    def record(
        t: int, state: list[Any], like: Recording | None = None
    ) -> tuple[Recording, list[Any], Any]:
        reals = [grad_mode.on and v.array.dtype.kind == "f" for v in state]
        before = [stranger(v, live) for v, live in zip(state, reals, strict=True)]
        x = [stranger(wrap(made, v.array[t, ...], None), v.edge is not None) for v in sequences]
        recording = Recording("scan", [*before, *x], like)
        new, y = recording.run(lambda: body(tree.filled(carry, before), *tree.filled(xs, x)))
        changed = tree.difference(carry, new)
        if changed:
            recording.refuse(
                f"another structure of the carry before and after it ({changed})",
                "begin with Tensors for what changes, as it will be arranged",
            )
        after = tree.leaves(new, carry)
        shapes = [[(v.shape, v.dtype) for v in parts] for parts in (state, after)]
        if shapes[0] != shapes[1]:
            raise ShapeError(
                "scan: expected a step that keeps the shapes and dtypes of the carry, got "
                f"{_described(state)} before, and {_described(after)} after it: begin with a carry "
                "that is as it will be, or leave fused=False"
            )
        return recording, after, y

    recording, after, y = record(order[0], state)
    again, later, other = record(order[1], after, recording)
    changed = tree.difference(y, other, tree.is_item)
    if changed:
        recording.refuse(f"outputs of another structure at each step ({changed})", "keep to one")
    ys, others = tree.leaves(y, y, tree.is_item), tree.leaves(other, y, tree.is_item)
    recording.agrees_with(again, [*after, *ys], [*later, *others])
    program, sequences, constants = _arranged(recording, state, sequences, after, ys, made)
    inputs = [*state, *sequences, *constants]
    keep = grad_mode.on and any(v.edge is not None for v in inputs)
    found = replayed(*inputs, loop=Loop(program, inputs, order, every, keep))
    reached = program.reached(tuple([v.edge is not None for v in inputs]))
    outputs = [held(v, live) for v, live in zip(found, reached, strict=True)]
    last = tree.filled(carry, outputs[: len(state)])
    return last, tree.filled(y, outputs[len(state) :], tree.is_item)


def _described(values: list[Any]) -> str:
    return ", ".join(f"{v.dtype}{list(v.shape)}" for v in values)


def _arranged(
    recording: Recording,
    carry: list[Traced],
    sequences: list[Traced],
    new: list[Any],
    ys: list[Any],
    made: type[Traced],
) -> tuple[Program, list[Traced], list[Traced]]:
    """The program of a recorded step, the sequences that go into it, and the constants.

    An operation on constants alone is none of the program's: its result is a constant. One that
    takes elements of sequences, and would give the same for all steps at once, is applied to the
    sequences: its result is a sequence.
    """
    numbers = range(len(carry), len(carry) + len(sequences))
    rows = dict(zip(numbers, sequences, strict=True))  # the sequences by their elements' numbers
    fixed: dict[int, Traced] = {}  # the constants
    known: dict[Any, int] = {}
    varying = {*range(numbers.stop)}
    calls: list[Call] = []
    results: dict[int, Traced] = {}

    def constant(value: Traced) -> int:
        key = (value.edge, id(value.array))
        number = known.setdefault(key, recording.count + len(known))
        fixed[number] = value
        return number

    def slot(value: Any) -> Any:
        """How the program knows an argument or a result."""
        if isinstance(value, Slot):
            if value.number in varying:
                return value
            value = held(results[value.number], value.live)
        if isinstance(value, Traced):
            return Slot(constant(value), value.edge is not None)
        return value

    for call in recording.calls:
        results.update(zip(call.outs, call.results, strict=True))
        if not any(isinstance(a, Slot) and a.number in varying for a in call.args):
            continue
        varying.update(call.outs)
        call = call._replace(args=tuple(map(slot, call.args)))
        params = _for_all_steps(call, rows, fixed)
        if params is not None:
            whole = {**rows, **fixed}
            args = [held(whole[a.number], a.live) if isinstance(a, Slot) else a for a in call.args]
            y = call.op(*args, **params)
            rows.update(zip(call.outs, y if call.several else (y,), strict=True))
        else:
            calls.append(call)

    def result(value: Any) -> Slot:
        """The slot of a result; of a constant, that of what hands it through."""
        found: Slot = slot(recording.find(_value(value, made)))
        if found.number not in fixed:
            return found
        number, value, live = -1 - len(calls), fixed[found.number], (found.live,)
        shapes = (tuple(value.array.shape),)
        calls.append(Call(alias, (found,), {}, (number,), (value,), False, live, shapes))
        return Slot(number, found.live)

    slots = [[result(v) for v in values] for values in (new, ys)]
    program = planned(calls, range(len(carry)), list(rows), list(fixed), *slots)
    return program, list(rows.values()), list(fixed.values())


def _better_by_steps(call: Call, steps: int) -> bool:
    """Whether a product is as fast a step at a time, and too large to be near when it is read.

    Native ones are, whose matrices are packed once for all steps.
    """
    array = call.results[0].array
    large = array.size >= MANY * call.shapes[1][1] and steps * array.size > NEAR
    return large and type(array) is np.ndarray and is_native(np)


def _value(v: Any, made: type[Traced]) -> Any:
    """A result of a step, that may be an array of the user's."""
    if isinstance(v, Traced):
        return v
    if is_array(v):
        return wrap(made, v, None)
    raise InvalidTypeError(f"scan: expected a step that returns Tensors, got {type(v).__name__}")


def _for_all_steps(
    call: Call, rows: dict[int, Traced], fixed: dict[int, Traced]
) -> dict[str, Any] | None:
    """The parameters with which an operation on elements of sequences is one on the sequences.

    None for an operation that is on more than that, or not known to be one.
    """
    elements = [isinstance(a, Slot) and a.number in rows for a in call.args]
    if any(isinstance(a, Slot) and a.number not in {*rows, *fixed} for a in call.args):
        return None
    params, steps = call.params, len(next(iter(rows.values())).array)
    if call.op in ELEMENTWISE:
        shape = call.results[0].shape
        fits = all(
            len(s) == len(shape) if element else len(s) <= len(shape)
            for s, element in zip(call.shapes, elements, strict=True)
        )
        return params if fits else None
    if call.op is matmul:
        whole = elements == [True, False] and len(call.shapes[1]) == 2
        return params if whole and not _better_by_steps(call, steps) else None
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
