"""Fused elementwise arithmetic: traces a function on symbols, runs it in one kernel."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from . import cuda
from .cpu import functions as cpu

Array = Any

# In the order of enum class Opcode in kernels.hpp.
FUNCTIONS = (
    np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.negative, np.absolute,
    np.sign, np.tanh,
)  # fmt: skip
REGISTERS = 255


def is_native(xp: ModuleType) -> bool:
    """Whether native code supports arrays of a module."""
    return cpu.native is not None and xp is np


def fuses(xp: ModuleType) -> bool:
    """Whether chains on arrays of a module run in one pass: natively, or in a CUDA kernel."""
    return is_native(xp) if xp is np else cuda.enabled(xp)


class Symbol(NDArrayOperatorsMixin):
    """A traced array: NumPy's functions of it are recorded on a tape.

    Functions that native code does not have raise TypeError.
    """

    __slots__ = ("args", "function", "number", "tape")

    def __init__(
        self, tape: list[Symbol], function: np.ufunc | None = None, args: tuple[Any, ...] = ()
    ) -> None:
        self.tape, self.function, self.args, self.number = tape, function, args, len(tape)
        tape.append(self)

    def __array_ufunc__(
        self, function: np.ufunc, method: str, *args: Any, out: Any = None, **settings: Any
    ) -> Any:
        known = all(type(a) in (Symbol, int, float) for a in args)
        if method != "__call__" or settings or function not in FUNCTIONS or not known:
            return NotImplemented
        return Symbol(self.tape, function, args)

    def __array_function__(self, *_: Any) -> Any:
        return NotImplemented

    def __bool__(self) -> bool:
        raise TypeError("a traced array has no truth value")


class ElementwiseProgram(NamedTuple):
    """A compiled function of arrays."""

    native_args: tuple[Any, ...]  # the first arguments of `native.evaluate`
    inputs: tuple[int, ...]  # which symbols of the tape are its inputs
    kernels: dict[str, Any]  # those for a GPU, compiled at their first use, by dtype

    def __call__(
        self, arrays: tuple[Array, ...], out: tuple[Array | None, ...] = ()
    ) -> tuple[Array, ...] | None:
        """Computes the results; None if no kernel supports the inputs.

        **Arguments** out: for each result an array to write it into, or None for a new one. One
        that does not fit is ignored.
        """
        if type(arrays[0]) is not np.ndarray and type(arrays[0]).__module__ == "cupy":
            return cuda.evaluate(self.native_args, self.kernels, arrays, out)
        found: tuple[Array, ...] | None = cpu.native.evaluate(*self.native_args, arrays, out)
        return found


def compile_elementwise(
    tape: Sequence[Symbol],
    results: Sequence[Sequence[Symbol]],
    parts: dict[int, int] | None = None,
    columns: int = 0,
) -> ElementwiseProgram | None:
    """Compiles the recorded functions that the results depend on.

    **Arguments** results: for each output array the symbols side by side along its last axis.
    parts: for inputs of which only `columns` columns are read, by number the first of them.
    **Returns** None for fewer than two functions, which are not worth it, and for too many.
    """
    flat = [s for beside in results for s in beside]
    last: dict[int, int] = {s.number: len(tape) for s in flat}  # where each is last used
    for s in reversed(tape):
        if s.number in last:
            for a in s.args:
                if type(a) is Symbol:
                    last.setdefault(a.number, s.number)
    used = [s for s in tape if s.number in last]
    inputs = [s for s in used if s.function is None]
    applied = [s for s in used if s.function is not None]
    constants = {repr(a): float(a) for s in applied for a in s.args if type(a) is not Symbol}
    numbers = list(constants)  # -0.0 is not 0.0
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
    native_args = (
        bytes(steps),
        count,  # of registers
        tuple(constants.values()),  # the constants
        bytes([register[s.number] for s in flat]),  # the results' registers
        bytes(
            [len(beside) for beside in results]
        ),  # how many of them are side by side in each array
        columns if parted else 0,  # of a result; 0 for as many as the inputs have
        starts.tobytes(),  # the first column to read of each input, -1 for all
    )
    return ElementwiseProgram(native_args, tuple(s.number for s in inputs), {})
