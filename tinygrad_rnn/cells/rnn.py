"""The vanilla RNN: its step, and the fused operation that runs all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import kernels
from ..loops.scan import Lengths
from ..tensor.operation import Op
from .common import SHAPES, affine, decomposition, function, selected, sequence_options

__all__ = ["rnn", "rnn_step"]


def rnn_step(
    x: Any,
    h: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    h_mask: Any = None,
    *,
    activation: str | Callable[..., Any] = "tanh",
    gate_clip: float | None = None,
    norms: Sequence[Any] | None = None,
) -> Any:
    """One step of the vanilla RNN (Elman 1990): h' = tanh(U x + W h + b).

    **Arguments** x: (B, I); h: (B, H); w_ih: (H, I); w_hh: (H, H); b_ih, b_hh: (H,) or None;
    h_mask: (B, H) or None; norms: gains n_ih and n_hh, (H,) each, or None. **Returns** h', (B, H).

    >>> import tinygrad_rnn as tg
    >>> tg.rnn_step(tg.ones((1, 1)), tg.zeros((1, 1)), tg.ones((1, 1)), tg.ones((1, 1)))
    tensor([[0.7615942]])
    """
    n_ih, n_hh = norms or (None, None)
    m = h if h_mask is None else selected(h_mask, h)
    z = affine(x, w_ih, b_ih, n_ih) + affine(m, w_hh, b_hh, n_hh)
    return function(activation, gate_clip)(z)


def rnn(
    x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None,
    lengths: Lengths = None, reset: Any = None, h_mask: Any = None, h_zone: Any = None,
    ids: Any = None, *, activation: str = "tanh", reverse: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """The vanilla RNN over a sequence, as one operation: see `rnn_step`.

    **Arguments** x: (T, B, I); h0: (B, H); weights and biases as `rnn_step` takes them; lengths,
    reset, h_mask, h_zone, ids: constants, as `lstm` takes them. activation: `tanh` or `relu`.
    reverse: from each row's last step to its first. **Returns** y, (T, B, H), and the last h,
    (B, H). **Raises** ShapeError.

    >>> import tinygrad_rnn as tg
    >>> y, h = tg.rnn(tg.ones((2, 1, 1)), tg.zeros((1, 1)), tg.ones((1, 1)), tg.ones((1, 1)))
    >>> y.squeeze().tolist(), h.item()
    ([0.7615..., 0.9426...], 0.9426...)
    """
    options = sequence_options(
        "rnn", x, lengths=lengths, reset=reset, h_mask=h_mask, zoneout=(h_zone,), ids=ids,
        reverse=reverse,
    )  # fmt: skip
    y, h = fused_rnn(x, h0, w_ih, w_hh, b_ih, b_hh, activation=activation, options=options)
    return y, h


fused_rnn = Op(
    "rnn", kernels.rnn_forward, decomposition=decomposition(rnn_step), fresh=True,
    expects=SHAPES.format(""),
)  # fmt: skip
fused_rnn.vjp(kernels.backward)
