"""Plans the backward pass of a step: the rules of its calls in reverse order, on registers.

The registers are [xp, *constants, *others, *residuals]. An instruction runs only if a cotangent has
reached its call, so that one plan serves all losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ..tensor.operation import names
from ..tensor.ops.indexing import getitem, is_basic
from ..tensor.ops.products import matmul
from .fusion import Instruction, fuse, picker
from .trace import Call, Var


class BackwardInstruction(NamedTuple):
    """Applies a rule to registers, unless register `g` holds no cotangent."""

    g: int
    rule: Callable[..., Any]
    pick: Callable[[Any], Any]
    joint: bool  # whether the rule returns the cotangents of all inputs
    targets: tuple[CotangentTarget, ...]
    matrix: int | None = None  # the constant by whose transpose it multiplies, if it does that


class CotangentTarget(NamedTuple):
    """Where a cotangent is accumulated."""

    i: int  # its position in the result of a joint rule
    at: int  # a register; or a sum over all steps
    shape: tuple[int, ...] | None  # to reduce it to, undoing broadcasting; None: as it is
    summed: bool


class BackwardPlan:
    """The rules of a step, and the registers that they read and write.

    **Arguments** calls: those of the step, last first. constants: their numbers. outputs: the Vars
    of the new carry and of the outputs.
    """

    def __init__(
        self, calls: Sequence[Call], constants: Sequence[int], outputs: Sequence[Var]
    ) -> None:
        self.constants = constants
        self.initial: list[Any] = []  # the other registers; None where there is no cotangent
        self.rules: list[BackwardInstruction] = []
        self.sums: list[tuple[int, bool]] = []  # of which constant, and whether they are products
        self.residuals: dict[Var, int] = {}  # their registers, counted from the end
        self.cotangents: dict[int, int] = {}  # the registers of values' cotangents
        self.instructions: list[Instruction] = []
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.empty = self.register()  # never holds a cotangent
        self.seeds = [self.cotangent(v.number) if v.live else None for v in outputs]
        partitions = _partitions(calls)
        for call in calls:
            if call.outs[0] in partitions:
                self._concatenate(call, *partitions[call.outs[0]])
            elif any(call.live) and self.cotangents.keys() & {*call.outs}:
                self._differentiate(call)

    def register(self, value: object = None) -> int:
        """A new register, and what it holds before a step."""
        self.initial.append(value)
        return len(self.constants) + len(self.initial)

    def cotangent(self, number: int) -> int:
        """The register of a value's cotangent."""
        if number not in self.cotangents:
            self.cotangents[number] = self.register()
        return self.cotangents[number]

    def fused(
        self, recomputed: Sequence[Instruction], carry: Sequence[int], sequences: Sequence[int]
    ) -> list[Any]:
        """The instructions with fused kernels, after those that recompute residuals."""
        literals = {0: np, **constants_in(self.initial, 1 + len(self.constants))}
        filled = [at for at in self.seeds if at is not None]
        stacked = [self.cotangents.get(number) for number in sequences]
        wanted = [*map(self.cotangents.get, carry), *stacked]
        found = [at for at in wanted if at is not None]
        items = [*recomputed, *self.instructions]
        return fuse(items, literals, self.shapes, filled, found, stacked)

    # ------------------------------------------------------------ one call

    def _differentiate(self, call: Call) -> None:
        """Adds the rules of a call."""
        op, g = call.op, self.cotangent(call.outs[0])
        if call.several:
            gs, g = [self.cotangents.get(n, self.empty) for n in call.outs], self.register()
            self._add(call, 0, _unless_none, gs, CotangentTarget(0, g, None, False))
        wanted = [i for i, live in enumerate(call.live) if live]
        if op.joint is not None:
            reads = [self._read(call, name, g) for name in names(op.joint)]
            self._add(
                call, g, op.joint, reads, *[self._target(call, i) for i in wanted], joint=True
            )
            return
        matrix = constant_factor(call, self.constants)
        for i in wanted:
            rule = op.rules.get(op.inputs[i])
            if i == 1 and matrix is not None:  # a product with the same matrix at every step
                target = CotangentTarget(1, self._sum(call.args[1].number, True), None, True)
                self._add(call, g, _tuple, (self._read(call, "a", g), g), target)
            elif rule is not None:
                reads = [self._read(call, name, g) for name in names(rule)]
                self._add(call, g, rule, reads, self._target(call, i), matrix=matrix)

    def _concatenate(self, call: Call, last: Call, slices: Sequence[Call]) -> None:
        """Concatenates the cotangents of all column slices of a value, at the last of them."""
        gs = [self.cotangents.get(one.outs[0], self.empty) for one in slices]
        if call is not last or all(g == self.empty for g in gs):
            return
        rule = partial(_concat_cotangents, [one.results[0].shape[-1] for one in slices])
        self._add(call, 0, rule, (0, *gs), self._target(call, 0))
        self.instructions[-1] = self.instructions[-1]._replace(
            function=None,
            args=tuple(gs),
            kind=(call.shapes[0], call.results[0].dtype),
            concatenates=True,
        )

    def _add(
        self, call: Call, g: int, rule: Callable[..., Any], reads: Iterable[int],
        *targets: CotangentTarget, joint: bool = False, matrix: int | None = None,
    ) -> None:  # fmt: skip
        reads = tuple(reads)
        self.rules.append(BackwardInstruction(g, rule, picker(reads), joint, targets, matrix))
        outs = tuple([t.at for t in targets if not t.summed])
        alone = not joint and len(outs) == 1 and targets[0].shape == call.results[0].shape
        function = rule if alone and g in reads and not call.several else None
        code = self.rules[-1]
        self.instructions.append(fusible(call, code, (g, *reads), outs, function, reads, {}, True))

    # ------------------------------------------------------------ its registers

    def _target(self, call: Call, i: int) -> CotangentTarget:
        number = call.args[i].number
        if number in self.constants:
            return CotangentTarget(i, self._sum(number, False), None, True)
        return CotangentTarget(i, self.cotangent(number), call.shapes[i], False)

    def _sum(self, number: int, products: bool) -> int:
        self.sums.append((self.constants.index(number), products))
        return len(self.sums) - 1

    def _value(self, var: Var) -> int:
        """The register of a value of the forward pass: a constant, or a residual."""
        if var.number in self.constants:
            return 1 + self.constants.index(var.number)
        return self.residuals.setdefault(var, -1 - len(self.residuals))

    def _read(self, call: Call, name: str, g: int) -> int:
        """The register of a parameter of a rule."""
        op = call.op
        if name == "xp":
            return 0
        if name == "g":
            at, shape = g, call.results[0].shape
        elif name == "y" and call.several:
            at = self.register()
            outs = [self._value(Var(number, True)) for number in call.outs]
            self._add(call, 0, _tuple, outs, CotangentTarget(0, at, None, False))
            return at
        elif name == "y":
            at, shape = self._value(Var(call.outs[0], True)), call.results[0].shape
        elif name in op.inputs:
            i = op.inputs.index(name)
            a, shape = call.args[i], call.shapes[i]
            at = self._value(a) if isinstance(a, Var) else self.register(a)
        else:
            settings = {"shapes": call.shapes, "needs": list(call.live)}
            return self.register({**op.parameters, **call.params, **settings}[name])
        self.shapes[at] = shape
        return at


def constant_factor(call: Call, constants: Sequence[int]) -> int | None:
    """Which constant a call multiplies by from the right, if it is such a product."""
    if call.op is not matmul or not isinstance(call.args[1], Var) or len(call.shapes[1]) != 2:
        return None
    number = call.args[1].number
    return constants.index(number) if number in constants else None


def sliced_columns(call: Call) -> range | None:
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


def constants_in(initial: Sequence[Any], first: int) -> dict[int, Any]:
    """The constants among the initial registers."""
    return {first + i: value for i, value in enumerate(initial) if value is not None}


def fusible(
    call: Call, instruction: Any, reads: Iterable[int], writes: tuple[int, ...],
    function: Callable[..., Any] | None, args: Iterable[int], params: dict[str, Any], adds: bool,
) -> Instruction:  # fmt: skip
    y = call.results[0]
    kind = (tuple(y.shape), y.dtype)
    if y.dtype.char not in "fd":
        function = None
    return Instruction(instruction, (*reads,), writes, function, (*args,), params, kind, adds)


def _partitions(calls: Sequence[Call]) -> dict[int, tuple[Call, list[Call]]]:
    """Finds values whose columns are read exactly once, by contiguous slices.

    Maps each slice to (the last slice, all slices in column order), so that their gradients can be
    concatenated once.
    """
    readers: dict[int, list[tuple[range, Call]]] = {}
    for call in calls:
        columns = sliced_columns(call) if any(call.live) else None
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


def _concat_cotangents(widths: Sequence[int], xp: ModuleType, *gs: Any) -> Any:
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


def _unless_none(*values: Any) -> tuple[Any, ...] | None:
    return values if any(v is not None for v in values) else None


def _tuple(*values: Any) -> tuple[Any, ...]:
    return values
