"""Any cell over a sequence, in layers and in both directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, cast

from ...cells.common import by_steps
from ...errors import InvalidTypeError, InvalidValueError, ShapeError
from ...kernels import SequenceOptions
from ...tensor import tree
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import dtype_as, flag, positive
from ..module import Module, Parameter
from .cells import BuiltInCell, Cell
from .layer import RecurrentLayer
from .light import OneBiasCell
from .states import Result, State, checked


class Steps(Protocol):
    """A cell, as `nn.Recurrent` runs it."""

    def initial(self, x: Tensor) -> State:
        """The state before the first step, a Tensor (B, ...) or a tree of them. x: a step's."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: the output and the state, of the same shapes as the one before."""


class Recurrent(RecurrentLayer):
    """Runs any cell over a sequence, with the options that the built-in layers have around a cell.

    **Arguments** cell: an object with `step(x, state) -> (y, state)` and `initial(x)`, such as a
    `Cell` of your own; or a function of the number of input features that returns one, which the
    layer calls once for each layer and direction. input_size: features of x, where a function
    makes the cells. num_layers, batch_first, dropout, bidirectional, dropout_same_mask, zoneout,
    residual, merge, reverse, generator: as `RNN` has them; zoneout may be a tuple, a probability
    for each part of the state; one probability is for all parts that are reals.

    A cell's state is a Tensor, (B, ...), or a tuple, list, dict or named tuple of such, its parts;
    numbers, words and None in it stay what they are. A reset begins from the cell's `initial`. A
    cell below another one has its number of output features in `output_size` (or `hidden_size`);
    all cells have states of one size. The names of parameters begin with `cells.0`, `cells.1`, in
    the order of the states. fused: traces the step and compiles the loop into one node of the
    graph, for steps whose operations do not depend on values: see `tg.scan`.

    **Raises** ValueError, TypeError that says which cells the layer needs, and how to pass them.

    >>> import tinygrad_rnn as tg
    >>> one = tg.nn.Recurrent(tg.nn.LSTMCell(3, 4))
    >>> y, (h, c) = one(tg.zeros((7, 2, 3)), lengths=[7, 0])
    >>> y.shape, h.shape
    ((7, 2, 4), (1, 2, 4))
    >>> deep = tg.nn.Recurrent(lambda n: tg.nn.GRUCell(n, 4), 3, 2, bidirectional=True)
    >>> y, h = deep(tg.zeros((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 8), (4, 2, 4))
    """

    def __init__(
        self,
        cell: Steps | Callable[[int], Steps],
        input_size: int | None = None,
        num_layers: int = 1,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dropout_same_mask: bool = False,
        zoneout: float | Sequence[float] = 0.0,
        residual: bool = False,
        merge: str | None = "concat",
        reverse: bool = False,
        fused: bool = False,
        generator: Generator | None = None,
    ) -> None:
        flag("Recurrent", fused=fused)
        self.fused = fused
        super().__init__(
            num_layers, batch_first, dropout, bidirectional, dropout_same_mask=dropout_same_mask,
            zoneout=zoneout, residual=residual, merge=merge, reverse=reverse, generator=generator,
        )  # fmt: skip
        if is_cell(cell):
            given = cast(Steps, cell)
            self._only_one(given, input_size)
            self.cells = [given]
        else:
            self.cells = self._checked(cast(Callable[[int], Steps], cell), input_size)
        for made in self.cells:
            held = any(
                isinstance(v, (Parameter, Module)) for v in getattr(made, "__dict__", {}).values()
            )
            if held and not isinstance(made, Module):
                kind = type(made).__name__
                raise InvalidTypeError(
                    f"Recurrent: cell: {kind} holds parameters, but is no module, so that they "
                    f"would be neither learned nor saved: derive {kind} from tg.nn.Module"
                )
        self.input_size: int | None = input_size or getattr(self.cells[0], "input_size", None)

    def _only_one(self, cell: Steps, input_size: int | None) -> None:
        rows, kind = self.num_layers * self.directions, type(cell).__name__
        if rows > 1:
            raise InvalidValueError(
                f"Recurrent: {self.num_layers} layers in {self.directions} directions need {rows} "
                f"cells, each with its own weights; got one {kind}. Pass a function that makes a "
                f"cell for so many input features: Recurrent(lambda features: {kind}(features, "
                "...), input_size, ...)"
            )
        known = getattr(cell, "input_size", input_size)
        if input_size not in (None, known):
            raise InvalidValueError(
                f"Recurrent: input_size: the {kind} takes {known} features, got {input_size}"
            )

    def _checked(self, make: Callable[[int], Steps], input_size: int | None) -> list[Steps]:
        if isinstance(make, Module):
            kind = type(make).__name__
            raise InvalidTypeError(
                f"Recurrent: cell: {kind} has no step and initial: define step(self, x, state), "
                "which returns (y, state), and initial(self, x), the state before the first step"
            )
        if not callable(make):
            raise InvalidTypeError(
                "Recurrent: cell: expected a cell, with step(x, state) and initial(x), or a "
                f"function that makes one; got {type(make).__name__}"
            )
        if input_size is None:
            raise InvalidValueError(
                "Recurrent: a function that makes cells needs the input's features: "
                "Recurrent(function, input_size)"
            )
        positive("Recurrent", input_size=input_size)
        made: list[Steps] = []

        def one(features: int) -> Steps:
            try:
                cell = make(features)
            except TypeError as error:
                raise InvalidTypeError(
                    "Recurrent: cell: expected a function that makes a cell for so many input "
                    f"features, as lambda n: tg.nn.GRUCell(n, 8); called with {features}: {error}"
                ) from error
            if not is_cell(cell):
                raise InvalidTypeError(
                    "Recurrent: cell: expected the function to make a cell, with "
                    f"step(x, state) and initial(x); it made {type(cell).__name__}"
                )
            if any(cell is other for other in made):
                raise InvalidValueError(
                    "Recurrent: cell: the function made the same cell twice; make a new one at "
                    "each call, for each layer and direction has its own weights"
                )
            made.append(cell)
            return cell

        cells = self.stack(one, input_size)
        sizes = sorted({cell.hidden_size for cell in cells if isinstance(cell, Cell)})
        if len(sizes) > 1:
            raise InvalidValueError(
                "Recurrent: cell: expected cells of one size, since the states of all layers and "
                f"directions are one Tensor; got hidden_size {' and '.join(map(str, sizes))}: "
                "run layers of other sizes in a Recurrent each"
            )
        return cells

    def begin(self, index: int, x: Tensor, batch: int) -> State:
        """Returns the cell's own initial state."""
        cell = self.cells[index]
        return checked(f"Recurrent: {type(cell).__name__}.initial", cell.initial(x[0]))

    def _run(
        self, index: int, x: Tensor, state: State, options: SequenceOptions, training: bool
    ) -> Result:
        cell = self.cells[index]
        if options.reset is not None:
            begin = self.begin(index, x, x.shape[1])
            differs = tree.difference(begin, state)
            if differs:
                raise InvalidTypeError(
                    f"Recurrent: reset: expected a state as {type(cell).__name__}.initial gives "
                    f"it, which a reset begins from; got another: {differs}"
                )
            options = options._replace(initial=begin)
        check = partial(_checked_step, f"Recurrent: {type(cell).__name__}.step")
        return by_steps(cell.step, x, state, options, fused=self.fused, check=check)

    def _converted(self, state: State, dtype: DType) -> State:
        return state  # a cell of one's own may have states of other kinds

    def _check(self, x: Tensor, axes: int = 3) -> None:
        vectors = isinstance(self.cells[0], (BuiltInCell, OneBiasCell))  # cells of ours
        if vectors and (x.ndim != axes or x.dtype.kind != "f"):
            raise ShapeError(
                f"Recurrent: x: expected reals with {axes} axes, the features last; got {x.dtype} "
                f"{list(x.shape)}"
            )
        if vectors:
            dtype_as("Recurrent", "x", x, self.cells[0].weight_ih.dtype)
        if self.input_size is not None and x.shape[-1] != self.input_size:
            raise ShapeError(
                f"Recurrent: x: expected {self.input_size} features on the last axis; got "
                f"{list(x.shape)}"
            )


def is_cell(thing: object) -> bool:
    """Whether it can be run, and not only called."""
    return not isinstance(thing, type) and hasattr(thing, "step") and hasattr(thing, "initial")


def _checked_step(name: str, found: object, before: State) -> tuple[Tensor, State]:
    """The output and the state of a step; refuses what is not a state as the one before."""
    if not isinstance(found, (tuple, list)) or len(found) != 2:
        raise InvalidTypeError(
            f"{name}: expected the output and the state, (y, state); got {type(found).__name__}"
        )
    y, new = found
    if not isinstance(y, Tensor):
        raise InvalidTypeError(
            f"{name}: expected a Tensor for the output of (y, state), got {type(y).__name__}"
        )
    differs = tree.difference(before, checked(name, new))
    shapes = [list(leaf.shape) for leaf in tree.leaves(before)]
    after = [] if differs else [list(leaf.shape) for leaf in tree.leaves(new, before)]
    if differs or after != shapes:
        raise ShapeError(
            f"{name}: expected a state as the one before"
            + (f"; got another: {differs}" if differs else f", {shapes}; got {after}")
        )
    return y, new
