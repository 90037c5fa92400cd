"""Cells whose gates read the input alone: a sequence is a linear recurrence.

    h_t = a_t h_{t-1} + b_t, with a_t and b_t known for all t at once

The products of all steps are one product, and so are the gates' functions; what is left for each
step is a multiplication and an addition (`tg.linear_recurrence`).
"""

from __future__ import annotations

from typing import Any

from ..loops.linear import linear_recurrence
from ..loops.scan import Lengths, running_rows
from ..tensor.ops.elementwise import log_sigmoid, sigmoid, where
from .common import affine, gates

__all__ = ["min_gru", "min_gru_step", "min_lstm", "min_lstm_step"]


def min_gru_step(x: Any, h: Any, w_ih: Any, b_ih: Any = None) -> Any:
    """One step of the minimal GRU (Feng et al. 2024), its gate z before the candidate n.

        z = sigmoid(U_z x + b_z)                n = e(U_n x + b_n)
        h' = (1 - z) * h + z * n                e(x) = x + 1/2 from 0 up, sigmoid(x) below

    **Arguments** x: (B, I); h: (B, H); w_ih: (2H, I); b_ih: (2H,) or None. **Returns** h', (B, H).

    >>> import tinygrad_rnn as tg
    >>> tg.min_gru_step(tg.ones((1, 1)), tg.ones((1, 1)), tg.zeros((2, 1))).item()
    0.75
    """
    z, n = gates(affine(x, w_ih, b_ih), 2)
    z = sigmoid(z)
    return (1 - z) * h + z * _positive(n)


def min_lstm_step(x: Any, h: Any, w_ih: Any, b_ih: Any = None) -> Any:
    """One step of the minimal LSTM (Feng et al. 2024), gates f, i before the candidate n.

        f = sigmoid(U_f x + b_f), i = sigmoid(U_i x + b_i), n = e(U_n x + b_n) as in the minimal GRU
        h' = (f * h + i * n) / (f + i)

    **Arguments** x: (B, I); h: (B, H); w_ih: (3H, I); b_ih: (3H,) or None. **Returns** h', (B, H).

    >>> import tinygrad_rnn as tg
    >>> tg.min_lstm_step(tg.ones((1, 1)), tg.ones((1, 1)), tg.zeros((3, 1))).item()
    0.75
    """
    f, i, n = gates(affine(x, w_ih, b_ih), 3)
    share = sigmoid(log_sigmoid(f) - log_sigmoid(i))  # f / (f + i), also where both are 0
    return share * h + (1 - share) * _positive(n)


def min_gru(
    x: Any,
    h0: Any,
    w_ih: Any,
    b_ih: Any = None,
    lengths: Lengths = None,
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """The minimal GRU (see `min_gru_step`) over a sequence: a linear recurrence.

    **Arguments** x: (T, B, I); h0: (B, H); w_ih, b_ih: as for a step. lengths: (B,) integers: past
    its length a row keeps its state, x is not read, and its outputs are zero. reverse: from the
    last step to the first. **Returns** the outputs, (T, B, H), and the last state, (B, H).

    >>> import tinygrad_rnn as tg
    >>> y, h = tg.min_gru(tg.ones((3, 1, 1)), tg.ones((1, 1)), tg.zeros((2, 1)))
    >>> y.numpy().round(4).ravel()
    array([0.75  , 0.625 , 0.5625], dtype=float32)
    """
    x, running = _within(x, lengths)
    z, n = gates(affine(x, w_ih, b_ih), 2)
    z = sigmoid(z)
    return _all_steps(1 - z, z, n, h0, running, reverse)


def min_lstm(
    x: Any,
    h0: Any,
    w_ih: Any,
    b_ih: Any = None,
    lengths: Lengths = None,
    *,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """The minimal LSTM (see `min_lstm_step`) over a sequence: a linear recurrence.

    **Arguments** and **Returns** as `min_gru`, with w_ih (3H, I) and b_ih (3H,).

    >>> import tinygrad_rnn as tg
    >>> y, h = tg.min_lstm(tg.ones((3, 1, 1)), tg.ones((1, 1)), tg.zeros((3, 1)))
    >>> y.numpy().round(4).ravel()
    array([0.75  , 0.625 , 0.5625], dtype=float32)
    """
    x, running = _within(x, lengths)
    f, i, n = gates(affine(x, w_ih, b_ih), 3)
    share = sigmoid(log_sigmoid(f) - log_sigmoid(i))  # f / (f + i), also where both are 0
    return _all_steps(share, 1 - share, n, h0, running, reverse)


def _positive(x: Any) -> Any:
    return where(x >= 0, x + 0.5, sigmoid(x))


def _within(x: Any, lengths: Lengths) -> tuple[Any, Any]:
    """x, zero where a row is over, and (T, B, 1), true where it is not; None without lengths."""
    if lengths is None:
        return x, None
    running = running_rows(len(x), lengths)[..., None]
    return where(running, x, 0), running


def _all_steps(a: Any, z: Any, n: Any, h0: Any, running: Any, reverse: bool) -> tuple[Any, Any]:
    """h_t = a_t h_{t-1} + z_t e(n_t) for all t, and the last h."""
    b = z * _positive(n)
    if running is not None:  # a row that is over keeps its state
        a, b = where(running, a, 1), where(running, b, 0)
    h = linear_recurrence(a, b, h0, reverse=reverse)
    last = h[0 if reverse else -1]
    return (h if running is None else where(running, h, 0)), last
