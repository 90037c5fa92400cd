"""An OpInfo for every loss of predictions and targets, as a function and as a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from .builders import chosen, module_info
from .losses_and_tagging import REDUCTIONS
from .op_info import (
    Array,
    OpInfo,
    Sample,
    Sampler,
    away_from_zero,
    broadcastable,
    positive,
    real,
    shape,
)


def _class_loss(
    d: Sampler, loss: Callable[..., Any], *, soft: bool, module: bool, **options: Sequence[Any]
) -> Sample:
    """A loss of classes; a module's class weights are constants."""
    whole, classes = shape(d, most=2, smallest=1), d.integer(1, 4)
    targets = np.array(d.reals(whole) > 0, dtype=np.int64) * (classes - 1)
    given = chosen(d, options)
    soft = soft and d.one_of([False, True])
    weight = positive(d, (classes,)) if d.one_of([False, True]) else None
    inputs = [real(d, (*whole, classes))]
    inputs += [positive(d, (*whole, classes))] if soft else []
    inputs += [weight] if weight is not None and not module else []

    def call(_: object, x: Any, *rest: Any) -> Any:
        w = weight if weight is None or module else rest[-1]
        return loss(x, rest[0] if soft else targets, weight=w, **given)

    return Sample(inputs, call)


def _linear_loss(d: Sampler) -> Sample:
    whole, features, classes = shape(d, most=2, smallest=1), d.integer(1, 3), d.integer(1, 4)
    targets = np.array(d.reals(whole) > 0, dtype=np.int64) * (classes - 1)
    options: dict[str, Any] = {
        "ignore_index": d.one_of((-100, 0)),
        "label_smoothing": d.one_of((0.0, 0.1)),
        "reduction": d.one_of(("mean", "sum")),
    }
    inputs = [real(d, s) for s in ((*whole, features), (classes, features), (classes,))]

    def call(_: object, x: Any, w: Any, b: Any = None) -> Any:
        return nn.linear_cross_entropy(x, w, targets, linear_bias=b, **options)

    return Sample(inputs[: d.integer(2, 3)], call)


def _pair_loss(
    d: Sampler,
    loss: Callable[..., Any],
    *,
    module: bool,
    parameters: int = 0,
    **options: Sequence[Any],
) -> Sample:
    """A loss of two inputs of one shape, and of positive parameters that broadcast to it."""
    whole, given = shape(d, smallest=1), chosen(d, {"reduction": REDUCTIONS, **options})
    x = real(d, whole)
    shapes = [whole, (*whole[:-1], 1)[: len(whole)]]
    inputs = [x, x + off_the_kinks(d, whole)]
    inputs += [positive(d, d.one_of(shapes)) for _ in range(parameters)]
    return Sample(inputs, lambda _, *xs: loss(*xs, **given))


def off_the_kinks(d: Sampler, shape: tuple[int, ...]) -> Array:
    """Differences at least 0.2 from 0, and 0.1 from 1 in absolute value."""
    x = away_from_zero(d, shape)
    return np.asarray(np.where(np.abs(np.abs(x) - 1) < 0.1, 1.3 * x, x))


def _binary_loss(d: Sampler, loss: Callable[..., Any], *, module: bool) -> Sample:
    """The loss of two classes; the module's factor is a constant."""
    whole, reduction = shape(d, smallest=1), d.one_of(REDUCTIONS)
    inputs = [real(d, whole), real(d, whole)]
    factor = positive(d, broadcastable(d, whole)) if d.one_of([False, True]) else None
    inputs += [factor] if factor is not None and not module else []

    def call(_: object, x: Any, t: Any, p: Any = None) -> Any:
        return loss(x, t, pos_weight=factor if module else p, reduction=reduction)

    return Sample(inputs, call)


def _activations_loss(d: Sampler, loss: Callable[..., Any]) -> Sample:
    steps, batch = d.integer(1, 4), d.integer(1, 3)
    lengths = d.one_of([None, [d.integer(0, steps) for _ in range(batch)]])
    y = real(d, (steps, batch, d.integer(1, 3)))
    return Sample([y], lambda _, y: loss(y, lengths=lengths))


def _ctc_module(d: Sampler) -> Sample:
    reduction = d.one_of(REDUCTIONS)
    x = real(d, (d.integer(2, 4), 2, 3))
    return Sample([x], lambda _, x: nn.CTCLoss(reduction=reduction)(x, [[1], [2]]))


CLASSES: dict[str, Any] = {"ignore_index": (-100, 0), "reduction": REDUCTIONS}
SMOOTHED = {**CLASSES, "label_smoothing": (0.0, 0.1)}
BOTH: list[tuple[str, str, Callable[..., Sample], dict[str, Any]]] = [
    ("cross_entropy", "CrossEntropyLoss", _class_loss, {"soft": True, **SMOOTHED}),
    ("nll_loss", "NLLLoss", _class_loss, {"soft": False, **CLASSES}),
    ("mse_loss", "MSELoss", _pair_loss, {}),
    ("l1_loss", "L1Loss", _pair_loss, {}),
    ("huber_loss", "HuberLoss", _pair_loss, {"delta": (1.0,)}),
    ("gaussian_nll_loss", "GaussianNLLLoss", _pair_loss, {"parameters": 1, "full": (False, True)}),
    ("student_t_nll_loss", "StudentTNLLLoss", _pair_loss, {"parameters": 2}),
    ("binary_cross_entropy_with_logits", "BCEWithLogitsLoss", _binary_loss, {}),
]


def _both(
    name: str, kind: str, build: Callable[..., Sample], options: dict[str, Any]
) -> list[OpInfo]:
    """A loss as a function and as a module, whose factors of classes are constants."""
    built = getattr(nn, kind)
    calls = {name: getattr(nn, name), kind: lambda *xs, **given: built(**given)(*xs)}
    return [
        module_info(shown, build, call, kind="loss", module=shown == kind, **options)
        for shown, call in calls.items()
    ]


REGULARIZATIONS = nn.activation_regularization, nn.temporal_activation_regularization

LOSSES = [
    *(info for row in BOTH for info in _both(*row)),
    module_info("linear_cross_entropy", _linear_loss, kind="loss"),
    module_info("CTCLoss", _ctc_module, kind="loss"),
    *(module_info(f.__name__, _activations_loss, f, kind="loss") for f in REGULARIZATIONS),
]
