"""Convolutions over one or two axes of space."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, ClassVar

from ..errors import InvalidValueError, ShapeError
from ..tensor import ops
from ..tensor.conversion import DType
from ..tensor.random import Generator
from ..tensor.tensor import Tensor, TensorLike
from .checks import flag, input_of, placement, positive
from .init import drawn
from .module import Module


class _Conv(Module):
    """A convolution over as many axes of space as the class says."""

    axes: ClassVar[int]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        device: str | None = None,
        dtype: DType = "float32",
        *,
        generator: Generator | None = None,
    ) -> None:
        name = type(self).__name__
        positive(name, in_channels=in_channels, out_channels=out_channels, groups=groups)
        for argument, channels in {
            "in_channels": in_channels,
            "out_channels": out_channels,
        }.items():
            if channels % groups:
                raise InvalidValueError(
                    f"{name}: groups: expected a divisor of {argument}={channels}, got {groups}"
                )
        flag(name, bias=bias)
        placement(name, device, dtype, generator)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = self._each("kernel_size", kernel_size)
        self.stride = self._each("stride", stride)
        self.dilation = self._each("dilation", dilation)
        self.padding = padding if isinstance(padding, str) else self._each("padding", padding, 0)
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise InvalidValueError(
                f"{name}: padding: expected integers, 'same' or 'valid', got {padding!r}"
            )
        if padding == "same" and any(n != 1 for n in self.stride):
            raise InvalidValueError(f"{name}: padding='same' needs a stride of 1, got {stride!r}")
        channels = in_channels // groups

        how = 1 / sqrt(channels * prod(self.kernel_size)), device, dtype, generator
        self.weight = drawn((out_channels, channels, *self.kernel_size), *how)
        self.bias = drawn((out_channels,), *how) if bias else None

    def _each(self, argument: str, value: Any, least: int = 1) -> tuple[int, ...]:
        """One number for all axes, or one for each."""
        values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * self.axes
        if len(values) != self.axes or any(type(n) is not int or n < least for n in values):
            numbers = "" if self.axes == 1 else f", or {self.axes} of them"
            raise InvalidValueError(
                f"{type(self).__name__}: {argument}: expected an integer from {least} up"
                f"{numbers}, got {value!r}"
            )
        return values

    def forward(self, x: TensorLike) -> Tensor:
        """**Arguments** x: (B, in_channels, *space), or without B.

        **Returns** (B, out_channels, *counts), or without B.
        """
        name = type(self).__name__
        x = input_of(name, "x", x, self.weight)
        if x.ndim not in (self.axes + 1, self.axes + 2) or x.shape[-1 - self.axes] != (
            self.in_channels
        ):
            space = ("L", "H, W")[self.axes - 1]
            raise ShapeError(
                f"{name}: x: expected (B, {self.in_channels}, {space}), or without B; got "
                f"{list(x.shape)}"
            )
        alone = x.ndim == self.axes + 1
        y: Tensor = ops.conv(
            x.expand_dims(axis=0) if alone else x, self.weight, self.bias, stride=self.stride,
            padding=self.padding, dilation=self.dilation, groups=self.groups,
        )  # fmt: skip
        return y.squeeze(axis=0) if alone else y

    def held_options(self) -> dict[str, Any]:
        """The attributes; sizes that are the same for all axes as one number."""
        sizes = {n: vars(self)[n] for n in ("kernel_size", "stride", "padding", "dilation")}
        return {**vars(self), **{n: v[0] for n, v in sizes.items() if len({*v}) == 1}}


class Conv1d(_Conv):
    """A convolution over one axis, such as time.

    For a recurrent layer's (T, B, C), permute: `conv(x.permute_dims(1, 2, 0))`.

    **Arguments** in_channels, out_channels; kernel_size: its length; stride: from one position to
    the next; padding: zeros added at both ends, or `same`, or `valid` for none; dilation: from one
    element of the kernel to the next; groups: splits the channels into groups that are convolved
    apart; bias: whether to add one. Parameters: weight (out_channels, in_channels / groups,
    kernel_size), bias (out_channels,), drawn from [-k, k) with k = 1 / sqrt(in_channels / groups *
    kernel_size).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Conv1d(3, 8, kernel_size=5, padding=2)(tg.zeros((2, 3, 10))).shape
    (2, 8, 10)
    """

    axes = 1


class Conv2d(_Conv):
    """A convolution over two axes, such as those of an image.

    **Arguments** as `Conv1d`; kernel_size, stride, padding, dilation: numbers, or one for each
    axis.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Conv2d(3, 8, kernel_size=3, stride=2)(tg.zeros((2, 3, 9, 11))).shape
    (2, 8, 4, 5)
    """

    axes = 2
