"""States of recurrent layers, and the types of their calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, overload

from ...errors import InvalidTypeError
from ...kernels import SequenceOptions
from ...loops.scan import Lengths
from ...tensor import tree
from ...tensor.tensor import Tensor, TensorLike
from ..lengths import Order

State = Any  # a Tensor, (B, ...), or a tree of them: see `tensor.tree`
Result = tuple[Tensor, State, State]  # the output, the last state, the state after every step
Activation = str | Callable[[Tensor], Tensor]  # the name of an elementwise operation, or a function
Weights = dict[str, Any]  # by the operations' names, those that are there
S = TypeVar("S")  # the type of a layer's state


class LayerCall(Protocol[S]):
    """The signature of a layer's call, for type checkers; `RecurrentLayer.forward` explains it."""

    @overload
    def __call__(
        self,
        x: TensorLike,
        state: S | None = None,
        *,
        ids: TensorLike | None = None,
        lengths: Lengths = None,
        mask: TensorLike | None = None,
        reset: TensorLike | None = None,
        return_states: Literal[False] = False,
    ) -> tuple[Tensor, S]: ...

    @overload
    def __call__(
        self,
        x: TensorLike,
        state: S | None = None,
        *,
        ids: TensorLike | None = None,
        lengths: Lengths = None,
        mask: TensorLike | None = None,
        reset: TensorLike | None = None,
        return_states: Literal[True],
    ) -> tuple[Tensor, S, S]: ...


class CellCall(Protocol[S]):
    """The signature of a cell's call, for type checkers: `Cell.forward` explains it."""

    def __call__(self, x: Tensor, state: S | None = None) -> S: ...


@dataclass(frozen=True)
class Capture:
    """The input, options and result of one layer in one direction, captured for diagnostics."""

    x: Tensor
    first: State
    options: SequenceOptions
    ran: Result
    order: Order | None = None  # of the steps, where a mask has holes


def checked(what: str, state: State) -> State:
    """A state; refused if it holds other than Tensors, and numbers, words and None, which stay.

    **Arguments** what: the cell and its method.
    """
    for leaf in tree.leaves(state, state, tree.is_item):
        if not isinstance(leaf, (Tensor, int, float, str)):
            kind = type(leaf)
            raise InvalidTypeError(
                f"{what}: expected a state of Tensors, or of tuples, lists, dicts or named tuples "
                f"of them; got one with {kind.__module__}.{kind.__qualname__} in it: "
                "tg.tensor(...) makes a Tensor"
            )
    return state
