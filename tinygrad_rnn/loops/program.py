"""Compiles a traced step: its calls as instructions on registers, and their rules in reverse.

Everything that does not depend on the values is decided here, once: which calls are dead, which
values the rules read (the residuals), and where each cotangent is accumulated. `execute` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .backward import (
    BackwardInstruction,
    BackwardPlan,
    CotangentTarget,
    constant_factor,
    constants_in,
    fusible,
    sliced_columns,
)
from .fusion import Instruction, fuse, picker
from .rematerialize import rematerialize
from .trace import Call, Var


class ForwardInstruction(NamedTuple):
    """Applies an operation to registers."""

    op: Any  # the Op; to a type checker a field of that type would be a method
    pick: Callable[[Any], Any]
    params: dict[str, Any]
    out: int  # the register of the result, or of the first of several
    live: tuple[bool, ...]  # which arguments are not detached
    several: bool
    scalar: bool  # NumPy would give a scalar instead of an array
    matrix: int | None  # the constant that it multiplies by from the right, if it is such a product
    shapes: tuple[tuple[int, ...], ...] | None  # of the results, to check a user's operation


class Plan(NamedTuple):
    """The instructions that the executor runs at every step, with fusion or without."""

    forward: list[Any]
    backward: list[Any]
    pick_residuals: Callable[[Any], Any]


class Tape:
    """The instructions of one step, forward and backward.

    **Arguments** calls: the traced operations, in their order. carry, sequences, constants: the
    numbers of the inputs. new, ys: the Vars of the new carry, and of the outputs to stack.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        carry: Sequence[int],
        sequences: Sequence[int],
        constants: Sequence[int],
        new: Sequence[Var],
        ys: Sequence[Var],
    ) -> None:
        self.split = len(carry), len(carry) + len(sequences)  # of the inputs
        needed = {var.number for var in (*new, *ys)}
        for call in calls:
            if not _ours(call):  # its shape may depend on the values, and is checked
                needed.update(call.outs)
        used: list[Call] = []
        for call in reversed(calls):
            if needed.intersection(call.outs):
                used.append(call)
                needed.update(a.number for a in call.args if isinstance(a, Var))
        inputs = [*carry, *sequences, *constants]
        self._flow = [
            ([a.number for a, live in zip(c.args, c.live, strict=True) if live], c.outs)
            for c in used[::-1]
        ], inputs, [*new, *ys]  # fmt: skip
        self._reached: dict[tuple[bool, ...], tuple[bool, ...]] = {}
        outputs = [*new, *ys]
        self._plan_forward(used[::-1], [*carry, *sequences], constants)
        self.backward = backward = BackwardPlan(used, constants, outputs)
        self.pick_new = picker(self.at[var.number] for var in new)
        self.ys_at = [self.at[var.number] for var in ys]
        self.pick_ys = picker(self.ys_at)
        self.carry_at = [*map(backward.cotangents.get, carry)]
        self.sequences_at = [*map(backward.cotangents.get, sequences)]
        residuals = [*reversed(backward.residuals)]
        self.residuals_live = [var.live for var in residuals]
        saved = [self.at[var.number] for var in residuals]
        self.plain = Plan(self.forward, backward.rules, picker(saved))
        # Fused kernels recompute some residuals; the register of None is saved in their place.
        numbers, recomputed = self._plan_rematerialization(used[::-1], outputs)
        self.initial.append(None)
        unused = len(inputs) + len(self.initial) - 1
        saved = [unused if v.number in numbers else self.at[v.number] for v in residuals]
        wanted = [*[self.at[var.number] for var in outputs], *saved]
        wanted += [f.out for f in self.forward if f.shapes is not None]
        literals = constants_in(self.initial, len(inputs))
        self.fused = Plan(
            fuse(self.instructions, literals, self.shapes, (), wanted, self.ys_at),
            backward.fused(recomputed, carry, sequences),
            picker(saved),
        )

    def reached(self, live: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which results depend differentiably on inputs that require grad. **Arguments** live:
        which inputs (carry, sequences, constants) do."""
        if live not in self._reached:
            flow, inputs, results = self._flow
            found = {number for number, yes in zip(inputs, live, strict=True) if yes}
            carry, size = self.split[0], -1
            while size != len(found):  # the carry is an input of the next step
                size = len(found)
                for read, written in flow:
                    if not found.isdisjoint(read):
                        found.update(written)
                after = zip(inputs[:carry], results, strict=False)
                found.update(n for n, var in after if var.live and var.number in found)
            self._reached[live] = tuple([s.live and s.number in found for s in results])
        return self._reached[live]

    def _plan_forward(
        self, calls: Sequence[Call], varying: Sequence[int], constants: Sequence[int]
    ) -> None:
        """Plans the calls. The registers are [*carry, *sequences, *constants, *others]."""
        inputs = [*varying, *constants]
        self.at = {number: register for register, number in enumerate(inputs)}
        self.initial: list[Any] = []  # the others, before a step
        self.forward: list[ForwardInstruction] = []
        self.instructions: list[Instruction] = []
        self.shapes: dict[int, tuple[int, ...]] = {}

        def new_register(value: object = None) -> int:
            self.initial.append(value)
            return len(inputs) + len(self.initial) - 1

        for call in calls:
            args = [self.at[a.number] if isinstance(a, Var) else new_register(a) for a in call.args]
            self.at |= {number: new_register() for number in call.outs}
            outs = tuple([self.at[number] for number in call.outs])
            self.shapes |= dict(zip(args, call.shapes, strict=True))
            scalar = not call.several and call.results[0].shape == ()
            self.forward.append(
                ForwardInstruction(
                    call.op, picker(args), call.params, outs[0], call.live, call.several, scalar,
                    constant_factor(call, constants),
                    None if _ours(call) else tuple([tuple(y.shape) for y in call.results]),
                )
            )  # fmt: skip
            columns, code = sliced_columns(call), self.forward[-1]
            elementwise = not (call.several or scalar or columns)
            function = partial(call.op.forward, np) if elementwise else None
            instruction = fusible(call, code, args, outs, function, args, call.params, False)
            if columns:
                instruction = instruction._replace(part=(args[0], columns.start))
            self.instructions.append(instruction)

    def _plan_rematerialization(
        self, calls: Sequence[Call], outputs: Sequence[Var]
    ) -> tuple[set[int], list[Instruction]]:
        """The values that fused kernels recompute in the backward pass, and how."""
        backward = self.backward
        residuals, constants = backward.residuals, backward.constants
        returned = [var.number for var in outputs]
        recomputed = rematerialize(calls, list(residuals), constants, returned)
        at = {number: 1 + i for i, number in enumerate(constants)}
        at |= {var.number: register for var, register in residuals.items()}
        instructions: list[Instruction] = []
        for call in recomputed:
            args = [at[a.number] if isinstance(a, Var) else backward.register(a) for a in call.args]
            to = at[call.outs[0]] = at.get(call.outs[0]) or backward.register()
            backward.shapes[to] = tuple(call.results[0].shape)
            function = partial(call.op.forward, np)
            target = CotangentTarget(0, to, None, False)
            rule = partial(function, **call.params)
            code = BackwardInstruction(0, rule, picker(args), False, (target,))
            instructions.append(
                fusible(call, code, args, (to,), function, args, call.params, False)
            )
        return {call.outs[0] for call in recomputed}, instructions


def _ours(call: Call) -> bool:
    """Whether an operation is part of this package, so that its result's shape is known."""
    package = __name__.partition(".")[0]
    return getattr(call.op.forward, "__module__", "").partition(".")[0] == package
