"""An OpInfo for every cell, layer and loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import nn
from ..tensor.random import Generator
from .builders import module_info
from .losses import LOSSES
from .losses_and_tagging import LOSSES_AND_TAGGING
from .op_info import Sample, Sampler, away_from_zero, distinct, real, shape
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


def _activation(d: Sampler, layer: Callable[..., Any], **options: Sequence[Any]) -> Sample:
    module = layer(**{name: d.one_of(values) for name, values in options.items()})
    return Sample([away_from_zero(d, shape(d))], lambda _, x: module(x))


def _flatten(d: Sampler) -> Sample:
    x = real(d, shape(d, least=1))
    start = d.integer(0, x.ndim - 1)
    module = nn.Flatten(start, d.integer(start, x.ndim - 1))
    return Sample([x], lambda _, x: module(x))


ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.Identity)

MODULES = [
    *RECURRENT,
    module_info(
        "layer", lambda d: _simple(d, lambda n: nn.Linear(n, 2, dtype="float64")), "Linear"
    ),
    module_info("layer", _layer_norm, "LayerNorm"),
    module_info("layer", _embedding, "Embedding"),
    module_info("layer", _dropout, "Dropout"),
    *(
        module_info(
            "layer",
            lambda d, layer=layer: _activation(d, layer),  # type: ignore[misc]
            layer.__name__,
        )
        for layer in ACTIVATIONS
    ),
    module_info("layer", lambda d: _activation(d, nn.GELU, approximate=("none", "tanh")), "GELU"),
    module_info("layer", _flatten, "Flatten"),
    *LOSSES,
    *LOSSES_AND_TAGGING,
]
