"""Dropout: some elements are zero while training, and the rest larger to make up for it."""

from __future__ import annotations

from ..tensor.creation import as_tensor
from ..tensor.random import Generator, default_generator
from ..tensor.tensor import Tensor
from .checks import is_tensor, probability
from .module import Module


def dropout(x: Tensor, p: float, generator: Generator | None = None) -> Tensor:
    """Zeroes each element with probability p and scales the others by 1 / (1 - p).

    The mask is drawn on the host and is an input of the product: whatever computes it again sees
    the same bits.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.dropout(tg.ones((4,)), 0.5, tg.Generator(0))
    tensor([2., 0., 0., 0.])
    """
    if p == 0:
        return x
    mask = ((generator or default_generator()).random(x.shape) >= p) / (1 - p)
    return x * as_tensor(mask.astype(x.dtype), device=x.device)


class Dropout(Module):
    """Dropout while training, nothing in evaluation (Srivastava et al. 2014).

    **Arguments** p: the probability of an element to be zeroed. generator: where masks come from.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Dropout(0.5).eval()(tg.ones((2,)))
    tensor([1., 1.])
    """

    def __init__(self, p: float = 0.5, *, generator: Generator | None = None) -> None:
        probability("Dropout", p)
        self.p, self.generator = p, generator

    def forward(self, x: Tensor) -> Tensor:
        """**Arguments** x: any shape. **Returns** the same shape."""
        is_tensor("Dropout", "x", x)
        return dropout(x, self.p, self.generator) if self.training else x

    def describe(self) -> str:
        """Its probability."""
        return f"p={self.p}"
