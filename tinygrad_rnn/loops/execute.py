"""Executes a Tape: a whole loop as one node.

On arrays nothing is wrapped and no nodes are made, values that no rule reads are not saved, and the
gradient of a matrix that every step multiplies by is one product at the end. On Tensors the same
instructions record a graph, which gives higher derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import GraphError
from ..kernels.elementwise import fuses
from ..kernels.products import Multiplier
from ..tensor.backend import as_array
from ..tensor.graph import Traced
from ..tensor.operation import Op
from ..tensor.ops.indexing import Part
from ..tensor.shapes import sum_to
from .accumulate import OutputBuffer, SumOfProducts, TracedOutputBuffer
from .fusion import FusedKernel, picker
from .program import ForwardInstruction, Tape
from .trace import detach_unless


class Executor:
    """Runs a Tape over time, forward and backward.

    **Arguments** inputs: the leaves of the carry, the sequences, the constants. order: the time
    steps in running order. every: steps of a checkpointed segment, of which only the first carry is
    saved; None to save the residuals of all steps. keep: whether there will be a backward pass.
    """

    def __init__(
        self, tape: Tape, inputs: Sequence[Traced], order: range, every: int | None, keep: bool
    ) -> None:
        self.tape, self.inputs, self.order, self.keep = tape, inputs, order, keep
        size = every or len(order)
        self.segments = [order[i : i + size] for i in range(0, len(order), size)]
        self.runs: list[tuple[range, Any, Any]] = []  # segment, carry before it, residuals

    def _split(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """Splits inputs into carry, sequences and constants."""
        carries, sequences = self.tape.split
        return values[:carries], values[carries:sequences], values[sequences:]

    # ------------------------------------------------------------ forward

    def run(self, xp: ModuleType, *values: Any) -> tuple[Any, ...]:
        """The last carry, and the stacked outputs."""
        carry, xs, constants = self._split(values)
        self.plan = self.tape.fused if fuses(xp) else self.tape.plain
        instructions = self._instructions(xp, constants)
        buffers = [OutputBuffer(xp, len(self.order)) for _ in self.tape.ys_at]
        self.runs = []
        for segment in self.segments:
            before = carry
            keep = self.keep and segment is self.segments[-1]  # the backward pass starts with it
            kept: list[Any] = []  # consumed by the backward pass; a second one recomputes them
            steps = self._steps(xp, instructions, segment, before, xs, constants, keep, buffers)
            for now, read in steps:
                carry = now
                if keep:
                    kept.append(read)
            self.runs.append((segment, before, kept))
        ys = [buffer.result() for buffer in buffers]
        # A carry that is a view of an output buffer would keep all of it alive.
        return (*[v if v.base is None else v.copy() for v in carry], *ys)

    def _instructions(self, xp: ModuleType, constants: Any) -> list[Any]:
        """The instructions, bound to arrays."""
        return [_instruction(xp, f, constants) for f in self.plan.forward]

    def _on_tensors(self) -> list[Any]:
        """The instructions on Tensors; arguments that were detached in the trace are detached."""

        def applied(op: Op, live: tuple[bool, ...], *args: Any, **params: Any) -> Any:
            return op(*map(detach_unless, args, live), **params)

        return [
            (partial(applied, f.op, f.live), f.pick, f.params, f.out, f.several, False)
            for f in self.tape.plain.forward
        ]

    def _steps(
        self,
        xp: ModuleType,
        instructions: list[Any],
        steps: range,
        carry: Any,
        xs: Any,
        constants: Any,
        keep: bool,
        buffers: Sequence[OutputBuffer] = (),
    ) -> Iterator[tuple[Any, Any]]:
        """Runs some steps; yields the new carry and the residuals of each.

        **Arguments** buffers: for the outputs; none when a segment is recomputed.
        """
        tape = self.tape
        traced = any(isinstance(v, Traced) for v in (*carry, *xs, *constants))
        pick_residuals = (tape.plain if traced else self.plan).pick_residuals
        rest = [*constants, *tape.initial]
        for t in steps:
            values = [*carry, *[x[t, ...] for x in xs], *rest]
            _run_forward(xp, instructions, values, [buffer.slot(t) for buffer in buffers])
            carry = tape.pick_new(values)
            kept = pick_residuals(values) if keep else None
            if traced and kept:
                kept = [
                    detach_unless(v, live)
                    for v, live in zip(kept, tape.residuals_live, strict=True)
                ]
            if buffers:
                for buffer, y in zip(buffers, tape.pick_ys(values), strict=True):
                    buffer.write(t, y)
            yield carry, kept

    # ------------------------------------------------------------ backward

    def backward(self, xp: ModuleType, gs: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
        """The cotangents of the inputs from those of the outputs; None for none.

        On Tensors it recomputes all steps, to record the values in the graph.
        """
        traced = any(isinstance(g, Traced) for g in gs)
        values: Sequence[Any] = self.inputs if traced else [x.array for x in self.inputs]
        start, xs, constants = self._split(values)
        runs: list[Any] = [(self.order, start, [])] if traced else self.runs
        tape, width = self.tape, len(start)
        carry, totals = (
            gs[:width],
            [SumOfProducts(xp, products) for _, products in tape.backward.sums],
        )
        kind = OutputBuffer if not traced else TracedOutputBuffer
        buffers = [kind(xp, len(self.order)) for _ in xs]
        rules: list[Any] = tape.plain.backward
        if not traced:
            rules = [
                b if type(b) is FusedKernel or b.matrix is None
                else b._replace(rule=Multiplier(xp, constants[b.matrix].mT), pick=picker([b.g]))
                for b in self.plan.backward
            ]  # fmt: skip
        instructions = self._on_tensors() if traced else None
        rest = [xp, *constants, *tape.backward.initial]
        by_step = [None if g is None else _by_step(g) for g in gs[width:]]
        for segment, before, kept in reversed(runs):
            if not kept:  # checkpointed, or consumed by an earlier pass
                instructions = instructions or self._instructions(xp, constants)
                steps = self._steps(xp, instructions, segment, before, xs, constants, True)
                kept.extend(read for _, read in steps)
            for t in reversed(segment):
                ys = [None if at is None else at(t) for at in by_step]
                found = [*rest, *kept.pop()]
                slots = [buffer.slot(t) for buffer in buffers]
                owned: set[int] = set()  # registers whose arrays may be overwritten
                for at, g in zip(tape.backward.seeds, (*carry, *ys), strict=True):
                    if at is not None and g is not None:
                        _accumulate(found, owned, at, g)
                _run_backward(rules, found, owned, totals, slots)
                carry = [None if at is None else found[at] for at in tape.carry_at]
                for buffer, at in zip(buffers, tape.sequences_at, strict=True):
                    buffer.write(t, None if at is None else found[at])
        of_constants: list[Any] = [None] * len(constants)
        for (i, _), total in zip(tape.backward.sums, totals, strict=True):
            g = total.result(values[len(start) + len(xs) + i].shape)
            of_constants[i] = g if of_constants[i] is None else of_constants[i] + g
        stacked = [
            buffer.result() if needed else None
            for buffer, needed in zip(buffers, needs[width:], strict=False)
        ]
        return [*carry, *stacked, *of_constants]


def _by_step(g: Any) -> Callable[[int], Any]:
    """Indexes a cotangent by step; that of a sum or a mean is the same for all steps."""
    if not isinstance(g, Traced) and g.strides[0] == 0:
        one = g[0, ...].copy()
        return lambda t: one
    return lambda t: g[t, ...]


def _run_forward(
    xp: ModuleType, instructions: list[Any], values: list[Any], slots: Sequence[Any] = ()
) -> None:
    """Runs the instructions of one step on its registers."""
    for apply, pick, params, out, several, scalar in instructions:
        if pick is None:
            if not apply.run(values, slots):
                _run_forward(xp, params, values)
            continue
        y = apply(*pick(values), **params) if params else apply(*pick(values))
        if several:
            values[out : out + len(y)] = map(as_array, y)
        else:
            values[out] = as_array(y) if scalar else y


def _instruction(xp: ModuleType, f: ForwardInstruction | FusedKernel, constants: Any) -> Any:
    if isinstance(f, FusedKernel):
        return f, None, [_instruction(xp, one, constants) for one in f.fallback], 0, False, False
    if f.matrix is None:
        apply: Any = partial(f.op.forward, xp)
    else:
        apply = _as_matmul(Multiplier(xp, constants[f.matrix]))
    if f.shapes is not None:
        apply = partial(_with_checked_shapes, apply, f)
    return apply, f.pick, f.params, f.out, f.several, f.scalar


def _with_checked_shapes(
    apply: Callable[..., Any], f: ForwardInstruction, *args: Any, **params: Any
) -> Any:
    """Applies an operation of the user's; refuses results of other shapes than in the trace."""
    y = apply(*args, **params)
    shapes = tuple([tuple(np.shape(v)) for v in (y if f.several else (y,))])
    if shapes != f.shapes:
        raise GraphError(
            f"scan: expected a step that does the same whatever the values, got {f.op.name!r}, "
            f"which gives {[*map(list, f.shapes or ())]} at one step and {[*map(list, shapes)]} at "
            "another: return one shape, or leave fused=False"
        )
    return y


def _as_matmul(multiplier: Multiplier) -> Callable[[Any, Any], Any]:
    return lambda a, _: multiplier(a)


def _run_backward(
    rules: Sequence[Any],
    values: list[Any],
    owned: set[int],
    totals: list[SumOfProducts],
    slots: Sequence[Any] = (),
) -> None:
    """Runs rules of one step; stores each cotangent in its register."""
    for instruction in rules:
        if type(instruction) is FusedKernel:
            if not instruction.run(values, slots):
                _run_backward(instruction.fallback, values, owned, totals)
            continue
        here, rule, pick, joint, targets, _ = instruction
        if values[here] is None:
            continue
        found = rule(*pick(values))
        for i, at, shape, summed in targets:
            g = found[i] if joint else found
            if g is None:
                continue
            if summed:
                totals[at].add(g)
                continue
            if shape is not None and g.shape != shape:
                g = sum_to(g, shape)
            if values[at] is None and type(g) is not Part:
                values[at] = g
            else:
                _accumulate(values, owned, at, g)


def _accumulate(values: list[Any], owned: set[int], at: int, g: Any) -> None:
    """Adds a cotangent to a register."""
    total = values[at]
    if total is None:
        if type(g) is Part:
            g = g.spread()
            owned.add(at)
        values[at] = g
        return
    if at not in owned:
        owned.add(at)
        if type(g) is not Part:
            values[at] = as_array(total + g)
            return
        values[at] = total = as_array(total).copy()
    if type(g) is Part:
        g.add_to(total)
    else:
        total += g
        values[at] = total


execute = Op("scan", lambda xp, *values, executor: executor.run(xp, *values)).vjp(
    lambda xp, g, needs, executor: executor.backward(xp, g, needs)
)
