"""Steps of cells with one gate, with one weight a unit, or with gates that read no output.

U and W of the equations are `w_ih` and `w_hh`.
"""

from __future__ import annotations

from typing import Any

from ..tensor.ops.elementwise import relu, sigmoid, tanh
from .common import affine, gates

__all__ = ["indrnn_step", "janet_step", "mgu_step", "sru_step"]


def mgu_step(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any = None) -> Any:
    """One step of the minimal gated unit (Zhou et al. 2016), its gate f before the candidate n.

        f = sigmoid(U_f x + W_f h + b_f)
        n = tanh(U_n x + W_n (f * h) + b_n)     h' = (1 - f) * h + f * n

    **Arguments** x: (B, I); h: (B, H); w_ih: (2H, I); w_hh: (2H, H); b_ih: (2H,) or None.
    **Returns** h', (B, H).

    >>> import tinygrad_rnn as tg
    >>> tg.mgu_step(tg.ones((1, 2)), tg.ones((1, 1)), tg.zeros((2, 2)), tg.zeros((2, 1))).item()
    0.5
    """
    width = h.shape[-1]
    u_f, u_n = gates(affine(x, w_ih, b_ih), 2)
    f = sigmoid(u_f + affine(h, w_hh[:width], None))
    n = tanh(u_n + affine(f * h, w_hh[width:], None))
    return (1 - f) * h + f * n


def janet_step(x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, *, beta: float = 1.0) -> Any:
    """One step of JANET, the LSTM with a forget gate only (van der Westhuizen and Lasenby 2018).

        s = U_s x + W_s h + b_s                 n = tanh(U_n x + W_n h + b_n)
        h' = sigmoid(s) * h + (1 - sigmoid(s - beta)) * n

    **Arguments** x: (B, I); h: (B, H); w_ih: (2H, I); w_hh: (2H, H); b_ih: (2H,) or None. beta: as
    in the equation; above 0 it lets more of the candidate in. **Returns** h', (B, H).

    >>> import tinygrad_rnn as tg
    >>> tg.janet_step(tg.ones((1, 2)), tg.ones((1, 1)), tg.zeros((2, 2)), tg.zeros((2, 1))).item()
    0.5
    """
    s, n = gates(affine(x, w_ih, b_ih) + affine(h, w_hh, None), 2)
    return sigmoid(s) * h + sigmoid(beta - s) * tanh(n)


def indrnn_step(
    x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, *, activation: str = "relu"
) -> Any:
    """One step of the independently recurrent network (Li et al. 2018): h' = relu(U x + w * h + b).

    A unit sees its own past alone; it sees the others' in the next layer.

    **Arguments** x: (B, I); h: (B, H); w_ih: (H, I); w_hh: (H,); b_ih: (H,) or None; activation:
    `relu` or `tanh`. **Returns** h', (B, H).

    >>> import tinygrad_rnn as tg
    >>> tg.indrnn_step(tg.ones((1, 2)), tg.ones((1, 1)), tg.ones((1, 2)), tg.tensor([0.5])).item()
    2.5
    """
    z = affine(x, w_ih, b_ih) + w_hh * h
    return relu(z) if activation == "relu" else tanh(z)


def sru_step(x: Any, c: Any, w_ih: Any, w_c: Any, b_ih: Any = None) -> tuple[Any, Any]:
    """One step of the simple recurrent unit (Lei et al. 2018): its products read no state.

        f = sigmoid(U_f x + v_f * c + b_f)      r = sigmoid(U_r x + v_r * c + b_r)
        c' = f * c + (1 - f) * U x              h = r * c' + (1 - r) * x

    If I differs from H, h has U_x x in place of x.

    **Arguments** x: (B, I); c: (B, H); w_ih: U, U_f, U_r stacked, (3H, I), and U_x below them,
    (4H, I), unless I = H; w_c: v_f and v_r, (2H,); b_ih: b_f and b_r, (2H,), or None. **Returns**
    h and c', (B, H).

    >>> import tinygrad_rnn as tg
    >>> h, c = tg.sru_step(tg.ones((1, 1)), tg.ones((1, 1)), tg.zeros((3, 1)), tg.zeros((2,)))
    >>> h.item(), c.item()
    (0.75, 0.5)
    """
    width = c.shape[-1]
    u, u_f, u_r, *through = gates(affine(x, w_ih, None), w_ih.shape[0] // width)
    z_f, z_r = u_f + w_c[:width] * c, u_r + w_c[width:] * c
    if b_ih is not None:
        z_f, z_r = z_f + b_ih[:width], z_r + b_ih[width:]
    f, r = sigmoid(z_f), sigmoid(z_r)
    c = f * c + (1 - f) * u
    return r * c + (1 - r) * (through[0] if through else x), c
