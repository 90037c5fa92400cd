"""What a backward pass makes again from what is kept, since that costs less than to keep it.

1 - i from i, say: native code that reads i is there has 1 - i after one more instruction, while an
array for each step is written in the forward pass, leaves the cache, and is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..kernels.elementwise import Symbol
from .trace import Call, Slot

MOST = 3  # instructions, to make a value again
CHEAP = frozenset({np.add, np.subtract, np.multiply, np.divide, np.negative, np.absolute})


def remade(
    calls: Iterable[Call], kept: Sequence[Slot], known: Iterable[int], needed: Iterable[int]
) -> list[Call]:
    """The calls that make values again, in their order.

    **Arguments** calls: all there are, in their order. kept: what rules read. known: the numbers of
    the constants, which are there in any case. needed: of values that the forward pass hands on,
    and so has in any case.
    """
    costs = {call.outs[0]: (call, cost) for call in calls if (cost := _instructions(call))}
    numbers = [slot.number for slot in kept]
    once = {n for n in numbers if numbers.count(n) == 1} - {*needed}
    there, again = {*known}, dict[int, Call]()

    def price(number: int, most: int) -> int:
        """Instructions that make a value from what is there; more than `most` is too many."""
        if number in there or number in again:
            return 0
        if number not in costs or most <= 0:
            return most + 1
        call, total = costs[number]
        for a in call.args:
            if isinstance(a, Slot) and total <= most:
                total += price(a.number, most - total)
        return total

    def make(number: int) -> None:
        if number not in there and number not in again:
            call, _ = costs[number]
            for a in call.args:
                if isinstance(a, Slot):
                    make(a.number)
            again[number] = call

    there.update(n for n in numbers if n not in costs or n not in once)
    for number in sorted(once - there):  # older ones first
        if price(number, MOST) <= MOST:
            make(number)
        else:
            there.add(number)
    return list(again.values())


def _instructions(call: Call) -> int:
    """How many instructions an operation is on elements of one shape; 0 if it is anything else."""
    if call.several or call.results[0].dtype.char not in "fd" or not call.results[0].shape:
        return 0
    shape, tape = tuple(call.results[0].shape), list[Symbol]()
    if any(s != shape for a, s in zip(call.args, call.shapes, strict=True) if isinstance(a, Slot)):
        return 0
    args: list[Any] = [Symbol(tape) if isinstance(a, Slot) else a for a in call.args]
    try:
        call.op.forward(np, *args, **call.params)
    except (TypeError, AttributeError, ValueError, IndexError):
        return 0
    made = [s.function for s in tape if s.function is not None]
    return len(made) if CHEAP.issuperset(made) else 0
