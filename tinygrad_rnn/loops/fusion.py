"""Which instructions of a program make one pass over the elements.

Elementwise instructions on values of one shape are brought together, as far as what they read and
write lets them, and run on symbols; what comes of that runs natively. Columns of a wider value go
in as they lie there, and what belongs side by side comes out so. Where native code does not take
what it is given, the instructions themselves run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from ..errors import InvalidTypeError
from ..kernels.elementwise import ElementwiseProgram, Symbol, compile_elementwise

Shape = tuple[int, ...]

NOT_ELEMENTWISE = TypeError, AttributeError, ValueError, IndexError  # what a symbol raises


class Item(NamedTuple):
    """An instruction, and what it does at which places."""

    instruction: Any
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    function: Callable[..., Any] | None  # of what lies at `args`; None if it is not elementwise
    args: tuple[int, ...]
    params: dict[str, Any]
    kind: tuple[Shape, Any]  # the shape and dtype of what it gives
    adds: bool  # to what is there already
    part: tuple[int, int] | None = None  # it reads columns: of which place, from where on
    beside: bool = False  # it puts what lies at `args` side by side


class Chain(NamedTuple):
    """Instructions that run as one."""

    code: ElementwiseProgram
    pick: Callable[[Any], Any]  # what goes in
    outputs: tuple[tuple[int, int], ...]  # places, and which array comes there
    copies: tuple[tuple[int, int], ...]  # places, and the place whose value comes there
    stacks: tuple[int | None, ...]  # which of the stacks each array belongs to, if any does
    instead: tuple[Any, ...]  # the instructions themselves

    def run(self, values: list[Any], rooms: Sequence[Any] = ()) -> bool:
        """Whether native code has run it.

        **Arguments** rooms: where in each stack this step's part has its place, if that is known.
        """
        if rooms and self.stacks:
            into = tuple([None if k is None else rooms[k] for k in self.stacks])
            found = self.code(self.pick(values), into)
        else:
            found = self.code(self.pick(values))
        if found is None:
            return False
        if self.copies:
            copied = [values[i] for _, i in self.copies]
            for (place, _), value in zip(self.copies, copied, strict=True):
                values[place] = value
        for place, i in self.outputs:
            values[place] = found[i]
        return True


def picker(places: Iterable[int]) -> Callable[[Any], Any]:
    """What picks values out of a list, as a tuple."""
    at = tuple(places)
    if len(at) > 1:
        return itemgetter(*at)
    return (lambda values: (values[at[0]],)) if at else (lambda values: ())


class _Beside:
    """Stands for some symbols side by side: all that can be done with it is to hand it on."""

    def __init__(self, *symbols: Symbol) -> None:
        self.symbols = symbols


class _Columns:
    """Where columns of what the items make are to be found without making it.

    Columns of an elementwise result are what the operation makes of columns; so where nothing but
    columns of it is read, it need not be there.
    """

    def __init__(self, items: Sequence[Item], wanted: Iterable[int]) -> None:
        self.items = items
        self.parts = {item.writes[0]: item.part for item in items if item.part}
        readers: dict[int, list[Item]] = {}
        for item in items:
            for place in item.reads:
                readers.setdefault(place, []).append(item)
        self.makers: dict[int, Item] = {}  # of what need not be there
        wanted = {*wanted}
        for item in reversed(items if self.parts else ()):
            if item.function is None or item.adds or item.writes[0] in wanted:
                continue
            by = readers.get(item.writes[0], [])
            if by and all(one.part or one.writes[0] in self.makers for one in by):
                self.makers[item.writes[0]] = item


class _Link:
    """A chain that is being put together."""

    def __init__(
        self,
        kind: tuple[Shape, Any],
        literals: dict[int, Any],
        shapes: dict[int, Shape],
        columns: _Columns,
    ) -> None:
        self.kind, self.literals, self.shapes, self.columns = kind, literals, shapes, columns
        self.tape: list[Symbol] = []
        self.at: dict[int, Any] = {}  # by place: what is there after the last item so far
        self.parts: dict[tuple[int, int], Symbol] = {}  # by place and first column
        self.leaves: dict[int, int] = {}  # the places of what goes in, by number on the tape
        self.starts: dict[int, int] = {}  # the first columns of what goes in, if not all
        self.items: list[Item] = []
        self.writes: set[int] = set()
        self.skipped: set[int] = set()  # columns, and what they are of, that need not be there

    def leaf(self, place: int) -> Symbol:
        symbol = Symbol(self.tape)
        self.leaves[symbol.number] = place
        return symbol

    def symbol(self, place: int) -> Any:
        """What is at a place: a symbol, or what is always there."""
        if place in self.literals:
            return self.literals[place]
        if place not in self.at:
            shape = self.kind[0]
            if self.shapes.get(place) not in (shape, shape[-1:]):
                raise InvalidTypeError("it broadcasts otherwise")
            if place in self.columns.parts:
                self.skipped.add(place)
                self.at[place] = self.part(*self.columns.parts[place])
            else:
                self.at[place] = self.leaf(place)
        return self.at[place]

    def part(self, place: int, start: int) -> Any:
        """The columns from some column on of what is at a place."""
        if (place, start) not in self.parts:
            self.parts[place, start] = self._part(place, start)
        return self.parts[place, start]

    def _part(self, place: int, start: int) -> Symbol:
        maker = self.columns.makers.get(place)
        y = maker and self._made_of_columns(maker, start)
        if y is not None:
            self.skipped.add(place)
            return y
        symbol = self.leaf(place)
        self.starts[symbol.number] = start
        return symbol

    def _made_of_columns(self, maker: Item, start: int) -> Symbol | None:
        shape = maker.kind[0]
        fits = (p in self.literals or self.shapes.get(p) in (shape, shape[-1:]) for p in maker.args)
        if maker.function is None or not all(fits):
            return None
        try:
            y = maker.function(
                *[self.literals[p] if p in self.literals else self.part(p, start)
                  for p in maker.args],
                **maker.params,
            )  # fmt: skip
        except NOT_ELEMENTWISE:
            return None
        return y if type(y) is Symbol else None

    def takes(self, item: Item, filled: set[int]) -> bool:
        """Adds an item, if it is elementwise and of this shape, or puts such side by side."""
        function: Any = _Beside if item.beside else item.function
        if function is None:
            return False
        (to,) = item.writes
        adds = item.adds and to in filled
        try:
            if item.kind == self.kind:
                y = function(*map(self.symbol, item.args), **item.params)
                if type(y) is not Symbol:
                    return False
                if adds:
                    y = self.symbol(to) + y
            else:  # wider: of what this chain makes, side by side
                known = [self.at.get(p) for p in item.args]
                if adds or not all(type(v) is (Symbol if item.beside else _Beside) for v in known):
                    return False
                y = function(*known, **item.params)
                if type(y) is not _Beside:
                    return False
        except NOT_ELEMENTWISE:
            return False
        self.at[to] = y
        self.writes.add(to)
        self.items.append(item)
        return True

    def made(self, wanted: set[int], stacked: Sequence[int | None]) -> list[_Done]:
        """The chain; or its instructions, where it is not worth being one."""
        shape, places = self.kind[0], sorted(self.writes & wanted)
        arrays: list[tuple[Symbol, ...]] = []
        number: dict[int, int] = {}  # of the array that is made of what is at a place
        outputs, copies = list[tuple[int, int]](), list[tuple[int, int]]()
        for place in places:
            y = self.at[place]
            leaf = None if type(y) is _Beside else self.leaves.get(y.number)
            if leaf is not None and y.number not in self.starts and self.shapes[leaf] == shape:
                copies.append((place, leaf))
                continue
            if id(y) not in number:
                number[id(y)] = len(arrays)
                arrays.append(y.symbols if type(y) is _Beside else (y,))
            outputs.append((place, number[id(y)]))
        code = compile_elementwise(self.tape, arrays, self.starts, shape[-1] if shape else 0)
        if code is None:
            return [_Done(i.instruction, {*i.reads}, {*i.writes}) for i in self.items]
        skipped = [i for i in self.columns.items if self.skipped & {*i.writes}]
        instead = [*skipped, *self.items]
        stacks: list[int | None] = [None] * len(arrays)
        for place, i in outputs:
            if place in stacked:  # and will not be another's, which would be put there as well
                stacks[i] = stacked.index(place)
        chain = Chain(
            code,
            picker(self.leaves[n] for n in code.inputs),
            tuple(outputs),
            tuple(copies),
            tuple(stacks) if any(k is not None for k in stacks) else (),
            tuple([i.instruction for i in instead]),
        )
        return [_Done(chain, {p for i in instead for p in i.reads} - self.skipped, self.writes)]


class _Done(NamedTuple):
    """An instruction or a chain in its place."""

    instruction: Any
    reads: set[int]
    writes: set[int]


def chained(
    items: Sequence[Item],
    literals: dict[int, Any],
    shapes: dict[int, Shape],
    filled: Iterable[int],
    wanted: Iterable[int],
    stacked: Sequence[int | None],
) -> list[Any]:
    """Instructions, and chains of them, that do what the items do in their order.

    **Arguments** literals: what is always at a place. shapes: of what is elsewhere. filled: the
    places where something is at first, if anything comes there. wanted: those that are read in the
    end. stacked: those of them whose values at all steps will be put together.
    """
    done: list[_Done] = []
    columns = _Columns(items, wanted)
    there, rest = set(filled), list(items)
    while rest:
        if rest[0].function is None:
            first = rest.pop(0)
            there.update(first.writes)
            done.append(_Done(first.instruction, {*first.reads}, {*first.writes}))
            continue
        link = _Link(rest[0].kind, literals, shapes, columns)
        if not link.takes(rest[0], there):
            rest[0] = rest[0]._replace(function=None)
            continue
        there.update(rest[0].writes)
        later: list[Item] = []
        read, written = set[int](), set[int]()  # by what comes later
        for item in rest[1:]:
            reads, writes = {*item.reads}, {*item.writes}
            free = not (writes & (read | written) or reads & written)
            if free and link.takes(item, there):
                there |= writes
            elif free and not (
                reads & link.writes or writes & {*link.leaves.values(), *link.writes}
            ):
                there |= writes
                done.append(_Done(item.instruction, reads, writes))
            else:
                read |= reads
                written |= writes
                later.append(item)
        needed = {*wanted, *(p for item in later for p in (*item.reads, *item.writes))}
        changed = {p for item in later for p in item.writes}
        final = [None if place in changed else place for place in stacked]
        done.extend(link.made(needed, final))
        rest = later
    live, kept = {*wanted}, list[Any]()
    for one in reversed(done):  # columns were read, and chains made, that nobody needs
        if not one.writes or one.writes & live:
            live |= one.reads
            kept.append(one.instruction)
    return kept[::-1]
