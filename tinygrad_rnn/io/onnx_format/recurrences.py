"""The operators RNN, GRU and LSTM, with all their attributes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ... import cells
from ...cells.common import affine, function
from ...errors import InvalidValueError
from ...loops.scan import scan
from ...tensor import creation, ops
from ..conventions import ONNX, OURS, converted, gates, stacked
from .operators import ACTIVATIONS, CONSTANTS, Node

COMMON = ("activations", "activation_alpha", "activation_beta", "clip", "direction", "hidden_size",
          "layout")  # fmt: skip
TAKES = {
    "LeakyRelu": 1, "ThresholdedRelu": 1, "Elu": 1, "HardSigmoid": 2, "ScaledTanh": 2, "Affine": 2,
}  # fmt: skip
FUSED: dict[str, Any] = {"RNN": cells.rnn, "GRU": cells.gru, "LSTM": cells.lstm}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def _functions(node: Node, directions: int) -> list[list[tuple[str, float, float]]]:
    """The activations of each direction, with their constants."""
    count = len(DEFAULTS[node.kind])
    names = node.get("activations") or DEFAULTS[node.kind] * directions
    alphas, betas = list(node.get("activation_alpha", ())), list(node.get("activation_beta", ()))
    found = []
    for name in names:
        title = next((known for known in ACTIVATIONS if known.lower() == name.lower()), None)
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


def _act(function: tuple[str, float, float]) -> Callable[[Any], Any]:
    name, alpha, beta = function
    return lambda x: ACTIVATIONS[name](x, alpha, beta)


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
    names = [name for name, _, _ in functions]
    after = bool(node.get("linear_before_reset", 0))
    if kind == "GRU" and not after and b_ih is not None:
        b_ih, b_hh = b_ih + b_hh, None
    biased: list[Any] = [w_ih, w_hh, b_ih, b_hh]
    if clip is None and names == DEFAULTS[kind] and not node.get("input_forget"):
        options: dict[str, Any] = {"lengths": lengths, "reverse": reverse}
        options |= {"GRU": {"reset_after": after}, "LSTM": {"w_ch": peepholes}}.get(kind, {})
        return FUSED[kind](x, *first, *biased, **options)[:3]
    step = _step(node, biased, peepholes, functions)
    last, y = scan(step, tuple(first), x, reverse=reverse, lengths=lengths)
    return y, *last


def _step(
    node: Node, weights: Sequence[Any], peepholes: Any, functions: Sequence[Any]
) -> Callable[[Any, Any], Any]:
    """A step with every attribute: clipped gates, other activations, coupled gates."""
    kind, clip = node.kind, node.get("clip")
    gate, *others = [_act(f) for f in functions]

    def rnn(state: Any, x: Any) -> Any:
        h = cells.rnn_step(x, *state, *weights, activation=gate, gate_clip=clip)
        return (h,), h

    def gru(state: Any, x: Any) -> Any:
        h = cells.gru_step(
            x, *state, *weights, reset_after=bool(node.get("linear_before_reset")),
            activation=others[0], recurrent_activation=gate, gate_clip=clip,
        )  # fmt: skip
        return (h,), h

    def lstm(state: Any, x: Any) -> Any:  # g and c may have different activations, unlike ours
        h, c = state
        w_ih, w_hh, b_ih, b_hh = weights
        i, f, g, o = ops.split(affine(x, w_ih, b_ih) + affine(h, w_hh, b_hh), 4, axis=-1)
        p_i, p_f, p_o = (0, 0, 0) if peepholes is None else ops.split(peepholes, 3)
        clipped, candidate = function(gate, clip), function(others[0], clip)
        i = clipped(i + p_i * c)
        f = 1 - i if node.get("input_forget") else clipped(f + p_f * c)
        c = f * c + i * candidate(g)
        h = clipped(o + p_o * c) * others[1](c)
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
