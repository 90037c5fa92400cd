"""The LSTM over images: its products are convolutions."""

from __future__ import annotations

from math import prod, sqrt
from typing import Any

from ... import cells
from ...errors import InvalidValueError, ShapeError
from ...tensor import creation
from ...tensor.conversion import DType
from ...tensor.random import Generator
from ...tensor.tensor import Tensor
from ..checks import flag, is_tensor, placement, positive, state_like
from ..init import drawn
from ..module import Module


class ConvLSTMCell(Module):
    """The convolutional LSTM (Shi et al. 2015) on lines or images: see `tg.conv_lstm_step`.

    **Arguments** input_channels, hidden_channels: of x, and of h and c. kernel_size: an odd number
    for each axis of space: (3,) on lines, (3, 3) on images; one number is for all axes, those of
    peephole_size, or the two of images. peephole_size: the size of the lines or
    images; with it the gates see c as in the paper, by a weight for each place. Parameters:
    weight_ih (4D, C, *kernel_size), weight_hh (4D, D, *kernel_size), bias_ih (4D,), weight_ch
    (3, D, *peephole_size). **Raises** ValueError for an even kernel.

    >>> import tinygrad_rnn as tg
    >>> h, c = tg.nn.ConvLSTMCell(3, 8, (3, 3))(tg.zeros((2, 3, 5, 6)))
    >>> h.shape, c.shape
    ((2, 8, 5, 6), (2, 8, 5, 6))
    """

    def __init__(
        self,
        input_channels: int,
        hidden_channels: int,
        kernel_size: int | tuple[int, ...],
        bias: bool = True,
        device: str | None = None,
        dtype: DType = "float32",
        *,
        peephole_size: tuple[int, ...] | None = None,
        generator: Generator | None = None,
    ) -> None:
        if peephole_size is not None and not _sizes(peephole_size):
            raise InvalidValueError(
                "ConvLSTMCell: peephole_size: expected the sizes of lines or images, as (32, 32), "
                f"got {peephole_size!r}"
            )
        positive("ConvLSTMCell", input_channels=input_channels, hidden_channels=hidden_channels)
        flag("ConvLSTMCell", bias=bias)
        placement("ConvLSTMCell", device, dtype, generator)
        kernel: Any = kernel_size
        if type(kernel) is int:
            kernel = (kernel,) * (2 if peephole_size is None else len(peephole_size))
        if not _sizes(kernel) or any(n % 2 == 0 for n in kernel):
            raise InvalidValueError(
                "ConvLSTMCell: kernel_size: expected odd numbers, as (3, 3), or one of them for "
                f"all axes, got {kernel_size!r}"
            )
        if peephole_size is not None and len(peephole_size) != len(kernel):
            raise InvalidValueError(
                f"ConvLSTMCell: peephole_size: expected as many axes as kernel_size {kernel_size}, "
                f"got {peephole_size!r}"
            )
        self.input_channels, self.hidden_channels = input_channels, hidden_channels
        self.kernel_size: tuple[int, ...] = tuple(kernel)
        self.bias = bias
        self.peephole_size = None if peephole_size is None else tuple(peephole_size)

        how = 1 / sqrt(hidden_channels * prod(self.kernel_size)), device, dtype, generator
        rows, places = 4 * hidden_channels, self.peephole_size
        self.weight_ih = drawn((rows, input_channels, *self.kernel_size), *how)
        self.weight_hh = drawn((rows, hidden_channels, *self.kernel_size), *how)
        self.bias_ih = drawn((rows,), *how) if bias else None
        self.weight_ch = drawn((3, hidden_channels, *places), *how) if places else None

    def initial(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """h and c before the first step: zeros."""
        shape = (x.shape[0], self.hidden_channels, *x.shape[2:])
        zeros = creation.zeros(shape, dtype=x.dtype, device=x.device)
        return zeros, zeros

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step. **Arguments** x: (B, C, *space). **Returns** h' and (h', c')."""
        h, c = cells.conv_lstm_step(
            x, *state, self.weight_ih, self.weight_hh, self.bias_ih, self.weight_ch
        )
        return h, (h, c)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """**Arguments** x: (B, C, *space). **Returns** the new (h, c), from zeros if none is given.

        **Raises** ShapeError.
        """
        is_tensor("ConvLSTMCell", "x", x)
        if x.ndim != 2 + len(self.kernel_size) or x.shape[1] != self.input_channels:
            raise ShapeError(
                f"ConvLSTMCell: x: expected (B, {self.input_channels}, *space) with "
                f"{len(self.kernel_size)} axes of space; got {list(x.shape)}"
            )
        return self.step(x, state_like("ConvLSTMCell", state, self.initial(x)))[1]


def _sizes(sizes: object) -> bool:
    """Whether these are integers from 1 up, at least one."""
    return (
        isinstance(sizes, (tuple, list))
        and len(sizes) > 0
        and all(type(n) is int and n > 0 for n in sizes)
    )
