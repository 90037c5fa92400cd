"""The recurrent cells: each step written once, and the fused operation that runs all of them.

The step is the definition: cells wrap it, the fused operation's twin scans it, and the tests take
it as the reference for the kernels. U and W of the equations are `w_ih` and `w_hh`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import kernels
from ..graph import Op
from .elementwise import relu, sigmoid, tanh
from .movement import matrix_transpose, unstack
from .products import matmul
from .scan import scan

__all__ = ["gru", "gru_step", "lstm", "lstm_step", "rnn", "rnn_step"]


def affine(x: Any, w: Any, b: Any) -> Any:
    """x w' + b; b may be None."""
    z = matmul(x, matrix_transpose(w))
    return z if b is None else z + b


def gates(z: Any, count: int) -> Any:
    """The parts of (B, count * H) that belong to each gate."""
    return unstack(z.reshape((*z.shape[:-1], count, z.shape[-1] // count)), axis=-2)


def rnn_step(
    x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, *, activation: str
) -> Any:
    """One step of the vanilla RNN (Elman 1990): h' = tanh(U x + W h + b).

    **Arguments** x: (B, I); h: (B, H); w_ih: (H, I); w_hh: (H, H); b_ih, b_hh: (H,) or None;
    activation: `tanh` or `relu`. **Returns** h', (B, H).
    """
    z = affine(x, w_ih, b_ih) + affine(h, w_hh, b_hh)
    return tanh(z) if activation == "tanh" else relu(z)


def gru_step(
    x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None, *, reset_after: bool
) -> Any:
    """One step of the gated recurrent unit (Cho et al. 2014), gates stacked r, z, n.

        r = sigmoid(U_r x + W_r h + b_r)        z = sigmoid(U_z x + W_z h + b_z)
        n = tanh(U x + W (r * h) + b)           h' = z * h + (1 - z) * n

    With reset_after, as PyTorch and cuDNN have it, n = tanh(U x + b + r * (W h + b_hn)).

    **Arguments** x: (B, I); h: (B, H); w_ih: (3H, I); w_hh: (3H, H); b_ih: (3H,) or None; b_hh:
    (3H,) or None, with reset_after only. **Returns** h', (B, H).
    """
    u_r, u_z, u_n = gates(affine(x, w_ih, b_ih), 3)
    if reset_after:
        w_r, w_z, w_n = gates(affine(h, w_hh, b_hh), 3)
        r = sigmoid(u_r + w_r)
        z = sigmoid(u_z + w_z)
        n = tanh(u_n + r * w_n)
    else:
        width = h.shape[-1]
        w_r, w_z = gates(affine(h, w_hh[: 2 * width], None), 2)
        r = sigmoid(u_r + w_r)
        z = sigmoid(u_z + w_z)
        n = tanh(u_n + affine(r * h, w_hh[2 * width :], None))
    return z * h + (1 - z) * n


def lstm_step(
    x: Any,
    h: Any,
    c: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    w_hr: Any = None,
) -> tuple[Any, Any]:
    """One step of the long short-term memory (Hochreiter and Schmidhuber 1997), gates i, f, g, o.

        i, f, o = sigmoid(U_i x + W_i h + b_i), and so for f and o;  g = tanh(U_g x + W_g h + b_g)
        c' = f * c + i * g                      h' = o * tanh(c')

    With a projection (Sak et al. 2014) h' = w_hr (o * tanh(c')).

    **Arguments** x: (B, I); h: (B, H), or (B, P) under a projection; c: (B, H); w_ih: (4H, I);
    w_hh: (4H, H or P); b_ih, b_hh: (4H,) or None; w_hr: (P, H) or None. **Returns** h', c'.
    """
    i, f, g, o = gates(affine(x, w_ih, b_ih) + affine(h, w_hh, b_hh), 4)
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    h = sigmoid(o) * tanh(c)
    return (h if w_hr is None else affine(h, w_hr, None)), c


# ---------------------------------------------------------------- the twins, and the operations


def _by_steps(
    step: Callable[[Any, Any], Any], x: Any, h0: Any, lengths: Any, reverse: bool
) -> tuple[Any, Any]:
    """A cell whose output is its state, over a sequence."""

    def run(h: Any, x: Any) -> tuple[Any, Any]:
        h = step(x, h)
        return h, h

    h, y = scan(run, h0, x, reverse=reverse, lengths=lengths)
    return y, h


def _rnn_by_steps(
    x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, lengths: Any,
    *, activation: str, reverse: bool,
) -> tuple[Any, Any]:  # fmt: skip
    def step(x: Any, h: Any) -> Any:
        return rnn_step(x, h, w_ih, w_hh, b_ih, b_hh, activation=activation)

    return _by_steps(step, x, h0, lengths, reverse)


def _gru_by_steps(
    x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, lengths: Any,
    *, reset_after: bool, reverse: bool,
) -> tuple[Any, Any]:  # fmt: skip
    def step(x: Any, h: Any) -> Any:
        return gru_step(x, h, w_ih, w_hh, b_ih, b_hh, reset_after=reset_after)

    return _by_steps(step, x, h0, lengths, reverse)


def _lstm_by_steps(
    x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any, w_hr: Any,
    lengths: Any, *, reverse: bool,
) -> tuple[Any, Any, Any]:  # fmt: skip
    def step(state: Any, x: Any) -> tuple[Any, Any]:
        h, c = state
        h, c = lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr)
        return (h, c), h

    (h, c), y = scan(step, (h0, c0), x, reverse=reverse, lengths=lengths)
    return y, h, c


_SHAPES = "x (T, B, I), h0 (B, H), w_ih ({0}H, I), w_hh ({0}H, H) and biases ({0}H,)"

rnn = Op("rnn", kernels.rnn_forward, composed=_rnn_by_steps, expects=_SHAPES.format(""))
gru = Op("gru", kernels.gru_forward, composed=_gru_by_steps, expects=_SHAPES.format(3))
lstm = Op("lstm", kernels.lstm_forward, composed=_lstm_by_steps, expects=_SHAPES.format(4))

rnn.vjp(kernels.rnn_backward)
gru.vjp(kernels.gru_backward)
lstm.vjp(kernels.lstm_backward)
