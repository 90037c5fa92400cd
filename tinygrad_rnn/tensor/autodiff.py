"""The backward pass: visits each node once, from the youngest to the oldest.

A node is younger than the nodes of its inputs, so that the order of creation is a topological
order: the walk needs only a heap of serials, and no recursion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from heapq import heappop, heappush
from typing import Any, TypeVar, cast, overload

import numpy as np

from ..errors import GraphError, InvalidTypeError, InvalidValueError, ShapeError, public
from . import backend, conversion, ops, tree
from .graph import Edge, Leaf, Node, Traced, grad_mode, set_grad_mode, wrap
from .observers import callbacks, hooked, observing, refuse_in_trace
from .operation import Op
from .ops.indexing import Part
from .shapes import flag, sum_to

T = TypeVar("T", bound=Traced)
Leading = dict[Node, list[Edge | None]]  # None for edges that lead elsewhere


def no_grad() -> AbstractContextManager[None]:
    """Disables recording within a `with` block, for inference and parameter updates.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor(1.0, requires_grad=True)
    >>> with tg.no_grad():
    ...     (2 * w).requires_grad
    False
    """
    return set_grad_mode(False)


def enable_grad() -> AbstractContextManager[None]:
    """Enables recording within a `with` block, inside a `no_grad`.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> with tg.no_grad(), tg.enable_grad():
    ...     y = x * x
    >>> y.requires_grad
    True
    """
    return set_grad_mode(True)


class Sum:
    """A cotangent with several terms: one buffer that the engine owns, and so may write into."""

    __slots__ = ("owned", "total")

    def __init__(self, term: Any, owned: bool = False) -> None:
        self.owned = owned or type(term) is Part
        self.total = term.spread() if type(term) is Part else term

    def add(self, term: Any) -> None:
        if type(term) is Part:
            if not self.owned:
                self.total, self.owned = self.total.copy(), True
            term.add_to(self.total)
        elif self.owned:
            self.total += term
        else:
            self.total = backend.as_array(self.total + term)
            self.owned = not isinstance(term, Traced)


def walk(
    starts: Sequence[tuple[Edge, Any]], only: Leading | None, create_graph: bool, retain: bool
) -> Iterator[tuple[Node, list[Any], bool]]:
    """Runs the rules backward from the starts, and yields each node with its output cotangents.

    `only` restricts the walk to some nodes and edges: the rules of other inputs do not run. The
    third value says whether the walk owns the first cotangent, which is then safe to write to.
    """
    table: dict[Node, list[Any]] = {}
    heap: list[tuple[int, Node]] = []

    def deposit(edge: Edge, g: Any, owned: bool = False) -> None:
        node, i = edge
        slots = table.get(node)
        if slots is None:
            slots = table[node] = [None] * node.outputs
            heappush(heap, (node.serial, node))
        present = slots[i]
        if present is None:
            slots[i] = Sum(g, owned) if owned or type(g) is Part else g
        elif type(present) is Sum:
            present.add(g)
        else:
            slots[i] = total = Sum(present)
            total.add(g)

    for start, g in starts:
        deposit(start, g)
    any_hooked = len(hooked) > 0
    while heap:
        node = heappop(heap)[1]
        slots = table.pop(node)
        gs = [g.total if type(g) is Sum else g for g in slots]
        owned = type(slots[0]) is Sum and slots[0].owned
        if any_hooked and node in hooked:
            owned = False
            for i, hook in list(node.hooks.values()):
                gs[i] = gs[i] if gs[i] is None else hook(gs[i])
        edges = node.edges if only is None else only[node]
        if node.op is None or only is not None:
            yield node, gs, owned
        if not any(edges):
            continue
        if node.kept is None:
            raise GraphError(
                f"the graph behind {node.op.name!r} has been freed by an earlier backward: "
                "pass retain_graph=True to that one"
            )
        shapes, fresh = node.shapes, node.op.fresh and not create_graph
        for i, g in pull_back(node, gs, edges, create_graph):
            edge = edges[i]
            if edge is None or g is None:
                continue
            shape = shapes[i]
            if not shape:  # NumPy returns scalars there
                g = backend.as_array(g)
            if callbacks and (seen := observing().backward) is not None:
                seen(node, i, g)
            if edge[0].changed:
                raise stale(node)
            owned = fresh and g is not gs[0]
            deposit(edge, g if g.shape == shape else sum_to(g, shape), owned)
        if not retain:
            node.kept = None


def stale(node: Node) -> GraphError:
    return GraphError(
        f"a tensor that {node.op.name!r} used was overwritten between forward and backward: run "
        "the forward pass again after changing parameters"
    )


def pull_back(
    node: Node, gs: list[Any], edges: Sequence[Edge | None], create_graph: bool
) -> Iterable[tuple[int, Any]]:
    """Computes the cotangents of the inputs of a node that have an edge here, by position."""
    op: Op = node.op
    assert node.kept is not None
    g = some = gs[0]
    if node.several:
        g, some = tuple(gs), next(v for v in gs if v is not None)
    if not create_graph:
        xp = np if type(some) is np.ndarray else backend.module_of(some)
        return op.cotangents(node, g, edges, xp, node.kept)
    kept = op.reattached(node, some.result_class)
    if op.decomposition is None:
        return op.cotangents(node, g, edges, ops, kept)
    named = dict(zip(op.kept_names, kept, strict=True))
    return enumerate(differentiate_decomposition(op, gs, edges, named))


def differentiate_decomposition(
    op: Op, gs: list[Any], edges: Sequence[Edge | None], kept: dict[str, Any]
) -> list[Any]:
    """Differentiates the decomposition of a fused operation instead of its own rule.

    Each input gets its own node (`alias`), where the walk ends: otherwise two equal inputs, or one
    that was computed from the other, would be counted twice.
    """
    assert op.decomposition is not None
    inputs = [
        ops.alias(kept[n]) if edge is not None else kept[n]
        for n, edge in zip(op.inputs, edges, strict=True)
    ]
    ys = op.decomposition(*inputs, **{n: kept[n] for n in op.parameters})
    pairs = zip(ys if type(ys) is tuple else (ys,), gs, strict=True)
    starts = [(y.edge, g) for y, g in pairs if g is not None and y.edge is not None]
    ends = [
        x.edge if e and isinstance(x, Traced) else None for x, e in zip(inputs, edges, strict=True)
    ]
    gradients = cotangents(starts, [e for e in ends if e], create_graph=True, retain=True)
    return [gradients.get(e) if e else None for e in ends]


def leading_to(starts: Iterable[Node], wanted: Iterable[Node]) -> Leading:
    """The nodes on a path from the starts to a wanted node, each with its edges on such a path.

    A node older than all wanted ones leads to none of them, so that the search ends there.
    """
    ends, leading = set(wanted), Leading()
    oldest = max((node.serial for node in ends), default=0)  # serials fall
    reached = set(starts)
    stack = list(reached)
    while stack:
        for edge in stack.pop().edges:
            if edge and edge[0] not in reached and edge[0].serial <= oldest:
                reached.add(edge[0])
                stack.append(edge[0])
    for node in sorted(reached, key=lambda node: -node.serial):
        edges = [edge if edge and edge[0] in leading else None for edge in node.edges]
        if node in ends or any(edges):
            leading[node] = edges
            if any(edges) and any(edge and edge[0].changed for edge in node.edges):
                raise stale(node)  # a rule may read the value
    return leading


def cotangents(
    starts: Sequence[tuple[Edge, Any]], wanted: Sequence[Edge], *, create_graph: bool, retain: bool
) -> dict[Edge, Any]:
    """Computes the cotangents of the wanted edges; one without a path has no entry."""
    only = leading_to((edge[0] for edge, _ in starts), (edge[0] for edge in wanted))
    places = set(wanted)
    return {
        (node, i): g
        for node, gs, _ in walk(
            [s for s in starts if s[0][0] in only], only, create_graph=create_graph, retain=retain
        )
        for i, g in enumerate(gs)
        if g is not None and (node, i) in places
    }


def starting_cotangent(y: Traced, g: Any, what: str) -> Any:
    """Checks the cotangent of an output; None stands for 1 of a scalar."""
    if not isinstance(y, Traced):
        raise InvalidTypeError(f"{what}: expected Tensors to differentiate, got {type(y).__name__}")
    if y.edge is None:
        raise GraphError(
            f"{what}: nothing to differentiate: the tensor {list(y.array.shape)} was computed "
            "from tensors without requires_grad=True, or under no_grad"
        )
    if g is None:
        if y.array.size != 1:
            raise GraphError(
                f"{what}: expected a scalar, got shape {list(y.array.shape)}: sum it, or pass the "
                "cotangent of its shape"
            )
        one = backend.module_of(y.array).empty(y.array.shape, y.array.dtype)
        one.fill(1)
        return one
    if not isinstance(g, Traced):
        g = (
            conversion.normalized(g, what)
            if backend.is_array(g)
            else conversion.from_python(g, what=what)
        )
    array = g.array if isinstance(g, Traced) else backend.module_of(y.array).asarray(g)
    if array.dtype.kind == "c":
        raise InvalidTypeError(f"{what}: expected a cotangent of reals, got {array.dtype}")
    if array.shape != y.array.shape:
        raise GraphError(
            f"{what}: expected a cotangent of shape {list(y.array.shape)}, got {list(array.shape)}"
        )
    return g if isinstance(g, Traced) else array


@public
def backward(y: Traced, gradient: Any = None, *, retain_graph: bool = False) -> None:
    """Accumulates the gradient of y in `.grad` of every leaf that y depends on.

    **Arguments** gradient: the cotangent of y, of its shape; 1 if y is a scalar. retain_graph:
    keeps the saved values of the graph for another backward pass. **Raises** GraphError if the
    graph was freed, changed or never recorded.
    """
    refuse_in_trace(".backward()", "differentiate what the loop returns")
    flag(retain_graph, "backward: retain_graph")
    g = starting_cotangent(y, gradient, "backward")
    assert y.edge is not None
    start = (y.edge, g.array if isinstance(g, Traced) else g)
    for node, (g, *_), owned in walk([start], None, create_graph=False, retain=retain_graph):
        if isinstance(node, Leaf):
            if node.grad is None:
                mine = owned and g.ndim and g.dtype == node.dtype
                node.grad = g if mine else backend.module_of(g).array(g, dtype=node.dtype)
            else:
                node.grad += g


@overload
def grad(
    ys: Any,
    xs: T | Iterable[T],
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> tuple[T, ...]: ...


@overload
def grad(
    ys: Any,
    xs: Any,
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Any: ...


@public
def grad(
    ys: Any,
    xs: Any,
    grad_outputs: Any = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> Any:
    """Computes the gradients of the sum of ys with respect to each of xs.

    **Arguments** ys: a Tensor, several, or a tree of them. xs: Tensors that require grad, leaves or
    not; each may be a tree of them (tuples, lists, dicts), and so may all. grad_outputs: cotangents
    of ys, 1 for scalars. create_graph: records the backward pass, so that the result can be
    differentiated again, to any order. **Returns** a tuple with the gradient of each x, of its
    structure, or a dict, if xs is one; zeros for an x that ys do not depend on. **Raises**
    GraphError; TypeError, ValueError for no Tensors.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor(3.0, requires_grad=True)
    >>> (slope,) = tg.grad(x**3, [x], create_graph=True)
    >>> (curvature,) = tg.grad(slope, [x])
    >>> slope.item(), curvature.item()
    (27.0, 18.0)
    """
    refuse_in_trace("tg.grad", "differentiate what the loop returns")
    flag(create_graph, "grad: create_graph")
    if retain_graph is not None:
        flag(retain_graph, "grad: retain_graph")
    ys, ws = _each(ys, "ys"), grad_outputs
    if isinstance(ys, dict) or not all(isinstance(y, Traced) for y in ys):
        ys, ws = _flat(ys, ws)
    ws = ws if isinstance(ws, (tuple, list)) else (ws,) * len(ys)
    like, xs = None, _each(xs, "xs")
    if isinstance(xs, dict) or not all(isinstance(x, Traced) for x in xs):
        like, xs = xs, tree.leaves(xs, leaf=tree.is_item)
    if len(ws) != len(ys):
        raise ShapeError(f"grad: grad_outputs: expected {len(ys)} of them, got {len(ws)}")
    for x in xs:
        if not isinstance(x, Traced) or x.edge is None:
            raise GraphError("grad: every x must be a Tensor that requires grad")
    starts = []
    for y, g in zip(ys, ws, strict=True):
        g = starting_cotangent(y, g, "grad")
        cls = y.result_class
        if create_graph:
            g = g if isinstance(g, Traced) else wrap(cls, g, None)
        elif isinstance(g, Traced):
            g = g.array
        starts.append((y.edge, g))
    retain = create_graph if retain_graph is None else retain_graph
    with set_grad_mode(create_graph or grad_mode.on):
        gradients = cotangents(
            starts, [x.edge for x in xs], create_graph=create_graph, retain=retain
        )
        found = tuple(_result(gradients.get(x.edge), x, cls) for x in xs)
    return found if like is None else tree.filled(like, found, tree.is_item)


def _flat(ys: Any, ws: Any) -> tuple[list[Any], Any]:
    """The Tensors of a tree, and the cotangents of the same structure, if there are any."""
    items = tree.leaves(ys, leaf=tree.is_entry)
    if ws is None:
        return items, None
    if isinstance(ws, (tuple, list)):
        ws = tuple(ws)  # as `_each` returns ys
    if differs := tree.difference(ys, ws, tree.is_entry):
        raise ShapeError(f"grad: grad_outputs: expected the structure of ys, but: {differs}")
    return items, tree.leaves(ws, ys, tree.is_entry)


def _each(values: Any, name: str) -> Any:
    """Converts ys or xs of `grad` to a tuple of at least one, which may be trees; a dict stays."""
    if isinstance(values, Traced):
        return (values,)
    if isinstance(values, dict) and values:
        return values
    if not isinstance(values, Iterable):
        raise InvalidTypeError(f"grad: {name}: expected Tensors, got {type(values).__name__}")
    each = tuple(values)
    if not each:
        raise InvalidValueError(f"grad: {name}: expected one Tensor or more, got none")
    return each


def _result(g: Any, x: Traced, cls: type[Traced]) -> Any:
    xp = backend.module_of(x.array)
    if g is None:
        return wrap(cls, xp.zeros_like(x.array), None)
    if not isinstance(g, Traced):
        return wrap(cls, xp.asarray(g, dtype=x.array.dtype), None)
    same = g.array.dtype == x.array.dtype
    return g if same else ops.astype(cast(Any, g), dtype=x.array.dtype)
