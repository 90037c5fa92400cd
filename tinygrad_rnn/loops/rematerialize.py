"""Rematerialisation: recomputes cheap values in the backward pass instead of saving them.

1 - i from i, for example: a fused kernel that reads i computes 1 - i with one more instruction,
while a saved array is written in the forward pass, leaves the cache and is read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..kernels.elementwise import Symbol
from .trace import Call, Var

MAX_OPS = 3  # to recompute a value
CHEAP = frozenset({np.add, np.subtract, np.multiply, np.divide, np.negative, np.absolute})


def rematerialize(
    calls: Iterable[Call],
    residuals: Sequence[Var],
    constants: Iterable[int],
    returned: Iterable[int],
) -> list[Call]:
    """Selects the calls that the backward pass repeats, in their order.

    **Arguments** calls: all of the step, in their order. residuals: the values that rules read.
    constants, returned: the numbers of values that are in memory in any case.
    """
    costs = {call.outs[0]: (call, cost) for call in calls if (cost := _op_count(call))}
    numbers = [var.number for var in residuals]
    once = {n for n in numbers if numbers.count(n) == 1} - {*returned}
    available, recomputed = {*constants}, dict[int, Call]()

    def cost_of(number: int, limit: int) -> int:
        """The operations to compute a value from available ones; above `limit` it is no use."""
        if number in available or number in recomputed:
            return 0
        if number not in costs or limit <= 0:
            return limit + 1
        call, total = costs[number]
        for a in call.args:
            if isinstance(a, Var) and total <= limit:
                total += cost_of(a.number, limit - total)
        return total

    def recompute(number: int) -> None:
        if number not in available and number not in recomputed:
            call, _ = costs[number]
            for a in call.args:
                if isinstance(a, Var):
                    recompute(a.number)
            recomputed[number] = call

    available.update(n for n in numbers if n not in costs or n not in once)
    for number in sorted(once - available):  # older ones first
        if cost_of(number, MAX_OPS) <= MAX_OPS:
            recompute(number)
        else:
            available.add(number)
    return list(recomputed.values())


def _op_count(call: Call) -> int:
    """The number of cheap elementwise operations in a call; 0 if it is anything else."""
    if call.several or call.results[0].dtype.char not in "fd" or not call.results[0].shape:
        return 0
    shape, tape = tuple(call.results[0].shape), list[Symbol]()
    if any(s != shape for a, s in zip(call.args, call.shapes, strict=True) if isinstance(a, Var)):
        return 0
    args: list[Any] = [Symbol(tape) if isinstance(a, Var) else a for a in call.args]
    try:
        call.op.forward(np, *args, **call.params)
    except (TypeError, AttributeError, ValueError, IndexError):
        return 0
    made = [s.function for s in tape if s.function is not None]
    return len(made) if CHEAP.issuperset(made) else 0
