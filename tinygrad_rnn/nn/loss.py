"""Losses: functions of predictions and targets, each with its reduction."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidValueError, OutOfRangeError, ShapeError, public
from ..tensor import creation, ops
from ..tensor.graph import Op
from ..tensor.ops.indexing import in_table
from ..tensor.tensor import Tensor
from .checks import features_last, is_tensor, lengths_of


def reduce(name: str, losses: Tensor, reduction: str, count: Any = None) -> Tensor:
    """The mean (over count, if given; 0 over nothing), the sum, or all of them."""
    if reduction == "none":
        return losses
    if reduction not in ("mean", "sum"):
        raise InvalidValueError(f"{name}: reduction: expected mean, sum or none, got {reduction!r}")
    total = losses.sum()
    return (
        total if reduction == "sum" else total / (max(losses.size, 1) if count is None else count)
    )


@public
def cross_entropy(
    logits: Tensor,
    targets: Any,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy loss: -log softmax(logits)[target], in nats.

    **Arguments** logits: (..., C), classes on the last axis. targets: (...) integers below C.
    ignore_index: a target that does not count: its loss and the gradient of its row are 0, whatever
    the row holds, NaN and infinities among it. label_smoothing: the part of each target probability
    that is spread over all classes. reduction: `mean` over the targets that count (0 if none does),
    `sum` or `none`. **Returns** a scalar, or (...) for `none`. **Raises** ShapeError, IndexError
    naming a target outside the classes.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.cross_entropy(tg.zeros((3, 4)), [0, 1, 2]).item(), 4)
    1.3863
    """
    targets, counts = _targets("cross_entropy", logits, None, targets, ignore_index)
    label_smoothing = _share("cross_entropy", label_smoothing)
    losses = ops.softmax_cross_entropy(logits, targets, counts, smoothing=label_smoothing)
    return _counted("cross_entropy", losses, counts, reduction)


@public
def linear_cross_entropy(
    x: Tensor,
    linear_weight: Tensor,
    targets: Any,
    *,
    linear_bias: Tensor | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """`cross_entropy` of x linear_weight' + linear_bias, whose logits are never all in memory.

    For a large vocabulary: computes the logits chunk by chunk, and the gradients with them. A
    single backward pass recomputes nothing.

    **Arguments** x: (..., I); linear_weight: (C, I); targets: (...) integers below C; linear_bias:
    (C,), or None; the others as `cross_entropy` takes them. reduction: `mean` or `sum`.
    **Returns** a scalar. **Raises** as `cross_entropy`.

    >>> import tinygrad_rnn as tg
    >>> head = tg.nn.Linear(8, 50_000)
    >>> x, targets = tg.randn(20, 4, 8), tg.zeros((20, 4), dtype="int64")
    >>> loss = tg.nn.linear_cross_entropy(x, head.weight, targets, linear_bias=head.bias)
    >>> loss.shape
    ()
    """
    name = "linear_cross_entropy"
    is_tensor(name, "x", x)
    is_tensor(name, "linear_weight", linear_weight)
    if reduction not in ("mean", "sum"):
        raise InvalidValueError(
            f"{name}: reduction: expected mean or sum, got {reduction!r}: for single losses take "
            "cross_entropy(linear(x, weight, bias), targets)"
        )
    classes, features = linear_weight.shape
    features_last(name, x, features)
    targets, counts = _targets(name, x, classes, targets, ignore_index)
    label_smoothing = _share(name, label_smoothing)
    if counts is None:
        weights = creation.ones(targets.shape, dtype=x.dtype, device=x.device)
    else:
        x, weights = ops.where(counts.expand_dims(axis=-1), x, 0), counts.astype(x.dtype)
    if reduction == "mean":
        weights = weights / ops.maximum(weights.sum(), 1)
    return ops.linear_softmax_cross_entropy(
        x.reshape(-1, features), linear_weight, targets.reshape(-1), weights.reshape(-1),
        linear_bias, smoothing=label_smoothing,
    )  # fmt: skip


@public
def nll_loss(
    log_probs: Tensor, targets: Any, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """Negative log-likelihood loss: -log_probs[target].

    **Arguments**, **Returns**, **Raises** as `cross_entropy`.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.nll_loss(tg.log_softmax(tg.zeros((1, 2))), [1]).item(), 4)
    0.6931
    """
    targets, counts = _targets("nll_loss", log_probs, None, targets, ignore_index)
    flat, classes = targets.reshape(-1), log_probs.shape[-1]
    rows = creation.arange(flat.size, device=flat.device)
    losses: Tensor = -log_probs.reshape(-1, classes)[rows, flat].reshape(targets.shape)
    return _counted("nll_loss", losses, counts, reduction)


@public
def mse_loss(prediction: Tensor, target: Any, *, reduction: str = "mean") -> Tensor:
    """Mean squared error loss.

    **Arguments** prediction and target: of one shape. **Raises** ShapeError otherwise: to broadcast
    here is almost always a mistake.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.mse_loss(tg.tensor([1.0, 2.0]), tg.tensor([1.0, 4.0])).item()
    2.0
    """
    target = _like("mse_loss", prediction, target)
    return reduce("mse_loss", ops.square(prediction - target), reduction)


@public
def binary_cross_entropy_with_logits(
    logits: Tensor, target: Any, *, reduction: str = "mean"
) -> Tensor:
    """-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), in nats, without overflow.

    **Arguments** logits x and target t, from 0 to 1: of one shape. **Raises** ShapeError otherwise.

    >>> import tinygrad_rnn as tg
    >>> loss = tg.nn.binary_cross_entropy_with_logits(tg.tensor([100.0]), tg.tensor([1.0]))
    >>> loss.item() < 1e-40
    True
    """
    name = "binary_cross_entropy_with_logits"
    target = _like(name, logits, target)
    return reduce(name, _binary_cross_entropy(logits, target), reduction)


def _binary_forward(xp: Any, x: Any, t: Any) -> Any:
    """softplus(x) - x t, as softplus(-|x|) + x ((x > 0) - t): 0 where an infinite x is right."""
    off = (x > 0) - t
    return xp.log1p(xp.exp(-xp.abs(x))) + xp.where(off == 0, 0, x) * off


_binary_cross_entropy = Op("binary_cross_entropy_with_logits", _binary_forward).vjp(
    x=lambda g, x, t: g * (ops.sigmoid(x) - t), t=lambda g, x: -g * x
)


# ---------------------------------------------------------------- of what a layer gives


@public
def activation_regularization(y: Tensor, *, lengths: Any = None) -> Tensor:
    """AR: the mean square of a layer's outputs, to be added to a loss (Merity et al. 2017).

    **Arguments** y: (T, B, H), after dropout. lengths: (B,) valid steps of each row; T, if None.
    **Returns** a scalar.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.activation_regularization(tg.tensor([[[1.0, 3.0]]])).item()
    5.0
    """
    return _mean_square("activation_regularization", y, lengths, 0)


@public
def temporal_activation_regularization(y: Tensor, *, lengths: Any = None) -> Tensor:
    """TAR: the mean square of how outputs change from step to step (Merity et al. 2017).

    **Arguments** y: (T, B, H), before dropout. lengths: (B,) valid steps of each row; T, if None.
    **Returns** a scalar, 0 where no row has two steps.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.temporal_activation_regularization(tg.tensor([[[1.0]], [[3.0]]])).item()
    4.0
    """
    return _mean_square("temporal_activation_regularization", y, lengths, 1)


def _mean_square(name: str, y: Tensor, lengths: Any, differences: int) -> Tensor:
    """The mean square of valid outputs, or of their differences in time."""
    is_tensor(name, "y", y)
    if y.ndim != 3 or 0 in y.shape:
        raise ShapeError(f"{name}: y: expected (T, B, H), none empty; got {list(y.shape)}")
    steps, batch, features = y.shape
    valid = lengths_of(name, "lengths", lengths, batch, steps).to(y.device)
    times = creation.arange(steps, device=y.device).expand_dims(axis=1)
    y = ops.where((times < valid).expand_dims(axis=-1), y, 0)
    if differences:
        counts = times[1:] < valid
        y = ops.where(counts.expand_dims(axis=-1), y[1:] - y[:-1], 0)
    else:
        counts = times < valid
    return ops.square(y).sum() / (ops.maximum(counts.sum(), 1) * features)


# ---------------------------------------------------------------- what comes in


def _like(name: str, prediction: Any, target: Any) -> Tensor:
    is_tensor(name, "prediction", prediction)
    like = creation.as_tensor(target, device=prediction.device)
    if like.shape != prediction.shape:
        raise ShapeError(
            f"{name}: expected prediction and target of one shape; got {list(prediction.shape)} "
            f"and {list(like.shape)}"
        )
    return like


def _share(name: str, label_smoothing: Any) -> float:
    """Checks label_smoothing. **Returns** a Python float, which takes the dtype of the logits."""
    share = float(label_smoothing)
    if not 0 <= share <= 1:
        raise InvalidValueError(f"{name}: label_smoothing {label_smoothing} is not in [0, 1]")
    return share


def _targets(
    name: str, scores: Any, classes: int | None, targets: Any, ignore_index: int
) -> tuple[Tensor, Any]:
    """Targets in which the ignored are 0, and which count; None, if all do.

    **Arguments** scores: (..., C), or of so many classes what scores will be made of.
    """
    is_tensor(name, "the first argument", scores)
    targets = creation.as_tensor(targets, device=scores.device)
    if targets.dtype.kind not in "iu" or scores.ndim == 0 or targets.shape != scores.shape[:-1]:
        last = "classes" if classes is None else "features"
        raise ShapeError(
            f"{name}: expected integer targets of shape {list(scores.shape[:-1])} for "
            f"{list(scores.shape)}, {last} last; got {targets.dtype} {list(targets.shape)}"
        )
    classes = scores.shape[-1] if classes is None else classes
    ignored = targets == ignore_index
    if scores.device == "cpu":
        wrong = ~ignored.data & ((targets.data < 0) | (targets.data >= classes))
        if wrong.any():
            raise OutOfRangeError(
                f"{name}: target {targets.data[wrong][0]} is outside the {classes} classes"
            )
        if not ignored.data.any():
            return targets, None
        return ops.where(ignored, 0, targets), ~ignored
    return in_table(f"{name}: target")(ops.where(ignored, 0, targets), rows=classes), ~ignored


def _counted(name: str, losses: Tensor, counts: Any, reduction: str) -> Tensor:
    if counts is None:
        return reduce(name, losses, reduction)
    total = ops.maximum(counts.sum(), 1).astype(losses.dtype)
    return reduce(name, ops.where(counts, losses, 0), reduction, total)
