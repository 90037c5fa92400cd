"""A recorded step as a list of instructions on numbered values, and its rules as another.

All that does not depend on the values is settled here, once: which operations anyone needs, what
their rules read, and so what is kept, where each cotangent goes. `execute` runs the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..tensor.graph import names
from ..tensor.ops.indexing import getitem, is_basic
from ..tensor.ops.products import matmul
from .fusion import Item, chained, picker
from .rematerialize import remade
from .trace import Call, Slot


class Forward(NamedTuple):
    """Applies an operation to the values at some places."""

    op: Any  # the Op; to a type checker a field of that type would be a method
    pick: Callable[[Any], Any]
    params: dict[str, Any]
    out: int  # the place of what it gives, or of the first of several
    live: tuple[bool, ...]  # which arguments are not taken as constants
    several: bool
    scalar: bool  # NumPy would give a scalar in place of an array
    matrix: int | None  # the constant with which this multiplies from the right, if that is all
    shapes: tuple[tuple[int, ...], ...] | None  # of what it gives, if that must be seen to


class Backward(NamedTuple):
    """Applies a rule to the values at some places, unless no cotangent has come there."""

    g: int
    rule: Callable[..., Any]
    pick: Callable[[Any], Any]
    joint: bool  # whether the rule gives the cotangents of all inputs
    targets: tuple[Target, ...]
    matrix: int | None = None  # the constant whose transpose this multiplies with, if that is all


class Target(NamedTuple):
    """Where a cotangent goes."""

    i: int  # which of those that a joint rule gives
    place: int  # among the values; or among the sums
    shape: tuple[int, ...] | None  # of the value that it belongs to; None: as it is
    summed: bool  # over all steps


class Program:
    """What every step of a loop does: the carry, elements of sequences and constants go in.

    **Arguments** calls: the operations, in their order. carry, sequences, constants: the numbers of
    the values that go in. new, ys: the slots of the new carry, and of what is stacked.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        carry: Sequence[int],
        sequences: Sequence[int],
        constants: Sequence[int],
        new: Sequence[Slot],
        ys: Sequence[Slot],
    ) -> None:
        self.split = len(carry), len(carry) + len(sequences)  # of the inputs
        needed = {slot.number for slot in (*new, *ys)}
        for call in calls:
            if not _ours(call):  # whose shape could depend on the values, and be looked at
                needed.update(call.outs)
        used: list[Call] = []
        for call in reversed(calls):
            if needed.intersection(call.outs):
                used.append(call)
                needed.update(a.number for a in call.args if isinstance(a, Slot))
        inputs = [*carry, *sequences, *constants]
        self._flow = [
            ([a.number for a, live in zip(c.args, c.live, strict=True) if live], c.outs)
            for c in used[::-1]
        ], inputs, [*new, *ys]  # fmt: skip
        self._reached: dict[tuple[bool, ...], tuple[bool, ...]] = {}
        forward = self._plan_forward(used[::-1], [*carry, *sequences], constants, new, ys)
        self._plan_backward(used, carry, sequences, constants, new, ys)
        seen_to = [f.out for f in self.forward if f.shapes is not None]
        wanted = [*self.read_forwards, *self.kept_at_chained, *seen_to]
        self.forward_chained = chained(*forward, (), wanted, self.ys_at)

    def reached(self, live: tuple[bool, ...]) -> tuple[bool, ...]:
        """Which results depend differentiably on inputs that require grad. **Arguments** live:
        which of the inputs do: the carry, the sequences and the constants."""
        if live not in self._reached:
            flow, inputs, results = self._flow
            found = {number for number, yes in zip(inputs, live, strict=True) if yes}
            carry, size = self.split[0], -1
            while size != len(found):  # what reaches the carry comes back at the next step
                size = len(found)
                for read, made in flow:
                    if not found.isdisjoint(read):
                        found.update(made)
                after = zip(inputs[:carry], results, strict=False)
                found.update(n for n, slot in after if slot.live and slot.number in found)
            self._reached[live] = tuple([s.live and s.number in found for s in results])
        return self._reached[live]

    def _plan_forward(
        self,
        calls: Sequence[Call],
        before: Sequence[int],
        constants: Sequence[int],
        new: Sequence[Slot],
        ys: Sequence[Slot],
    ) -> tuple[list[Item], dict[int, Any], dict[int, tuple[int, ...]]]:
        inputs = [*before, *constants]
        self.at = {number: place for place, number in enumerate(inputs)}
        self.blank: list[Any] = []  # what the places after the inputs hold before a step
        self.forward: list[Forward] = []
        items: list[Item] = []
        shapes: dict[int, tuple[int, ...]] = {}

        def place(value: Any = None) -> int:
            self.blank.append(value)
            return len(inputs) + len(self.blank) - 1

        for call in calls:
            args = [self.at[a.number] if isinstance(a, Slot) else place(a) for a in call.args]
            self.at |= {number: place() for number in call.outs}
            out = self.at[call.outs[0]]
            shapes |= dict(zip(args, call.shapes, strict=True))
            scalar = not call.several and call.results[0].shape == ()
            self.forward.append(
                Forward(
                    call.op, picker(args), call.params, out, call.live, call.several, scalar,
                    _multiplied_with(call, constants),
                    None if _ours(call) else tuple([tuple(y.shape) for y in call.results]),
                )
            )  # fmt: skip
            columns = _columns(call)
            known = not (call.several or scalar or columns)
            function = partial(call.op.forward, np) if known else None
            outs = tuple([self.at[number] for number in call.outs])
            item = _item(call, self.forward[-1], args, outs, function, args, call.params, False)
            items.append(item._replace(part=(args[0], columns.start)) if columns else item)
        self.pick_new = picker(self.at[slot.number] for slot in new)
        self.ys_at = [self.at[slot.number] for slot in ys]
        self.pick_ys = picker(self.ys_at)
        self.read_forwards = [self.at[slot.number] for slot in (*new, *ys)]
        return items, _literals(self.blank, len(inputs)), shapes

    def _plan_backward(
        self,
        calls: Sequence[Call],
        carry: Sequence[int],
        sequences: Sequence[int],
        constants: Sequence[int],
        new: Sequence[Slot],
        ys: Sequence[Slot],
    ) -> None:
        """Where each value, cotangent and setting stands: [xp, *constants, *others, *kept]."""
        self.blank_g: list[Any] = []  # the others, and None where there is no cotangent
        self.backward: list[Backward] = []
        self.sums: list[tuple[int, bool]] = []  # of which constant, and whether of products
        items: list[Item] = []
        shapes: dict[int, tuple[int, ...]] = {}
        kept: dict[Slot, int] = {}  # the places of what is kept, counted from the end
        cotangents: dict[int, int] = {}

        def place(value: Any = None) -> int:
            self.blank_g.append(value)
            return len(constants) + len(self.blank_g)

        def value_at(slot: Slot) -> int:
            if slot.number in constants:
                return 1 + constants.index(slot.number)
            return kept.setdefault(slot, -1 - len(kept))

        def cotangent_at(number: int) -> int:
            if number not in cotangents:
                cotangents[number] = place()
            return cotangents[number]

        def sum_at(number: int, of_products: bool) -> int:
            self.sums.append((constants.index(number), of_products))
            return len(self.sums) - 1

        def instruct(
            call: Call, g: int, rule: Any, places: Iterable[int], joint: bool, *targets: Any,
            matrix: int | None = None, beside: bool = False,
        ) -> None:  # fmt: skip
            places = tuple(places)
            self.backward.append(Backward(g, rule, picker(places), joint, targets, matrix))
            outs = tuple([t.place for t in targets if not t.summed])
            alone = not joint and len(outs) == 1 and targets[0].shape == call.results[0].shape
            function = rule if alone and g in places and not call.several else None
            item = _item(call, self.backward[-1], (g, *places), outs, function, places, {}, True)
            if beside:
                kind = call.shapes[0], item.kind[1]
                item = item._replace(function=None, args=places[1:], kind=kind, beside=True)
            items.append(item)

        def target(call: Call, i: int) -> Target:
            number = call.args[i].number
            if number in constants:
                return Target(i, sum_at(number, False), None, True)
            return Target(i, cotangent_at(number), call.shapes[i], False)

        nowhere = place()  # nothing ever comes there
        self.seeds = [cotangent_at(s.number) if s.live else None for s in (*new, *ys)]
        tiled = _tiled(calls)
        for call in calls:
            if call.outs[0] in tiled:
                last, pieces = tiled[call.outs[0]]
                gs = [cotangents.get(piece.outs[0], nowhere) for piece in pieces]
                if call is last and any(g != nowhere for g in gs):
                    widths = [piece.results[0].shape[-1] for piece in pieces]
                    rule = partial(_side_by_side, widths)
                    instruct(call, 0, rule, (0, *gs), False, target(call, 0), beside=True)
                continue
            if not any(call.live) or not cotangents.keys() & {*call.outs}:
                continue
            op, g = call.op, cotangent_at(call.outs[0])
            if call.several:
                gs, g = [cotangents.get(number, nowhere) for number in call.outs], place()
                instruct(call, 0, _unless_none, gs, False, Target(0, g, None, False))

            def read(name: str, call: Call = call, g: int = g) -> int:
                op = call.op
                if name == "g":
                    shapes[g] = call.results[0].shape
                    return g
                if name == "xp":
                    return 0
                if name == "y" and call.several:
                    made = place()
                    outs = [value_at(Slot(number, True)) for number in call.outs]
                    instruct(call, 0, _tuple, outs, False, Target(0, made, None, False))
                    return made
                if name == "y":
                    at = value_at(Slot(call.outs[0], True))
                    shapes[at] = call.results[0].shape
                    return at
                if name in op.inputs:
                    i = op.inputs.index(name)
                    a = call.args[i]
                    at = value_at(a) if isinstance(a, Slot) else place(a)
                    shapes[at] = call.shapes[i]
                    return at
                settings = {"shapes": call.shapes, "needs": list(call.live)}
                return place({**op.parameters, **call.params, **settings}[name])

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
                    instruct(call, g, _tuple, (read("a"), g), False, Target(1, total, None, True))
                else:
                    places = [*map(read, names(rule))]
                    instruct(call, g, rule, places, False, target(call, i), matrix=matrix)
        self.kept_at = [self.at[slot.number] for slot in reversed(kept)]
        self.pick_kept = picker(self.kept_at)
        self.kept_live = [slot.live for slot in reversed(kept)]
        self.carry_at, self.sequences_at = (
            [cotangents.get(number) for number in numbers] for numbers in (carry, sequences)
        )
        filled = [at for at in self.seeds if at is not None]
        wanted = [at for at in (*self.carry_at, *self.sequences_at) if at is not None]
        made = self._plan_remaking(calls[::-1], kept, constants, (*new, *ys), place, shapes)
        literals = {0: np, **_literals(self.blank_g, 1 + len(constants))}
        self.backward_chained = chained(
            [*made, *items], literals, shapes, filled, wanted, self.sequences_at
        )

    def _plan_remaking(
        self,
        calls: Sequence[Call],
        kept: dict[Slot, int],
        constants: Sequence[int],
        handed_on: Sequence[Slot],
        place: Callable[..., int],
        shapes: dict[int, tuple[int, ...]],
    ) -> list[Item]:
        """What native code makes again, at the places where it would be kept."""
        again = remade(calls, list(kept), constants, [slot.number for slot in handed_on])
        at = {number: 1 + i for i, number in enumerate(constants)}
        at |= {slot.number: kept_at for slot, kept_at in kept.items()}
        items: list[Item] = []
        for call in again:
            args = [at[a.number] if isinstance(a, Slot) else place(a) for a in call.args]
            to = at[call.outs[0]] = at[call.outs[0]] if call.outs[0] in at else place()
            shapes[to] = tuple(call.results[0].shape)
            rule = partial(call.op.forward, np)
            instruction = Backward(
                0, partial(rule, **call.params), picker(args), False, (Target(0, to, None, False),)
            )
            items.append(_item(call, instruction, args, (to,), rule, args, call.params, False))
        self.blank.append(None)  # what is kept of what is made again
        nothing = self.split[1] + len(constants) + len(self.blank) - 1
        numbers = {call.outs[0] for call in again}
        self.kept_at_chained = [
            nothing if slot.number in numbers else kept_at
            for slot, kept_at in zip(reversed(kept), self.kept_at, strict=True)
        ]
        self.pick_kept_chained = picker(self.kept_at_chained)
        return items


def _ours(call: Call) -> bool:
    """Whether an operation is the package's own, whose results' shapes are known."""
    package = __name__.partition(".")[0]
    return getattr(call.op.forward, "__module__", "").partition(".")[0] == package


def _multiplied_with(call: Call, constants: Sequence[int]) -> int | None:
    """Which constant this multiplies with from the right, if it is such a product."""
    if call.op is not matmul or not isinstance(call.args[1], Slot) or len(call.shapes[1]) != 2:
        return None
    number = call.args[1].number
    return constants.index(number) if number in constants else None


def _columns(call: Call) -> range | None:
    """Which columns this reads, if it is columns beside each other of all rows, and no more."""
    if call.op is not getitem or not call.shapes[0]:
        return None
    index, shape = call.params["index"], call.shapes[0]
    *before, last = index if isinstance(index, tuple) else (index,)
    rows = [slice(None)] * (len(shape) - 1)
    if not is_basic(index) or (before != rows and before != [...]) or not isinstance(last, slice):
        return None
    columns = range(*last.indices(shape[-1]))
    return columns if columns and columns.step == 1 else None


def _tiled(calls: Sequence[Call]) -> dict[int, tuple[Call, list[Call]]]:
    """What reads all columns of a value, once, in pieces: by the number of each piece that is read
    the last of these calls, and all of them from left to right."""
    readers: dict[int, list[tuple[range, Call]]] = {}
    for call in calls:
        columns = _columns(call) if any(call.live) else None
        if columns is not None and isinstance(call.args[0], Slot):
            readers.setdefault(call.args[0].number, []).append((columns, call))
    found = {}
    for pairs in readers.values():
        last = pairs[-1][1]
        pairs.sort(key=lambda pair: pair[0].start)
        ends = [0, *[columns.stop for columns, _ in pairs]]
        width = last.shapes[0][-1]
        if len(pairs) > 1 and ends[-1] == width and ends[:-1] == [c.start for c, _ in pairs]:
            pieces = [call for _, call in pairs]
            found.update({call.outs[0]: (last, pieces) for call in pieces})
    return found


def _side_by_side(widths: Sequence[int], xp: Any, *gs: Any) -> Any:
    """The cotangent of a value from those of its columns; None if there are none."""
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


def _literals(blank: Sequence[Any], first: int) -> dict[int, Any]:
    """What is always at a place: what a list of values begins with there."""
    return {first + i: value for i, value in enumerate(blank) if value is not None}


def _item(
    call: Call, instruction: Any, reads: Iterable[int], writes: tuple[int, ...], function: Any,
    args: Iterable[int], params: dict[str, Any], adds: bool,
) -> Item:  # fmt: skip
    y = call.results[0]
    kind = (tuple(y.shape), y.dtype)
    if y.dtype.char not in "fd":
        function = None
    return Item(instruction, (*reads,), writes, function, (*args,), params, kind, adds)


def _unless_none(*values: Any) -> tuple[Any, ...] | None:
    return values if any(v is not None for v in values) else None


def _tuple(*values: Any) -> tuple[Any, ...]:
    return values
