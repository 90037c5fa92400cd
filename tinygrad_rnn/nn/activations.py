"""Layers without parameters: activations, Flatten, Identity."""

from __future__ import annotations

from math import pi, prod, sqrt
from typing import Any, ClassVar

from ..errors import InvalidTypeError, OutOfRangeError
from ..tensor import ops
from ..tensor.tensor import Tensor, TensorLike
from .checks import input_of, one_of
from .module import Module


class _Activation(Module):
    """An elementwise operation as a module."""

    function: ClassVar[Any]

    def forward(self, x: TensorLike) -> Tensor:
        """**Arguments** x: any shape. **Returns** the same shape."""
        y: Tensor = self.function(input_of(type(self).__name__, "x", x))
        return y


class ReLU(_Activation):
    """max(x, 0).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.ReLU()(tg.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    function = staticmethod(ops.relu)


class Tanh(_Activation):
    """The hyperbolic tangent.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Tanh()(tg.tensor([0.0]))
    tensor([0.])
    """

    function = staticmethod(ops.tanh)


class Sigmoid(_Activation):
    """1 / (1 + exp(-x)).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Sigmoid()(tg.tensor([0.0]))
    tensor([0.5])
    """

    function = staticmethod(ops.sigmoid)


class SiLU(_Activation):
    """x sigmoid(x), also called swish (Elfwing et al. 2018).

    >>> import tinygrad_rnn as tg
    >>> tg.nn.SiLU()(tg.tensor([0.0]))
    tensor([0.])
    """

    function = staticmethod(ops.silu)


class GELU(Module):
    """x Phi(x), Phi being the standard normal distribution (Hendrycks and Gimpel 2016).

    **Arguments** approximate: `none`, or `tanh` for
    x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.GELU()(tg.tensor([1.0])).item(), 4)
    0.8413
    """

    def __init__(self, approximate: str = "none") -> None:
        one_of("GELU", "approximate", approximate, ("none", "tanh"))
        self.approximate = approximate

    def forward(self, x: TensorLike) -> Tensor:
        """**Arguments** x: any shape. **Returns** the same shape."""
        z = input_of("GELU", "x", x)
        if self.approximate == "none":
            return ops.gelu(z)
        return 0.5 * z * (1 + ops.tanh(sqrt(2 / pi) * (z + 0.044715 * z * z * z)))


class Identity(Module):
    """Returns its input; takes and ignores any arguments, so that it can replace another layer.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Identity(3, unused=True)(tg.ones((2,)))
    tensor([1., 1.])
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def forward(self, x: TensorLike) -> Tensor:
        """**Arguments** x: any shape. **Returns** x."""
        return input_of("Identity", "x", x)


class Flatten(Module):
    """Flattens a range of axes into one; all but the first by default.

    **Arguments** start_dim, end_dim: the first and the last axis of the range.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Flatten()(tg.zeros((5, 2, 3))).shape
    (5, 6)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        for name, axis in {"start_dim": start_dim, "end_dim": end_dim}.items():
            if type(axis) is not int:
                raise InvalidTypeError(f"Flatten: {name}: expected an integer, got {axis!r}")
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: TensorLike) -> Tensor:
        """**Arguments** x: any shape that has the axes. **Returns** it with the range as one."""
        z = input_of("Flatten", "x", x)
        axes = range(-z.ndim, z.ndim)
        if self.start_dim not in axes or self.end_dim not in axes:
            raise OutOfRangeError(
                f"Flatten: x: expected axes {self.start_dim} and {self.end_dim}, got "
                f"{list(z.shape)}"
            )
        start, end = self.start_dim % z.ndim, self.end_dim % z.ndim
        if start > end:
            raise OutOfRangeError(
                f"Flatten: x: axis {self.start_dim} of {list(z.shape)} comes after {self.end_dim}"
            )
        flat = prod(z.shape[start : end + 1])
        return z.reshape((*z.shape[:start], flat, *z.shape[end + 1 :]))
