"""OpInfos of cells and recurrent layers: drawn sizes, options, lengths, resets and masks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import nn
from ..nn.recurrent.layer import RecurrentLayer
from ..tensor import tree
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .builders import chosen, module_info
from .kinks import nearest
from .op_info import Sample, Sampler, real


def _cell(d: Sampler, cell: Any, states: int, **options: Sequence[Any]) -> Sample:
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    bias = d.one_of([True, False])

    def sample(given: dict[str, Any]) -> Sample:
        few = WIDE if given.get("layer_norm") else 1
        n = max(hidden, few, given.get("proj_size", 0) + 1)
        g = Generator(0)
        module = cell(max(features, few), n, bias=bias, dtype="float64", generator=g, **given)
        _spread(module, d)
        sizes = (given.get("proj_size") or n, n)[:states]
        inputs = [real(d, (batch, k)) for k in (max(features, few), *sizes)]
        return Sample(inputs, lambda _, x, *s: module(x, s if states > 1 else s[0]), module)

    return _smooth(sample, chosen(d, options))


WIDE = 8  # units, where they are normalised: of few, all may lie close together, and then
STEEP = 0.5  # this little standard deviation is divided by


def _smooth(build: Callable[[dict[str, Any]], Sample], given: dict[str, Any]) -> Sample:
    """A sample; without norms and clips, if those make it too steep for finite differences."""
    sample = build(given)
    module = sample.module
    if isinstance(module, RecurrentLayer):
        module.captured = []  # so that each step is seen
    try:
        least = nearest(partial(sample.call, None), *sample.inputs)
    finally:
        if isinstance(module, RecurrentLayer):
            module.captured = None
    if least["sqrt"] < STEEP:
        given = {**given, "layer_norm": False}
    if least["clip"] < 1e-3:
        given = {**given, "cell_clip": None}
    if min(least["sqrt"] / STEEP, least["clip"] / 1e-3) >= 1:
        return sample
    return _smooth(build, given)  # another sample, which may be too steep in the other way


def _spread(module: nn.Module, d: Sampler) -> None:
    """Gives all parameters drawn values, those that begin with zeros or ones, too."""
    named = dict(module.named_parameters())
    scale = 4.0 if any("gain" in name for name in named) else 1.0  # what is normalised shall vary
    for name, p in named.items():
        p.data = p.numpy() * (0.5 if "gain" in name else scale) + 0.2 * d.reals(p.shape)


STACKING: dict[str, Any] = {
    "num_layers": [1, 2],
    "bidirectional": [False, True],
    "batch_first": [False, True],
    "dropout": [0.0, 0.4],
    "dropout_same_mask": [False, True],
    "zoneout": [0.0, 0.3],
    "merge": ["concat", "sum", "mean", "mul", None],
}
FUSED: dict[str, Any] = {
    "bias": [True, False],
    "recurrent_dropout": [0.0, 0.4],
    "weight_dropout": [0.0, 0.4],
    "layer_norm": [False, True],
    "learn_initial": [False, True],
    "dtype": ["float64"],
}
ACTIVATIONS: dict[str, Any] = {
    "activation": ["tanh", "softplus"],
    "recurrent_activation": ["sigmoid", "softplus"],
}
LSTM: dict[str, Any] = {
    "cell_clip": [None, 0.3],
    "peephole": [False, True],
    "coupled_gates": [False, True],
    "proj_size": [0, 1],
    **ACTIVATIONS,
}


def _layer(d: Sampler, build: Callable[..., Any], **options: Sequence[Any]) -> Sample:
    """A drawn stack: options, layers, directions, lengths or a mask, resets, dropout."""
    steps, batch, features = (d.integer(1, 3) for _ in range(3))
    given = chosen(d, {**STACKING, **options})
    given["residual"] = given["merge"] is not None and d.one_of([True, False])
    given["reverse"] = not given["bidirectional"] and d.one_of([True, False])
    generator, evaluation, known = Generator(0), d.one_of([True, False]), d.one_of([True, False])
    lengths = d.one_of([None, [d.integer(0, steps) for _ in range(batch)]])
    mask = None if lengths else d.one_of([None, d.reals((steps, batch)) > -0.3])
    reset = d.one_of([None, d.reals((steps, batch)) > 0.5])
    return_states = d.one_of([True, False])
    table = d.one_of([None, d.integer(1, 4)])  # of so many rows, which are read
    ids = [[d.integer(0, (table or 1) - 1) for _ in range(batch)] for _ in range(steps)]

    def sample(given: dict[str, Any]) -> Sample:
        wide = given.get("layer_norm")
        inside = {**given, "num_layers": 1} if wide else given  # in depth, curvature multiplies
        if wide and given.get("proj_size"):
            inside["proj_size"] = WIDE // 2
        module = build(
            WIDE if wide else features, WIDE if wide else 2, generator=generator, **inside
        )
        _spread(module, d)
        module.train(not evaluation)
        masks = generator.state
        shape = (steps, batch) if table is None else (table,)
        x = real(d, (*shape, WIDE if wide else features))
        begin = module.begin(0, Tensor(x), batch)
        sizes = [p.shape[1] for p in (begin if isinstance(begin, tuple) else (begin,))]
        rows = module.num_layers * module.directions
        inputs = [x, *(real(d, (rows, batch, n)) for n in sizes if known)]

        def call(_: object, x: Any, *state: Any) -> Any:
            generator.state = masks  # the same masks at every call
            first = None if not known else state if len(sizes) > 1 else state[0]
            swap = given["batch_first"]
            rows = None if table is None else np.array(ids).T if swap else ids
            y = module(
                x.swapaxes(0, 1) if swap and table is None else x, first, ids=rows, lengths=lengths,
                mask=mask.T if swap and mask is not None else mask,
                reset=reset.T if swap and reset is not None else reset, return_states=return_states,
            )  # fmt: skip
            return tuple(tree.leaves(y))

        return Sample(inputs, call, module)

    return _smooth(sample, given)


def _recurrent(features: int, hidden: int, **options: Any) -> nn.Recurrent:
    """Layers of a cell with two parts of a state, of which neither is the output."""

    class Cell(nn.Cell):
        gates = 2
        output_size = hidden

        def initial(self, x: Any) -> Any:
            h = super().initial(x)
            return h, h + 0.5

        def step(self, x: Any, state: Any) -> Any:
            h, s = state
            a, b = (x @ self.weight_ih.mT + h @ self.weight_hh.mT).reshape(len(x), 2, -1).unstack(1)
            h = (h + s * a).tanh()
            return h * b, (h, s * 0.5 + b.sigmoid())

    def made(size: int) -> Cell:
        return Cell(size, hidden, bias=False, dtype="float64", generator=options["generator"])

    return nn.Recurrent(made, features, **options)


NORMED: dict[str, Any] = {"layer_norm": [False, True], "kind": "cell"}
FREE: dict[str, Any] = {"nonlinearity": ["tanh", "sin"]}

RECURRENT = [
    module_info("RNNCell", _cell, nn.RNNCell, 1, **FREE, **NORMED),
    module_info("GRUCell", _cell, nn.GRUCell, 1, reset_after=[False], **ACTIVATIONS, **NORMED),
    module_info(
        "GRUCell reset_after", _cell, nn.GRUCell, 1, reset_after=[True], **ACTIVATIONS, **NORMED
    ),
    module_info("LSTMCell", _cell, nn.LSTMCell, 2, **LSTM, **NORMED),
    module_info("RNN", _layer, nn.RNN, **FREE, **FUSED),
    module_info("GRU", _layer, nn.GRU, **ACTIVATIONS, **FUSED),
    module_info("GRU reset_after", _layer, nn.GRU, reset_after=[True], **ACTIVATIONS, **FUSED),
    module_info("LSTM", _layer, nn.LSTM, **LSTM, **FUSED),
    module_info("Recurrent", _layer, _recurrent),
]
