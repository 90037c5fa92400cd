"""Dropout."""

from __future__ import annotations

from ..errors import InvalidTypeError, ShapeError, public
from ..tensor import ops
from ..tensor.creation import as_tensor
from ..tensor.random import Generator, given_or_default
from ..tensor.tensor import Tensor, TensorLike
from .checks import input_of, placement, probability
from .module import Module


def bernoulli(
    shape: tuple[int, ...], p: float, generator: Generator | None, *, like: Tensor
) -> Tensor:
    """A mask of ones with probability p and zeros, of a tensor's dtype."""
    return (~kept(shape, p, generator, like.device)).astype(like.dtype)


def dropout_mask(
    shape: tuple[int, ...], p: float, generator: Generator | None, *, like: Tensor
) -> Tensor:
    """A mask of zeros with probability p and 1 / (1 - p)."""
    return kept(shape, p, generator, like.device).astype(like.dtype) * (1 / (1 - p))


def kept(shape: tuple[int, ...], p: float, generator: Generator | None, device: str) -> Tensor:
    """Booleans, true with probability 1 - p, computed on a device from the generator's counter."""
    return as_tensor(given_or_default(generator, "dropout").keep_mask(shape, p, device))


def dropped(x: Tensor, keep: Tensor, p: float) -> Tensor:
    """x / (1 - p) where it is kept, and zero elsewhere, whatever x holds there."""
    return ops.where(keep, x, 0) * (1 / (1 - p))


@public
def dropout(
    x: Tensor, p: float, generator: Generator | None = None, *, shared_axis: int | None = None
) -> Tensor:
    """Zeroes each element with probability p and scales the others by 1 / (1 - p).

    A dropped element is zero and has a gradient of zero, even if it is infinite or NaN. The mask is
    an input of the operation, so that a recomputation has the same mask. A seed gives the same mask
    on every device.

    **Arguments** shared_axis: an axis along which the mask is the same, if any.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.dropout(tg.ones((4,)), 0.5, tg.Generator(0))
    tensor([0., 2., 0., 0.])
    """
    probability("dropout: p", p)
    if p == 0:
        return x
    shape = list(x.shape)
    if shared_axis is not None:
        shape[shared_axis] = 1
    return dropped(x, kept(tuple(shape), p, generator, x.device), p)


class Dropout(Module):
    """Dropout in training mode, the identity in evaluation mode (Srivastava et al. 2014).

    **Arguments** p: the probability of an element to be zeroed. shared_axis: an axis along which
    the mask is the same; that of time, for one mask a sequence (Gal and Ghahramani 2016).
    generator: draws the masks.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Dropout(0.5).eval()(tg.ones((2,)))
    tensor([1., 1.])
    >>> tg.nn.Dropout(0.5, shared_axis=0, generator=tg.Generator(0))(tg.ones((2, 3)))
    tensor([[0., 2., 0.],
            [0., 2., 0.]])
    """

    def __init__(
        self, p: float = 0.5, *, shared_axis: int | None = None, generator: Generator | None = None
    ) -> None:
        probability("Dropout: p", p)
        placement("Dropout", generator=generator)
        if not (shared_axis is None or type(shared_axis) is int):
            raise InvalidTypeError(
                f"Dropout: shared_axis: expected an integer or None, got {shared_axis!r}"
            )
        self.p, self.shared_axis, self.generator = p, shared_axis, generator

    def forward(self, x: TensorLike) -> Tensor:
        """**Arguments** x: any shape that has the shared axis. **Returns** the same shape."""
        z = input_of("Dropout", "x", x)
        if not self.training:
            return z
        axis = self.shared_axis
        if axis is not None and not -z.ndim <= axis < z.ndim:
            raise ShapeError(f"Dropout: x: expected an axis {axis} to share; got {list(z.shape)}")
        return dropout(z, self.p, self.generator, shared_axis=axis)
