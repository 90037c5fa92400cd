"""Recurrent layers with any of their options, and calls of them, drawn."""

from __future__ import annotations

from typing import Any

import tinygrad_rnn as tg

from ..drawing import HypothesisSampler

Array = Any
KINDS = {"RNN": tg.nn.RNN, "GRU": tg.nn.GRU, "LSTM": tg.nn.LSTM}


def flat(values: Any) -> list[tg.Tensor]:
    """The tensors in tuples of tuples."""
    return [v for part in values for v in flat(part)] if isinstance(values, tuple) else [values]


def drawn_layer(d: HypothesisSampler, kind: str, generator: tg.Generator, **fixed: Any) -> Any:
    """A layer with any of its options."""
    options: dict[str, Any] = {
        "num_layers": d.integer(1, 2),
        "bidirectional": d.one_of([False, True]),
        "batch_first": d.one_of([False, True]),
        "bias": d.one_of([True, False]),
        "dropout": d.one_of([0.0, 0.4]),
        "dropout_same_mask": d.one_of([False, True]),
        "recurrent_dropout": d.one_of([0.0, 0.4]),
        "weight_dropout": d.one_of([0.0, 0.4]),
        "zoneout": d.one_of([0.0, 0.3]),
        "merge": d.one_of(["concat", "sum", "mean", "mul"]),
        "residual": d.one_of([False, True]),
        "learn_initial": d.one_of([False, True]),
        "layer_norm": d.one_of([False, True]),
    }
    if kind == "RNN":
        options["nonlinearity"] = d.one_of(["tanh", "relu", "sin"])
    else:
        options["activation"] = d.one_of(["tanh", tg.relu])
        options["recurrent_activation"] = d.one_of(["sigmoid", "tanh"])
    if kind == "GRU":
        options["reset_after"] = d.one_of([False, True])
    if kind == "LSTM":
        options["zoneout"] = d.one_of([0.0, 0.3, (0.2, 0.5), (0.0, 0.4)])
        options["proj_size"] = d.one_of([0, 2])
        options["peephole"] = d.one_of([False, True])
        options["coupled_gates"] = d.one_of([False, True])
        options["cell_clip"] = d.one_of([None, 0.2])
        options["forget_bias"] = d.one_of([0.0, 1.0]) if options["bias"] else 0.0
    options.update(fixed)
    layer = KINDS[kind](3, 4, dtype="float64", generator=generator, **options)
    for p in layer.parameters():
        p.data = p.numpy() + 0.3 * d.reals(p.shape)
    return layer


def drawn_call(d: HypothesisSampler, layer: Any) -> tuple[Array, Any, dict[str, Any]]:
    """An input, a state or None, and lengths and resets or None."""
    steps, batch = d.integer(1, 4), d.integer(1, 3)
    x = d.reals((batch, steps, 3) if layer.batch_first else (steps, batch, 3))
    rows = layer.num_layers * layer.directions
    state = [d.reals((rows, batch, n)) for n in layer.cells[0].sizes]
    options = {
        "lengths": d.one_of([None, [d.integer(0, steps) for _ in range(batch)]]),
        "reset": d.one_of([None, d.reals(x.shape[:2]) > 0.5]),
    }
    return x, state if d.one_of([True, False]) else None, options


def as_state(parts: Any) -> Any:
    if parts is None:
        return None
    parts = tuple(tg.tensor(p) for p in parts)
    return parts if len(parts) > 1 else parts[0]
