"""Cells whose gates read the input alone, and the layers that run all their steps at once."""

from __future__ import annotations

from typing import Any, ClassVar

from ... import cells
from ...errors import ShapeError
from ...loops.scan import Lengths
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor, TensorLike
from ..checks import dtype_as, features_last, flag, reals_of, state_like
from ..lengths import lengths_and_order
from .light import OneBiasCell


class MinGRUCell(OneBiasCell):
    """The minimal GRU (Feng et al. 2024): see `tg.min_gru_step`.

    **Arguments** input_size, hidden_size: features of x and h.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.MinGRUCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    gates = 2
    absent: ClassVar = ("weight_hh", "bias_hh")

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = cells.min_gru_step(x, h, self.weight_ih, self.bias_ih)
        return h, h


class MinLSTMCell(MinGRUCell):
    """The minimal LSTM (Feng et al. 2024): see `tg.min_lstm_step`. Its state is h alone.

    **Arguments** input_size, hidden_size: features of x and h.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.MinLSTMCell(3, 4)(tg.zeros((2, 3))).shape
    (2, 4)
    """

    gates = 3

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = cells.min_lstm_step(x, h, self.weight_ih, self.bias_ih)
        return h, h


class _Parallel(MinGRUCell):
    """A minimal cell over a whole sequence; its step is the cell's."""

    _operation: Any = None  # the function that runs all steps

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        batch_first: bool = False,
        reverse: bool = False,
        device: str | None = None,
        dtype: DType = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        flag(type(self).__name__, batch_first=batch_first, reverse=reverse)
        super().__init__(input_size, hidden_size, bias, device, dtype, generator=generator)
        self.batch_first, self.reverse = batch_first, reverse

    def forward(
        self,
        x: TensorLike,
        state: Tensor | None = None,
        *,
        lengths: Lengths = None,
        mask: Any = None,
    ) -> tuple[Tensor, Tensor]:
        """Runs over a sequence.

        **Arguments** x: (T, B, input_size), or (B, T, input_size) if batch_first. state: (B, H);
        zeros, if None. lengths: (B,) integers from 0 to T; T throughout, if None. mask:
        instead of lengths, booleans, (T, B), or (B, T) if batch_first: a step where it is False is
        skipped, as `LSTM` skips it. **Returns** the outputs, (T, B, H), zero past a row's length,
        and the state after each row's last step, (B, H). **Raises** ShapeError saying what was
        expected.
        """
        name = type(self).__name__
        x = reals_of(name, "x", x, self.weight_ih)
        features_last(name, x, self.input_size)
        if x.ndim != 3 or 0 in x.shape:
            axes = "(B, T, features)" if self.batch_first else "(T, B, features)"
            raise ShapeError(f"{name}: x: expected {axes}, none empty; got {list(x.shape)}")
        dtype_as(name, "x", x, self.weight_ih.dtype)
        x = x.swapaxes(0, 1) if self.batch_first else x
        state = state_like(name, state, self.initial(x[0]))
        lengths, order = lengths_and_order(
            name, lengths, mask, x.shape[:2], self.batch_first, x.device
        )
        x = x if order is None else order.apply(x)
        y, last = self._operation(
            x, state, self.weight_ih, self.bias_ih, lengths, reverse=self.reverse
        )
        y = y if order is None else order.undo(y)
        return (y.swapaxes(0, 1) if self.batch_first else y), last


class MinGRU(_Parallel):
    """The minimal GRU (Feng et al. 2024) over a sequence, all steps at once: see `tg.min_gru`.

    **Arguments** input_size, hidden_size: features of x_t and h_t. batch_first: x is (B, T, I).
    reverse: from the last step to the first.

    >>> import tinygrad_rnn as tg
    >>> y, h = tg.nn.MinGRU(3, 4)(tg.zeros((7, 2, 3)), lengths=[7, 0])
    >>> y.shape, h.shape
    ((7, 2, 4), (2, 4))
    """

    _operation = staticmethod(cells.min_gru)


class MinLSTM(_Parallel, MinLSTMCell):
    """The minimal LSTM (Feng et al. 2024), all steps at once: see `tg.min_lstm`.

    **Arguments** as `MinGRU`.

    >>> import tinygrad_rnn as tg
    >>> y, h = tg.nn.MinLSTM(3, 4)(tg.zeros((7, 2, 3)))
    >>> y.shape, h.shape
    ((7, 2, 4), (2, 4))
    """

    gates = 3
    _operation = staticmethod(cells.min_lstm)
