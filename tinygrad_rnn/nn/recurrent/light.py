"""Light cells: MGU, JANET, IndRNN and SRU."""

from __future__ import annotations

from typing import ClassVar

from ... import cells
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import one_of, real
from ..module import Parameter
from .cells import Cell
from .states import CellCall


class OneBiasCell(Cell):
    """The base of cells whose gates have one bias each."""

    absent: ClassVar[tuple[str, ...]] = ("bias_hh",)
    bias_hh = None


class MGUCell(OneBiasCell):
    """The minimal gated unit (Zhou et al. 2016): see `tg.mgu_step`.

    **Arguments** input_size, hidden_size: features of x and h.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.MGUCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    __call__: CellCall[Tensor]

    gates = 2

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = cells.mgu_step(x, h, self.weight_ih, self.weight_hh, self.bias_ih)
        return h, h


class JANETCell(OneBiasCell):
    """JANET, the LSTM with a forget gate only (van der Westhuizen and Lasenby 2018).

    See `tg.janet_step`. **Arguments** input_size, hidden_size: features of x and h. beta: above
    0 it lets more of the candidate in.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.JANETCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    __call__: CellCall[Tensor]

    gates = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DType = "float32",
        *,
        beta: float = 1.0,
        generator: Generator | None = None,
    ) -> None:
        real("JANETCell", "beta", beta)
        super().__init__(input_size, hidden_size, bias, device, dtype, generator=generator)
        self.beta = beta

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = cells.janet_step(x, h, self.weight_ih, self.weight_hh, self.bias_ih, beta=self.beta)
        return h, h


class IndRNNCell(OneBiasCell):
    """The independently recurrent network (Li et al. 2018): see `tg.indrnn_step`.

    **Arguments** input_size, hidden_size: features of x and h. nonlinearity: `relu` or `tanh`.
    **Raises** ValueError for another.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.IndRNNCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    __call__: CellCall[Tensor]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "relu",
        device: str | None = None,
        dtype: DType = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        one_of("IndRNNCell", "nonlinearity", nonlinearity, ("relu", "tanh"))
        super().__init__(input_size, hidden_size, bias, device, dtype, generator=generator)
        self.nonlinearity = nonlinearity

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {**super().shapes(), "weight_hh": (self.hidden_size,)}

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = cells.indrnn_step(
            x, h, self.weight_ih, self.weight_hh, self.bias_ih, activation=self.nonlinearity
        )
        return h, h


class SRUCell(OneBiasCell):
    """The simple recurrent unit (Lei et al. 2018), whose state is c: see `tg.sru_step`.

    **Arguments** input_size, hidden_size: features of x and c; where they differ, weight_ih has a
    fourth block, which brings x to c's width. Parameters besides: weight_c (2H,), and bias_ih (2H,)
    of the two gates.

    >>> import tinygrad_rnn as tg
    >>> y, c = tg.nn.SRUCell(3, 4).step(tg.zeros((2, 3)), tg.ones((2, 4)))
    >>> y.shape, c.shape
    ((2, 4), (2, 4))
    """

    __call__: CellCall[Tensor]

    weight_c: Parameter

    def shapes(self) -> dict[str, tuple[int, ...]]:
        n, features = self.hidden_size, self.input_size
        blocks = 3 if features == n else 4
        return {"weight_ih": (blocks * n, features), "bias_ih": (2 * n,), "weight_c": (2 * n,)}

    def step(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """One step. **Returns** h and c'."""
        h, c = cells.sru_step(x, c, self.weight_ih, self.weight_c, self.bias_ih)
        return h, c
