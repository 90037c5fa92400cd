"""Losses: functions of predictions and targets, each with its reduction."""

from __future__ import annotations

from math import inf
from types import ModuleType
from typing import Any

from ..errors import InvalidValueError, OutOfRangeError, ShapeError, public
from ..loops.scan import Lengths
from ..tensor import creation, ops
from ..tensor.operation import Op
from ..tensor.ops.indexing import in_table
from ..tensor.shapes import integer
from ..tensor.tensor import Tensor, TensorLike
from .checks import beside, dtype_as, features_last, input_of, is_tensor, not_complex
from .lengths import lengths_of, within_rows

__all__ = [
    "activation_regularization", "binary_cross_entropy_with_logits", "cross_entropy",
    "linear_cross_entropy", "nll_loss", "temporal_activation_regularization",
]  # fmt: skip


def reduce(name: str, losses: Tensor, reduction: str, count: Tensor | None = None) -> Tensor:
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
    targets: TensorLike,
    *,
    weight: TensorLike | None = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy loss: -log softmax(logits)[target], in nats.

    **Arguments** logits: (..., C), classes on the last axis. targets: (...) integers below C, or
    (..., C) reals, the probabilities of the classes. weight: (C,) factors of the classes; the mean
    over integer targets is then the weighted one. ignore_index: an integer target that does not
    count: its loss and the gradient of its row are 0, whatever the row holds, NaN and infinities
    among it. label_smoothing: the part of each target probability that is spread over all classes.
    reduction: `mean` over the targets that count (0 if none does), `sum` or `none`. **Returns** a
    scalar, or (...) for `none`. **Raises** ShapeError, IndexError naming a target outside the
    classes.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.cross_entropy(tg.zeros((3, 4)), [0, 1, 2]).item(), 4)
    1.3863
    """
    name = "cross_entropy"
    is_tensor(name, "logits", logits)
    given, targets = targets, creation.as_tensor(targets, device=logits.device)
    label_smoothing = share(name, label_smoothing)
    weights = None if weight is None else _class_weights(name, logits, weight)
    if targets.dtype.kind == "f" and targets.shape == logits.shape and logits.ndim:
        targets = beside(name, "targets", given, logits, "the logits are")
        losses = _soft_cross_entropy(logits, targets, weights, label_smoothing)
        return reduce(name, losses, reduction)
    targets, counts = _targets(name, "logits", logits, None, targets, ignore_index)
    if weights is None:
        losses = ops.softmax_cross_entropy(logits, targets, counts, smoothing=label_smoothing)
        return _counted(name, losses, counts, reduction)
    factors = ops.take(weights, targets, axis=0)
    losses = ops.softmax_cross_entropy(logits, targets, counts, smoothing=0.0) * factors
    if label_smoothing:
        x = logits if counts is None else ops.where(counts.expand_dims(axis=-1), logits, 0)
        spread = -ops.mean(ops.log_softmax(x, axis=-1) * weights, axis=-1)
        losses = (1 - label_smoothing) * losses + label_smoothing * spread
    return _counted(name, losses, counts, reduction, factors)


def _soft_cross_entropy(
    logits: Tensor, probabilities: Tensor, weights: Tensor | None, smoothing: float
) -> Tensor:
    """The cross-entropy of each row with a distribution over the classes."""
    p = probabilities
    if smoothing:
        p = (1 - smoothing) * p + smoothing / logits.shape[-1]
    logs = ops.log_softmax(logits, axis=-1)
    impossible = (p == 0) & (logs == -inf)
    terms = p * ops.where(impossible, 0, logs)
    return -ops.sum(terms if weights is None else terms * weights, axis=-1)


def _class_weights(name: str, scores: Tensor, weight: TensorLike) -> Tensor:
    """Checks the factors of the classes. **Returns** them in the dtype of the scores."""
    weights = creation.as_tensor(weight, device=scores.device)
    if weights.shape != scores.shape[-1:] or weights.dtype.kind not in "fiu":
        raise ShapeError(
            f"{name}: weight: expected {list(scores.shape[-1:])} reals, one for each class; got "
            f"{weights.dtype} {list(weights.shape)}"
        )
    return _factors(scores, weights)


def _factors(scores: Tensor, factors: Tensor) -> Tensor:
    """Factors in the dtype of the scores, if that is of reals."""
    return factors.astype(scores.dtype) if scores.dtype.kind == "f" else factors


@public
def linear_cross_entropy(
    x: Tensor,
    linear_weight: Tensor,
    targets: TensorLike,
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
    if linear_weight.ndim != 2:
        raise ShapeError(f"{name}: linear_weight: expected (C, I), got {list(linear_weight.shape)}")
    classes, features = linear_weight.shape
    if linear_bias is not None:
        is_tensor(name, "linear_bias", linear_bias)
        if linear_bias.shape != (classes,):
            raise ShapeError(
                f"{name}: linear_bias: expected ({classes},), got {list(linear_bias.shape)}"
            )
        dtype_as(name, "linear_bias", linear_bias, linear_weight.dtype, "linear_weight is")
    x = input_of(name, "x", x, linear_weight)
    features_last(name, x, features)
    targets, counts = _targets(name, "x", x, classes, targets, ignore_index)
    label_smoothing = share(name, label_smoothing)
    if counts is None:
        each = 1 / max(1, targets.size) if reduction == "mean" else 1.0
        weights = creation.full(targets.shape, each, dtype=linear_weight.dtype, device=x.device)
    else:
        x = ops.where(counts.expand_dims(axis=-1), x, 0)
        weights = counts.astype(linear_weight.dtype)
        if reduction == "mean":
            weights = weights / ops.maximum(weights.sum(), 1)
    return ops.linear_softmax_cross_entropy(
        x.reshape(-1, features), linear_weight, targets.reshape(-1), weights.reshape(-1),
        linear_bias, smoothing=label_smoothing,
    )  # fmt: skip


@public
def nll_loss(
    log_probs: Tensor,
    targets: TensorLike,
    *,
    weight: TensorLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """Negative log-likelihood loss: -log_probs[target].

    **Arguments**, **Returns**, **Raises** as `cross_entropy` with integer targets.

    >>> import tinygrad_rnn as tg
    >>> round(tg.nn.nll_loss(tg.log_softmax(tg.zeros((1, 2))), [1]).item(), 4)
    0.6931
    """
    name = "nll_loss"
    targets, counts = _targets(name, "log_probs", log_probs, None, targets, ignore_index)
    flat, classes = targets.reshape(-1), log_probs.shape[-1]
    rows = creation.arange(flat.size, device=flat.device)
    losses: Tensor = -log_probs.reshape(-1, classes)[rows, flat].reshape(targets.shape)
    if weight is None:
        return _counted(name, losses, counts, reduction)
    factors = ops.take(_class_weights(name, log_probs, weight), targets, axis=0)
    return _counted(name, losses * factors, counts, reduction, factors)


@public
def binary_cross_entropy_with_logits(
    logits: Tensor,
    target: TensorLike,
    *,
    pos_weight: TensorLike | None = None,
    reduction: str = "mean",
) -> Tensor:
    """-t log sigmoid(x) - (1 - t) log(1 - sigmoid(x)), in nats, without overflow.

    **Arguments** logits x and target t, from 0 to 1: of one shape. pos_weight: a factor of the
    first term, which broadcasts to that shape: above 1, it counts missed positives for more.
    **Raises** ShapeError otherwise.

    >>> import tinygrad_rnn as tg
    >>> loss = tg.nn.binary_cross_entropy_with_logits(tg.tensor([100.0]), tg.tensor([1.0]))
    >>> loss.item() < 1e-40
    True
    """
    name = "binary_cross_entropy_with_logits"
    target = like(name, logits, target, "logits")
    if pos_weight is None:
        return reduce(name, _binary_cross_entropy(logits, target), reduction)
    factor = _factors(logits, creation.as_tensor(pos_weight, device=logits.device))
    if not broadcasts(factor.shape, logits.shape):
        raise ShapeError(
            f"{name}: pos_weight: expected a shape that broadcasts to {list(logits.shape)}, got "
            f"{list(factor.shape)}"
        )
    losses: Tensor = _weighted_binary_cross_entropy(logits, target, factor)
    return reduce(name, losses, reduction)


def _binary_forward(xp: ModuleType, x: Any, t: Any) -> Any:
    """softplus(x) - x t, as softplus(-|x|) + x ((x > 0) - t): 0 where an infinite x is right."""
    off = (x > 0) - t
    return xp.log1p(xp.exp(-xp.abs(x))) + xp.where(off == 0, 0, x) * off


_binary_cross_entropy = Op("binary_cross_entropy_with_logits", _binary_forward).vjp(
    x=lambda g, x, t: g * (ops.sigmoid(x) - t), t=lambda g, x: -g * x
)


def _weighted_forward(xp: ModuleType, x: Any, t: Any, p: Any) -> Any:
    """t p softplus(-x) + (1 - t) softplus(x); a term whose factor is 0 counts 0."""
    log_part = xp.log1p(xp.exp(-xp.abs(x)))
    missed, wrong = log_part + xp.maximum(-x, 0), log_part + xp.maximum(x, 0)
    one, other = t * p, 1 - t
    return one * xp.where(one == 0, 0, missed) + other * xp.where(other == 0, 0, wrong)


_weighted_binary_cross_entropy = Op("binary_cross_entropy_with_logits", _weighted_forward).vjp(
    x=lambda g, x, t, p: g * ((1 - t) * ops.sigmoid(x) - t * p * ops.sigmoid(-x)),
    t=lambda g, x, p: g * (p * ops.softplus(-x) - ops.softplus(x)),
    p=lambda g, x, t: g * t * ops.softplus(-x),
)


# ---------------------------------------------------------------- of what a layer gives


@public
def activation_regularization(y: Tensor, *, lengths: Lengths = None) -> Tensor:
    """AR: the mean square of a layer's outputs, to be added to a loss (Merity et al. 2017).

    **Arguments** y: (T, B, H), after dropout. lengths: (B,) valid steps of each row; T, if None.
    **Returns** a scalar.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.activation_regularization(tg.tensor([[[1.0, 3.0]]])).item()
    5.0
    """
    return _mean_square("activation_regularization", y, lengths, 0)


@public
def temporal_activation_regularization(y: Tensor, *, lengths: Lengths = None) -> Tensor:
    """TAR: the mean square of how outputs change from step to step (Merity et al. 2017).

    **Arguments** y: (T, B, H), before dropout. lengths: (B,) valid steps of each row; T, if None.
    **Returns** a scalar, 0 where no row has two steps.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.temporal_activation_regularization(tg.tensor([[[1.0]], [[3.0]]])).item()
    4.0
    """
    return _mean_square("temporal_activation_regularization", y, lengths, 1)


def _mean_square(name: str, y: Tensor, lengths: Lengths, differences: int) -> Tensor:
    """The mean square of valid outputs, or of their differences in time."""
    is_tensor(name, "y", y)
    if y.ndim != 3 or 0 in y.shape:
        raise ShapeError(f"{name}: y: expected (T, B, H), none empty; got {list(y.shape)}")
    steps, batch, features = y.shape
    valid = lengths_of(name, "lengths", lengths, batch, steps).to(y.device)
    counts = within_rows(y, valid)
    y = ops.where(counts.expand_dims(axis=-1), y, 0)
    if differences:
        counts = counts[1:]
        y = ops.where(counts.expand_dims(axis=-1), y[1:] - y[:-1], 0)
    return ops.square(y).sum() / (ops.maximum(counts.sum(), 1) * features)


# ---------------------------------------------------------------- what comes in


def broadcasts(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    """Whether a shape broadcasts to another."""
    lengths = zip(reversed(shape), reversed(whole), strict=False)
    return len(shape) <= len(whole) and all(n in (1, m) for n, m in lengths)


def like(name: str, prediction: Tensor, target: TensorLike, argument: str = "prediction") -> Tensor:
    """Checks that a target has the shape of a prediction. **Returns** it as a Tensor.

    Integers, booleans and arrays of reals take the dtype of the prediction, as inputs take that of
    the weights; Tensors of wider reals are refused.

    **Arguments** argument: the name of the prediction.
    """
    is_tensor(name, argument, prediction)
    not_complex(name, argument, prediction)
    found = beside(name, "target", target, prediction, f"the {argument} is")
    if found.shape != prediction.shape:
        raise ShapeError(
            f"{name}: expected {argument} and target of one shape; got {list(prediction.shape)} "
            f"and {list(found.shape)}"
            + (f": target.reshape({argument}.shape)" if found.size == prediction.size else "")
        )
    return found


def share(name: str, label_smoothing: float) -> float:
    """Checks label_smoothing. **Returns** a Python float, which takes the dtype of the logits."""
    try:
        found = float(label_smoothing)
    except (TypeError, ValueError, OverflowError):
        found = -1.0
    if not 0 <= found <= 1 or isinstance(label_smoothing, bool):
        raise InvalidValueError(f"{name}: label_smoothing {label_smoothing!r} is not in [0, 1]")
    return found


def _targets(
    name: str,
    argument: str,
    scores: Tensor,
    classes: int | None,
    targets: TensorLike,
    ignore_index: int,
) -> tuple[Tensor, Any]:
    """Targets in which the ignored are 0, and which count; None, if all do.

    Those on the host are checked there, before they go to the device of the scores.

    **Arguments** scores: (..., C), or of so many classes what scores will be made of; argument: its
    name.
    """
    is_tensor(name, argument, scores)
    ignore_index = integer(ignore_index, f"{name}: ignore_index")
    targets = creation.as_tensor(targets)
    if targets.dtype.kind not in "iu" or scores.ndim == 0 or targets.shape != scores.shape[:-1]:
        last = "classes" if classes is None else "features"
        raise ShapeError(
            f"{name}: expected integer targets of shape {list(scores.shape[:-1])} for "
            f"{list(scores.shape)}, {last} last; got {targets.dtype} {list(targets.shape)}"
            + _classes_second(scores, targets)
            + (": targets.astype(int)" if targets.shape == scores.shape[:-1] else "")
        )
    classes = scores.shape[-1] if classes is None else classes
    ignored = targets == ignore_index
    if targets.device == "cpu":
        wrong = ~ignored.data & ((targets.data < 0) | (targets.data >= classes))
        if wrong.any():
            raise OutOfRangeError(
                f"{name}: target {targets.data[wrong][0]} is outside the {classes} classes"
            )
        if not ignored.data.any():
            return targets if scores.device == "cpu" else targets.to(scores.device), None
        kept = ops.where(ignored, 0, targets)
    else:
        kept = in_table(f"{name}: target")(ops.where(ignored, 0, targets), rows=classes)
    return kept.to(scores.device), (~ignored).to(scores.device)


def _classes_second(scores: Tensor, targets: Tensor) -> str:
    """A remedy for scores (N, C, ...), PyTorch's order."""
    pytorchs = scores.ndim > 2 and targets.shape == (scores.shape[0], *scores.shape[2:])
    return ": PyTorch has them second: logits.moveaxis(1, -1)" if pytorchs else ""


def _counted(
    name: str, losses: Tensor, counts: Tensor, reduction: str, weights: Tensor | None = None
) -> Tensor:
    """Reduces the losses that count; the mean is weighted, if there are weights."""
    if counts is not None:
        losses = ops.where(counts, losses, 0)
        weights = counts if weights is None else ops.where(counts, weights, 0)
    if weights is None:
        return reduce(name, losses, reduction)
    total = weights.sum().astype(losses.dtype)
    return reduce(name, losses, reduction, ops.where(total == 0, 1, total))
