"""Activation checkpointing: drops the saved values, and recomputes them in the backward pass.

The recorded graph stays, without its arrays. So parameters that the function reads from elsewhere
get their gradients, and derivatives of every order work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from ..errors import GraphError, InvalidTypeError, public
from . import autodiff, backend, tree
from .backend import Array
from .graph import Leaf, Node, Traced, grad_mode, wrap
from .observers import is_tracing
from .random import Generator, default_generator

SAMPLE = 64  # elements of each output that are compared with the recomputation


@public
def checkpoint(fn: Callable[..., Any], *args: Any, generators: Sequence[Generator] = ()) -> Any:
    """Activation checkpointing: calls fn without saving its intermediate values.

    The backward pass recomputes them (Chen et al. 2016): a chain of N checkpointed segments keeps N
    inputs and the intermediate values of one segment. Both runs draw the same random numbers.

    **Arguments** fn: a deterministic function of `args`, Tensors or trees of them, that returns
    the like. Parameters that it reads from elsewhere get their gradients. generators: those that it
    draws from, other than the default one. **Returns** the result of fn. **Raises** TypeError if fn
    returns no Tensor; GraphError in the backward pass if the recomputation differs.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> tg.checkpoint(lambda x: x * x * x, x).sum().backward()
    >>> x.grad
    tensor([ 3., 12.])
    """
    for generator in generators:
        if not isinstance(generator, Generator):
            raise InvalidTypeError(
                f"checkpoint: generators: expected Generators, got {type(generator).__name__}"
            )
    if is_tracing():  # the tracer decides what to save
        return fn(*args)
    segment = _Segment(fn, args, (default_generator(), *generators))
    value, nodes = segment.run()
    if grad_mode.on:
        segment.drop(value, nodes)
    return value


class _Segment:
    """A function with its arguments, generator states and device, for the recomputation."""

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], generators: Sequence[Generator]
    ) -> None:
        self.fn, self.args = fn, _aliases(args)
        self.generators, self.states = generators, [g.state for g in generators]
        self.device = backend.default_device()
        self.kept: list[Any] = []

    def run(self) -> tuple[Any, list[Node]]:
        """Runs the function. **Returns** its result, and the nodes with saved values, in order."""
        mark = now()
        value = self.fn(*self.args)
        outputs = list(_tensors(value))
        if not outputs:
            raise InvalidTypeError(
                f"checkpoint: expected fn to return Tensors, got {type(value).__name__}"
            )
        nodes = [node for node in behind(outputs, lambda node: node.serial < mark) if node.kept]
        return value, sorted(nodes, key=lambda node: node.serial)

    def drop(self, value: object, nodes: list[Node]) -> None:
        """Drops the saved values of the nodes."""
        self.pattern, self.sample = _pattern(nodes), _sample(value)
        self.kept = [None] * len(nodes)
        for i, node in enumerate(nodes):
            node.kept = cast("tuple[Any, ...]", _Dropped(self, i))

    def recompute(self) -> None:
        """Runs the function again for the saved values of its nodes."""
        before = [g.state for g in self.generators]
        try:
            for g, state in zip(self.generators, self.states, strict=True):
                g.state = state
            with autodiff.enable_grad(), backend.device(self.device):
                value, nodes = self.run()
        finally:
            for g, state in zip(self.generators, before, strict=True):
                g.state = state
        same = _pattern(nodes) == self.pattern and all(
            np.allclose(backend.to_host(a), backend.to_host(b), 1e-3, 1e-5, equal_nan=True)
            for a, b in zip(_sample(value), self.sample, strict=True)
        )
        if not same:
            raise GraphError(
                "checkpoint: expected fn to compute the same in the backward pass as before, got "
                "something else: name every generator that it draws from in generators=, and "
                "change no parameter or mode in between"
            )
        self.kept = [node.kept for node in nodes]

    def take(self, i: int) -> Any:
        """Returns the saved values of a node once, so that the walk can free them."""
        if self.kept[i] is None:
            self.recompute()
        kept, self.kept[i] = self.kept[i], None
        return kept


class _Dropped:
    """Placeholder for the dropped values of a node."""

    def __init__(self, segment: _Segment, i: int) -> None:
        self.segment, self.i = segment, i

    def __iter__(self) -> Iterator[Any]:
        return iter(self.segment.take(self.i))


def _aliases(value: object) -> Any:
    """Copies tensors without their arrays, so that assignments to the originals have no effect."""

    def alias(leaf: Any) -> Any:
        return wrap(type(leaf), leaf.array, leaf.edge) if isinstance(leaf, Traced) else leaf

    return tree.mapped(alias, value)


def _tensors(value: object) -> Iterator[Traced]:
    """The tensors in a tree."""
    return (leaf for leaf in tree.leaves(value) if isinstance(leaf, Traced))


def _pattern(nodes: Iterable[Node]) -> list[Any]:
    return [(node.op.name, node.shapes) for node in nodes]


def _sample(value: object) -> list[Array]:
    """Some elements of each output."""
    flat = [y.array.reshape(-1) for y in _tensors(value)]
    return [y[:: max(1, y.size // SAMPLE)].copy() for y in flat]


# ---------------------------------------------------------------- nodes by age


def now() -> int:
    """Returns a serial; nodes created later have smaller ones."""
    return Leaf(np.zeros(())).serial


def behind(values: Iterable[Traced], wanted: Callable[[Node], bool]) -> Iterator[Node]:
    """The wanted nodes that values depend on, through wanted nodes only."""
    stack = [y.edge[0] for y in values if y.edge is not None]
    visited: set[Node] = set()
    while stack:
        node = stack.pop()
        if node not in visited and wanted(node):
            visited.add(node)
            stack += [edge[0] for edge in node.edges if edge]
            yield node
