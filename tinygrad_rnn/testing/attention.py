"""An OpInfo for every kind of attention, for encoders, decoders and encoder-decoders."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import nn
from ..tensor import tree
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .builders import module_info
from .op_info import Array, Sample, Sampler, real
from .reductions import off_the_edge

F64: dict[str, Any] = {"dtype": "float64"}


def _lengths(d: Sampler, steps: int, batch: int) -> list[int] | None:
    return d.one_of([None, [d.integer(1, steps) for _ in range(batch)]])


def _attention(d: Sampler, kind: Any, **options: Any) -> Sample:
    """Queries, and a memory with lengths."""
    steps, batch, source, size, features = (d.integer(1, 3) for _ in range(5))
    return _attended(d, kind(size, features, **options, **F64), (steps, batch, source))


def _dot(d: Sampler) -> Sample:
    steps, batch, source, size = (d.integer(1, 3) for _ in range(4))
    return _attended(d, nn.DotAttention(size, d.one_of([True, False])), (steps, batch, source))


def _attended(d: Sampler, module: nn.Attention, sizes: tuple[int, int, int]) -> Sample:
    steps, batch, source = sizes
    shapes = (steps, batch, module.query_size), (source, batch, module.memory_size)
    lengths = _lengths(d, source, batch)
    inputs = [real(d, shape) for shape in shapes]
    return Sample(inputs, lambda _, q, m: module(q, m, lengths=lengths), module)


def _sparse(d: Sampler) -> Sample:
    """Scores that are the memory itself, of which none is about to enter or leave the support."""
    steps, batch, source = (d.integer(1, 3) for _ in range(3))
    module, lengths = nn.DotAttention(1, normalize="sparsemax"), _lengths(d, source, batch)
    inputs = [np.ones((steps, batch, 1)), off_the_edge(d, (source, batch, 1))]
    return Sample(inputs, lambda _, q, m: module(q, m, lengths=lengths), module)


def _symbols(d: Sampler, shape: tuple[int, ...], count: int) -> Array:
    return np.array([d.integer(0, count - 1) for _ in range(int(np.prod(shape)))]).reshape(shape)


def _layers(d: Sampler, features: int, **options: Any) -> Any:
    layer = d.one_of([nn.RNN, nn.GRU, nn.LSTM])
    return layer(features, d.integer(1, 3), d.integer(1, 2), **F64, **options)


def _encoder(d: Sampler) -> Sample:
    steps, batch, features, size = (d.integer(1, 3) for _ in range(4))
    layers = _layers(d, size, bidirectional=d.one_of([True, False]))
    module = nn.Encoder(nn.Linear(features, size, **F64), layers)
    lengths = d.one_of([None, [d.integer(0, steps) for _ in range(batch)]])
    x = real(d, (steps, batch, features))
    return Sample([x], lambda _, x: tuple(tree.leaves(module(x, lengths=lengths))), module)


def _bridge(d: Sampler) -> Sample:
    batch = d.integer(1, 3)
    source, target = _layers(d, 1, bidirectional=d.one_of([True, False])), _layers(d, 1)
    module = nn.Bridge(source, target, **F64)
    rows = source.num_layers * source.directions
    parts = [real(d, (rows, batch, source.hidden_size))] * (2 if isinstance(source, nn.LSTM) else 1)

    def call(_: object, *state: Any) -> Any:
        return module(state if len(state) > 1 else state[0])

    return Sample(parts, call, module)


def _decoder_parts(d: Sampler, memory: int, attended: bool, symbols: int, copy: bool) -> nn.Decoder:
    features, readout = d.integer(1, 3), d.integer(1, 3)
    tied, fed = d.one_of([False, True]), d.one_of([False, True])
    size = features if tied else readout
    layers = _layers(d, features + (size if fed else 0))
    kinds = [nn.AdditiveAttention, nn.LocationAttention, nn.GeneralAttention]
    attention = d.one_of(kinds)(layers.hidden_size, memory, **F64) if attended else None
    return nn.Decoder(
        nn.Embedding(symbols, features, **F64), layers, attention, readout_size=size, tied=tied,
        input_feeding=fed, deep_output=d.one_of([False, True]), copy=copy, **F64,
    )  # fmt: skip


def _decoder(d: Sampler) -> Sample:
    steps, batch, source, memory = (d.integer(1, 3) for _ in range(4))
    attended = d.one_of([True, False])
    module = _decoder_parts(d, memory, attended, 3, attended and d.one_of([True, False]))
    target, copied = _symbols(d, (steps, batch), 3), _symbols(d, (source, batch), 3)
    lengths = _lengths(d, source, batch)

    def call(_: object, x: Any) -> Any:
        prepared = module.prepare_memory(x, symbols=copied, lengths=lengths)
        return tuple(tree.leaves(module(target, prepared)))

    return Sample([real(d, (source, batch, memory))], call, module)


def _pointer(d: Sampler) -> Sample:
    steps, batch, source, size = (d.integer(1, 3) for _ in range(4))
    module, symbols = nn.Pointer(size, **F64), _symbols(d, (batch, source), 4)
    inputs = [real(d, (steps, batch, n)) for n in (4, size, source)]

    def call(_: object, logits: Any, seen: Any, scores: Any) -> Any:
        weights = scores.softmax(axis=-1)
        return module(logits, seen, weights, Tensor(symbols, device=logits.device))

    return Sample(inputs, call, module)


def _seq2seq(d: Sampler) -> Sample:
    source, target, batch, size = (d.integer(1, 3) for _ in range(4))
    layers = _layers(d, size, bidirectional=d.one_of([True, False]))
    encoder = nn.Encoder(nn.Linear(2, size, **F64), layers)
    decoder = _decoder_parts(d, encoder.memory_size, d.one_of([True, False]), 3, copy=False)
    generator = Generator(d.integer(0, 9))
    module, draws = nn.Seq2Seq(encoder, decoder, generator=generator), generator.state
    lengths, ratio = _lengths(d, source, batch), d.one_of([1.0, 0.5])
    symbols = _symbols(d, (target, batch), 3)

    def call(_: object, x: Any) -> Any:
        generator.state = draws  # the same steps read the truth at every call
        return module(x, symbols, lengths=lengths, teacher_forcing_ratio=ratio)

    return Sample([real(d, (source, batch, 2))], call, module)


ATTENTION = [
    module_info("DotAttention", _dot),
    module_info("DotAttention sparsemax", _sparse),
    module_info("GeneralAttention", _attention, nn.GeneralAttention),
    module_info("AdditiveAttention", _attention, nn.AdditiveAttention),
    module_info("MultiHeadAttention", _attention, nn.MultiHeadAttention, heads=2, hidden_size=4),
    module_info("LocationAttention", _attention, nn.LocationAttention, filters=2, reach=1),
    module_info("CoverageAttention", _attention, nn.CoverageAttention),
    module_info("Pointer", _pointer),
    module_info("Encoder", _encoder),
    module_info("Bridge", _bridge),
    module_info("Decoder", _decoder),
    module_info("Seq2Seq", _seq2seq),
]
