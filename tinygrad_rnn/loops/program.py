"""Compiles a traced step: its calls as instructions on registers, and their rules in reverse.

Everything that does not depend on the values is decided here, once: which calls are dead, which
values the rules read (the residuals), and where each cotangent is accumulated. `execute` runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..tensor.graph import names
from ..tensor.ops.indexing import getitem, is_basic
from ..tensor.ops.products import matmul
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
    scalar: bool  # NumPy would give a scalar in register of an array
    matrix: int | None  # the constant that it multiplies by from the right, if it is such a product
    shapes: (
        tuple[tuple[int, ...], ...] | None
    )  # of the results, to check those of a user's operation


class BackwardInstruction(NamedTuple):
    """Applies a rule to registers, unless register `g` holds no cotangent."""

    g: int
    rule: Callable[..., Any]
    pick: Callable[[Any], Any]
    joint: bool  # whether the rule returns the cotangents of all inputs
    targets: tuple[CotangentTarget, ...]
    matrix: int | None = (
        None  # the constant by whose transpose it multiplies, if it is such a product
    )


class CotangentTarget(NamedTuple):
    """Where a cotangent is accumulated."""

    i: int  # its position in the result of a joint rule
    at: int  # a register; or a sum over all steps
    shape: tuple[int, ...] | None  # to reduce it to, undoing broadcasting; None: as it is
    summed: bool


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
        forward = self._plan_forward(used[::-1], [*carry, *sequences], constants, new, ys)
        self._plan_backward(used, carry, sequences, constants, new, ys)
        checked = [f.out for f in self.forward if f.shapes is not None]
        wanted = [*self.read_forwards, *self.residuals_at_fused, *checked]
        self.forward_fused = fuse(*forward, (), wanted, self.ys_at)

    def reached(self, live: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which results depend differentiably on inputs that require grad. **Arguments** live:
        which inputs (carry, sequences, constants) do."""
        if live not in self._reached:
            flow, inputs, results = self._flow
            found = {number for number, yes in zip(inputs, live, strict=True) if yes}
            carry, size = self.split[0], -1
            while size != len(found):  # the carry is an input of the next step
                size = len(found)
                for read, made in flow:
                    if not found.isdisjoint(read):
                        found.update(made)
                after = zip(inputs[:carry], results, strict=False)
                found.update(n for n, var in after if var.live and var.number in found)
            self._reached[live] = tuple([s.live and s.number in found for s in results])
        return self._reached[live]

    def _plan_forward(
        self,
        calls: Sequence[Call],
        before: Sequence[int],
        constants: Sequence[int],
        new: Sequence[Var],
        ys: Sequence[Var],
    ) -> tuple[list[Instruction], dict[int, Any], dict[int, tuple[int, ...]]]:
        inputs = [*before, *constants]
        self.at = {number: register for register, number in enumerate(inputs)}
        self.initial: list[Any] = []  # registers after the inputs, before a step
        self.forward: list[ForwardInstruction] = []
        instructions: list[Instruction] = []
        shapes: dict[int, tuple[int, ...]] = {}

        def new_register(value: Any = None) -> int:
            self.initial.append(value)
            return len(inputs) + len(self.initial) - 1

        for call in calls:
            args = [self.at[a.number] if isinstance(a, Var) else new_register(a) for a in call.args]
            self.at |= {number: new_register() for number in call.outs}
            out = self.at[call.outs[0]]
            shapes |= dict(zip(args, call.shapes, strict=True))
            scalar = not call.several and call.results[0].shape == ()
            self.forward.append(
                ForwardInstruction(
                    call.op, picker(args), call.params, out, call.live, call.several, scalar,
                    _multiplied_with(call, constants),
                    None if _ours(call) else tuple([tuple(y.shape) for y in call.results]),
                )
            )  # fmt: skip
            columns = _columns(call)
            known = not (call.several or scalar or columns)
            function = partial(call.op.forward, np) if known else None
            outs = tuple([self.at[number] for number in call.outs])
            instruction = _instruction(
                call, self.forward[-1], args, outs, function, args, call.params, False
            )
            instructions.append(
                instruction._replace(part=(args[0], columns.start)) if columns else instruction
            )
        self.pick_new = picker(self.at[var.number] for var in new)
        self.ys_at = [self.at[var.number] for var in ys]
        self.pick_ys = picker(self.ys_at)
        self.read_forwards = [self.at[var.number] for var in (*new, *ys)]
        return instructions, _literals(self.initial, len(inputs)), shapes

    def _plan_backward(
        self,
        calls: Sequence[Call],
        carry: Sequence[int],
        sequences: Sequence[int],
        constants: Sequence[int],
        new: Sequence[Var],
        ys: Sequence[Var],
    ) -> None:
        """Plans the rules in reverse. The registers are [xp, *constants, *others, *residuals]."""
        self.initial_g: list[Any] = []  # the others; None where there is no cotangent
        self.backward: list[BackwardInstruction] = []
        self.sums: list[tuple[int, bool]] = []  # of which constant, and whether they are products
        instructions: list[Instruction] = []
        shapes: dict[int, tuple[int, ...]] = {}
        residuals: dict[Var, int] = {}  # their registers, counted from the end
        cotangents: dict[int, int] = {}

        def new_register(value: Any = None) -> int:
            self.initial_g.append(value)
            return len(constants) + len(self.initial_g)

        def value_at(var: Var) -> int:
            if var.number in constants:
                return 1 + constants.index(var.number)
            return residuals.setdefault(var, -1 - len(residuals))

        def cotangent_register(number: int) -> int:
            if number not in cotangents:
                cotangents[number] = new_register()
            return cotangents[number]

        def sum_at(number: int, of_products: bool) -> int:
            self.sums.append((constants.index(number), of_products))
            return len(self.sums) - 1

        def instruct(
            call: Call, g: int, rule: Any, registers: Iterable[int], joint: bool, *targets: Any,
            matrix: int | None = None, concatenates: bool = False,
        ) -> None:  # fmt: skip
            registers = tuple(registers)
            self.backward.append(
                BackwardInstruction(g, rule, picker(registers), joint, targets, matrix)
            )
            outs = tuple([t.at for t in targets if not t.summed])
            alone = not joint and len(outs) == 1 and targets[0].shape == call.results[0].shape
            function = rule if alone and g in registers and not call.several else None
            instruction = _instruction(
                call, self.backward[-1], (g, *registers), outs, function, registers, {}, True
            )
            if concatenates:
                kind = call.shapes[0], instruction.kind[1]
                instruction = instruction._replace(
                    function=None, args=registers[1:], kind=kind, concatenates=True
                )
            instructions.append(instruction)

        def target(call: Call, i: int) -> CotangentTarget:
            number = call.args[i].number
            if number in constants:
                return CotangentTarget(i, sum_at(number, False), None, True)
            return CotangentTarget(i, cotangent_register(number), call.shapes[i], False)

        empty = new_register()  # never holds a cotangent
        self.seeds = [cotangent_register(s.number) if s.live else None for s in (*new, *ys)]
        tiled = _partitions(calls)
        for call in calls:
            if call.outs[0] in tiled:
                last, slices = tiled[call.outs[0]]
                gs = [cotangents.get(one.outs[0], empty) for one in slices]
                if call is last and any(g != empty for g in gs):
                    widths = [one.results[0].shape[-1] for one in slices]
                    rule = partial(_concat_cotangents, widths)
                    instruct(call, 0, rule, (0, *gs), False, target(call, 0), concatenates=True)
                continue
            if not any(call.live) or not cotangents.keys() & {*call.outs}:
                continue
            op, g = call.op, cotangent_register(call.outs[0])
            if call.several:
                gs, g = [cotangents.get(number, empty) for number in call.outs], new_register()
                instruct(call, 0, _unless_none, gs, False, CotangentTarget(0, g, None, False))

            def read(name: str, call: Call = call, g: int = g) -> int:
                op = call.op
                if name == "g":
                    shapes[g] = call.results[0].shape
                    return g
                if name == "xp":
                    return 0
                if name == "y" and call.several:
                    made = new_register()
                    outs = [value_at(Var(number, True)) for number in call.outs]
                    instruct(call, 0, _tuple, outs, False, CotangentTarget(0, made, None, False))
                    return made
                if name == "y":
                    at = value_at(Var(call.outs[0], True))
                    shapes[at] = call.results[0].shape
                    return at
                if name in op.inputs:
                    i = op.inputs.index(name)
                    a = call.args[i]
                    at = value_at(a) if isinstance(a, Var) else new_register(a)
                    shapes[at] = call.shapes[i]
                    return at
                settings = {"shapes": call.shapes, "needs": list(call.live)}
                return new_register({**op.parameters, **call.params, **settings}[name])

            wanted = [i for i, live in enumerate(call.live) if live]
            if op.joint is not None:
                targets = [target(call, i) for i in wanted]
                instruct(call, g, op.joint, [*map(read, names(op.joint))], True, *targets)
                continue
            for i in wanted:
                rule = op.rules.get(op.inputs[i])
                if rule is None:
                    continue
                matrix = _multiplied_with(call, constants)
                if i == 1 and matrix is not None:
                    total = sum_at(call.args[1].number, True)
                    instruct(
                        call,
                        g,
                        _tuple,
                        (read("a"), g),
                        False,
                        CotangentTarget(1, total, None, True),
                    )
                else:
                    registers = [*map(read, names(rule))]
                    instruct(call, g, rule, registers, False, target(call, i), matrix=matrix)
        self.residuals_at = [self.at[var.number] for var in reversed(residuals)]
        self.pick_residuals = picker(self.residuals_at)
        self.residuals_live = [var.live for var in reversed(residuals)]
        self.carry_at, self.sequences_at = (
            [cotangents.get(number) for number in numbers] for numbers in (carry, sequences)
        )
        filled = [at for at in self.seeds if at is not None]
        wanted = [at for at in (*self.carry_at, *self.sequences_at) if at is not None]
        made = self._plan_rematerialization(
            calls[::-1], residuals, constants, (*new, *ys), new_register, shapes
        )
        literals = {0: np, **_literals(self.initial_g, 1 + len(constants))}
        self.backward_fused = fuse(
            [*made, *instructions], literals, shapes, filled, wanted, self.sequences_at
        )

    def _plan_rematerialization(
        self,
        calls: Sequence[Call],
        residuals: dict[Var, int],
        constants: Sequence[int],
        returned: Sequence[Var],
        new_register: Callable[..., int],
        shapes: dict[int, tuple[int, ...]],
    ) -> list[Instruction]:
        """Plans which residuals fused kernels recompute, in the registers where they would be."""
        recomputed = rematerialize(
            calls, list(residuals), constants, [var.number for var in returned]
        )
        at = {number: 1 + i for i, number in enumerate(constants)}
        at |= {var.number: register for var, register in residuals.items()}
        instructions: list[Instruction] = []
        for call in recomputed:
            args = [at[a.number] if isinstance(a, Var) else new_register(a) for a in call.args]
            to = at[call.outs[0]] = at[call.outs[0]] if call.outs[0] in at else new_register()
            shapes[to] = tuple(call.results[0].shape)
            rule = partial(call.op.forward, np)
            instruction = BackwardInstruction(
                0,
                partial(rule, **call.params),
                picker(args),
                False,
                (CotangentTarget(0, to, None, False),),
            )
            instructions.append(
                _instruction(call, instruction, args, (to,), rule, args, call.params, False)
            )
        self.initial.append(None)  # saved in place of recomputed residuals
        unused = self.split[1] + len(constants) + len(self.initial) - 1
        numbers = {call.outs[0] for call in recomputed}
        self.residuals_at_fused = [
            unused if var.number in numbers else register
            for var, register in zip(reversed(residuals), self.residuals_at, strict=True)
        ]
        self.pick_residuals_fused = picker(self.residuals_at_fused)
        return instructions


def _ours(call: Call) -> bool:
    """Whether an operation is part of this package, so that its result's shape is known."""
    package = __name__.partition(".")[0]
    return getattr(call.op.forward, "__module__", "").partition(".")[0] == package


def _multiplied_with(call: Call, constants: Sequence[int]) -> int | None:
    """Which constant a call multiplies by from the right, if it is such a product."""
    if call.op is not matmul or not isinstance(call.args[1], Var) or len(call.shapes[1]) != 2:
        return None
    number = call.args[1].number
    return constants.index(number) if number in constants else None


def _columns(call: Call) -> range | None:
    """The columns that a call slices, if it is a contiguous slice of the last axis only."""
    if call.op is not getitem or not call.shapes[0]:
        return None
    index, shape = call.params["index"], call.shapes[0]
    *before, last = index if isinstance(index, tuple) else (index,)
    rows = [slice(None)] * (len(shape) - 1)
    if not is_basic(index) or (before != rows and before != [...]) or not isinstance(last, slice):
        return None
    columns = range(*last.indices(shape[-1]))
    return columns if columns and columns.step == 1 else None


def _partitions(calls: Sequence[Call]) -> dict[int, tuple[Call, list[Call]]]:
    """Finds values whose columns are read exactly once, by contiguous slices.

    Maps each slice to (the last slice, all slices in column order), so that their gradients can be
    concatenated once.
    """
    readers: dict[int, list[tuple[range, Call]]] = {}
    for call in calls:
        columns = _columns(call) if any(call.live) else None
        if columns is not None and isinstance(call.args[0], Var):
            readers.setdefault(call.args[0].number, []).append((columns, call))
    found = {}
    for pairs in readers.values():
        last = pairs[-1][1]
        pairs.sort(key=lambda pair: pair[0].start)
        ends = [0, *[columns.stop for columns, _ in pairs]]
        width = last.shapes[0][-1]
        if len(pairs) > 1 and ends[-1] == width and ends[:-1] == [c.start for c, _ in pairs]:
            slices = [call for _, call in pairs]
            found.update({call.outs[0]: (last, slices) for call in slices})
    return found


def _concat_cotangents(widths: Sequence[int], xp: Any, *gs: Any) -> Any:
    """Concatenates the cotangents of column slices; None if there are none."""
    some = next((g for g in gs if g is not None), None)
    if some is None:
        return None
    zero = xp.zeros_like(some[..., :1])
    return xp.concat(
        [
            xp.broadcast_to(zero, (*zero.shape[:-1], width)) if g is None else g
            for g, width in zip(gs, widths, strict=True)
        ],
        axis=-1,
    )


def _literals(initial: Sequence[Any], first: int) -> dict[int, Any]:
    """The constants among the initial registers."""
    return {first + i: value for i, value in enumerate(initial) if value is not None}


def _instruction(
    call: Call, instruction: Any, reads: Iterable[int], writes: tuple[int, ...], function: Any,
    args: Iterable[int], params: dict[str, Any], adds: bool,
) -> Instruction:  # fmt: skip
    y = call.results[0]
    kind = (tuple(y.shape), y.dtype)
    if y.dtype.char not in "fd":
        function = None
    return Instruction(instruction, (*reads,), writes, function, (*args,), params, kind, adds)


def _unless_none(*values: Any) -> tuple[Any, ...] | None:
    return values if any(v is not None for v in values) else None


def _tuple(*values: Any) -> tuple[Any, ...]:
    return values
