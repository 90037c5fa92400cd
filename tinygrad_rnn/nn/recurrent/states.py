"""States, and the options that a recurrence runs over a sequence with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, overload

from ...cells.common import by_steps
from ...errors import InvalidTypeError, ShapeError
from ...tensor import ops, tree
from ...tensor.tensor import Tensor

State = Any  # a Tensor, (B, ...), or a tree of them: see `tensor.tree`
Result = tuple[Tensor, State, State]  # the output, the last state, the state after every step
S = TypeVar("S")  # the type of a layer's state


class LayerCall(Protocol[S]):
    """The signature of a layer's call, for type checkers; `RecurrentLayer.forward` explains it."""

    @overload
    def __call__(
        self,
        x: Tensor,
        state: S | None = None,
        *,
        ids: Any = None,
        lengths: Any = None,
        reset: Any = None,
        return_states: Literal[False] = False,
    ) -> tuple[Tensor, S]: ...

    @overload
    def __call__(
        self,
        x: Tensor,
        state: S | None = None,
        *,
        ids: Any = None,
        lengths: Any = None,
        reset: Any = None,
        return_states: Literal[True],
    ) -> tuple[Tensor, S, S]: ...


class CellCall(Protocol[S]):
    """The signature of a cell's call, for type checkers: `Cell.forward` explains it."""

    def __call__(self, x: Tensor, state: S | None = None) -> S: ...


class SequenceOptions(NamedTuple):
    """How a layer runs over a sequence in one direction, named as in the kernels' contract."""

    ids: Tensor | None  # then the input is a table
    lengths: Tensor | None
    reset: Tensor | None
    zones: tuple[Tensor | None, ...]  # of each part of the state
    reverse: bool
    training: bool
    every: bool  # whether anyone wants the state after every step
    # Zeros added to each part of reals, to have its gradients.
    perturbations: tuple[Tensor | None, ...] | None = None
    initial: State = None  # what a reset begins from; zeros, if None

    def constants(self, h_mask: Tensor | None) -> tuple[Tensor | None, ...]:
        """Returns the inputs of a fused operation that follow the weights."""
        return (self.lengths, self.reset, h_mask, *self.zones, self.ids)

    def run(
        self,
        step: Callable[[Tensor, State], tuple[Tensor, State]],
        x: Tensor,
        state: State,
        *,
        fused: bool,
    ) -> Result:
        """A step at each time; fused as `tg.scan` does it."""
        if self.ids is not None:
            x = ops.take(x, self.ids, axis=0)
        ran: Result = by_steps(
            step, x, state, lengths=self.lengths, reset=self.reset, initial=self.initial,
            zones=self.zones, perturbations=self.perturbations, reverse=self.reverse, fused=fused,
            every=self.every,
        )  # fmt: skip
        return ran


@dataclass(frozen=True)
class Capture:
    """The input, options and result of one layer in one direction, captured for diagnostics."""

    x: Tensor
    first: State
    options: SequenceOptions
    ran: Result


def parts(state: State) -> list[Tensor]:
    """The tensors of a state, its parts."""
    return tree.leaves(state)


def like(state: State, tensors: Iterable[Tensor]) -> State:
    """Tensors as a state of another one's form."""
    return tree.filled(state, tensors)


def stacked(states: Sequence[State], name: str) -> State:
    """The states of a layer's rows as one, each part with a new first axis.

    **Arguments** name: what errors call the layer.
    """
    first, *others = states
    if not others:
        return tree.mapped(lambda part: part.expand_dims(axis=0), first)
    for other in others:
        differs = tree.difference(first, other)
        shapes = [[list(part.shape) for part in parts(state)] for state in (first, other)]
        if differs or shapes[0] != shapes[1]:
            raise ShapeError(
                f"{name}: state: expected states of one size and structure in all layers, to be "
                f"put together; got {differs or f'{shapes[0]} and {shapes[1]}'}: run a layer each"
            )
    rows = [tree.leaves(state, first) for state in states]
    return like(first, map(ops.stack, zip(*rows, strict=True)))


def checked(what: str, state: State) -> State:
    """A state; refused if it holds other than Tensors, and numbers, words and None, which stay.

    **Arguments** what: the cell and its method.
    """
    for part in tree.leaves(state, state, tree.is_item):
        if not isinstance(part, (Tensor, int, float, str)):
            kind = type(part)
            raise InvalidTypeError(
                f"{what}: expected a state of Tensors, or of tuples, lists, dicts or named tuples "
                f"of them; got one with {kind.__module__}.{kind.__qualname__} in it: "
                "tg.tensor(...) makes a Tensor"
            )
    return state


def detached(state: State) -> State:
    """The same values, cut from the graph that they were computed in; of None, None."""
    return tree.mapped(lambda part: part.detach(), state)
