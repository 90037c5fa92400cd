"""An OpInfo for every cell, layer and loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..tensor.random import Generator
from .builders import module_info
from .losses_and_tagging import LOSSES_AND_TAGGING
from .op_info import Sample, Sampler, distinct, real, shape
from .recurrent import RECURRENT


def _simple(d: Sampler, build: Callable[[int], Any]) -> Sample:
    features = d.integer(1, 4)
    module = build(features)
    return Sample([real(d, (*shape(d, most=2), features))], lambda _, x: module(x), module)


def _layer_norm(d: Sampler) -> Sample:
    features = d.integer(2, 4)  # of one feature nothing is left
    module = nn.LayerNorm(features, dtype="float64")
    x = distinct(d, (d.integer(1, 3), features))
    return Sample([x], lambda _, x: module(x), module)


def _embedding(d: Sampler) -> Sample:
    symbols = d.integer(2, 4)
    padding = d.one_of([None, 0])
    generator = Generator(d.integer(0, 9))
    module = nn.Embedding(
        symbols, d.integer(1, 3), padding, dtype="float64",
        dropout=d.one_of([0.0, 0.4]), generator=generator,
    )  # fmt: skip
    masks = generator.state
    ids = np.array([[d.integer(0, symbols - 1)] * 2, [0, d.integer(0, symbols - 1)]])
    frozen = 0 if padding is None else 1  # finite differences would move the padding's vector

    def call(_: Any, x: Any) -> Any:
        generator.state = masks
        return x * module(np.maximum(ids, frozen))

    return Sample([real(d, (1,))], call, module)


def _dropout(d: Sampler) -> Sample:
    generator = Generator(d.integer(0, 9))
    x = real(d, shape(d))
    axis = d.one_of([None, 0]) if x.ndim else None
    module = nn.Dropout(d.one_of([0.0, 0.5]), shared_axis=axis, generator=generator)
    masks = generator.state

    def call(_: Any, x: Any) -> Any:
        generator.state = masks
        return module(x)

    return Sample([x], call)


def _class_loss(d: Sampler, loss: Callable[..., Any], **options: Sequence[Any]) -> Sample:
    whole, classes = shape(d, most=2, smallest=1), d.integer(1, 4)
    targets = np.array(d.reals(whole) > 0, dtype=np.int64) * (classes - 1)
    chosen = {name: d.one_of(values) for name, values in options.items()}
    return Sample([real(d, (*whole, classes))], lambda _, x: loss(x, targets, **chosen))


def _linear_loss(d: Sampler) -> Sample:
    whole, features, classes = shape(d, most=2, smallest=1), d.integer(1, 3), d.integer(1, 4)
    targets = np.array(d.reals(whole) > 0, dtype=np.int64) * (classes - 1)
    options: dict[str, Any] = {
        "ignore_index": d.one_of((-100, 0)),
        "label_smoothing": d.one_of((0.0, 0.1)),
        "reduction": d.one_of(("mean", "sum")),
    }
    inputs = [real(d, s) for s in ((*whole, features), (classes, features), (classes,))]

    def call(_: Any, x: Any, w: Any, b: Any = None) -> Any:
        return nn.linear_cross_entropy(x, w, targets, linear_bias=b, **options)

    return Sample(inputs[: d.integer(2, 3)], call)


def _pair_loss(d: Sampler, loss: Callable[..., Any]) -> Sample:
    whole = shape(d, smallest=1)
    reduction = d.one_of(["mean", "sum", "none"])
    inputs = [real(d, whole), real(d, whole)]
    return Sample(inputs, lambda _, x, t: loss(x, t, reduction=reduction))


def _activations_loss(d: Sampler, loss: Callable[..., Any]) -> Sample:
    steps, batch = d.integer(1, 4), d.integer(1, 3)
    lengths = d.one_of([None, [d.integer(0, steps) for _ in range(batch)]])
    y = real(d, (steps, batch, d.integer(1, 3)))
    return Sample([y], lambda _, y: loss(y, lengths=lengths))


REDUCTIONS = ("mean", "sum", "none")

MODULES = [
    *RECURRENT,
    module_info(
        "layer", lambda d: _simple(d, lambda n: nn.Linear(n, 2, dtype="float64")), "Linear"
    ),
    module_info("layer", _layer_norm, "LayerNorm"),
    module_info("layer", _embedding, "Embedding"),
    module_info("layer", _dropout, "Dropout"),
    module_info(
        "loss",
        lambda d: _class_loss(
            d,
            nn.cross_entropy,
            ignore_index=(-100, 0),
            label_smoothing=(0.0, 0.1),
            reduction=REDUCTIONS,
        ),
        "cross_entropy",
    ),
    module_info("loss", _linear_loss, "linear_cross_entropy"),
    module_info(
        "loss",
        lambda d: _class_loss(d, nn.nll_loss, ignore_index=(-100, 0), reduction=REDUCTIONS),
        "nll_loss",
    ),
    module_info("loss", lambda d: _pair_loss(d, nn.mse_loss), "mse_loss"),
    *(
        module_info(
            "loss",
            lambda d, f=f: _activations_loss(d, f),  # type: ignore[misc]
            f.__name__,
        )
        for f in (nn.activation_regularization, nn.temporal_activation_regularization)
    ),
    module_info(
        "loss",
        lambda d: _pair_loss(d, nn.binary_cross_entropy_with_logits),
        "binary_cross_entropy_with_logits",
    ),
    *LOSSES_AND_TAGGING,
]
