"""What a function of composed operations does, written down while it runs.

The values that it is handed are numbered, and then what each operation makes. Two runs that wrote
down the same did the same; what they did can be repeated without the function (`execute`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from ..errors import GraphError
from ..tensor import random
from ..tensor.graph import Node, Op, Traced, grad_mode, older, wrap
from ..tensor.observers import tracers
from ..tensor.ops.elementwise import alias
from ..tensor.ops.indexing import index_update, nonzero
from ..tensor.tree import is_leaf, same_constant
from .indices import INDEXED, is_plain, snapshot, tensors_in, with_inputs

SMALL = 1024  # elements of a constant, up to which it is cheap to see whether it was written to


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
        self.constants: dict[int, tuple[Any, Any]] = {}  # small ones, and as they were
        self.grad, self.draws = grad_mode.on, 0
        self.number(inputs)

    def run(self, function: Callable[[], Any]) -> Any:
        """The function's value; its operations are written down."""
        before = random.draws.count
        with _listening(self):
            value = function()
        self.draws = random.draws.count - before
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

    def record(self, op: Op, args: tuple[Any, ...], params: dict[str, Any], result: Any) -> None:
        """Writes an operation down."""
        several = type(result) is tuple
        results = result if several else (result,)
        if not results or not isinstance(results[0], Traced):
            return  # of arrays alone: what comes of it is a constant
        edge = next((y.edge for y in results if y.edge is not None), None)
        if edge is None:
            live: tuple[bool, ...] = (False,) * len(args)
            shapes = tuple([tuple(getattr(a, "shape", ())) for a in args])
        else:
            if not self.grad:
                self.refuse("tg.enable_grad() in a loop that runs under tg.no_grad()", "leave it")
            live, shapes = tuple([e is not None for e in edge[0].edges]), tuple(edge[0].shapes)
        for y in results:  # an operation may hand on its input's array: each value has its own
            y.array = y.array[...]
        op, args, params = self._opened(op, args, params)
        if extra := args[len(live) :]:  # what was in an index
            live += (False,) * len(extra)
            shapes += tuple([tuple(a.shape) for a in extra])
        found = tuple(
            [
                v if type(v := self.find(a, keep)) is Slot else self._constant(v)
                for a, keep in zip(args, live, strict=True)
            ]
        )
        outs = self.number(results)
        self.calls.append(Call(op, found, params, outs, results, several, live, shapes))

    def _constant(self, value: Any) -> Any:
        """A constant; what it is now is remembered, if it can be written to and is small."""
        array = value.array if isinstance(value, Traced) else value
        if type(array) is np.ndarray and array.size <= SMALL and id(array) not in self.constants:
            self.constants[id(array)] = array, array.tobytes()
        return snapshot(value) if type(value) is list else value

    def _opened(
        self, op: Op, args: tuple[Any, ...], params: dict[str, Any]
    ) -> tuple[Op, tuple[Any, ...], dict[str, Any]]:
        """An operation that finds all numbered values among its arguments; refuses others."""
        if op is nonzero and type(self.find(args[0])) is Slot:
            self.refuse(
                "'nonzero', whose result has as many elements as the values say", "use tg.where"
            )
        if not params:
            return op, args, params
        for name, value in params.items():
            if is_plain(value):
                continue
            inside = [v for v in tensors_in(value) if isinstance(self.find(v), Slot)]
            if not inside:
                params = {**params, name: snapshot(value)}
                continue
            parts = value if isinstance(value, tuple) else (value,)
            if op not in INDEXED or not all(any(v is part for part in parts) for v in inside):
                where = "the bounds of a slice, or a list" if op in INDEXED else f"{name}="
                self.refuse(
                    f"{op.name!r} with a computed value in {where}",
                    "make constants outside, and index by whole tensors of integers",
                )
            if op is not index_update and any(v.array.dtype.kind == "b" for v in inside):
                self.refuse(
                    f"{op.name!r} by a mask, which has as many elements as the values say",
                    "use tg.where",
                )
            op, more = with_inputs(op, value)
            return op, (*args, *more), {k: v for k, v in params.items() if k != name}
        return op, args, params

    def replayed(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """What stands for the result of an operation that the other run has as well, or None."""
        place = len(self.calls)
        if self.like is None or place >= len(self.like.calls):
            return None
        traced = any(isinstance(a, Traced) and a.edge is not None for a in args)
        recorded = traced and op.differentiable and grad_mode.on
        op, args, params = self._opened(op, args, params)
        call = self.like.calls[place]
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

    def concretize(self, value: Traced) -> None:
        """Refuses a look at what differs from run to run."""
        if isinstance(self.find(value), Slot):
            self.refuse(
                "a look at a value (.item(), .numpy(), bool(), print)",
                "choose between values with tg.where",
            )

    def overwritten(self, value: Traced) -> None:
        """Refuses to overwrite what outlives the step."""
        if not isinstance(self.find(value), Slot):
            self.refuse(
                "a write to a tensor from outside the step, or one that it did not compute",
                "write to a computed copy (tg.zeros_like(x), y + 0)",
            )

    def refuse(self, what: str, remedy: str) -> None:
        """Says why the run cannot be repeated."""
        raise GraphError(
            f"{self.what}: expected a step that does the same whatever the values, got {what}: "
            f"{remedy}, or leave fused=False"
        )

    def agrees_with(self, other: Recording, values: list[Any], others: list[Any]) -> None:
        """Refuses two runs that did different things. **Arguments** other: the later one; values:
        what the function gave at first, and others: what it gave then."""
        if len(self.calls) != len(other.calls):
            self.refuse(
                f"{len(self.calls)} operations at one step, {len(other.calls)} at the next",
                "write them so that they are the same",
            )
        for a, b in zip(self.calls, other.calls, strict=True):
            if not (a.op is b.op and a.live == b.live and a.outs == b.outs):
                self.refuse(
                    f"{a.op.name!r} at one step, {b.op.name!r} at the next"
                    + (", or a graph that ends at one of them" if a.op is b.op else ""),
                    "write them so that they are the same",
                )
            if not (same(a.args, b.args) and same(a.params, b.params)):
                self.refuse(
                    f"something new to {a.op.name!r} at each step: {self._changed(a, b)}",
                    "make constants outside, hand over in xs what differs (random numbers, "
                    "indices), and in the carry what one step leaves to the next",
                )
        for a, b in zip(values, others, strict=True):
            if not same(self.find(a), other.find(b)):
                self.refuse(
                    f"something new to return at each step: {self._origin(b)}",
                    "make constants outside, and compute from the carry and from xs what differs",
                )
        if self.draws or other.draws:
            self.refuse("a draw of random numbers", "hand them over in xs")
        for array, before in self.constants.values():
            if array.tobytes() != before:
                self.refuse(
                    f"a constant {array.dtype}{list(array.shape)} that it writes to itself",
                    "put it into the carry",
                )

    def _changed(self, a: Call, b: Call) -> str:
        """What is not the same in two calls of an operation, in words."""
        names = a.op.inputs if not a.op.variadic else [f"input {i}" for i in range(len(a.args))]
        pairs = [*zip(names, a.args, b.args, strict=True)]
        pairs += [(f"{k}=", v, b.params.get(k)) for k, v in a.params.items()]
        name, one, two = next(pair for pair in pairs if not same(pair[1], pair[2]))
        for value in (two, one):
            if is_leaf(value):
                return f"{name} is {self._origin(value)}"
        if isinstance(one, Slot) or isinstance(two, Slot):
            return f"{name} is another of the step's values"
        return f"{name} is {one!r}, then {two!r}"

    def _origin(self, value: Any) -> str:
        """Where a value came from that the later run does not know, in words."""
        if not is_leaf(value):
            return repr(value)
        edge, array = getattr(value, "edge", None), getattr(value, "array", value)
        kept = edge in self.by_edge if edge is not None else id(array) in self.by_array
        how = "kept from an earlier step" if kept else "made inside the step"
        return f"a {type(value).__name__} {array.dtype}{list(array.shape)} {how}"


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
    if isinstance(a, slice):
        return same((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    return same_constant(a, b)


@contextmanager
def _listening(recording: Recording) -> Iterator[None]:
    tracers[get_ident()] = recording
    try:
        yield
    finally:
        tracers.pop(get_ident(), None)


def held(value: Any, live: bool) -> Any:
    """A value, without its place in the graph unless it is live."""
    if live or not isinstance(value, Traced) or value.edge is None:
        return value
    return wrap(value.result_class, value.array, None)


class Inside(Node):
    """Where a value of a recorded run came from: nowhere that a gradient can go."""

    __slots__ = ()

    @property
    def edges(self) -> Any:  # type: ignore[override]
        """**Raises** GraphError for who looks for a way through it."""
        raise GraphError(
            "scan: expected a gradient of what the loop returns, got one of a value that a fused "
            "step computed, which stands for nothing outside of the loop: return it from the step, "
            "or leave fused=False"
        )

    @property
    def kept(self) -> Any:  # type: ignore[override]
        """**Raises** GraphError for who goes back through it."""
        return self.edges


def stranger(value: Traced, live: bool) -> Traced:
    """The same value as one that nothing else refers to; with a node of its own, if it is live."""
    array = value.array[...]
    if not live:
        return wrap(type(value), array, None)
    node = Inside()
    node.op, node.serial, node.shapes = alias, older(), ()
    return wrap(type(value), array, (node, 0))
