"""Cells: one step of a recurrence as a module.

A cell has `step(x, state) -> (y, state)` and `initial(x)`, and names its parameters as PyTorch's
cells do. The equation is the operation's, in `tensor/ops/recurrent.py`.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, ClassVar

from ..tensor import creation, ops
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from . import init
from .checks import features_last, positive
from .module import Module, Parameter


class Cell(Module):
    """The base of cells: weights of `gates` stacked gates, and a state that is one Tensor (B, H).

    A cell of one's own says how many gates it has and what a step is:

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
        positive(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size = input_size, hidden_size

        def drawn(*shape: int) -> Parameter:
            bound = 1 / sqrt(hidden_size)
            p = Parameter(creation.zeros(shape, dtype=dtype, device=device))
            return init.uniform_(p, -bound, bound, generator=generator)

        self.weight_ih = drawn(self.gates * hidden_size, input_size)
        self.weight_hh = drawn(self.gates * hidden_size, hidden_size)
        self.bias_ih = drawn(self.gates * hidden_size) if bias else None
        self.bias_hh = drawn(self.gates * hidden_size) if bias else None

    def initial(self, x: Tensor) -> Any:
        """The state before the first step: zeros."""
        return creation.zeros((x.shape[0], self.hidden_size), dtype=x.dtype, device=x.device)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step. **Arguments** x: (B, input_size). **Returns** the output and the new state."""
        raise TypeError(f"{type(self).__name__} defines no step(x, state)")

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """**Returns** the new state, from zeros if none is given."""
        features_last(type(self).__name__, x, self.input_size)
        return self.step(x, self.initial(x) if state is None else state)[1]

    def describe(self) -> str:
        """Its sizes."""
        return f"{self.input_size}, {self.hidden_size}"


class RNNCell(Cell):
    """h' = tanh(U x + W h + b), or relu: see `tg.rnn_step`.

    **Arguments** input_size, hidden_size: features of x and h; nonlinearity: `tanh` or `relu`.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.RNNCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: str | None = None,
        dtype: Any = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNNCell: nonlinearity: expected tanh or relu, got {nonlinearity!r}")
        super().__init__(input_size, hidden_size, bias, device, dtype, generator=generator)
        self.nonlinearity = nonlinearity

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """One step. **Returns** h' twice: as output and as state."""
        h = ops.rnn_step(
            x, h, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh,
            activation=self.nonlinearity,
        )  # fmt: skip
        return h, h


class GRUCell(Cell):
    """The gated recurrent unit, in the lecture's form or in PyTorch's: see `tg.gru_step`.

    **Arguments** input_size, hidden_size: features of x and h. reset_after: PyTorch's form, with
    two biases a gate.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.GRUCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = "float32",
        *,
        reset_after: bool = False,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype, generator=generator)
        self.reset_after = reset_after
        if not reset_after:
            self.bias_hh = None

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """One step. **Returns** h' twice: as output and as state."""
        h = ops.gru_step(
            x, h, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh,
            reset_after=self.reset_after,
        )  # fmt: skip
        return h, h

    def why_unexpected(self, key: str) -> str:
        """The lecture's form has one bias a gate."""
        return ONE_BIAS if key.startswith("bias_hh") and not self.reset_after else ""


ONE_BIAS = (
    "this GRU resets before the product and has one bias a gate; PyTorch's is GRU(reset_after=True)"
)


class LSTMCell(Cell):
    """The long short-term memory; its state is (h, c): see `tg.lstm_step`.

    **Arguments** input_size, hidden_size: features of x, and of h and c.

    >>> import tinygrad_rnn as tg
    >>> h, c = tg.nn.LSTMCell(3, 4)(tg.zeros((2, 3)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    gates = 4

    def initial(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """h and c before the first step: zeros."""
        zeros = super().initial(x)
        return zeros, zeros

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step. **Returns** h' and (h', c')."""
        h, c = ops.lstm_step(x, *state, self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return h, (h, c)
