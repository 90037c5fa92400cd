"""Initializers, which fill a parameter in place with numbers drawn on the host.

Each function fills a tensor of shape (outputs, inputs) or of any shape, or the biases of a layer,
and returns it.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, TypeVar

from ..errors import InvalidTypeError, InvalidValueError, ShapeError, public
from ..tensor import creation
from ..tensor.conversion import DType
from ..tensor.ops import log
from ..tensor.random import Generator, given_or_default, orthonormal
from ..tensor.tensor import Tensor
from .module import Module, Parameter

__all__ = [
    "chrono_", "constant_", "kaiming_normal_", "kaiming_uniform_", "normal_", "orthogonal_",
    "uniform_", "xavier_normal_", "xavier_uniform_",
]  # fmt: skip

T = TypeVar("T", bound=Tensor)
M = TypeVar("M", bound=Module)


@public
def uniform_(x: T, low: float = 0.0, high: float = 1.0, *, generator: Generator | None = None) -> T:
    """Fills a tensor with uniform numbers in [low, high).

    >>> import tinygrad_rnn as tg
    >>> bool((abs(tg.nn.init.uniform_(tg.zeros((9,)), -0.1, 0.1)) <= 0.1).numpy().all())
    True
    """
    x.data = given_or_default(generator, "uniform_").uniform(low, high, x.shape)
    return x


def drawn(
    shape: tuple[int, ...],
    bound: float,
    device: str | None,
    dtype: DType,
    generator: Generator | None,
) -> Parameter:
    """A parameter of reals in [-bound, bound)."""
    p = Parameter(creation.zeros(shape, dtype=dtype, device=device))
    return uniform_(p, -bound, bound, generator=generator)


@public
def normal_(x: T, mean: float = 0.0, std: float = 1.0, *, generator: Generator | None = None) -> T:
    """Fills a tensor with normal numbers.

    >>> import tinygrad_rnn as tg
    >>> w = tg.nn.init.normal_(tg.zeros((100, 100)), std=0.1, generator=tg.Generator(0))
    >>> 0.09 < w.std().item() < 0.11
    True
    """
    x.data = mean + std * given_or_default(generator, "normal_").normal(x.shape)
    return x


@public
def constant_(x: T, value: float) -> T:
    """Fills a tensor with a number.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.init.constant_(tg.zeros((2,)), 0.5)
    tensor([0.5, 0.5])
    """
    x.data = creation.full(x.shape, value).data
    return x


@public
def xavier_uniform_(x: T, gain: float = 1.0, *, generator: Generator | None = None) -> T:
    """Keeps the variance of both signals and gradients (Glorot and Bengio 2010).

    >>> import tinygrad_rnn as tg
    >>> w = tg.nn.init.xavier_uniform_(tg.zeros((100, 50)), generator=tg.Generator(0))
    >>> tg.max(abs(w)).item() < (6 / 150) ** 0.5
    True
    """
    inputs, outputs = _fans(x, "xavier_uniform_")
    bound = gain * sqrt(6 / (inputs + outputs))
    return uniform_(x, -bound, bound, generator=generator)


@public
def xavier_normal_(x: T, gain: float = 1.0, *, generator: Generator | None = None) -> T:
    """As `xavier_uniform_`, with normal numbers.

    >>> import tinygrad_rnn as tg
    >>> w = tg.nn.init.xavier_normal_(tg.zeros((100, 50)), generator=tg.Generator(0))
    >>> 0.9 < w.std().item() / (2 / 150) ** 0.5 < 1.1
    True
    """
    inputs, outputs = _fans(x, "xavier_normal_")
    return normal_(x, 0.0, gain * sqrt(2 / (inputs + outputs)), generator=generator)


@public
def kaiming_uniform_(x: T, gain: float = sqrt(2), *, generator: Generator | None = None) -> T:
    """Keeps the variance of signals through layers of relu (He et al. 2015).

    >>> import tinygrad_rnn as tg
    >>> w = tg.nn.init.kaiming_uniform_(tg.zeros((100, 50)), generator=tg.Generator(0))
    >>> tg.max(abs(w)).item() < (6 / 50) ** 0.5
    True
    """
    bound = gain * sqrt(3 / _fans(x, "kaiming_uniform_")[0])
    return uniform_(x, -bound, bound, generator=generator)


@public
def kaiming_normal_(x: T, gain: float = sqrt(2), *, generator: Generator | None = None) -> T:
    """As `kaiming_uniform_`, with normal numbers.

    >>> import tinygrad_rnn as tg
    >>> w = tg.nn.init.kaiming_normal_(tg.zeros((100, 50)), generator=tg.Generator(0))
    >>> 0.9 < w.std().item() / (2 / 50) ** 0.5 < 1.1
    True
    """
    std = gain / sqrt(_fans(x, "kaiming_normal_")[0])
    return normal_(x, 0.0, std, generator=generator)


@public
def orthogonal_(x: T, gain: float = 1.0, *, generator: Generator | None = None) -> T:
    """Fills a tensor with an orthogonal matrix, which keeps a state's norm (Saxe et al. 2014).

    Of stacked gates, fill each gate's own block. More rows than columns: the columns are
    orthonormal.

    >>> import tinygrad_rnn as tg
    >>> q = tg.nn.init.orthogonal_(tg.zeros((3, 3))).numpy()
    >>> bool(abs(q @ q.T - tg.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]]).numpy()).max() < 1e-6)
    True
    """
    inputs, outputs = _fans(x, "orthogonal_")
    x.data = gain * orthonormal(given_or_default(generator, "orthogonal_"), (outputs, inputs))
    return x


@public
def chrono_(layer: M, longest: int, *, generator: Generator | None = None) -> M:
    """Chrono initialization of the gate biases of an LSTM or GRU (Tallec and Ollivier 2018).

    The initial time constants of the units are 2 to `longest` steps: a forget gate sigmoid(b) has a
    time constant of about 1 + exp(b) steps. The input gate of an LSTM gets the bias -b.

    **Arguments** layer: a layer or cell, in place. longest: steps, about as far as it must
    remember. **Raises** TypeError for a layer without such gates or without biases.

    >>> import tinygrad_rnn as tg
    >>> lstm = tg.nn.init.chrono_(tg.nn.LSTM(2, 4), 200)
    >>> share = tg.sigmoid(lstm.bias_ih_l0 + lstm.bias_hh_l0)[4:8]
    >>> bool(((share >= 0.5) & (share <= 0.995)).numpy().all())
    True
    """
    cells: list[Any] = getattr(layer, "cells", [layer])
    if not all(getattr(c, "retain_gates", None) and c.bias_ih is not None for c in cells):
        raise InvalidTypeError(
            "chrono_: expected an LSTM or a GRU with biases, or one of their cells; got "
            f"{type(layer).__name__}"
        )
    if longest < 2:
        raise InvalidValueError(f"chrono_: longest: expected at least 2 steps, got {longest}")
    for cell in cells:
        n, bias = cell.hidden_size, cell.bias_ih
        steps = creation.zeros((n,), dtype=bias.dtype, device=bias.device)
        b = log(uniform_(steps, 1, longest - 1, generator=generator)).data
        for gate, sign in cell.retain_gates.items():
            bias.data[gate * n : (gate + 1) * n] = sign * b
            if cell.bias_hh is not None:
                cell.bias_hh.data[gate * n : (gate + 1) * n] = 0
    return layer


def _fans(x: Tensor, name: str) -> tuple[int, int]:
    if x.ndim != 2 or 0 in x.shape:
        raise ShapeError(f"{name}: expected a matrix (outputs, inputs); got {list(x.shape)}")
    return x.shape[1], x.shape[0]
