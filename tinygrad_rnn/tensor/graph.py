"""The graph: values with an edge to the node that produced them, and the mode of recording."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

from .backend import Array

T = TypeVar("T")
Edge = tuple["Node", int]  # the node that produced a value, and the index of the output

new = object.__new__  # which is faster than `cls.__new__`
older = itertools.count(0, -1).__next__  # serials fall, so that a heap pops the youngest first


class _GradMode(threading.local):
    on = True


grad_mode = _GradMode()


@contextmanager
def set_grad_mode(on: bool) -> Iterator[None]:
    """Switches recording on or off within a `with` block, in this thread."""
    before, grad_mode.on = grad_mode.on, on
    try:
        yield
    finally:
        grad_mode.on = before


class Node:
    """One application of an operation. It refers to arrays, not to its outputs: no cycles."""

    __slots__ = ("__weakref__", "edges", "hooks", "kept", "op", "serial", "shapes")

    op: Any  # the Op; to a type checker a class attribute of that type would be a method
    edges: Sequence[Edge | None]  # of each input
    shapes: Sequence[tuple[int, ...]]  # of each input
    kept: Iterable[Any] | None  # for the rules; iterated once per visit; None when freed
    serial: int
    # Functions of a complete cotangent: (index of the output, function), on `hooked` nodes only. No
    # other object refers to them, since a function may refer to the tensor that it is set on.
    hooks: dict[object, tuple[int, Callable[[Any], Any]]]

    changed = False
    several = False  # whether the operation returns a tuple
    outputs = 1


class WideNode(Node):
    """One application of an operation that returns a tuple."""

    __slots__ = ("outputs",)

    several = True

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs


class Leaf(Node):
    """A leaf of the graph: a value that the user created, and its gradient."""

    __slots__ = ("changed", "dtype", "grad")

    def __init__(self, array: Array) -> None:
        self.dtype = array.dtype
        self.op, self.edges, self.shapes, self.kept = None, (), (), ()
        self.serial = older()
        self.grad: Array | None = None
        self.changed = False  # overwritten since it was used: graphs that read it are stale


class Traced:
    """An array and its edge in the graph (None for a constant)."""

    __slots__ = ("__weakref__", "array", "edge")

    array: Array
    edge: Edge | None
    result_class: ClassVar[type[Traced]]  # the class of the results of operations on this one


def wrap(cls: type[T], array: Array, edge: Edge | None) -> T:
    """Creates a traced value from an array without checks."""
    value = new(cls)
    value.array, value.edge = array, edge  # type: ignore[attr-defined]
    return value
