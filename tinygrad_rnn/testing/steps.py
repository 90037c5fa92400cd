"""OpInfos of the steps of RNN, GRU and LSTM, with all their options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from .. import cells
from ..tensor import ops
from .builders import chosen, op_info
from .kinks import nearest
from .op_info import Array, OpInfo, Sample, Sampler, real
from .sequences import weight_shapes


def _step(name: str, **options: Sequence[Any]) -> OpInfo:
    """An OpInfo for one step of a cell."""
    function = getattr(cells, f"{name}_step")

    def near(sample: Sample) -> dict[str, float]:
        return nearest(partial(sample.call, function), *sample.inputs)

    def draw(d: Sampler) -> Sample:
        batch, features, hidden = (d.integer(1, 3) for _ in range(3))
        normed = hidden > 1 and d.one_of([True, True, False])  # few have enough that varies
        given: dict[str, Any] = chosen(d, options)
        lstm = name == "lstm"
        out, weights = weight_shapes(d, name, features, hidden, given)
        rows = weights["w_ih"][0]
        shapes = {"x": (batch, features), "h": (batch, out), **weights}
        shapes |= {"c": (batch, hidden)} if lstm else {}
        shapes |= {"h_mask": (batch, out)} if d.one_of([False, True]) else {}
        inputs = {k: real(d, shape) for k, shape in shapes.items()}
        norms: dict[str, Array] = {}
        if normed:
            norms = {"n_ih": real(d, (rows,)), "n_hh": real(d, (rows,))}
            norms |= {"n_c": real(d, (hidden,)), "b_c": real(d, (hidden,))} if lstm else {}
        sample = Sample([*inputs.values(), *norms.values()], _call(list(inputs), given))
        if norms and near(sample)["sqrt"] < 0.1:  # too steep for finite differences
            sample = Sample(list(inputs.values()), _call(list(inputs), given))
        for clip in [k for k in ("gate_clip", "cell_clip") if given.get(k)]:
            if near(sample)["clip"] < 1e-3:
                given[clip] = 100.0
        return sample

    return op_info(f"{name}_step", draw)


def _call(inputs: list[str], given: dict[str, Any]) -> Callable[..., Any]:
    def call(f: Callable[..., Any], *xs: Any) -> Any:
        named = dict(zip(inputs, xs, strict=False))
        return f(**named, **given, norms=xs[len(inputs) :] or None)

    return call


FREE: dict[str, Sequence[Any]] = {"activation": ["tanh", ops.atan], "gate_clip": [None, 0.9]}
GATED: dict[str, Sequence[Any]] = {**FREE, "recurrent_activation": ["sigmoid", "softplus"]}

STEPS = [
    _step("rnn", **FREE),
    _step("gru", **GATED, reset_after=[False, True]),
    _step("lstm", **GATED, coupled_gates=[False, True], cell_clip=[None, 0.6]),
]
