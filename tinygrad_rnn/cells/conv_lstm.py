"""The step of the LSTM whose products are convolutions over space."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

from ..errors import ShapeError
from ..tensor.ops.elementwise import sigmoid, tanh
from ..tensor.ops.movement import moveaxis, reshape, stack, unstack
from ..tensor.ops.products import matmul
from ..tensor.ops.tiling import pad

__all__ = ["conv_lstm_step"]


def convolved(x: Any, w: Any) -> Any:
    """Each place's neighbourhood times a kernel: a convolution, as networks call it.

    **Arguments** x: (B, C, *space); w: (D, C, *lengths), all of them odd. **Returns** (B, D,
    *space): beyond its borders x counts as zero. **Raises** ShapeError.
    """
    space, lengths = x.shape[2:], w.shape[2:]
    if len(space) != len(lengths) or x.shape[1] != w.shape[1] or any(n % 2 == 0 for n in lengths):
        raise ShapeError(
            "convolution: expected x (B, C, *space) and a kernel (D, C, *lengths) of odd lengths, "
            f"one for each axis of space; got {list(x.shape)} and {list(w.shape)}"
        )
    padded = pad(x, [(0, 0), (0, 0), *((n // 2, n // 2) for n in lengths)])
    shifts = product(*map(range, lengths))
    near = [
        padded[
            (slice(None), slice(None), *(slice(i, i + n) for i, n in zip(at, space, strict=True)))
        ]
        for at in shifts
    ]
    windows = moveaxis(stack(near, axis=2), (1, 2), (-2, -1))  # (B, *space, C, shifts)
    rows = w.shape[1] * prod(lengths)
    windows = reshape(windows, shape=(x.shape[0], *space, rows))
    return moveaxis(matmul(windows, reshape(w, shape=(w.shape[0], rows)).mT), -1, 1)


def conv_lstm_step(
    x: Any, h: Any, c: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, w_ch: Any = None
) -> tuple[Any, Any]:
    """One step of the convolutional LSTM (Shi et al. 2015), gates i, f, g, o; # is a convolution.

        i = sigmoid(U_i # x + W_i # h + V_i * c + b_i), and so for f
        g = tanh(U_g # x + W_g # h + b_g)       c' = f * c + i * g
        o = sigmoid(U_o # x + W_o # h + V_o * c' + b_o)
        h' = o * tanh(c')

    **Arguments** x: (B, C, *space); h, c: (B, D, *space); w_ih: (4D, C, *lengths); w_hh: (4D, D,
    *lengths), of odd lengths; b_ih: (4D,) or None; w_ch: V of i, f, o, (3, D, *space), or None.
    **Returns** h' and c'. **Raises** ShapeError.

    >>> import tinygrad_rnn as tg
    >>> x, state = tg.ones((1, 1, 5)), tg.zeros((1, 2, 5))
    >>> h, c = tg.conv_lstm_step(x, state, state, tg.ones((8, 1, 3)), tg.zeros((8, 2, 3)))
    >>> h.shape, h[0, 0].numpy().round(2)
    ((1, 2, 5), array([0.61, 0.7 , 0.7 , 0.7 , 0.61], dtype=float32))
    """
    z = convolved(x, w_ih) + convolved(h, w_hh)
    if b_ih is not None:
        z = z + b_ih.reshape((-1, *(1 for _ in z.shape[2:])))
    i, f, g, o = unstack(z.reshape((z.shape[0], 4, -1, *z.shape[2:])), axis=1)
    if w_ch is not None:
        i, f = i + w_ch[0] * c, f + w_ch[1] * c
    c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    o = o if w_ch is None else o + w_ch[2] * c
    return sigmoid(o) * tanh(c), c
