"""Cells: one step of a recurrence as a module.

A cell has `step(x, state) -> (y, state)` and `initial(x)`, and names its parameters as PyTorch's
cells do. `nn.Recurrent` runs any cell over a sequence. What concerns a sequence and not a step
(masks that all steps share, zoneout) is the layers'.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

from ...errors import InvalidTypeError, ShapeError
from ...tensor import creation
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from .. import init
from ..checks import features_last, flag, placement, positive, state_like
from ..module import Module, Parameter
from .builtin import ONE_BIAS, Elman, GatedRecurrentUnit, LongShortTermMemory
from .recurrence import Activation, Recurrence
from .states import CellCall


class Cell(Module):
    """The base of cells: weights of `gates` stacked gates, and a state that is one Tensor (B, H).

    A cell of one's own says how many gates it has and what a step is; one with other weights says
    their `shapes`.

    >>> import tinygrad_rnn as tg
    >>> class MinimalGatedCell(tg.nn.Cell):
    ...     gates = 2
    ...     def step(self, x, h):
    ...         f, n = (x @ self.weight_ih.mT + self.bias_ih).reshape(len(x), 2, -1).unstack(1)
    ...         u_f, u_n = self.weight_hh.reshape(2, self.hidden_size, -1)
    ...         f = tg.sigmoid(f + h @ u_f.mT)
    ...         h = (1 - f) * h + f * tg.tanh(n + (f * h) @ u_n.mT)
    ...         return h, h
    >>> MinimalGatedCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    gates: ClassVar[int] = 1

    weight_ih: Parameter
    weight_hh: Parameter
    bias_ih: Parameter | None
    bias_hh: Parameter | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        name = type(self).__name__
        positive(name, input_size=input_size, hidden_size=hidden_size)
        flag(name, bias=bias)
        placement(name, device, dtype, generator)
        self.input_size, self.hidden_size = input_size, hidden_size
        bound = 1 / sqrt(hidden_size)
        for name, shape in self.shapes().items():
            p = None
            if bias or not name.startswith("bias"):
                p = Parameter(creation.zeros(shape, dtype=dtype, device=device))
                init.uniform_(p, -bound, bound, generator=generator)
            setattr(self, name, p)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights' names and shapes, in the order in which they are drawn."""
        rows = self.gates * self.hidden_size
        return {
            "weight_ih": (rows, self.input_size),
            "weight_hh": (rows, self.hidden_size),
            "bias_ih": (rows,),
            "bias_hh": (rows,),
        }

    def initial(self, x: Tensor) -> Any:
        """The state before the first step: zeros."""
        return creation.zeros((x.shape[0], self.hidden_size), dtype=x.dtype, device=x.device)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step. **Arguments** x: (B, input_size). **Returns** the output and the new state."""
        raise InvalidTypeError(f"{type(self).__name__} defines no step(x, state)")

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """**Returns** the new state, from zeros if none is given."""
        name = type(self).__name__
        features_last(name, x, self.input_size)
        if x.ndim != 2:
            raise ShapeError(
                f"{name}: x: expected (B, {self.input_size}), a step of a batch; got "
                f"{list(x.shape)}"
            )
        if x.dtype.kind != "f":
            raise InvalidTypeError(f"{name}: x: expected reals, got {x.dtype}: x.astype('float32')")
        return self.step(x, state_like(name, state, self.initial(x)))[1]

    def describe(self) -> str:
        """Its sizes."""
        return f"{self.input_size}, {self.hidden_size}"


class BuiltInCell(Cell):
    """One step of a built-in recurrence."""

    def __init__(
        self,
        recurrence: Recurrence,
        input_size: int,
        device: str | None,
        dtype: Any,
        generator: Generator | None,
    ) -> None:
        positive(type(self).__name__, input_size=input_size)
        placement(type(self).__name__, device, dtype, generator)
        self.recurrence = recurrence
        self.input_size, self.hidden_size = input_size, recurrence.hidden_size
        self.output_size = recurrence.sizes[0]
        for name in ("bias_ih", "bias_hh"):
            setattr(self, name, None)
        recurrence.declare(self, input_size, "", device, dtype, generator)

    def initial(self, x: Tensor) -> Any:
        """The state before the first step: zeros."""
        zeros = [
            creation.zeros((x.shape[0], size), dtype=x.dtype, device=x.device)
            for size in self.recurrence.sizes
        ]
        return tuple(zeros) if len(zeros) > 1 else zeros[0]

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step. **Returns** h', and the state: h', or (h', c')."""
        return self.recurrence.step(x, state, self.recurrence.held(self, ""))

    def describe(self) -> str:
        """Its sizes, and the options that are not as they are by default."""
        return f"{super().describe()}{self.recurrence.describe()}"


class RNNCell(BuiltInCell):
    """h' = tanh(U x + W h + b), or another nonlinearity: see `tg.rnn_step`.

    **Arguments** input_size, hidden_size: features of x and h. nonlinearity: `tanh`, `relu`,
    another elementwise operation's name, or a function. layer_norm: as `RNN` has it.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.RNNCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    __call__: CellCall[Tensor]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Activation = "tanh",
        device: str | None = None,
        dtype: Any = "float32",
        *,
        layer_norm: bool = False,
        generator: Generator | None = None,
    ) -> None:
        recurrence = Elman(
            owner="RNNCell", hidden_size=hidden_size, bias=bias, layer_norm=layer_norm,
            nonlinearity=nonlinearity,
        )  # fmt: skip
        super().__init__(recurrence, input_size, device, dtype, generator)
        self.nonlinearity = nonlinearity


class GRUCell(BuiltInCell):
    """The gated recurrent unit, in the lecture's form or in PyTorch's: see `tg.gru_step`.

    **Arguments** input_size, hidden_size: features of x and h. reset_after: PyTorch's form, with
    two biases a gate. layer_norm, activation, recurrent_activation: as `GRU` has them.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.GRUCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    __call__: CellCall[Tensor]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        reset_after: bool = False,
        layer_norm: bool = False,
        activation: Activation = "tanh",
        recurrent_activation: Activation = "sigmoid",
        generator: Generator | None = None,
    ) -> None:
        recurrence = GatedRecurrentUnit(
            owner="GRUCell", hidden_size=hidden_size, bias=bias, layer_norm=layer_norm,
            reset_after=reset_after, activation=activation,
            recurrent_activation=recurrent_activation,
        )  # fmt: skip
        super().__init__(recurrence, input_size, device, dtype, generator)
        self.reset_after = reset_after

    def why_unexpected(self, key: str) -> str:
        """The lecture's form has one bias a gate."""
        return ONE_BIAS if key.startswith("bias_hh") and not self.reset_after else ""


class LSTMCell(BuiltInCell):
    """The long short-term memory; its state is (h, c): see `tg.lstm_step`.

    **Arguments** input_size, hidden_size: features of x, and of h and c. The others as `LSTM` has
    them.

    >>> import tinygrad_rnn as tg
    >>> h, c = tg.nn.LSTMCell(3, 4, peephole=True)(tg.zeros((2, 3)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    __call__: CellCall[tuple[Tensor, Tensor]]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        proj_size: int = 0,
        layer_norm: bool = False,
        peephole: bool = False,
        coupled_gates: bool = False,
        cell_clip: float | None = None,
        forget_bias: float = 0.0,
        activation: Activation = "tanh",
        recurrent_activation: Activation = "sigmoid",
        generator: Generator | None = None,
    ) -> None:
        recurrence = LongShortTermMemory(
            owner="LSTMCell", hidden_size=hidden_size, bias=bias, layer_norm=layer_norm,
            proj_size=proj_size, peephole=peephole, coupled_gates=coupled_gates,
            cell_clip=cell_clip, forget_bias=forget_bias, activation=activation,
            recurrent_activation=recurrent_activation,
        )  # fmt: skip
        super().__init__(recurrence, input_size, device, dtype, generator)
        self.proj_size = proj_size
