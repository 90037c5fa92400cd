"""States, and the course of a sequence: what a recurrence is run with, whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ...tensor import ops
from ...tensor.ops.recurrent import by_steps
from ...tensor.tensor import Tensor

State = Any  # a Tensor, (B, ...), or a tuple of them
Run = tuple[Tensor, State, State]  # the output, the last state, the state after every step


class Course(NamedTuple):
    """How a row runs over a sequence; the words are those of the kernels' contract."""

    ids: Tensor | None  # then the input is a table
    lengths: Tensor | None
    reset: Tensor | None
    zones: tuple[Tensor | None, ...]  # of each part of the state
    reverse: bool
    training: bool
    every: bool  # whether anyone wants the state after every step
    taps: tuple[Tensor, ...] | None = None  # zeros added to each part, to have its gradients
    initial: State = None  # what a reset begins from; zeros, if None

    def constants(self, h_mask: Tensor | None) -> tuple[Tensor | None, ...]:
        """What a fused operation takes after the weights."""
        return (self.lengths, self.reset, h_mask, *self.zones, self.ids)

    def run(
        self,
        step: Callable[[Tensor, State], tuple[Tensor, State]],
        x: Tensor,
        state: State,
        *,
        fused: bool,
    ) -> Run:
        """A step at each time; fused as `tg.scan` does it."""
        if self.ids is not None:
            x = ops.take(x, self.ids, axis=0)
        ran: Run = by_steps(
            step, x, state, lengths=self.lengths, reset=self.reset, initial=self.initial,
            zones=self.zones, taps=self.taps, reverse=self.reverse, fused=fused,
            every=self.every,
        )  # fmt: skip
        return ran


@dataclass(frozen=True)
class Seen:
    """What somebody who looks inside a layer sees of a row."""

    x: Tensor
    first: State
    course: Course
    ran: Run


def parts(state: State) -> list[Tensor]:
    """The tensors of a state."""
    return list(state) if isinstance(state, tuple) else [state]


def like(state: State, tensors: Sequence[Tensor]) -> State:
    """Tensors as a state of another one's form."""
    return tuple(tensors) if isinstance(state, tuple) else tensors[0]


def stacked(states: Sequence[State]) -> State:
    """Several states as one, each part with a new first axis."""
    if len(states) == 1:
        return like(states[0], [part.expand_dims(axis=0) for part in parts(states[0])])
    return like(states[0], [ops.stack(part) for part in zip(*map(parts, states), strict=True)])


def detached(state: State) -> State:
    """The same values, cut from the graph that they were computed in; of None, None."""
    return None if state is None else like(state, [part.detach() for part in parts(state)])
