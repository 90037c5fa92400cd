"""Rows of what runs over time: scan, and the fused operations with every option."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import backend, ops
from ..tensor.ops.recurrent import by_steps
from .build import row
from .case import Array, Case, Draw, Row, real

Given = dict[str, Any]


def sequence(d: Draw, name: str, *sizes: int) -> tuple[Given, Given, Given]:
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
    gates = {"rnn": 1, "gru": 3, "lstm": 3 if options.get("coupled_gates") else 4}[name]
    out = d.integer(1, hidden) if name == "lstm" and d.one_of([False, True]) else hidden
    rows = gates * hidden
    shapes = {"x": (steps, batch, features), "h0": (batch, out)}
    if name == "lstm":
        shapes["c0"] = (batch, hidden)
    shapes |= {"w_ih": (rows, features), "w_hh": (rows, out)}
    optional = {"b_ih": (rows,), "b_hh": (rows,), "w_ch": ((gates - 1) * hidden,)}
    if name != "lstm":
        del optional["w_ch"]
    if name == "gru" and not options["reset_after"]:
        del optional["b_hh"]
    shapes |= {k: shape for k, shape in optional.items() if d.one_of([True, False])}
    if out != hidden or (name == "lstm" and d.one_of([False, True])):
        shapes["w_hr"] = (out, hidden)
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
    if name == "lstm":
        options["cell_clip"] = _clip_off_the_kinks(d, inputs, constants, options)
    return inputs, constants, options


def _of_ones(d: Draw, shape: tuple[int, ...]) -> Array:
    """Zeros and ones."""
    return np.where(d.reals(shape) > 0, 1.0, 0.0)


def _zone(d: Draw, shape: tuple[int, ...]) -> Array:
    """A mask of zeros and ones, or one share at all places."""
    return d.one_of([_of_ones(d, shape), np.full((1, 1, 1), 0.3)])


def _clip_off_the_kinks(d: Draw, inputs: Given, constants: Given, options: Given) -> float | None:
    """None; a clip at which no c of any step lies; or one beyond all of them."""
    clip, least = d.one_of([None, 0.4, 0.8]), 1.0
    if clip is None:
        return None
    weights = {k: v for k, v in inputs.items() if k not in ("x", "h0", "c0")}
    weights["h_mask"] = constants["h_mask"]

    def step(x: Array, state: Any) -> Any:
        nonlocal least
        given = {**weights, "coupled_gates": options["coupled_gates"]}
        _, free = ops.lstm_step(x, *state, **given)
        least = min(least, float(np.min(np.abs(np.abs(free) - clip))))
        h, c = ops.lstm_step(x, *state, **given, cell_clip=clip)
        return h, (h, c)

    by_steps(
        step, inputs["x"], (inputs["h0"], inputs["c0"]), lengths=constants["lengths"],
        reset=constants["reset"], zones=(constants["h_zone"], constants["c_zone"]),
        reverse=options["reverse"],
    )  # fmt: skip
    return clip if least > 1e-3 else 100.0


def _fused(name: str) -> Row:
    """A row for a fused sequence operation, whose reference is its composed twin."""

    def draw(d: Draw) -> Case:
        inputs, constants, options = sequence(d, name, *(d.integer(1, 4) for _ in range(4)))

        def call(f: Any, *xs: Any) -> Any:
            on = {k: None if v is None else backend.to_device(v) for k, v in constants.items()}
            return f(**dict(zip(inputs, xs, strict=True)), **on, **options)

        return Case(list(inputs.values()), call)

    return row(name, draw, getattr(ops, name).composed)


def _scan(d: Draw) -> Case:
    steps, batch = d.integer(1, 4), d.integer(1, 3)
    lengths = d.one_of([None, np.array([d.integer(0, steps) for _ in range(batch)])])
    reset = d.one_of([None, d.reals((steps, batch)) > 0])
    reverse, several = d.one_of([False, True]), d.one_of([False, True])

    def call(f: Any, xs: Any, carry: Any, w: Any) -> Any:
        on, anew = (None if a is None else backend.to_device(a) for a in (lengths, reset))

        def step(s: Any, x: Any) -> Any:
            if not several:
                return s * w + x, s * x
            (s, count), (x, y) = s, x
            return (s * w + x, count + s), (s * x + count, y * s)

        state, inputs = ((carry, carry), (xs, xs * xs)) if several else (carry, xs)
        state, ys = f(step, state, inputs, reverse=reverse, lengths=on, reset=anew)
        return (*state, *ys) if several else (state, ys)

    return Case([real(d, (steps, batch, 2)), real(d, (batch, 2)), real(d, (2,))], call)


def _scan_by_hand(
    step: Any, carry: Any, xs: Any, reverse: bool, lengths: Array | None, reset: Array | None
) -> tuple[Any, Any]:
    """A scan row by row, each as long as it is and begun anew where it is: nothing masked."""
    if not isinstance(xs, tuple):  # all of it for tuples

        def alone(s: Any, x: Any) -> Any:
            return tuple((part,) for part in step(s[0], x[0]))

        (last,), (y,) = _scan_by_hand(alone, (carry,), (xs,), reverse, lengths, reset)
        return last, y
    last, ys = tuple(c.copy() for c in carry), tuple(np.zeros_like(x) for x in xs)
    for b in range(xs[0].shape[1]):
        times = range(xs[0].shape[0] if lengths is None else int(lengths[b]))
        for t in reversed(times) if reverse else times:
            anew = reset is not None and reset[t, b]
            state = tuple(0 * c[b] if anew else c[b] for c in last)
            for kept, part in zip((last, ys), step(state, tuple(x[t, b] for x in xs)), strict=True):
                for whole, value in zip(kept, part, strict=True):
                    whole[b if kept is last else (t, b)] = value
    return last, ys


SEQUENCES = [row("scan", _scan, _scan_by_hand), _fused("rnn"), _fused("gru"), _fused("lstm")]
