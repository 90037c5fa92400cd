"""The long short-term memory: its step, and the fused operation that runs all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import kernels
from ..loops.scan import Lengths
from ..tensor.operation import Op
from ..tensor.ops.elementwise import clip
from .common import (
    SHAPES,
    affine,
    decomposition,
    function,
    gates,
    normalised,
    selected,
    sequence_options,
)

__all__ = ["lstm", "lstm_step"]


def lstm_step(
    x: Any,
    h: Any,
    c: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    w_hr: Any = None,
    w_ch: Any = None,
    h_mask: Any = None,
    *,
    coupled_gates: bool = False,
    cell_clip: float | None = None,
    activation: str | Callable[..., Any] = "tanh",
    recurrent_activation: str | Callable[..., Any] = "sigmoid",
    gate_clip: float | None = None,
    norms: Sequence[Any] | None = None,
) -> tuple[Any, Any]:
    """One step of the long short-term memory (Hochreiter and Schmidhuber 1997), gates i, f, g, o.

        i = sigmoid(U_i x + W_i h + b_i), and likewise f and o;  g = tanh(U_g x + W_g h + b_g)
        c' = f * c + i * g                      h' = o * tanh(c')

    Peepholes (Gers and Schmidhuber 2000) add p * c to the arguments of i and f, and p * c' to that
    of o. With coupled gates (Greff et al. 2017) f = 1 - i, and the gates are i, g, o. `cell_clip`
    clips c' to [-cell_clip, cell_clip]; `gate_clip` clips the arguments of i, f, g and o. With a
    projection (Sak et al. 2014) h' becomes w_hr h'.

    **Arguments** x: (B, I); h: (B, H), or (B, P) under a projection; c: (B, H); w_ih: (4H, I);
    w_hh: (4H, H or P); b_ih, b_hh: (4H,) or None; with coupled gates 3H in place of 4H; w_hr:
    (P, H) or None; w_ch: (3H,), peepholes into i, f and o, with coupled gates (2H,), into i and o,
    or None; h_mask: as h, or None; norms: gains n_ih and n_hh, of the biases' shape, and a gain and
    a bias (H,) of LN(c'), which then replaces c' in the tanh; or None. **Returns** h', c'.

    >>> import tinygrad_rnn as tg
    >>> h = c = tg.zeros((1, 1))
    >>> tg.lstm_step(tg.ones((1, 1)), h, c, tg.ones((4, 1)), tg.ones((4, 1)))
    (tensor([[0.36960...]]), tensor([[0.55676...]]))
    """
    n_ih, n_hh, n_c, b_c = norms or (None, None, None, None)
    act, gate = (function(a, gate_clip) for a in (activation, recurrent_activation))
    m = h if h_mask is None else selected(h_mask, h)
    z = affine(x, w_ih, b_ih, n_ih) + affine(m, w_hh, b_hh, n_hh)
    i, *f, g, o = gates(z, 3 if coupled_gates else 4)
    if w_ch is not None:
        *early, late = gates(w_ch, 2 if coupled_gates else 3)
        i, *f = (a + p * c for a, p in zip((i, *f), early, strict=True))
    i = gate(i)
    c = ((1 - i) if coupled_gates else gate(*f)) * c + i * act(g)
    if cell_clip is not None:
        c = clip(c, -cell_clip, cell_clip)
    o = gate(o if w_ch is None else o + late * c)
    h = o * function(activation)(c if n_c is None else normalised(c, n_c) + b_c)
    return (h if w_hr is None else affine(h, w_hr)), c


def lstm(
    x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None,
    w_hr: Any = None, w_ch: Any = None, lengths: Lengths = None, reset: Any = None,
    h_mask: Any = None, h_zone: Any = None, c_zone: Any = None, ids: Any = None,
    *, coupled_gates: bool = False, cell_clip: float | None = None, every_cell: bool = False,
    reverse: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """The long short-term memory over a sequence, as one operation: see `lstm_step`.

    **Arguments** x: (T, B, I); h0: (B, H), or (B, P) under a projection; c0: (B, H); weights,
    biases, coupled_gates and cell_clip as `lstm_step` takes them. Constants, or None: lengths,
    (B,), the valid steps of each row, 0 to T; reset, (T, B), true where a row is reset to
    zeros, before the step; h_mask, (B, H or P); h_zone and c_zone, as h and c of every step or
    (1, 1, 1), zoneout: a mask, true where a step keeps the old value, or the mask's mean; ids,
    (T, B) integers: x is a table, (V, I), of which they are the rows that are read.
    every_cell: returns c of every step, too. reverse: from each row's last step to its first.
    **Returns** y, (T, B, H or P), zero past a row's length; the last h and c; and with every_cell
    cs, (T, B, H). **Raises** ShapeError.

    >>> import tinygrad_rnn as tg
    >>> h = c = tg.zeros((1, 1))
    >>> y, h, c = tg.lstm(tg.ones((2, 1, 1)), h, c, tg.ones((4, 1)), tg.ones((4, 1)))
    >>> y.shape, h.shape, c.shape
    ((2, 1, 1), (1, 1), (1, 1))
    """
    options = sequence_options(
        "lstm", x, lengths=lengths, reset=reset, h_mask=h_mask, zoneout=(h_zone, c_zone), ids=ids,
        reverse=reverse, every=every_cell,
    )  # fmt: skip
    result: tuple[Any, ...] = fused_lstm(
        x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, w_ch,
        coupled_gates=coupled_gates, cell_clip=cell_clip, options=options,
    )  # fmt: skip
    return result


fused_lstm = Op(
    "lstm", kernels.lstm_forward, decomposition=decomposition(lstm_step, 2), fresh=True,
    expects=SHAPES.format(4),
)  # fmt: skip
fused_lstm.vjp(kernels.backward)
