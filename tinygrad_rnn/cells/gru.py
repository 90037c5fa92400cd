"""The gated recurrent unit: its step, and the fused operation that runs all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import kernels
from ..errors import InvalidValueError
from ..loops.scan import Lengths
from ..tensor.operation import Op
from .common import SHAPES, affine, decomposition, function, gates, selected, sequence_options

__all__ = ["gru", "gru_step"]


def gru_step(
    x: Any,
    h: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    h_mask: Any = None,
    *,
    reset_after: bool = False,
    activation: str | Callable[..., Any] = "tanh",
    recurrent_activation: str | Callable[..., Any] = "sigmoid",
    gate_clip: float | None = None,
    norms: Sequence[Any] | None = None,
) -> Any:
    """One step of the gated recurrent unit (Cho et al. 2014), gates stacked r, z, n.

        r = sigmoid(U_r x + W_r h + b_r)        z = sigmoid(U_z x + W_z h + b_z)
        n = tanh(U x + W (r * h) + b)           h' = z * h + (1 - z) * n

    With reset_after, as PyTorch and cuDNN have it, n = tanh(U x + b + r * (W h + b_hn)).

    **Arguments** x: (B, I); h: (B, H); w_ih: (3H, I); w_hh: (3H, H); b_ih: (3H,) or None; b_hh:
    (3H,) or None, with reset_after only; h_mask: (B, H) or None; norms: gains n_ih and n_hh, (3H,)
    each, or None: without reset_after the products of r and z, and that of n, are normalised apart.
    **Returns** h', (B, H). **Raises** ValueError for a b_hh that has no place.

    >>> import tinygrad_rnn as tg
    >>> tg.gru_step(tg.ones((1, 1)), tg.zeros((1, 1)), tg.ones((3, 1)), tg.ones((3, 1)))
    tensor([[0.20482...]])
    """
    n_ih, n_hh = norms or (None, None)
    act, gate = (function(a, gate_clip) for a in (activation, recurrent_activation))
    m = h if h_mask is None else selected(h_mask, h)
    u_r, u_z, u_n = gates(affine(x, w_ih, b_ih, n_ih), 3)
    if reset_after:
        w_r, w_z, w_n = gates(affine(m, w_hh, b_hh, n_hh), 3)
        r, z = gate(u_r + w_r), gate(u_z + w_z)
        n = act(u_n + r * w_n)
    else:
        if b_hh is not None:
            raise InvalidValueError(
                "gru_step: b_hh: expected None without reset_after: one bias a gate"
            )
        split = 2 * h.shape[-1]
        first, last = (None, None) if n_hh is None else (n_hh[:split], n_hh[split:])
        w_r, w_z = gates(affine(m, w_hh[:split], gain=first), 2)
        r, z = gate(u_r + w_r), gate(u_z + w_z)
        n = act(u_n + affine(r * m, w_hh[split:], gain=last))
    return z * h + (1 - z) * n


def gru(
    x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None,
    lengths: Lengths = None, reset: Any = None, h_mask: Any = None, h_zone: Any = None,
    ids: Any = None, *, reset_after: bool = False, reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """The gated recurrent unit over a sequence, as one operation: see `gru_step`.

    **Arguments** x: (T, B, I); h0: (B, H); weights, biases and reset_after as `gru_step` takes
    them; lengths, reset, h_mask, h_zone, ids: constants, as `lstm` takes them. reverse: from each
    row's last step to its first. **Returns** y, (T, B, H), and the last h, (B, H). **Raises**
    ShapeError.

    >>> import tinygrad_rnn as tg
    >>> y, h = tg.gru(tg.ones((2, 1, 1)), tg.zeros((1, 1)), tg.ones((3, 1)), tg.ones((3, 1)))
    >>> y.shape, h.shape
    ((2, 1, 1), (1, 1))
    """
    options = sequence_options(
        "gru", x, lengths=lengths, reset=reset, h_mask=h_mask, zoneout=(h_zone,), ids=ids,
        reverse=reverse,
    )  # fmt: skip
    y, h = fused_gru(x, h0, w_ih, w_hh, b_ih, b_hh, reset_after=reset_after, options=options)
    return y, h


fused_gru = Op(
    "gru", kernels.gru_forward, decomposition=decomposition(gru_step), fresh=True,
    expects=SHAPES.format(3),
)  # fmt: skip
fused_gru.vjp(kernels.backward)
