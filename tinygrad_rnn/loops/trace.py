"""Traces a function of operations: the calls that it makes, on numbered values.

The inputs are numbered first, then each result. Two equal traces of two steps are taken as proof
that every step makes these calls; `execute` repeats them without calling the function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np

from ..errors import GraphError
from ..tensor import random
from ..tensor.graph import Node, Traced, grad_mode, older, wrap
from ..tensor.observers import tracers
from ..tensor.operation import Op
from ..tensor.ops.elementwise import alias
from ..tensor.ops.indexing import index_update, nonzero
from ..tensor.tree import is_leaf, same_constant
from .indices import INDEXED, is_plain, snapshot, tensors_in, with_inputs

SMALL = 1024  # elements of a constant, up to which checking it for writes is cheap


class Var(NamedTuple):
    """A numbered value, read differentiably (live) or detached."""

    number: int
    live: bool


class Call(NamedTuple):
    """A traced call of an operation, and the numbers of its results."""

    op: Any  # the Op; to a type checker a field of that type would be a method
    args: tuple[Any, ...]  # Vars and constants
    params: dict[str, Any]
    outs: tuple[int, ...]
    results: tuple[Any, ...]
    several: bool
    live: tuple[bool, ...]  # which arguments a cotangent flows to
    shapes: tuple[tuple[int, ...], ...]  # of the arguments


class Trace:
    """Tracer of one run of a function.

    **Arguments** what: named in errors. inputs: the values to number first. like: an earlier trace
    with inputs of the same shapes, whose calls are replayed instead of computed where they agree.
    """

    def __init__(self, what: str, inputs: Sequence[Traced], like: Trace | None = None) -> None:
        self.what, self.calls, self.count, self.like = what, list[Call](), 0, like
        self.by_edge: dict[Any, int] = {}
        self.by_array: dict[int, int] = {}
        self.alive: list[Any] = []  # keeps ids unique
        self.constants: dict[int, tuple[Any, Any]] = {}  # small ones, with their bytes
        self.grad, self.draws = grad_mode.on, 0
        self.number(inputs)

    def run(self, function: Callable[[], Any]) -> Any:
        """Calls the function and traces its operations; returns its value."""
        before = random.draws.count
        with _tracing(self):
            value = function()
        self.draws = random.draws.count - before
        return value

    def number(self, values: Sequence[Any]) -> tuple[int, ...]:
        """Numbers new values."""
        first = self.count
        for value in values:
            if value.edge is not None:
                self.by_edge[value.edge] = self.count
            self.by_array[id(value.array)] = self.count
            self.alive.append(value.array)
            self.count += 1
        return tuple(range(first, self.count))

    def find(self, value: object, live: bool = True) -> Any:
        """The Var of a value, detached unless live; other values as they are."""
        if not isinstance(value, Traced):
            return value
        if value.edge is not None:
            number = self.by_edge.get(value.edge)
            return detach_unless(value, live) if number is None else Var(number, live)
        number = self.by_array.get(id(value.array))
        return value if number is None else Var(number, False)

    # ------------------------------------------------------------ the Tracer protocol

    def record(self, op: Op, args: tuple[Any, ...], params: dict[str, Any], result: Any) -> None:
        """Records a call."""
        several = type(result) is tuple
        results = result if several else (result,)
        if not results or not isinstance(results[0], Traced):
            return  # of arrays alone: its result is a constant
        edge = next((y.edge for y in results if y.edge is not None), None)
        if edge is None:
            live: tuple[bool, ...] = (False,) * len(args)
            shapes = tuple([tuple(getattr(a, "shape", ())) for a in args])
        else:
            if not self.grad:
                self.refuse("tg.enable_grad() in a loop that runs under tg.no_grad()", "leave it")
            live, shapes = tuple([e is not None for e in edge[0].edges]), tuple(edge[0].shapes)
        for y in results:  # an operation may return its input's array: each value gets its own
            y.array = y.array[...]
        op, args, params = self._with_index_inputs(op, args, params)
        if extra := args[len(live) :]:  # from an index
            live += (False,) * len(extra)
            shapes += tuple([tuple(a.shape) for a in extra])
        inputs = tuple(
            [
                v if type(v := self.find(a, keep)) is Var else self._constant(v)
                for a, keep in zip(args, live, strict=True)
            ]
        )
        outs = self.number(results)
        self.calls.append(Call(op, inputs, params, outs, results, several, live, shapes))

    def _constant(self, value: object) -> Any:
        """A constant; the bytes of a small array are remembered, to detect writes to it."""
        array = value.array if isinstance(value, Traced) else value
        if type(array) is np.ndarray and array.size <= SMALL and id(array) not in self.constants:
            self.constants[id(array)] = array, array.tobytes()
        return snapshot(value) if type(value) is list else value

    def _with_index_inputs(
        self, op: Op, args: tuple[Any, ...], params: dict[str, Any]
    ) -> tuple[Op, tuple[Any, ...], dict[str, Any]]:
        """The call with all numbered values among its inputs; refuses other parameters."""
        if op is nonzero and type(self.find(args[0])) is Var:
            self.refuse(
                "'nonzero', whose result has as many elements as the values say", "use tg.where"
            )
        if not params:
            return op, args, params
        for name, value in params.items():
            if is_plain(value):
                continue
            inside = [v for v in tensors_in(value) if isinstance(self.find(v), Var)]
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
        """The result of the same call in the earlier trace, as fresh copies; None if it differs."""
        place = len(self.calls)
        if self.like is None or place >= len(self.like.calls):
            return None
        traced = any(isinstance(a, Traced) and a.edge is not None for a in args)
        recorded = traced and op.differentiable and grad_mode.on
        op, args, params = self._with_index_inputs(op, args, params)
        call = self.like.calls[place]
        if (
            call.op is not op
            or len(call.args) != len(args)
            or recorded != (call.results[0].edge is not None)
        ):
            return None
        inputs = tuple([self.find(a, live) for a, live in zip(args, call.live, strict=True)])
        if not (same(call.args, inputs) and same(call.params, params)):
            return None
        # Fresh copies: a value kept from the earlier run must not be mistaken for one.
        results = tuple([fresh_copy(y, y.edge is not None) for y in call.results])
        self.calls.append(call._replace(results=results, outs=self.number(results)))
        return results if call.several else results[0]

    def concretize(self, value: Traced) -> None:
        """Refuses to give the elements of a traced value."""
        if isinstance(self.find(value), Var):
            self.refuse(
                "reading a value (.item(), .numpy(), bool(), print)",
                "choose between values with tg.where",
            )

    def overwritten(self, value: Traced) -> None:
        """Refuses to overwrite a tensor that outlives the step."""
        if not isinstance(self.find(value), Var):
            self.refuse(
                "a write to a tensor from outside the step, or one that it did not compute",
                "write to a computed copy (tg.zeros_like(x), y + 0)",
            )

    def loop(self, scan: Callable[..., Any], args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """A loop inside a step runs its steps."""
        return None

    def refuse(self, what: str, remedy: str) -> None:
        """Raises GraphError: says why the step cannot be compiled, and what to do."""
        raise GraphError(
            f"{self.what}: expected a step that does the same whatever the values, got {what}: "
            f"{remedy}, or leave fused=False"
        )

    def agrees_with(self, other: Trace, values: list[Any], others: list[Any]) -> None:
        """Refuses a later trace that differs. **Arguments** values, others: the results of both."""
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
                    "make constants outside, pass in xs what differs (random numbers, "
                    "indices), and in the carry what one step leaves to the next",
                )
        for a, b in zip(values, others, strict=True):
            if not same(self.find(a), other.find(b)):
                self.refuse(
                    f"something new to return at each step: {self._origin(b)}",
                    "make constants outside, and compute from the carry and from xs what differs",
                )
        if self.draws or other.draws:
            self.refuse("a draw of random numbers", "pass them in xs")
        for array, before in self.constants.values():
            if array.tobytes() != before:
                self.refuse(
                    f"a constant {array.dtype}{list(array.shape)} that it writes to itself",
                    "put it into the carry",
                )

    def _changed(self, a: Call, b: Call) -> str:
        """Describes the difference between two calls of an operation."""
        names = a.op.inputs if not a.op.variadic else [f"input {i}" for i in range(len(a.args))]
        pairs = [*zip(names, a.args, b.args, strict=True)]
        pairs += [(f"{k}=", v, b.params.get(k)) for k, v in a.params.items()]
        name, one, two = next(pair for pair in pairs if not same(pair[1], pair[2]))
        for value in (two, one):
            if is_leaf(value):
                return f"{name} is {self._origin(value)}"
        if isinstance(one, Var) or isinstance(two, Var):
            return f"{name} is another of the step's values"
        return f"{name} is {one!r}, then {two!r}"

    def _origin(self, value: Any) -> str:
        """Describes where a value came from that the later trace does not know."""
        if not is_leaf(value):
            return repr(value)
        edge, array = getattr(value, "edge", None), getattr(value, "array", value)
        kept = edge in self.by_edge if edge is not None else id(array) in self.by_array
        how = "kept from an earlier step" if kept else "made inside the step"
        return f"a {type(value).__name__} {array.dtype}{list(array.shape)} {how}"


def same(a: Any, b: Any) -> bool:
    """Whether two values are identical, or equal Python constants."""
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
def _tracing(trace: Trace) -> Iterator[None]:
    tracers[get_ident()] = trace
    try:
        yield
    finally:
        tracers.pop(get_ident(), None)


def detach_unless(value: object, live: bool) -> Any:
    """Detaches a value from the graph unless it is live."""
    if live or not isinstance(value, Traced) or value.edge is None:
        return value
    return wrap(value.result_class, value.array, None)


class TracedNode(Node):
    """The node of a value inside a trace, through which no gradient can flow."""

    __slots__ = ()

    @property
    def edges(self) -> Any:  # type: ignore[override]
        """**Raises** GraphError: the graph ends here."""
        raise GraphError(
            "scan: expected a gradient of a result of the loop, got one of a value inside a fused "
            "step, which does not exist outside of the trace: return it from the step, or leave "
            "fused=False"
        )

    @property
    def kept(self) -> Any:  # type: ignore[override]
        """**Raises** GraphError: the graph ends here."""
        return self.edges


def fresh_copy(value: Traced, live: bool) -> Traced:
    """The value as a new Tensor on a view of its array; with a node of its own if live."""
    array = value.array[...]
    if not live:
        return wrap(type(value), array, None)
    node = TracedNode()
    node.op, node.serial, node.shapes = alias, older(), ()
    return wrap(type(value), array, (node, 0))
