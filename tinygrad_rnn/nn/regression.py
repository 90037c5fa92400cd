"""Losses of real targets: distances, and negative log-likelihoods of distributions."""

from __future__ import annotations

from math import log, pi
from typing import Any

from ..errors import InvalidValueError, ShapeError, public
from ..tensor import ops
from ..tensor.tensor import Tensor, TensorLike
from .checks import beside, flag, real
from .loss import broadcasts, like, reduce

__all__ = ["gaussian_nll_loss", "huber_loss", "l1_loss", "mse_loss", "student_t_nll_loss"]


@public
def mse_loss(prediction: Tensor, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """Mean squared error loss.

    **Arguments** prediction and target: of one shape. **Raises** ShapeError otherwise: to broadcast
    here is almost always a mistake.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.mse_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0])).item()
    2.0
    """
    target = like("mse_loss", prediction, target)
    return reduce("mse_loss", ops.square(prediction - target), reduction)


@public
def l1_loss(prediction: Tensor, target: TensorLike, *, reduction: str = "mean") -> Tensor:
    """Mean absolute error loss.

    **Arguments** and **Raises** as `mse_loss`.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.l1_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0])).item()
    1.0
    """
    target = like("l1_loss", prediction, target)
    return reduce("l1_loss", ops.abs(prediction - target), reduction)


@public
def huber_loss(
    prediction: Tensor, target: TensorLike, *, delta: float = 1.0, reduction: str = "mean"
) -> Tensor:
    """Half the squared error d up to delta, and delta (|d| - delta / 2) beyond (Huber 1964).

    **Arguments** and **Raises** as `mse_loss`; delta: above 0.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.huber_loss(tg.tensor([0.5, 3.0]), [0.0, 0.0], reduction="none")
    tensor([0.125, 2.5  ])
    """
    target = like("huber_loss", prediction, target)
    above("huber_loss", "delta", delta)
    d = prediction - target
    near = ops.clip(d, -float(delta), float(delta))
    return reduce("huber_loss", near * (d - near / 2), reduction)


@public
def gaussian_nll_loss(
    prediction: Tensor,
    target: TensorLike,
    var: TensorLike,
    *,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood loss of a normal distribution: (log var + d^2 / var) / 2.

    **Arguments** prediction: the mean; target: of the same shape; var: the variance, of the same
    shape, of one that broadcasts to it, or of that without its last axis. full: adds
    log(2 pi) / 2. eps: the least variance; the gradient ignores this limit, as PyTorch's does.
    **Raises** ShapeError; ValueError for a negative variance.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.gaussian_nll_loss(tg.tensor([0.0]), [2.0], tg.tensor([1.0])).item()
    2.0
    """
    name = "gaussian_nll_loss"
    target = like(name, prediction, target)
    above(name, "eps", eps)
    flag(name, full=full)
    var = _spread(name, "var", prediction, var)
    var = var + (ops.maximum(var, eps) - var).detach()
    losses = 0.5 * (ops.log(var) + ops.square(prediction - target) / var)
    return reduce(name, losses + 0.5 * log(2 * pi) if full else losses, reduction)


@public
def student_t_nll_loss(
    prediction: Tensor,
    target: TensorLike,
    scale: TensorLike,
    df: TensorLike,
    *,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood loss of Student's t-distribution, whose tails tolerate outliers.

    **Arguments** prediction: the location; target: of the same shape; scale: above 0; df: the
    degrees of freedom, above 0: a number or a Tensor, which can be learned. Both are of the same
    shape, of one that broadcasts to it, or of that without its last axis. **Raises** ShapeError;
    ValueError for a scale or df that is not above 0.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([0.0])
    >>> round(tg.nn.student_t_nll_loss(x, [0.0], tg.ones((1,)), 1.0).item(), 4)  # log(pi)
    1.1447
    """
    name = "student_t_nll_loss"
    target = like(name, prediction, target)
    scale = _spread(name, "scale", prediction, scale, strict=True)
    df = _spread(name, "df", prediction, df, strict=True)
    z = (prediction - target) / scale
    normalizer = 0.5 * ops.log(pi * df) - _half_step(df / 2)
    losses = (df + 1) / 2 * ops.log1p(z * z / df) + ops.log(scale) + normalizer
    return reduce(name, losses, reduction)


# The coefficients B_2k / (2k (2k - 1)) of Stirling's series.
STIRLING = (
    1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400,
)  # fmt: skip
SHIFT = 8  # from here on the series is exact to float64


def _half_step(x: Tensor) -> Tensor:
    """log Gamma(x + 1/2) - log Gamma(x) for x > 0, whose difference would cancel for a large x.

    It is the difference of two of Stirling's series at y = x + 8, (log y) / 2 and terms in 1 / y,
    and the logarithm of the product of (x + i) / (x + i + 1/2) for i below 8.
    """
    ratio = x / (x + 0.5)
    for i in range(1, SHIFT):
        ratio = ratio * ((x + i) / (x + i + 0.5))
    y = x + SHIFT
    inverse = 1 / y
    series: Any = 0.0
    for k in range(len(STIRLING), 0, -1):
        series = series * (inverse * inverse) + STIRLING[k - 1] * (2.0 ** (1 - 2 * k) - 2)
    found: Tensor = 0.5 * ops.log(y) + series * inverse + ops.log(ratio)
    return found


def above(name: str, argument: str, value: float) -> None:
    """Refuses a value that is not a finite number above 0."""
    real(name, argument, value)
    if value <= 0:
        raise InvalidValueError(f"{name}: {argument}: expected more than 0, got {value!r}")


def _spread(
    name: str, argument: str, prediction: Tensor, value: TensorLike, *, strict: bool = False
) -> Tensor:
    """A variance or the like, as a Tensor that broadcasts to the prediction."""
    found = beside(name, argument, value, prediction, "the prediction is")
    if found.shape == prediction.shape[:-1] and found.shape != prediction.shape:
        found = found.expand_dims(axis=-1)
    if not broadcasts(found.shape, prediction.shape):
        raise ShapeError(
            f"{name}: {argument}: expected a shape that broadcasts to {list(prediction.shape)}, "
            f"got {list(found.shape)}"
        )
    if found.device == "cpu":  # elsewhere it would wait for the device
        wrong = found.data <= 0 if strict else found.data < 0
        if wrong.any():
            least = "above 0" if strict else "from 0 up"
            raise InvalidValueError(
                f"{name}: {argument}: expected numbers {least}, got {found.data[wrong][0]}"
            )
    return found
