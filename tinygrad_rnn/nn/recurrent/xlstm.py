"""The two cells of the extended LSTM: exponential gates, and a scalar or a matrix for a memory."""

from __future__ import annotations

from ... import cells
from ...errors import InvalidValueError
from ...tensor import creation
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import positive
from .light import OneBiasCell

State = tuple[Tensor, ...]


class SLSTMCell(OneBiasCell):
    """The LSTM with exponential gates (Beck et al. 2024): see `tg.slstm_step`.

    Its state is (h, c, n, m): n normalises c, and m keeps both in range.

    **Arguments** input_size, hidden_size: features of x, and of each part of the state.

    >>> import tinygrad_rnn as tg
    >>> h, c, n, m = tg.nn.SLSTMCell(3, 4)(tg.zeros((2, 3)))
    >>> h.shape, m.shape
    ((2, 4), (2, 4))
    """

    gates = 4

    def initial(self, x: Tensor) -> State:
        """The four parts before the first step: zeros."""
        return (super().initial(x),) * 4

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step. **Returns** h' and (h', c', n', m')."""
        h, c, n, m = state
        state = cells.slstm_step(x, h, c, n, m, self.weight_ih, self.weight_hh, self.bias_ih)
        return state[0], state


class MLSTMCell(OneBiasCell):
    """The LSTM with a matrix memory (Beck et al. 2024): see `tg.mlstm_step`.

    Its state is (c, n, m), of N heads, each of width D = hidden_size / N.

    **Arguments** input_size, hidden_size: features of x, and of the output. num_heads: N.
    **Raises** ValueError if N does not divide hidden_size.

    >>> import tinygrad_rnn as tg
    >>> c, n, m = tg.nn.MLSTMCell(3, 8, num_heads=2)(tg.zeros((5, 3)))
    >>> c.shape, n.shape, m.shape
    ((5, 2, 4, 4), (5, 2, 4), (5, 2))
    """

    gates = 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: DType = "float32",
        *,
        num_heads: int = 1,
        generator: Generator | None = None,
    ) -> None:
        positive("MLSTMCell", hidden_size=hidden_size, num_heads=num_heads)
        if hidden_size % num_heads:
            raise InvalidValueError(
                f"MLSTMCell: num_heads: expected a divisor of hidden_size {hidden_size}, got "
                f"{num_heads}"
            )
        self.num_heads = num_heads
        super().__init__(input_size, hidden_size, bias, device, dtype, generator=generator)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights' names and shapes: of q, k, v and the output gate, and two gates a head."""
        rows = 4 * self.hidden_size + 2 * self.num_heads
        return {"weight_ih": (rows, self.input_size), "bias_ih": (rows,)}

    def initial(self, x: Tensor) -> State:
        """The three parts before the first step: zeros."""
        heads, width = self.num_heads, self.hidden_size // self.num_heads
        shapes = [(heads, width, width), (heads, width), (heads,)]
        return tuple(
            creation.zeros((x.shape[0], *shape), dtype=x.dtype, device=x.device) for shape in shapes
        )

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step. **Returns** h, (B, hidden_size), and (c', n', m')."""
        h, *new = cells.mlstm_step(x, state[0], state[1], state[2], self.weight_ih, self.bias_ih)
        return h, tuple(new)
