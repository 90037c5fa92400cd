"""Which instructions of a program make one pass over the elements.

Elementwise instructions on values of one shape are brought together, as far as what they read and
write lets them, and run on symbols; what comes of that runs natively. Where native code does not
take what it is given, the instructions themselves run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ....kernels.chains import Code, Symbol, compiled

Shape = tuple[int, ...]


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


class Chain(NamedTuple):
    """Instructions that run as one."""

    code: Code
    inputs: tuple[int, ...]  # places
    outputs: tuple[int, ...]
    instead: tuple[Any, ...]  # the instructions themselves

    def run(self, values: list[Any]) -> bool:
        """Whether native code has run it."""
        found = self.code(tuple([values[i] for i in self.inputs]))
        if found is None:
            return False
        for place, value in zip(self.outputs, found, strict=True):
            values[place] = value
        return True


class _Link:
    """A chain that is being put together."""

    def __init__(
        self, kind: tuple[Shape, Any], literals: dict[int, Any], shapes: dict[int, Shape]
    ) -> None:
        self.kind, self.literals, self.shapes = kind, literals, shapes
        self.tape: list[Symbol] = []
        self.at: dict[int, Symbol] = {}  # by place: what is there after the last item so far
        self.leaves: dict[int, int] = {}  # the places of what goes in, by number on the tape
        self.items: list[Item] = []
        self.writes: set[int] = set()

    def symbol(self, place: int) -> Any:
        """What is at a place: a symbol, or what is always there."""
        if place in self.literals:
            return self.literals[place]
        if place not in self.at:
            shape = self.kind[0]
            if self.shapes.get(place) not in (shape, shape[-1:]):
                raise TypeError("it broadcasts otherwise")
            self.at[place] = Symbol(self.tape)
            self.leaves[self.at[place].number] = place
        return self.at[place]

    def takes(self, item: Item, filled: set[int]) -> bool:
        """Adds an item, if it is elementwise and of this shape."""
        if item.function is None or item.kind != self.kind:
            return False
        (to,) = item.writes
        try:
            y = item.function(*map(self.symbol, item.args), **item.params)
            if type(y) is not Symbol:
                return False
            if item.adds and to in filled:
                y = self.symbol(to) + y
        except (TypeError, AttributeError, ValueError, IndexError):
            return False
        self.at[to] = y
        self.writes.add(to)
        self.items.append(item)
        return True

    def made(self, wanted: set[int]) -> Iterable[Any]:
        """The chain; or its instructions, where it is not worth being one."""
        outputs = tuple([p for p in sorted(self.writes) if p in wanted])
        code = compiled(self.tape, [self.at[p] for p in outputs])
        instead = tuple([item.instruction for item in self.items])
        if code is None:
            return instead
        return [Chain(code, tuple([self.leaves[n] for n in code.inputs]), outputs, instead)]


def chained(
    items: Sequence[Item],
    literals: dict[int, Any],
    shapes: dict[int, Shape],
    filled: Iterable[int],
    wanted: Iterable[int],
) -> list[Any]:
    """Instructions, and chains of them, that do what the items do in their order.

    **Arguments** literals: what is always at a place. shapes: of what is elsewhere. filled: the
    places where something is at first, if anything comes there. wanted: those that are read in the
    end.
    """
    done: list[Any] = []
    there, rest = set(filled), list(items)
    while rest:
        if rest[0].function is None:
            there.update(rest[0].writes)
            done.append(rest.pop(0).instruction)
            continue
        link = _Link(rest[0].kind, literals, shapes)
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
                done.append(item.instruction)
            else:
                read |= reads
                written |= writes
                later.append(item)
        needed = {*wanted, *(p for item in later for p in (*item.reads, *item.writes))}
        done.extend(link.made(needed))
        rest = later
    return done
