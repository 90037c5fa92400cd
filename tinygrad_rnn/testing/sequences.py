"""OpInfos of the fused operations, with every option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..cells.common import sequence_options
from ..cells.gru import fused_gru
from ..cells.lstm import fused_lstm
from ..cells.rnn import fused_rnn
from ..tensor import backend
from .builders import op_info
from .kinks import nearest
from .op_info import Array, OpInfo, Sample, Sampler, real

Given = dict[str, Any]
FUSED = {"rnn": fused_rnn, "gru": fused_gru, "lstm": fused_lstm}


def weight_shapes(
    d: Sampler, name: str, features: int, hidden: int, options: Given
) -> tuple[int, dict[str, tuple[int, ...]]]:
    """The features of h, and the shapes of weights of `rnn`, `gru` or `lstm`, some left out."""
    lstm = name == "lstm"
    gates = {"rnn": 1, "gru": 3, "lstm": 3 if options.get("coupled_gates") else 4}[name]
    out = d.integer(1, hidden) if lstm and d.one_of([False, True]) else hidden
    rows = gates * hidden
    optional: dict[str, tuple[int, ...]] = {"b_ih": (rows,), "b_hh": (rows,)}
    if lstm:
        optional |= {"w_ch": ((gates - 1) * hidden,), "w_hr": (out, hidden)}
    if name == "gru" and not options["reset_after"]:
        del optional["b_hh"]
    projected = {"w_hr"} if out != hidden else {}
    drawn = {k: s for k, s in optional.items() if k in projected or d.one_of([True, False])}
    return out, {"w_ih": (rows, features), "w_hh": (rows, out), **drawn}


def sequence(d: Sampler, name: str, *sizes: int) -> tuple[Given, Given, Given]:
    """Inputs to differentiate in, constants and options for `rnn`, `gru` or `lstm`.

    **Arguments** sizes: of steps, batch, features and hidden units. What is left out is None.
    """
    steps, batch, features, hidden = sizes
    options: Given = {"reverse": d.one_of([False, True])}
    if name == "gru":
        options["reset_after"] = d.one_of([False, True])
    if name == "lstm":
        options["coupled_gates"] = d.one_of([False, True])
        options["every_cell"] = d.one_of([False, True])
    out, weights = weight_shapes(d, name, features, hidden, options)
    table = d.one_of([None, d.integer(1, 9)])  # of so many rows, which are read
    x = (steps, batch, features) if table is None else (table, features)
    states = {"c0": (batch, hidden)} if name == "lstm" else {}
    shapes = {"x": x, "h0": (batch, out), **states, **weights}
    inputs = {k: real(d, shape) for k, shape in shapes.items()}
    for k in ("w_ih", "w_hh"):
        inputs[k] = inputs[k] / np.sqrt(hidden)
    constants: dict[str, Array | None] = {
        "lengths": np.array([d.integer(0, steps) for _ in range(batch)]),
        "reset": _of_ones(d, (steps, batch)) > 0,
        "h_mask": _of_ones(d, (batch, out)) * 1.5,
        "h_zone": _zone(d, (steps, batch, out)),
        "c_zone": _zone(d, (steps, batch, hidden)),
    }
    if name != "lstm":
        del constants["c_zone"]
    constants = {k: d.one_of([None, value]) for k, value in constants.items()}
    constants["ids"] = None
    if table is not None:
        ids = [d.integer(0, table - 1) for _ in range(steps * batch)]
        constants["ids"] = np.array(ids).reshape(steps, batch)
    elif constants["lengths"] is not None and d.one_of([False, True]):
        inputs["x"][np.arange(steps)[:, None] >= constants["lengths"]] = np.nan
    if name == "lstm":
        options["cell_clip"] = _clip_off_the_kinks(d, inputs, constants, options)
    return inputs, constants, options


def packed(
    name: str, *, x: Any, h_zone: Any = None, c_zone: Any = None, every_cell: bool = False,
    **arguments: Any,
) -> tuple[list[Any], Given]:  # fmt: skip
    """The arguments of `rnn`, `gru` or `lstm` as the fused operation takes them."""
    op = FUSED[name]
    inputs = [x, *(arguments.pop(n, None) for n in op.inputs[1:])]
    settings = {n: arguments.pop(n, v) for n, v in op.parameters.items() if n != "options"}
    zoneout = (h_zone, c_zone) if name == "lstm" else (h_zone,)
    options = sequence_options(name, x, zoneout=zoneout, every=every_cell, **arguments)
    return inputs, {**settings, "options": options}


def by_decomposition(name: str, **arguments: Any) -> Any:
    """Calls the decomposition of `rnn`, `gru` or `lstm`, in place of the fused operation."""
    inputs, settings = packed(name, **arguments)
    decomposition: Any = FUSED[name].decomposition
    return decomposition(*inputs, **settings)


def _of_ones(d: Sampler, shape: tuple[int, ...]) -> Array:
    """Zeros and ones."""
    return np.where(d.reals(shape) > 0, 1.0, 0.0)


def _zone(d: Sampler, shape: tuple[int, ...]) -> Array:
    """A mask of zeros and ones, or one share at all places."""
    return d.one_of([_of_ones(d, shape), np.full((1, 1, 1), 0.3)])


def _clip_off_the_kinks(
    d: Sampler, inputs: Given, constants: Given, options: Given
) -> float | None:
    """None; a clip at which no c of any step lies; or one beyond all of them."""
    clip = d.one_of([None, 0.4, 0.8])
    if clip is None:
        return None
    on = {k: None if v is None else backend.to_device(v) for k, v in constants.items()}

    def run(*xs: Any) -> Any:
        named: Given = dict(zip(inputs, xs, strict=True))
        return by_decomposition("lstm", **named, **{**on, **options, "cell_clip": clip})

    return clip if nearest(run, *inputs.values())["clip"] > 1e-3 else 100.0


def _fused(name: str) -> OpInfo:
    """An OpInfo for a fused operation over a sequence."""

    def draw(d: Sampler) -> Sample:
        inputs, constants, options = sequence(d, name, *(d.integer(1, 4) for _ in range(4)))

        def call(f: Callable[..., Any], *xs: Any) -> Any:
            on = {k: None if v is None else backend.to_device(v) for k, v in constants.items()}
            return f(**dict(zip(inputs, xs, strict=True)), **on, **options)

        return Sample(list(inputs.values()), call)

    return op_info(name, draw)


SEQUENCES = [_fused("rnn"), _fused("gru"), _fused("lstm")]
