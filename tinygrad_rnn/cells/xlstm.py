"""Steps of the two cells of the extended LSTM, with a stabiliser for the exponential gates.

The step never computes exp of a gate's argument itself, which could overflow: the state has m, the
logarithm of a scale, and c and n are divided by exp(m). The outputs do not depend on m.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

from ..tensor.ops.elementwise import abs, exp, log_sigmoid, maximum, minimum, sigmoid, tanh, where
from ..tensor.ops.movement import expand_dims
from ..tensor.ops.products import matmul
from ..tensor.ops.reductions import sum
from .common import affine, gates

__all__ = ["mlstm_step", "slstm_step"]

HIGH = 80.0  # e to this power is still a float32, and what is divided by it as good as nothing


def slstm_step(
    x: Any, h: Any, c: Any, n: Any, m: Any, w_ih: Any, w_hh: Any, b_ih: Any = None
) -> tuple[Any, Any, Any, Any]:
    """One step of the LSTM with a scalar memory (Beck et al. 2024), gates i, f, z, o.

        i = exp(U_i x + W_i h + b_i)            f, o = sigmoid(U_f x + W_f h + b_f), ...
        z = tanh(U_z x + W_z h + b_z)           c' = f * c + i * z
        n' = f * n + i                          h' = o * c' / n'

    n is the normaliser. c and n are divided by exp(m), m being the stabiliser: no exponential
    overflows.

    **Arguments** x: (B, I); h, c, n, m: (B, H), zeros at first; w_ih: (4H, I); w_hh: (4H, H); b_ih:
    (4H,) or None. **Returns** h', c', n', m'.

    >>> import tinygrad_rnn as tg
    >>> zero, w = tg.zeros((1, 1)), tg.tensor([[900.0], [0.0], [1.0], [0.0]])
    >>> h, c, n, m = tg.slstm_step(tg.ones((1, 1)), zero, zero, zero, zero, w, tg.zeros((4, 1)))
    >>> round(h.item(), 4), round(c.item(), 4), n.item(), m.item()  # h is tanh(1) / 2
    (0.3808, 0.7616, 1.0, 900.0)
    """
    log_i, f, z, o = gates(affine(x, w_ih, b_ih) + affine(h, w_hh, None), 4)
    log_f = where(n == 0, log_i, log_sigmoid(f) + m)  # of nothing: the first i sets the scale
    scale = maximum(log_f, log_i)
    i, f = exp(log_i - scale), exp(log_f - scale)
    c, n = f * c + i * tanh(z), f * n + i
    return sigmoid(o) * c / n, c, n, scale


def mlstm_step(
    x: Any, c: Any, n: Any, m: Any, w_ih: Any, b_ih: Any = None
) -> tuple[Any, Any, Any, Any]:
    """One step of the LSTM with a matrix memory (Beck et al. 2024), in N heads of width D.

        q, k, v = U_q x + b_q, (U_k x + b_k) / sqrt(D), U_v x + b_v
        i = exp(U_i x + b_i), f = sigmoid(U_f x + b_f), scalars of a head; o = sigmoid(U_o x + b_o)
        c' = f c + i v k'                       n' = f n + i k
        h = o * (c' q) / max(|n' q|, 1)

    c and n are divided by exp(m), m being the stabiliser: no exponential overflows.

    **Arguments** x: (B, I); c: (B, N, D, D), n: (B, N, D), m: (B, N), zeros at first; w_ih: rows of
    q, k, v, o, and of i, f, (4ND + 2N, I); b_ih: (4ND + 2N,) or None. **Returns** h, (B, ND), and
    c', n', m'.

    >>> import tinygrad_rnn as tg
    >>> c, n, m = tg.zeros((2, 1, 3, 3)), tg.zeros((2, 1, 3)), tg.zeros((2, 1))
    >>> tg.mlstm_step(tg.ones((2, 5)), c, n, m, tg.ones((14, 5)))[0].shape
    (2, 3)
    """
    batch, heads, width = n.shape
    z = affine(x, w_ih, b_ih)
    wide = 4 * heads * width
    q, k, v, o = gates(z[:, :wide], 4)
    q, k, v = (part.reshape((batch, heads, width)) for part in (q, k / sqrt(width), v))
    log_i, log_f = gates(z[:, wide:], 2)
    log_f = log_sigmoid(log_f) + m
    m = maximum(log_f, log_i)
    i, f = (expand_dims(exp(part - m), axis=-1) for part in (log_i, log_f))
    n = f * n + i * k
    c = expand_dims(f, axis=-1) * c + expand_dims(i * v, axis=-1) * expand_dims(k, axis=-2)
    found = matmul(c, expand_dims(q, axis=-1)).reshape((batch, heads, width))
    one = expand_dims(exp(minimum(-m, HIGH)), axis=-1)  # on the scale on which n is held
    size = maximum(abs(sum(n * q, axis=-1, keepdims=True)), one)
    return sigmoid(o) * (found / size).reshape((batch, heads * width)), c, n, m
