"""An OpInfo for every cell, layer and loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..tensor.random import Generator
from .builders import called, chosen, module_info
from .losses import LOSSES
from .losses_and_tagging import LOSSES_AND_TAGGING
from .op_info import Sample, Sampler, away_from_zero, distinct, real, shape
from .recurrent import RECURRENT


def _linear(d: Sampler) -> Sample:
    features = d.integer(1, 4)
    x = real(d, (*shape(d, most=2), features))
    return called(nn.Linear(features, 2, dtype="float64"), x)


def _layer_norm(d: Sampler) -> Sample:
    features = d.integer(2, 4)  # of one feature nothing is left
    module = nn.LayerNorm(features, dtype="float64")
    x = distinct(d, (d.integer(1, 3), features))
    return called(module, x)


def _batch_norm(d: Sampler) -> Sample:
    features = d.integer(1, 3)
    module = nn.BatchNorm1d(
        features, affine=d.one_of([True, False]), track_running_stats=d.one_of([True, False]),
        dtype="float64",
    ).train(d.one_of([True, False]))  # fmt: skip
    x = distinct(d, (d.integer(2, 3), features, *([2] if d.one_of([True, False]) else [])))
    return called(module, x)


def _convolution(d: Sampler, layer: Callable[..., Any], axes: int) -> Sample:
    groups, channels, outputs = (d.integer(1, 2) for _ in range(3))
    module = layer(
        groups * channels, groups * outputs, d.integer(1, 3), d.integer(1, 2), d.integer(0, 1),
        groups=groups, bias=d.one_of([True, False]), dtype="float64",
    )  # fmt: skip
    space = [d.integer(3, 5) for _ in range(axes)]
    batch = [d.integer(1, 2)] if d.one_of([True, False]) else []
    return called(module, real(d, (*batch, groups * channels, *space)))


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

    def call(_: object, x: Any) -> Any:
        generator.state = masks
        return x * module(np.maximum(ids, frozen))

    return Sample([real(d, (1,))], call, module)


def _dropout(d: Sampler) -> Sample:
    generator = Generator(d.integer(0, 9))
    x = real(d, shape(d))
    axis = d.one_of([None, 0]) if x.ndim else None
    module = nn.Dropout(d.one_of([0.0, 0.5]), shared_axis=axis, generator=generator)
    masks = generator.state

    def call(_: object, x: Any) -> Any:
        generator.state = masks
        return module(x)

    return Sample([x], call)


def _activation(d: Sampler, layer: Callable[..., Any], **options: Sequence[Any]) -> Sample:
    return called(layer(**chosen(d, options)), away_from_zero(d, shape(d)))


def _flatten(d: Sampler) -> Sample:
    x = real(d, shape(d, least=1))
    start = d.integer(0, x.ndim - 1)
    return called(nn.Flatten(start, d.integer(start, x.ndim - 1)), x)


ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.Identity)

MODULES = [
    *RECURRENT,
    module_info("Linear", _linear),
    module_info("LayerNorm", _layer_norm),
    module_info("BatchNorm1d", _batch_norm),
    module_info("Conv1d", _convolution, nn.Conv1d, 1),
    module_info("Conv2d", _convolution, nn.Conv2d, 2),
    module_info("Embedding", _embedding),
    module_info("Dropout", _dropout),
    *(module_info(layer.__name__, _activation, layer) for layer in ACTIVATIONS),
    module_info("GELU", _activation, nn.GELU, approximate=("none", "tanh")),
    module_info("Flatten", _flatten),
    *LOSSES,
    *LOSSES_AND_TAGGING,
]
