"""Elementwise arithmetic in one native pass: written down by running it on symbols."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .cpu import functions

Array = Any

# What there is, in the order of enum class Code in chain.hpp.
FUNCTIONS = (
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.negative, np.absolute,
    np.sign, np.tanh,
)  # fmt: skip
REGISTERS = 255


def natively(xp: Any) -> bool:
    """Whether native code takes arrays of a module."""
    return functions.native is not None and xp is np


class Symbol(NDArrayOperatorsMixin):
    """Stands for an array: what NumPy is told to do with it is put down on a tape.

    Only what native code has; anything else raises TypeError.
    """

    __slots__ = ("args", "function", "number", "tape")

    def __init__(
        self, tape: list[Symbol], function: Any = None, args: tuple[Any, ...] = ()
    ) -> None:
        self.tape, self.function, self.args, self.number = tape, function, args, len(tape)
        tape.append(self)

    def __array_ufunc__(
        self, function: Any, method: str, *args: Any, out: Any = None, **settings: Any
    ) -> Any:
        known = all(type(a) in (Symbol, int, float) for a in args)
        if method != "__call__" or settings or function not in FUNCTIONS or not known:
            return NotImplemented
        return Symbol(self.tape, function, args)

    def __array_function__(self, *_: Any) -> Any:
        return NotImplemented

    def __bool__(self) -> bool:
        raise TypeError("a symbol has no truth")


class Code(NamedTuple):
    """Instructions for native code."""

    told: tuple[Any, ...]  # what native code is told of them: see `compiled`
    inputs: tuple[int, ...]  # the numbers on the tape of the symbols that go in

    def __call__(
        self, arrays: tuple[Array, ...], rooms: tuple[Array | None, ...] = ()
    ) -> tuple[Array, ...] | None:
        """The results for some inputs; None if it does not take them.

        **Arguments** rooms: for each result an array to put it into, or None for a new one; one
        that it does not fit is left alone.
        """
        found: tuple[Array, ...] | None = functions.native.evaluate(*self.told, arrays, rooms)
        return found


def compiled(
    tape: Sequence[Symbol],
    results: Sequence[Sequence[Symbol]],
    parts: dict[int, int] | None = None,
    columns: int = 0,
) -> Code | None:
    """Instructions for what was put down, as far as the results need it.

    **Arguments** results: for each array what lies side by side along its last axis. parts: of
    inputs of which only some columns go in, by number the first of these columns; `columns` says
    how many. **Returns** None for what is not worth it (less than two functions), or too long.
    """
    flat = [s for beside in results for s in beside]
    last: dict[int, int] = {s.number: len(tape) for s in flat}  # where each is used last
    for s in reversed(tape):
        if s.number in last:
            for a in s.args:
                if type(a) is Symbol:
                    last.setdefault(a.number, s.number)
    used = [s for s in tape if s.number in last]
    inputs = [s for s in used if s.function is None]
    applied = [s for s in used if s.function is not None]
    given = {repr(a): float(a) for s in applied for a in s.args if type(a) is not Symbol}
    numbers = list(given)  # -0.0 is not 0.0
    register = {s.number: i for i, s in enumerate(inputs)}
    count, free = len(inputs) + len(numbers), list[int]()
    steps = bytearray()
    for s in applied:
        args = [
            register[a.number] if type(a) is Symbol else len(inputs) + numbers.index(repr(a))
            for a in s.args
        ]
        for a in {a.number for a in s.args if type(a) is Symbol}:
            if last[a] == s.number and tape[a].function is not None:
                free.append(register[a])
        if not free:
            free.append(count)
            count += 1
        register[s.number] = free.pop()
        if count > REGISTERS:
            return None
        steps += bytes([FUNCTIONS.index(s.function), args[0], args[-1], register[s.number]])
    if len(applied) < 2 or not inputs:
        return None
    firsts = [(parts or {}).get(s.number, -1) for s in inputs]
    parted = max(firsts) >= 0
    starts = array("l", firsts if parted else [])
    told = (
        bytes(steps),
        count,  # of registers
        tuple(given.values()),  # the numbers
        bytes([register[s.number] for s in flat]),  # the results' registers
        bytes([len(beside) for beside in results]),  # how many of them, side by side, in an array
        columns if parted else 0,  # of a result; 0 where they are the inputs' own
        starts.tobytes(),  # of the columns in each input, -1 for all of it; or nothing
    )
    return Code(told, tuple(s.number for s in inputs))
