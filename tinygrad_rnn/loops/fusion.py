"""Elementwise fusion: groups instructions of one shape into single native kernels.

The functions of a group run on symbols, and the trace is compiled. Column slices of wider values
are read in place, and concatenations are written in place. The kernel falls back to the separate
instructions for inputs that native code does not support.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from ..errors import InvalidTypeError
from ..kernels.elementwise import ElementwiseProgram, Symbol, compile_elementwise

Shape = tuple[int, ...]

NOT_ELEMENTWISE = TypeError, AttributeError, ValueError, IndexError  # what a symbol raises


class Instruction(NamedTuple):
    """An instruction as fusion sees it: which registers it reads and writes, and how."""

    code: Any
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    function: Callable[..., Any] | None  # of the registers `args`; None if not elementwise
    args: tuple[int, ...]
    params: dict[str, Any]
    kind: tuple[Shape, Any]  # the result's shape and dtype
    adds: bool  # to a value that the register may hold already
    part: tuple[int, int] | None = None  # of a column slice: its source, and first column
    concatenates: bool = False  # it concatenates `args` along the last axis


class FusedKernel(NamedTuple):
    """Elementwise instructions that run in one native pass."""

    program: ElementwiseProgram
    pick: Callable[[Any], Any]  # its inputs
    outputs: tuple[tuple[int, int], ...]  # registers, and which result each gets
    copies: tuple[tuple[int, int], ...]  # registers, and the register that each copies
    buffers: tuple[int | None, ...]  # the output buffer of each result, if it has one
    fallback: tuple[Any, ...]  # the instructions, for inputs that native code refuses

    def run(self, values: list[Any], slots: Sequence[Any] = ()) -> bool:
        """Runs natively; False if native code does not support the inputs.

        **Arguments** slots: for each output buffer the slice of this step, if it is allocated.
        """
        if slots and self.buffers:
            into = tuple([None if k is None else slots[k] for k in self.buffers])
            found = self.program(self.pick(values), into)
        else:
            found = self.program(self.pick(values))
        if found is None:
            return False
        if self.copies:
            copied = [values[i] for _, i in self.copies]
            for (register, _), value in zip(self.copies, copied, strict=True):
                values[register] = value
        for register, i in self.outputs:
            values[register] = found[i]
        return True


def picker(registers: Iterable[int]) -> Callable[[Any], Any]:
    """A function that reads registers, as a tuple."""
    at = tuple(registers)
    if len(at) > 1:
        return itemgetter(*at)
    return (lambda values: (values[at[0]],)) if at else (lambda values: ())


class _Concat:
    """Symbols to concatenate; the result can only be returned, not computed with."""

    def __init__(self, *symbols: Symbol) -> None:
        self.symbols = symbols


class _ColumnSlices:
    """Finds column slices that can be computed from column slices of the inputs.

    Slicing commutes with elementwise operations. A result of which only slices are read is thus
    never computed as a whole.
    """

    def __init__(self, instructions: Sequence[Instruction], wanted: Iterable[int]) -> None:
        self.instructions = instructions
        self.parts = {one.writes[0]: one.part for one in instructions if one.part}
        readers: dict[int, list[Instruction]] = {}
        for instruction in instructions:
            for register in instruction.reads:
                readers.setdefault(register, []).append(instruction)
        self.producers: dict[int, Instruction] = {}  # of values not computed as a whole
        wanted = {*wanted}
        for instruction in reversed(instructions if self.parts else ()):
            if instruction.function is None or instruction.adds or instruction.writes[0] in wanted:
                continue
            by = readers.get(instruction.writes[0], [])
            if by and all(one.part or one.writes[0] in self.producers for one in by):
                self.producers[instruction.writes[0]] = instruction


class _Group:
    """Instructions that are being fused."""

    def __init__(
        self,
        kind: tuple[Shape, Any],
        literals: dict[int, Any],
        shapes: dict[int, Shape],
        columns: _ColumnSlices,
    ) -> None:
        self.kind, self.literals, self.shapes, self.columns = kind, literals, shapes, columns
        self.tape: list[Symbol] = []
        self.at: dict[int, Any] = {}  # by register: its symbol after the last instruction
        self.parts: dict[tuple[int, int], Symbol] = {}  # by source and first column
        self.inputs: dict[int, int] = {}  # registers, by their symbol's number on the tape
        self.first_columns: dict[int, int] = {}  # of inputs of which a column slice is read
        self.instructions: list[Instruction] = []
        self.writes: set[int] = set()
        self.elided: set[int] = set()  # slices and their sources that need not be computed

    def add_input(self, register: int) -> Symbol:
        symbol = Symbol(self.tape)
        self.inputs[symbol.number] = register
        return symbol

    def symbol(self, register: int) -> Any:
        """The symbol of a register, or its constant."""
        if register in self.literals:
            return self.literals[register]
        if register not in self.at:
            shape = self.kind[0]
            if self.shapes.get(register) not in (shape, shape[-1:]):
                raise InvalidTypeError("it broadcasts in another way")
            if register in self.columns.parts:
                self.elided.add(register)
                self.at[register] = self.part(*self.columns.parts[register])
            else:
                self.at[register] = self.add_input(register)
        return self.at[register]

    def part(self, register: int, start: int) -> Any:
        """The symbol of a column slice of a register."""
        if (register, start) not in self.parts:
            self.parts[register, start] = self._part(register, start)
        return self.parts[register, start]

    def _part(self, register: int, start: int) -> Symbol:
        producer = self.columns.producers.get(register)
        y = producer and self._slice_of_result(producer, start)
        if y is not None:
            self.elided.add(register)
            return y
        symbol = self.add_input(register)
        self.first_columns[symbol.number] = start
        return symbol

    def _slice_of_result(self, producer: Instruction, start: int) -> Symbol | None:
        shape = producer.kind[0]
        fits = (
            p in self.literals or self.shapes.get(p) in (shape, shape[-1:]) for p in producer.args
        )
        if producer.function is None or not all(fits):
            return None
        try:
            y = producer.function(
                *[self.literals[p] if p in self.literals else self.part(p, start)
                  for p in producer.args],
                **producer.params,
            )  # fmt: skip
        except NOT_ELEMENTWISE:
            return None
        return y if type(y) is Symbol else None

    def try_add(self, instruction: Instruction, filled: set[int]) -> bool:
        """Adds an instruction if it is elementwise of this shape, or concatenates such results."""
        function: Any = _Concat if instruction.concatenates else instruction.function
        if function is None:
            return False
        (to,) = instruction.writes
        adds = instruction.adds and to in filled
        try:
            if instruction.kind == self.kind:
                y = function(*map(self.symbol, instruction.args), **instruction.params)
                if type(y) is not Symbol:
                    return False
                if adds:
                    y = self.symbol(to) + y
            else:  # wider: it concatenates results of this group
                known = [self.at.get(p) for p in instruction.args]
                part = Symbol if instruction.concatenates else _Concat
                if adds or not all(type(v) is part for v in known):
                    return False
                y = function(*known, **instruction.params)
                if type(y) is not _Concat:
                    return False
        except NOT_ELEMENTWISE:
            return False
        self.at[to] = y
        self.writes.add(to)
        self.instructions.append(instruction)
        return True

    def kernel(self, wanted: set[int], stacked: Sequence[int | None]) -> list[_Scheduled]:
        """The fused kernel; the instructions themselves where fusing is not worth it."""
        shape, registers = self.kind[0], sorted(self.writes & wanted)
        arrays: list[tuple[Symbol, ...]] = []
        number: dict[int, int] = {}  # of the result that holds a symbol
        outputs, copies = list[tuple[int, int]](), list[tuple[int, int]]()
        for register in registers:
            y = self.at[register]
            source = None if type(y) is _Concat else self.inputs.get(y.number)
            if (
                source is not None
                and y.number not in self.first_columns
                and self.shapes[source] == shape
            ):
                copies.append((register, source))
                continue
            if id(y) not in number:
                number[id(y)] = len(arrays)
                arrays.append(y.symbols if type(y) is _Concat else (y,))
            outputs.append((register, number[id(y)]))
        program = compile_elementwise(
            self.tape, arrays, self.first_columns, shape[-1] if shape else 0
        )
        if program is None:
            return [_Scheduled(i.code, {*i.reads}, {*i.writes}) for i in self.instructions]
        elided = [i for i in self.columns.instructions if self.elided & {*i.writes}]
        fallback = [*elided, *self.instructions]
        buffers: list[int | None] = [None] * len(arrays)
        for register, i in outputs:
            if register in stacked:  # and is not overwritten later in the step
                buffers[i] = stacked.index(register)
        kernel = FusedKernel(
            program,
            picker(self.inputs[n] for n in program.inputs),
            tuple(outputs),
            tuple(copies),
            tuple(buffers) if any(k is not None for k in buffers) else (),
            tuple([i.code for i in fallback]),
        )
        return [
            _Scheduled(kernel, {p for i in fallback for p in i.reads} - self.elided, self.writes)
        ]


class _Scheduled(NamedTuple):
    """An instruction or a fused kernel in execution order."""

    code: Any
    reads: set[int]
    writes: set[int]


def fuse(
    instructions: Sequence[Instruction],
    literals: dict[int, Any],
    shapes: dict[int, Shape],
    initial: Iterable[int],
    wanted: Iterable[int],
    stacked: Sequence[int | None],
) -> list[Any]:
    """Fuses elementwise instructions of one shape, as far as their dependences allow.

    **Arguments** literals: registers that hold constants. shapes: of the others. initial: registers
    that may hold a value before the first instruction. wanted: those read after the last one.
    stacked: those of them that are stacked over all steps.
    """
    done: list[_Scheduled] = []
    columns = _ColumnSlices(instructions, wanted)
    filled, rest = set(initial), list(instructions)
    while rest:
        if rest[0].function is None:
            first = rest.pop(0)
            filled.update(first.writes)
            done.append(_Scheduled(first.code, {*first.reads}, {*first.writes}))
            continue
        group = _Group(rest[0].kind, literals, shapes, columns)
        if not group.try_add(rest[0], filled):
            rest[0] = rest[0]._replace(function=None)
            continue
        filled.update(rest[0].writes)
        later: list[Instruction] = []
        read, written = set[int](), set[int]()  # by deferred instructions
        for instruction in rest[1:]:
            reads, writes = {*instruction.reads}, {*instruction.writes}
            free = not (writes & (read | written) or reads & written)
            if free and group.try_add(instruction, filled):
                filled |= writes
            elif free and not (
                reads & group.writes or writes & {*group.inputs.values(), *group.writes}
            ):
                filled |= writes
                done.append(_Scheduled(instruction.code, reads, writes))
            else:
                read |= reads
                written |= writes
                later.append(instruction)
        needed = {*wanted, *(p for one in later for p in (*one.reads, *one.writes))}
        changed = {p for instruction in later for p in instruction.writes}
        final = [None if register in changed else register for register in stacked]
        done.extend(group.kernel(needed, final))
        rest = later
    live, kept = {*wanted}, list[Any]()
    for one in reversed(done):  # dead code: slices and kernels that are not read
        if not one.writes or one.writes & live:
            live |= one.reads
            kept.append(one.code)
    return kept[::-1]
