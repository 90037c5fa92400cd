"""The operators RNN, GRU and LSTM, with all their attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ... import cells
from ...errors import InvalidValueError
from ...loops.scan import scan
from ...tensor import creation, ops
from ..conventions import ONNX, OURS, converted, gates, stacked
from .operators import Node

COMMON = ("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size",
          "layout")  # fmt: skip
FUNCTIONS: dict[str, Callable[..., Any]] = {  # of x, alpha, beta
    "Tanh": lambda x, a, b: ops.tanh(x),
    "Sigmoid": lambda x, a, b: ops.sigmoid(x),
    "Relu": lambda x, a, b: ops.relu(x),
    "Softplus": lambda x, a, b: ops.softplus(x),
    "Softsign": lambda x, a, b: x / (1 + ops.abs(x)),
    "LeakyRelu": lambda x, a, b: ops.leaky_relu(x, negative_slope=a),
    "ThresholdedRelu": lambda x, a, b: ops.where(x > a, x, 0),
    "Elu": lambda x, a, b: ops.elu(x, alpha=a),
    "HardSigmoid": lambda x, a, b: ops.clip(a * x + b, 0, 1),
    "ScaledTanh": lambda x, a, b: a * ops.tanh(b * x),
    "Affine": lambda x, a, b: a * x + b,
}
CONSTANTS = {"LeakyRelu": (0.01, 0), "Elu": (1.0, 0), "HardSigmoid": (0.2, 0.5)}  # by default
TAKES = {
    "LeakyRelu": 1, "ThresholdedRelu": 1, "Elu": 1, "HardSigmoid": 2, "ScaledTanh": 2, "Affine": 2,
}  # fmt: skip
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def _functions(node: Node, directions: int) -> list[list[tuple[str, float, float]]]:
    """The activations of each direction, with their constants."""
    count = len(DEFAULTS[node.kind])
    names = node.get("activations") or DEFAULTS[node.kind] * directions
    alphas, betas = list(node.get("activation_alpha", ())), list(node.get("activation_beta", ()))
    found = []
    for name in names:
        title = next((known for known in FUNCTIONS if known.lower() == name.lower()), None)
        if title is None:
            raise InvalidValueError(f"the activation {name!r} has no equivalent")
        alpha, beta = CONSTANTS.get(title, (0.0, 0.0))
        takes = TAKES.get(title, 0)
        if takes and title not in CONSTANTS and not (alphas and (takes == 1 or betas)):
            raise InvalidValueError(f"the activation {title} needs activation_alpha")  # or beta
        alpha = alphas.pop(0) if takes and alphas else alpha
        beta = betas.pop(0) if takes == 2 and betas else beta
        found.append((title, float(alpha), float(beta)))
    if len(found) != count * directions:
        raise InvalidValueError(f"expected {count * directions} activations, got {len(found)}")
    return [found[i * count : (i + 1) * count] for i in range(directions)]


def _act(function: tuple[str, float, float], clip: float | None = None) -> Callable[[Any], Any]:
    name, alpha, beta = function
    if clip is None:
        return lambda x: FUNCTIONS[name](x, alpha, beta)
    return lambda x: FUNCTIONS[name](ops.clip(x, -clip, clip), alpha, beta)


def _run(
    node: Node, x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h0: Any = None,
    c0: Any = None, p: Any = None,
) -> tuple[Any, ...]:  # fmt: skip
    """All directions of a layer. **Returns** Y, (T, D, B, H), and the last states, (D, B, H)."""
    kind, size, layout = node.kind, int(node.get("hidden_size", r.shape[-1])), node.get("layout", 0)
    if layout:
        x = x.swapaxes(0, 1)
        h0, c0 = (s if s is None else s.swapaxes(0, 1) for s in (h0, c0))
    direction = node.get("direction", "forward")
    reverses = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    functions = _functions(node, len(reverses))
    ys, lasts = [], []
    for d, reverse in enumerate(reverses):
        first = [
            creation.zeros((x.shape[1], size), dtype=x.dtype, device=x.device)
            if s is None
            else s[d]
            for s in ((h0, c0) if kind == "LSTM" else (h0,))
        ]
        biases = (
            (None, None)
            if b is None
            else [converted(kind, v, ONNX, OURS) for v in ops.split(b[d], 2)]
        )
        weights = [*(converted(kind, v[d], ONNX, OURS) for v in (w, r)), *biases]
        peepholes = None
        if p is not None:
            peepholes = stacked(gates(p[d], "iof"), "ifo")
        y, *last = _direction(node, x, first, weights, peepholes, lengths, reverse, functions[d])
        ys.append(y)
        lasts.append(last)
    y = ops.stack(ys, axis=2 if layout else 1)
    ends = [ops.stack(parts) for parts in zip(*lasts, strict=True)]
    if layout:
        y, ends = ops.permute_dims(y, axes=(1, 0, 2, 3)), [e.swapaxes(0, 1) for e in ends]
    return y, *ends


def _direction(
    node: Node, x: Any, first: Sequence[Any], weights: Sequence[Any], peepholes: Any,
    lengths: Any, reverse: bool, functions: Sequence[tuple[str, float, float]],
) -> Any:  # fmt: skip
    """One direction: our fused operation, or a scan of a step with all attributes."""
    kind, clip = node.kind, node.get("clip")
    w_ih, w_hh, b_ih, b_hh = weights
    h0 = first[0]
    names = [name for name, _, _ in functions]
    after = bool(node.get("linear_before_reset", 0))
    if kind == "GRU" and not after and b_ih is not None:
        b_ih, b_hh = b_ih + b_hh, None
    if clip is None and names == DEFAULTS[kind] and not node.get("input_forget"):
        if kind == "RNN":
            return cells.rnn(x, h0, w_ih, w_hh, b_ih, b_hh, lengths=lengths, reverse=reverse)
        if kind == "GRU":
            return cells.gru(
                x, h0, w_ih, w_hh, b_ih, b_hh, lengths=lengths, reset_after=after,
                reverse=reverse,
            )  # fmt: skip
        return cells.lstm(
            x,
            h0,
            first[1],
            w_ih,
            w_hh,
            b_ih,
            b_hh,
            w_ch=peepholes,
            lengths=lengths,
            reverse=reverse,
        )[:3]
    step = _step(node, weights=(w_ih, w_hh, b_ih, b_hh), peepholes=peepholes, functions=functions)
    last, y = scan(step, tuple(first), x, reverse=reverse, lengths=lengths)
    return y, *last


def _step(
    node: Node, weights: Sequence[Any], peepholes: Any, functions: Sequence[Any]
) -> Callable[[Any, Any], Any]:
    """A step with every attribute: clipped gates, other activations, coupled gates."""
    w_ih, w_hh, b_ih, b_hh = weights
    kind, clip = node.kind, node.get("clip")
    gate, *others = [_act(f, clip) for f in functions]

    def u(x: Any) -> Any:
        return x @ w_ih.mT if b_ih is None else x @ w_ih.mT + b_ih

    def v(h: Any) -> Any:
        return h @ w_hh.mT if b_hh is None else h @ w_hh.mT + b_hh

    def rnn(state: Any, x: Any) -> Any:
        h = gate(u(x) + v(state[0]))
        return (h,), h

    def gru(state: Any, x: Any) -> Any:
        (h,) = state
        u_r, u_z, u_n = ops.split(u(x), 3, axis=-1)
        if node.get("linear_before_reset"):
            v_r, v_z, v_n = ops.split(v(h), 3, axis=-1)
            r, z = gate(u_r + v_r), gate(u_z + v_z)
            n = others[0](u_n + r * v_n)
        else:
            w_r, w_z, w_n = ops.split(w_hh, 3)
            r, z = gate(u_r + h @ w_r.mT), gate(u_z + h @ w_z.mT)
            n = others[0](u_n + (r * h) @ w_n.mT)
        h = z * h + (1 - z) * n
        return (h,), h

    last = _act(functions[-1])  # of c: not clipped

    def lstm(state: Any, x: Any) -> Any:
        h, c = state
        i, f, g, o = ops.split(u(x) + v(h), 4, axis=-1)
        p_i = p_f = p_o = None
        if peepholes is not None:
            p_i, p_f, p_o = ops.split(peepholes, 3)
            i, f = i + p_i * c, f + p_f * c
        i = gate(i)
        f = 1 - i if node.get("input_forget") else gate(f)
        c = f * c + i * others[0](g)
        h = gate(o if p_o is None else o + p_o * c) * last(c)
        return (h, c), h

    return {"RNN": rnn, "GRU": gru, "LSTM": lstm}[kind]


def _operator(*more: str) -> Callable[..., Any]:
    def run(node: Node, *inputs: Any) -> Any:
        return _run(node, *inputs)

    run.attributes = frozenset({*COMMON, *more})  # type: ignore[attr-defined]
    return run


RECURRENT: dict[str, Callable[..., Any]] = {
    "RNN": _operator(),
    "GRU": _operator("linear_before_reset"),
    "LSTM": _operator("input_forget"),
}
