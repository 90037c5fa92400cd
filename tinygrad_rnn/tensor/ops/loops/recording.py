"""What a function of composed operations does, written down while it runs.

The values that it is handed are numbered, and then what each operation makes. Two runs that wrote
down the same did the same; what they did can be repeated without the function (`replay`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any, NamedTuple

from ....errors import GraphError
from ... import backend
from ...graph import Leaf, Op, Traced, grad_mode, hooked, recorders, wrap


class Slot(NamedTuple):
    """A numbered value, as it is taken: differentiably, or as a constant."""

    number: int
    live: bool


class Call(NamedTuple):
    """An operation that was applied, and the numbers of what it made."""

    op: Any  # the Op; to a type checker a field of that type would be a method
    args: tuple[Any, ...]  # a Slot; any other value stands for itself
    params: dict[str, Any]
    outs: tuple[int, ...]
    results: tuple[Any, ...]
    several: bool
    live: tuple[bool, ...]  # which arguments a cotangent flows to
    shapes: tuple[tuple[int, ...], ...]  # of the arguments


class Recording:
    """What one run of a function of numbered values does.

    **Arguments** inputs: those values. like: another run, with values of the same shapes. What does
    the same as there is not computed: only what the function does is of interest.
    """

    def __init__(self, what: str, inputs: Sequence[Traced], like: Recording | None = None) -> None:
        self.what, self.calls, self.count, self.like = what, list[Call](), 0, like
        self.by_edge: dict[Any, int] = {}
        self.by_array: dict[int, int] = {}
        self.alive: list[Any] = []  # so that no array takes the place, and the id, of another
        self.number(inputs)

    def run(self, function: Callable[[], Any]) -> Any:
        """The function's value; its operations are written down."""
        with _listening(self):
            value = function()
        if hooked and any(node in hooked for node, _ in self.by_edge):
            raise self.refused("a hook on a value", "hook what the scan returns")
        return value

    def number(self, values: Sequence[Any]) -> tuple[int, ...]:
        """Numbers values that were not there before."""
        first = self.count
        for value in values:
            if value.edge is not None:
                self.by_edge[value.edge] = self.count
            self.by_array[id(value.array)] = self.count
            self.alive.append(value.array)
            self.count += 1
        return tuple(range(first, self.count))

    def find(self, value: Any, live: bool = True) -> Any:
        """The slot of a value, a constant unless live; what has none stands for itself."""
        if not isinstance(value, Traced):
            return value
        if value.edge is not None:
            number = self.by_edge.get(value.edge)
            return held(value, live) if number is None else Slot(number, live)
        number = self.by_array.get(id(value.array))
        return value if number is None else Slot(number, False)

    # ------------------------------------------------------------ what a recorder is told

    def called(self, op: Op, args: tuple[Any, ...], params: dict[str, Any], result: Any) -> None:
        """Writes an operation down."""
        several = type(result) is tuple
        results = result if several else (result,)
        if not isinstance(results[0], Traced):
            return  # of arrays alone: what comes of it is a constant
        edge = next((y.edge for y in results if y.edge is not None), None)
        if edge is None:
            live = (False,) * len(args)
            shapes = tuple([tuple(getattr(a, "shape", ())) for a in args])
        else:
            live, shapes = tuple([e is not None for e in edge[0].edges]), tuple(edge[0].shapes)
        found = tuple([self.find(a, keep) for a, keep in zip(args, live, strict=True)])
        outs = self.number(results)
        self.calls.append(Call(op, found, params, outs, results, several, live, shapes))

    def repeated(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """What stands for the result of an operation that the other run has as well, or None."""
        place = len(self.calls)
        if self.like is None or place >= len(self.like.calls):
            return None
        call = self.like.calls[place]
        traced = any(isinstance(a, Traced) and a.edge is not None for a in args)
        recorded = traced and op.differentiable and grad_mode.on
        if (
            call.op is not op
            or len(call.args) != len(args)
            or recorded != (call.results[0].edge is not None)
        ):
            return None
        found = tuple([self.find(a, live) for a, live in zip(args, call.live, strict=True)])
        if not (same(call.args, found) and same(call.params, params)):
            return None
        # Values of their own, so that one that was kept from the other run is not taken for this.
        results = tuple([stranger(y, y.edge is not None) for y in call.results])
        self.calls.append(call._replace(results=results, outs=self.number(results)))
        return results if call.several else results[0]

    def read(self, value: Traced) -> None:
        """Refuses a look at what differs from run to run."""
        if isinstance(self.find(value), Slot):
            raise self.refused(
                "a look at a value (.item(), .numpy(), bool(), print)",
                "choose between values with tg.where",
            )

    def refused(self, what: str, remedy: str) -> GraphError:
        """Why the run cannot be repeated."""
        return GraphError(
            f"{self.what}: expected a step that does the same whatever the values, got {what}: "
            f"{remedy}, or leave fused=False"
        )

    def agrees_with(self, other: Recording) -> None:
        """Refuses two runs that did different things."""
        if len(self.calls) != len(other.calls):
            raise self.refused(
                f"{len(self.calls)} operations at one step, {len(other.calls)} at the next",
                "write them so that they are the same",
            )
        for a, b in zip(self.calls, other.calls, strict=True):
            if not (a.op is b.op and a.live == b.live and a.outs == b.outs):
                raise self.refused(
                    f"{a.op.name!r} at one step, {b.op.name!r} at the next",
                    "write them so that they are the same",
                )
            if not (same(a.args, b.args) and same(a.params, b.params)):
                raise self.refused(
                    f"something new to {a.op.name!r} at each step",
                    "make constants outside, and hand over in xs what differs (random numbers, "
                    "indices)",
                )


def same(a: Any, b: Any) -> bool:
    """Whether two values are one, or equal without being tensors or arrays."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Traced):
        return a.array is b.array and a.edge == b.edge
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return not backend.is_array(a) and bool(a == b)


@contextmanager
def _listening(recording: Recording) -> Iterator[None]:
    recorders[get_ident()] = recording
    try:
        yield
    finally:
        del recorders[get_ident()]


def listened_to() -> bool:
    """Whether this thread's operations are being written down."""
    return get_ident() in recorders


def held(value: Any, live: bool) -> Any:
    """A value, without its place in the graph unless it is live."""
    if live or not isinstance(value, Traced) or value.edge is None:
        return value
    return wrap(value.made, value.array, None)


def stranger(value: Traced, live: bool) -> Traced:
    """The same value as one that nothing else refers to; a leaf, if it is live."""
    array = value.array[...]
    return wrap(type(value), array, (Leaf(array), 0) if live else None)
