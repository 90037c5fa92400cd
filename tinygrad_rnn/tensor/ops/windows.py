"""Convolutions: sliding windows, their transpose, and the product with a kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from types import ModuleType
from typing import Any

from ...errors import InvalidValueError, ShapeError
from ..backend import Array
from ..inputs import operand
from ..operation import Op
from ..shapes import integer
from .movement import expand_dims, moveaxis, reshape, swapaxes
from .products import matmul
from .tiling import pad

__all__ = ["conv", "overlap_add", "sliding_windows"]


def _each(value: int | Sequence[int], axes: int, what: str, least: int = 1) -> tuple[int, ...]:
    """One number for all axes, or one for each."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * axes
    if len(values) != axes:
        raise ShapeError(f"{what}: expected one number, or one for each of {axes} axes: {value!r}")
    return tuple([integer(n, what, least) for n in values])


def _counts(
    space: Sequence[int], lengths: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Any:
    """The number of windows along each axis."""
    axes = zip(space, lengths, stride, dilation, strict=True)
    counts = tuple([(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in axes])
    if any(n < 1 for n in counts):
        raise ShapeError(
            f"windows of {list(lengths)} with dilation {list(dilation)} do not fit into "
            f"{list(space)}"
        )
    return counts


def _places(
    lengths: Sequence[int], counts: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> Iterator[tuple[Any, Any]]:
    """Each position in a window, and the index of its elements in all windows."""
    for at in product(*map(range, lengths)):
        axes = zip(at, counts, stride, dilation, strict=True)
        yield at, (..., *(slice(i * d, i * d + (n - 1) * s + 1, s) for i, n, s, d in axes))


def _windows(
    xp: ModuleType,
    x: Array,
    *,
    lengths: Sequence[int],
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Array:
    """All windows of the last axes: y[i, ..., t] = x[..., t stride + i dilation].

    **Arguments** lengths: those of a window, along each of the last axes. stride: from one window
    to the next; dilation: from one element of a window to the next; numbers, or one for each axis.
    **Returns** (*lengths, ..., *counts): the positions in a window come first.

    >>> import tinygrad_rnn as tg
    >>> tg.sliding_windows(tg.arange(6), (2,), stride=2).tolist()
    [[0, 2, 4], [1, 3, 5]]
    """
    n = len(lengths)
    if not 0 < n <= x.ndim:
        raise ShapeError(f"lengths: expected 1 to {x.ndim} numbers, got {lengths!r}")
    lengths = _each(lengths, n, "lengths")
    stride, dilation = _each(stride, n, "stride"), _each(dilation, n, "dilation")
    counts = _counts(x.shape[-n:], lengths, stride, dilation)
    y = xp.empty((*lengths, *x.shape[:-n], *counts), dtype=x.dtype)
    for at, index in _places(lengths, counts, stride, dilation):
        y[at] = x[index]
    return y


def _overlap(
    xp: ModuleType,
    windows: Array,
    *,
    shape: Sequence[int],
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Array:
    """Adds windows where they overlap: the transpose of `sliding_windows`.

    **Arguments** windows: (*lengths, ..., *counts); shape: of the last axes of the result. stride,
    dilation: as in `sliding_windows`. **Returns** (..., *shape).

    >>> import tinygrad_rnn as tg
    >>> tg.overlap_add(tg.ones((2, 3)), (4,)).tolist()
    [1.0, 2.0, 2.0, 1.0]
    """
    n = len(shape)
    if not 0 < n <= windows.ndim // 2:
        raise ShapeError(f"shape: expected 1 to {windows.ndim // 2} numbers, got {shape!r}")
    shape = _each(shape, n, "shape", 0)
    stride, dilation = _each(stride, n, "stride"), _each(dilation, n, "dilation")
    lengths = windows.shape[:n]
    counts = _counts(shape, lengths, stride, dilation)
    if windows.shape[windows.ndim - n :] != counts:
        raise ShapeError(f"windows: expected {list(counts)} of them for a shape of {list(shape)}")
    x = xp.zeros((*windows.shape[n : windows.ndim - n], *shape), dtype=windows.dtype)
    for at, index in _places(lengths, counts, stride, dilation):
        x[index] += windows[at]
    return x


sliding_windows = Op("sliding_windows", _windows, fresh=True)
overlap_add = Op("overlap_add", _overlap, fresh=True)
sliding_windows.vjp(
    x=lambda g, shapes, lengths, stride, dilation: overlap_add(
        g, shape=shapes[0][-len(lengths) :], stride=stride, dilation=dilation
    )
)
overlap_add.vjp(
    windows=lambda g, shapes, shape, stride, dilation: sliding_windows(
        g, lengths=shapes[0][: len(shape)], stride=stride, dilation=dilation
    )
)


def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Array:
    """Convolution (cross-correlation) of channels over any number of axes of space.

    **Arguments** x: (B, C, *space); weight: (D, C / groups, *lengths); bias: (D,) or None. stride,
    dilation: numbers, or one for each axis of space. padding: zeros added on both sides, or `same`,
    which keeps the shape of space at a stride of 1, or `valid` for none. groups: splits the
    channels into groups that are convolved apart. **Returns** (B, D, *counts). **Raises**
    ShapeError.

    >>> import tinygrad_rnn as tg
    >>> tg.conv(tg.ones((1, 1, 4)), tg.ones((1, 1, 3)), padding=1).tolist()
    [[[2.0, 3.0, 3.0, 2.0]]]
    """
    x, weight = operand(x), operand(weight)
    axes = len(weight.shape) - 2
    if axes < 1 or len(x.shape) != axes + 2:
        raise ShapeError(
            "conv: expected x (B, C, *space) and weight (D, C / groups, *lengths); got x "
            f"{list(x.shape)} and weight {list(weight.shape)}"
        )
    groups = integer(groups, "conv: groups", 1)
    outputs, channels, *lengths = weight.shape
    if x.shape[1] != groups * channels or outputs % groups:
        raise ShapeError(
            f"conv: groups={groups}: expected {groups * channels} channels of x, and outputs that "
            f"divide into groups; got x {list(x.shape)} and weight {list(weight.shape)}"
        )
    stride = _each(stride, axes, "conv: stride")
    dilation = _each(dilation, axes, "conv: dilation")
    sides = _sides(padding, lengths, stride, dilation)
    if any(map(any, sides)):
        x = pad(x, [(0, 0), (0, 0), *sides])
    _counts(x.shape[2:], lengths, stride, dilation)  # raises in the name of the caller
    windows = sliding_windows(
        swapaxes(x, axis1=0, axis2=1), lengths=tuple(lengths), stride=stride, dilation=dilation
    )  # (*lengths, C, B, *counts): the columns of one product
    batch, counts = windows.shape[axes + 1], windows.shape[axes + 2 :]
    elements, places = prod(lengths), batch * prod(counts)
    columns = reshape(windows, shape=(elements, groups, channels, places))
    columns = reshape(
        moveaxis(columns, 1, 0), shape=(groups, elements * channels, places)
    )  # without a copy, if there is one group
    rows = reshape(weight, shape=(groups, outputs // groups, channels, elements))
    rows = reshape(swapaxes(rows, axis1=2, axis2=3), shape=(groups, -1, elements * channels))
    y = reshape(matmul(rows, columns), shape=(outputs, batch, *counts))
    y = swapaxes(y, axis1=0, axis2=1)
    if bias is None:
        return y
    bias = operand(bias)
    if bias.shape != (outputs,):
        raise ShapeError(f"conv: bias: expected [{outputs}], got {list(bias.shape)}")
    return y + expand_dims(bias, axis=tuple(range(1, axes + 1)))


def _sides(
    padding: int | Sequence[int] | str,
    lengths: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> list[tuple[int, int]]:
    """The zeros before and after each axis of space."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise InvalidValueError(
                f"conv: padding: expected numbers, 'same' or 'valid', got {padding!r}"
            )
        if padding == "valid":
            return [(0, 0)] * len(lengths)
        if any(n != 1 for n in stride):
            raise InvalidValueError(f"conv: padding='same' needs a stride of 1, got {stride}")
        totals = [d * (k - 1) for k, d in zip(lengths, dilation, strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(n, n) for n in _each(padding, len(lengths), "conv: padding", 0)]
