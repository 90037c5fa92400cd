"""Rows of the cells' steps, each compared with its equations in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..tensor import ops
from .build import chosen, row
from .case import Array, Case, Draw, Row, real


def logistic(x: Array) -> Array:
    """The sigmoid, as books have it."""
    return np.asarray(1 / (1 + np.exp(-x)))


FUNCTIONS: dict[Any, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "sin": np.sin,
    "sigmoid": logistic,
    "softplus": lambda x: np.asarray(np.log1p(np.exp(x))),
}


def _step(name: str, reference: Any, **options: Sequence[Any]) -> Row:
    """A row for one step of a cell."""

    def draw(d: Draw) -> Case:
        batch, features, hidden = (d.integer(1, 3) for _ in range(3))
        normed = hidden > 1 and d.one_of([True, True, False])  # few have enough that varies
        given: dict[str, Any] = chosen(d, options)
        gates = {"rnn": 1, "gru": 3, "lstm": 3 if given.get("coupled_gates") else 4}[name]
        lstm = name == "lstm"
        out = d.integer(1, 3) if lstm and d.one_of([False, True]) else hidden
        rows = gates * hidden
        shapes: dict[str, tuple[int, ...]] = {"x": (batch, features), "h": (batch, out)}
        shapes |= {"c": (batch, hidden)} if lstm else {}
        shapes |= {"w_ih": (rows, features), "w_hh": (rows, out)}
        optional: dict[str, tuple[int, ...]] = {"b_ih": (rows,), "b_hh": (rows,)}
        optional["h_mask"] = (batch, out)
        optional |= {"w_ch": ((gates - 1) * hidden,), "w_hr": (out, hidden)} if lstm else {}
        if name == "gru" and not given["reset_after"]:
            del optional["b_hh"]
        for k, shape in optional.items():
            if (k == "w_hr" and out != hidden) or d.one_of([False, True]):
                shapes[k] = shape
        inputs = {k: real(d, shape) for k, shape in shapes.items()}
        norms: dict[str, Array] = {}
        if normed:
            norms = {"n_ih": real(d, (rows,)), "n_hh": real(d, (rows,))}
            norms |= {"n_c": real(d, (hidden,)), "b_c": real(d, (hidden,))} if lstm else {}
        case = Case([*inputs.values(), *norms.values()], _call(list(inputs), given))
        if norms and _Seen(case, reference).variance < 0.01:  # too steep for finite differences
            case = Case(list(inputs.values()), _call(list(inputs), given))
        for clip in [k for k in ("gate_clip", "cell_clip") if given.get(k)]:
            if _Seen(case, reference).distance < 1e-3:
                given[clip] = 100.0
        return case

    return row(f"{name}_step", draw, reference)


def _call(inputs: list[str], given: dict[str, Any]) -> Callable[..., Any]:
    def call(f: Any, *xs: Any) -> Any:
        named = dict(zip(inputs, xs, strict=False))
        return f(**named, **given, norms=xs[len(inputs) :] or None)

    return call


class _Seen:
    """How near a case comes to a kink of a clip, and to a normalisation of what hardly varies."""

    now: _Seen | None = None

    def __init__(self, case: Case, reference: Any) -> None:
        self.distance = self.variance = np.inf
        _Seen.now = self
        try:
            case.call(reference, *case.inputs)
        finally:
            _Seen.now = None


def _clip(x: Array, bound: float | None) -> Array:
    if bound is None:
        return x
    if _Seen.now is not None:
        nearest = float(np.min(np.abs(np.abs(x) - bound)))
        _Seen.now.distance = min(_Seen.now.distance, nearest)
    return np.clip(x, -bound, bound)


def _normal(z: Array, gain: Array | None, bias: Array | float | None = None) -> Array:
    """Normalised over the last axis if there is a gain, and then the bias."""
    if gain is not None:
        variance = z.var(axis=-1, keepdims=True)
        if _Seen.now is not None:
            _Seen.now.variance = min(_Seen.now.variance, float(np.min(variance)))
        z = (z - z.mean(axis=-1, keepdims=True)) / np.sqrt(variance + 1e-5) * gain
    return z if bias is None else z + bias


def _activations(gate_clip: float | None, *names: Any) -> list[Callable[[Array], Array]]:
    """The functions of some names, of clipped inputs."""

    def clipped(name: Any) -> Callable[[Array], Array]:
        return lambda x: FUNCTIONS[getattr(name, "name", name)](_clip(x, gate_clip))

    return [clipped(name) for name in names]


def _rnn_step(
    x: Array, h: Array, w_ih: Array, w_hh: Array, b_ih: Any = None, b_hh: Any = None,
    h_mask: Any = 1.0, *, activation: Any, gate_clip: float | None, norms: Any,
) -> Array:  # fmt: skip
    n_ih, n_hh = norms or (None, None)
    (act,) = _activations(gate_clip, activation)
    return act(_normal(x @ w_ih.T, n_ih, b_ih) + _normal((h_mask * h) @ w_hh.T, n_hh, b_hh))


def _gru_step(
    x: Array, h: Array, w_ih: Array, w_hh: Array, b_ih: Any = None, b_hh: Any = None,
    h_mask: Any = 1.0, *, reset_after: bool, activation: Any, recurrent_activation: Any,
    gate_clip: float | None, norms: Any,
) -> Array:  # fmt: skip
    n_ih, n_hh = norms or (None, None)
    act, gate = _activations(gate_clip, activation, recurrent_activation)
    u_r, u_z, u_n = np.split(_normal(x @ w_ih.T, n_ih, b_ih), 3, axis=1)
    m, width = h_mask * h, 2 * h.shape[1]
    if reset_after:
        w_r, w_z, w_n = np.split(_normal(m @ w_hh.T, n_hh, b_hh), 3, axis=1)
        r, z = gate(u_r + w_r), gate(u_z + w_z)
        n = act(u_n + r * w_n)
    else:
        n_rz, n_n = (None, None) if n_hh is None else (n_hh[:width], n_hh[width:])
        w_r, w_z = np.split(_normal(m @ w_hh[:width].T, n_rz), 2, axis=1)
        r, z = gate(u_r + w_r), gate(u_z + w_z)
        n = act(u_n + _normal((r * m) @ w_hh[width:].T, n_n))
    return np.asarray(z * h + (1 - z) * n)


def _lstm_step(
    x: Array, h: Array, c: Array, w_ih: Array, w_hh: Array, b_ih: Any = None, b_hh: Any = None,
    w_hr: Any = None, w_ch: Any = None, h_mask: Any = 1.0, *, coupled_gates: bool,
    cell_clip: float | None, activation: Any, recurrent_activation: Any, gate_clip: float | None,
    norms: Any,
) -> tuple[Array, Array]:  # fmt: skip
    n_ih, n_hh, n_c, b_c = norms or (None,) * 4
    act, gate = _activations(gate_clip, activation, recurrent_activation)
    z = _normal(x @ w_ih.T, n_ih, b_ih) + _normal((h_mask * h) @ w_hh.T, n_hh, b_hh)
    width = c.shape[1]
    p = np.zeros(3 * width) if w_ch is None else w_ch
    if coupled_gates:
        i, g, o = np.split(z, 3, axis=1)
        i = gate(i + p[:width] * c)
        f = 1 - i
    else:
        i, f, g, o = np.split(z, 4, axis=1)
        i, f = gate(i + p[:width] * c), gate(f + p[width : 2 * width] * c)
    c = _clip(f * c + i * act(g), cell_clip)
    h = gate(o + p[-width:] * c) * _activations(None, activation)[0](_normal(c, n_c, b_c))
    return (h if w_hr is None else h @ w_hr.T), c


FREE: dict[str, Sequence[Any]] = {"activation": ["tanh", ops.sin], "gate_clip": [None, 0.9]}
GATED: dict[str, Sequence[Any]] = {**FREE, "recurrent_activation": ["sigmoid", "softplus"]}

STEPS = [
    _step("rnn", _rnn_step, **FREE),
    _step("gru", _gru_step, **GATED, reset_after=[False, True]),
    _step("lstm", _lstm_step, **GATED, coupled_gates=[False, True], cell_clip=[None, 0.6]),
]
