"""Base class of the built-in recurrences, for cells and layers.

A recurrence knows its weights' names and shapes, its step, and the operation that runs a whole
sequence as one node. What that operation cannot do is a scan of the step, fused unless there are
functions of the user's own in it: layer normalisation, other activations, resets to learned states.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from math import sqrt
from typing import Any, ClassVar

from ...tensor import creation
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from .. import init
from ..checks import activation, flag, positive
from ..module import Module, Parameter
from .states import Result, SequenceOptions, State

Activation = str | Callable[[Tensor], Tensor]  # the name of an elementwise operation, or a function
Weights = dict[str, Any]  # by the operations' names; what a recurrence does without is not there

ARGUMENTS = {
    "weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh",
    "weight_hr": "w_hr", "weight_ch": "w_ch",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recurrence(ABC):
    """Stacked gates of hidden_size units, with or without biases and layer norm."""

    owner: str  # what errors call it
    hidden_size: int
    bias: bool = True
    layer_norm: bool = False

    parts: ClassVar[int] = 1  # of the state
    plain: ClassVar[dict[str, tuple[str, ...]]] = {}  # activations that the operation has
    retain_gates: ClassVar[dict[int, int]] = {}  # gates that keep the state, 1, or let new in, -1

    def __post_init__(self) -> None:
        positive(self.owner, hidden_size=self.hidden_size)
        flag(
            self.owner, **{f.name: getattr(self, f.name) for f in fields(self) if f.type == "bool"}
        )
        for name in self.plain:
            activation(self.owner, name, getattr(self, name))

    @property
    @abstractmethod
    def gates(self) -> int:
        """How many gates are stacked in the weights."""

    @property
    @abstractmethod
    def gate_names(self) -> dict[str, tuple[str, float]]:
        """The gates that each activation gives, in the step's order, and its lower bound."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """The features of each part of the state; the first is the output."""
        return (self.hidden_size,)

    @property
    def biases(self) -> tuple[str, ...]:
        """The names of the gates' biases."""
        return ("bias_ih", "bias_hh") if self.bias else ()

    @cached_property
    def fused(self) -> bool:
        """Whether the operation can do all that is asked for."""
        free = any(getattr(self, name) not in known for name, known in self.plain.items())
        return not (free or self.layer_norm)

    @property
    def inference_cell(self) -> str | None:
        """The cell's name in `kernels.infer_stack`; None if it has options."""
        return None

    # ------------------------------------------------------------ weights

    def shapes(self, features: int) -> dict[str, tuple[int, ...]]:
        """The weights' names and shapes, in the order in which they are drawn."""
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, features),
            "weight_hh": (rows, self.sizes[0]),
            **dict.fromkeys(self.biases, (rows,)),
        }
        if self.layer_norm:
            shapes.update(gain_ih=(rows,), gain_hh=(rows,))
        return shapes

    def declare(
        self,
        holder: Module,
        features: int,
        suffix: str,
        device: str | None,
        dtype: Any,
        generator: Generator | None,
    ) -> None:
        """Gives a module the weights, their names followed by a suffix.

        They are drawn from [-k, k) with k = 1 / sqrt(hidden_size); gains are 1.
        """
        bound = 1 / sqrt(self.hidden_size)
        for name, shape in self.shapes(features).items():
            p = Parameter(creation.zeros(shape, dtype=dtype, device=device))
            if name.startswith("gain"):
                init.constant_(p, 1.0)
            elif name != "bias_c":
                init.uniform_(p, -bound, bound, generator=generator)
            setattr(holder, name + suffix, p)
        self.adjust(holder, suffix)

    def adjust(self, holder: Module, suffix: str) -> None:  # noqa: B027 - most have nothing to change
        """Changes what was drawn."""

    @cached_property
    def names(self) -> tuple[tuple[str, str], ...]:
        """The weights' names here and in the operations, those of norms apart."""
        return tuple((n, ARGUMENTS[n]) for n in self.shapes(1) if n in ARGUMENTS)

    def held(self, holder: Module, suffix: str) -> Weights:
        """The weights that a module holds under a suffix."""
        w = {argument: getattr(holder, name + suffix) for name, argument in self.names}
        if self.layer_norm:
            norms = [name for name in self.shapes(1) if name not in ARGUMENTS]
            w["norms"] = tuple(getattr(holder, name + suffix) for name in norms)
        return w

    # ------------------------------------------------------------ what it computes

    @abstractmethod
    def step(self, x: Tensor, state: State, w: Weights, h_mask: Any = None) -> tuple[Tensor, State]:
        """One step. **Returns** the output and the state."""

    @abstractmethod
    def operation(
        self, x: Tensor, state: State, w: Weights, h_mask: Any, options: SequenceOptions
    ) -> Result:
        """The fused operation."""

    def run(
        self,
        x: Tensor,
        state: State,
        w: Weights,
        options: SequenceOptions,
        h_mask: Tensor | None = None,
    ) -> Result:
        """A sequence, as one node where that can be.

        **Arguments** x: (T, B, features), or a table, if the options have ids. h_mask: multiplies h
        where it enters the recurrent products. **Returns** the output, the last state, and the
        state after every step (None, if nobody wants it).
        """
        if self.fused and options.initial is None and options.perturbations is None:
            return self.operation(x, state, w, h_mask, options)
        known = all(isinstance(getattr(self, name), str) for name in self.plain)
        return options.run(lambda x, state: self.step(x, state, w, h_mask), x, state, fused=known)

    def describe(self) -> str:
        """The options that are not as they are by default."""
        return "".join(
            f", {f.name}={getattr(self, f.name)!r}"
            for f in fields(self)
            if f.name not in ("owner", "hidden_size") and getattr(self, f.name) != f.default
        )


def core(w: Weights) -> tuple[Any, ...]:
    """The weights that all have, and the biases or None, in the operations' order."""
    return tuple(map(w.get, ("w_ih", "w_hh", "b_ih", "b_hh")))
