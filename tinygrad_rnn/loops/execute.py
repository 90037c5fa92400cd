"""A recorded step, repeated on arrays: a whole loop as one node.

Nothing is wrapped and no nodes are made; what no rule reads is not kept; and the gradient of a
matrix with which every step multiplies is one product in the end. On Tensors the same instructions
leave a graph: that is how second derivatives come about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import GraphError
from ..kernels.elementwise import is_native
from ..kernels.products import Multiplier
from ..tensor.backend import as_array
from ..tensor.graph import Op, Traced
from ..tensor.ops.indexing import Part
from ..tensor.shapes import sum_to
from .accumulate import Stack, Total, TracedStack
from .fusion import Chain, picker
from .program import Forward, Program
from .trace import held


class Loop:
    """A program, and the run of it over some steps.

    **Arguments** inputs: the carry's parts, the sequences, the constants. order: the steps as they
    follow each other. every: how many make a segment, of which only the carry at its start is kept,
    to run it again in the backward pass; None to keep what the rules read of all steps. keep:
    whether anyone will differentiate.
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Traced],
        order: range,
        every: int | None,
        keep: bool,
    ) -> None:
        self.program, self.inputs, self.order, self.keep = program, inputs, order, keep
        size = every or len(order)
        self.segments = [order[i : i + size] for i in range(0, len(order), size)]
        self.runs: list[tuple[range, Any, Any]] = []  # segments, the carry before, what is kept

    def parted(self, values: Sequence[Any]) -> tuple[Any, Any, Any]:
        """The carry, the sequences, and the constants."""
        carries, sequences = self.program.split
        return values[:carries], values[carries:sequences], values[sequences:]

    # ------------------------------------------------------------ forwards

    def run(self, xp: Any, *values: Any) -> tuple[Any, ...]:
        """The last carry, and the ys of all steps, stacked."""
        carry, xs, constants = self.parted(values)
        self.chained = is_native(xp)
        instructions = self._instructions(xp, constants)
        stacks = [Stack(xp, len(self.order)) for _ in self.program.ys_at]
        self.runs = []
        for segment in self.segments:
            before = carry
            keep = self.keep and segment is self.segments[-1]  # the first that will be asked for
            kept: list[Any] = []  # consumed by the backward pass: another one runs the steps again
            steps = self._steps(xp, instructions, segment, before, xs, constants, keep, stacks)
            for now, read in steps:
                carry = now
                if keep:
                    kept.append(read)
            self.runs.append((segment, before, kept))
        ys = [stack.result() for stack in stacks]
        # A carry that lies in a stack would keep all of it.
        return (*[v if v.base is None else v.copy() for v in carry], *ys)

    def _instructions(self, xp: Any, constants: Any) -> list[Any]:
        """How to apply each operation to arrays, and where to."""
        program = self.program
        plan = program.forward_chained if self.chained else program.forward
        return [_instruction(xp, f, constants) for f in plan]

    def _on_tensors(self) -> list[Any]:
        """The same on Tensors: what was recorded as a constant is one."""

        def applied(op: Op, live: tuple[bool, ...], *args: Any, **params: Any) -> Any:
            return op(*map(held, args, live), **params)

        return [
            (partial(applied, f.op, f.live), f.pick, f.params, f.out, f.several, False)
            for f in self.program.forward
        ]

    def _steps(
        self,
        xp: Any,
        instructions: list[Any],
        steps: range,
        carry: Any,
        xs: Any,
        constants: Any,
        keep: bool,
        stacks: Sequence[Stack] = (),
    ) -> Iterator[tuple[Any, Any]]:
        """Runs some steps; for each of them the new carry, and what the rules read.

        **Arguments** stacks: where the ys come; nowhere, if they are known already.
        """
        program = self.program
        traced = any(isinstance(v, Traced) for v in (*carry, *xs, *constants))
        in_chains = self.chained and not traced
        pick_kept = program.pick_kept_chained if in_chains else program.pick_kept
        rest = [*constants, *program.blank]
        for t in steps:
            values = [*carry, *[x[t, ...] for x in xs], *rest]
            _apply(xp, instructions, values, [stack.room(t) for stack in stacks])
            carry = program.pick_new(values)
            kept = pick_kept(values) if keep else None
            if traced and kept:
                kept = [held(v, live) for v, live in zip(kept, program.kept_live, strict=True)]
            if stacks:
                for stack, y in zip(stacks, program.pick_ys(values), strict=True):
                    stack.put(t, y)
            yield carry, kept

    # ------------------------------------------------------------ in reverse

    def pull_back(self, xp: Any, gs: Sequence[Any], needs: Sequence[bool]) -> list[Any]:
        """The cotangents of the inputs, from those of the outputs; None for none.

        On Tensors all steps are run again, so that the values are tied into the graph.
        """
        traced = any(isinstance(g, Traced) for g in gs)
        values: Sequence[Any] = self.inputs if traced else [x.array for x in self.inputs]
        start, xs, constants = self.parted(values)
        runs: list[Any] = [(self.order, start, [])] if traced else self.runs
        program, width = self.program, len(start)
        carry, totals = gs[:width], [Total(xp, products) for _, products in program.sums]
        kind = Stack if not traced else TracedStack
        stacks = [kind(xp, len(self.order)) for _ in xs]
        rules: list[Any] = [*program.backward]
        if not traced:
            rules = [
                b if type(b) is Chain or b.matrix is None
                else b._replace(rule=Multiplier(xp, constants[b.matrix].mT), pick=picker([b.g]))
                for b in (program.backward_chained if self.chained else rules)
            ]  # fmt: skip
        instructions = self._on_tensors() if traced else None
        rest = [xp, *constants, *program.blank_g]
        by_step = [None if g is None else _by_step(g) for g in gs[width:]]
        for segment, before, kept in reversed(runs):
            if not kept:  # of another segment, or another pass
                instructions = instructions or self._instructions(xp, constants)
                steps = self._steps(xp, instructions, segment, before, xs, constants, True)
                kept.extend(read for _, read in steps)
            for t in reversed(segment):
                ys = [None if at is None else at(t) for at in by_step]
                found = [*rest, *kept.pop()]
                rooms = [stack.room(t) for stack in stacks]
                _reverse(program.seeds, rules, found, (*carry, *ys), totals, rooms)
                carry = [None if at is None else found[at] for at in program.carry_at]
                for stack, at in zip(stacks, program.sequences_at, strict=True):
                    stack.put(t, None if at is None else found[at])
        of_constants: list[Any] = [None] * len(constants)
        for (i, _), total in zip(program.sums, totals, strict=True):
            g = total.result(values[len(start) + len(xs) + i].shape)
            of_constants[i] = g if of_constants[i] is None else of_constants[i] + g
        stacked = [
            stack.result() if needed else None
            for stack, needed in zip(stacks, needs[width:], strict=False)
        ]
        return [*carry, *stacked, *of_constants]


def _by_step(g: Any) -> Callable[[int], Any]:
    """The parts of a cotangent, which are one and the same for all steps of a sum or a mean."""
    if not isinstance(g, Traced) and g.strides[0] == 0:
        one = g[0, ...].copy()
        return lambda t: one
    return lambda t: g[t, ...]


def _apply(xp: Any, instructions: list[Any], values: list[Any], rooms: Sequence[Any] = ()) -> None:
    """One step's operations, on the values at their places."""
    for apply, pick, params, out, several, scalar in instructions:
        if pick is None:
            if not apply.run(values, rooms):
                _apply(xp, params, values)
            continue
        y = apply(*pick(values), **params) if params else apply(*pick(values))
        if several:
            values[out : out + len(y)] = map(as_array, y)
        else:
            values[out] = as_array(y) if scalar else y


def _instruction(xp: Any, f: Any, constants: Any) -> Any:
    if type(f) is Chain:
        return f, None, [_instruction(xp, one, constants) for one in f.instead], 0, False, False
    if f.matrix is None:
        apply: Any = partial(f.op.forward, xp)
    else:
        apply = _left_of(Multiplier(xp, constants[f.matrix]))
    if f.shapes is not None:
        apply = partial(_of_shapes, apply, f)
    return apply, f.pick, f.params, f.out, f.several, f.scalar


def _of_shapes(apply: Callable[..., Any], f: Forward, *args: Any, **params: Any) -> Any:
    """What an operation gives, if that is of the shapes that it had at the first step."""
    y = apply(*args, **params)
    shapes = tuple([tuple(np.shape(v)) for v in (y if f.several else (y,))])
    if shapes != f.shapes:
        raise GraphError(
            f"scan: expected a step that does the same whatever the values, got {f.op.name!r}, "
            f"which gives {[*map(list, f.shapes or ())]} at one step and {[*map(list, shapes)]} at "
            "another: keep to one shape, or leave fused=False"
        )
    return y


def _left_of(multiplier: Multiplier) -> Callable[[Any, Any], Any]:
    return lambda a, _: multiplier(a)


def _reverse(
    seeds: Sequence[int | None],
    rules: Sequence[Any],
    values: list[Any],
    gs: Sequence[Any],
    totals: list[Total],
    rooms: Sequence[Any],
) -> None:
    """One step's rules: puts the cotangents at their places among the values."""
    owned: set[int] = set()  # where a buffer is that may be written into
    for at, g in zip(seeds, gs, strict=True):
        if at is not None and g is not None:
            _deposit(values, owned, at, g)
    _pull(rules, values, owned, totals, rooms)


def _pull(
    rules: Sequence[Any],
    values: list[Any],
    owned: set[int],
    totals: list[Total],
    rooms: Sequence[Any] = (),
) -> None:
    for instruction in rules:
        if type(instruction) is Chain:
            if not instruction.run(values, rooms):
                _pull(instruction.instead, values, owned, totals)
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
                _deposit(values, owned, at, g)


def _deposit(values: list[Any], owned: set[int], at: int, g: Any) -> None:
    """Adds a cotangent to what is at a place."""
    held = values[at]
    if held is None:
        if type(g) is Part:
            g = g.spread()
            owned.add(at)
        values[at] = g
        return
    if at not in owned:
        owned.add(at)
        if type(g) is not Part:
            values[at] = as_array(held + g)
            return
        values[at] = held = as_array(held).copy()
    if type(g) is Part:
        g.add_to(held)
    else:
        held += g
        values[at] = held


replayed = Op("scan", lambda xp, *values, loop: loop.run(xp, *values)).vjp(
    lambda xp, g, needs, loop: loop.pull_back(xp, g, needs)
)
