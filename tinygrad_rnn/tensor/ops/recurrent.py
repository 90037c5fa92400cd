"""The recurrent cells: each step written once, and the fused operation that runs all of them.

The step is the definition: cells wrap it, the fused operation's twin scans it, and the tests take
it as the reference for the kernels. U and W of the equations are `w_ih` and `w_hh`. An activation
is the name of an elementwise operation, or a function. `h_mask` (B, P) multiplies h where it enters
the products with W, and there only: the recurrent dropout of Gal and Ghahramani (2016).

`norms` normalise a step's layers (Ba, Kiros and Hinton 2016): U x and W h become
n_ih * LN(U x) and n_hh * LN(W h), each over all gates at once, before the biases are added.
`gate_clip` holds what goes into the gates' activations within [-gate_clip, gate_clip].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ... import kernels
from ...errors import InvalidValueError
from .. import backend, tree
from ..graph import Op, Traced, recorders, watch, wrap
from . import elementwise
from .elementwise import clip, sqrt, where
from .indexing import take
from .loops.scan import scan
from .movement import broadcast_to, matrix_transpose, unstack
from .products import matmul
from .reductions import mean

__all__ = ["gru", "gru_step", "lstm", "lstm_step", "rnn", "rnn_step"]

EPSILON = 1e-5  # keeps a normalisation's division finite


def function(activation: Any, gate_clip: float | None = None) -> Any:
    """The operation of a name, or the function itself; of its input clipped, if that is asked."""
    if not callable(activation):
        if activation not in elementwise.__all__:
            raise InvalidValueError(
                "activation: expected a function or an elementwise operation's name, got "
                f"{activation!r}"
            )
        activation = getattr(elementwise, activation)
    if gate_clip is None:
        return activation
    return lambda z: activation(clip(z, -gate_clip, gate_clip))


def normalised(z: Any, gain: Any) -> Any:
    """z with mean 0 and variance 1 over its features, times a gain."""
    centred = z - mean(z, axis=-1, keepdims=True)
    return centred / sqrt(mean(centred * centred, axis=-1, keepdims=True) + EPSILON) * gain


def affine(x: Any, w: Any, b: Any = None, gain: Any = None) -> Any:
    """x w' + b, the product normalised if there is a gain; b may be None."""
    z = matmul(x, matrix_transpose(w))
    if gain is not None:
        z = normalised(z, gain)
    return z if b is None else z + b


def selected(mask: Any, a: Any) -> Any:
    """mask * a, and 0 where the mask is 0, whatever a holds there."""
    return mask * where(mask == 0, 0, a)


def gates(z: Any, count: int) -> Any:
    """The parts of (..., count * H) that belong to each gate."""
    return unstack(z.reshape((*z.shape[:-1], count, z.shape[-1] // count)), axis=-2)


def rnn_step(
    x: Any,
    h: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any = None,
    b_hh: Any = None,
    h_mask: Any = None,
    *,
    activation: Any = "tanh",
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
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
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
    activation: Any = "tanh",
    recurrent_activation: Any = "sigmoid",
    gate_clip: float | None = None,
    norms: Sequence[Any] | None = None,
) -> tuple[Any, Any]:
    """One step of the long short-term memory (Hochreiter and Schmidhuber 1997), gates i, f, g, o.

        i, f, o = sigmoid(U_i x + W_i h + b_i), and so for f and o;  g = tanh(U_g x + W_g h + b_g)
        c' = f * c + i * g                      h' = o * tanh(c')

    With peepholes (Gers and Schmidhuber 2000) i and f see p * c, and o sees p * c', within the
    sigmoid. With coupled gates (Greff et al. 2017) f = 1 - i, and the gates are i, g, o. A cell
    clip holds c' within [-cell_clip, cell_clip]; a gate clip is not for the last tanh. With a
    projection (Sak et al. 2014) h' becomes w_hr h'.

    **Arguments** x: (B, I); h: (B, H), or (B, P) under a projection; c: (B, H); w_ih: (4H, I);
    w_hh: (4H, H or P); b_ih, b_hh: (4H,) or None; with coupled gates 3H in place of 4H; w_hr:
    (P, H) or None; w_ch: (3H,), peepholes into i, f and o, with coupled gates (2H,), into i and o,
    or None; h_mask: as h, or None; norms: gains n_ih and n_hh, as the biases, and a gain and a bias
    (H,) of LN(c'), of which then the tanh is taken, or None. **Returns** h', c'.

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


# ---------------------------------------------------------------- the twins, and the operations


def by_steps(
    step: Callable[[Any, Any], tuple[Any, Any]],
    x: Any,
    state: Any,
    *,
    lengths: Any = None,
    reset: Any = None,
    initial: Any = None,
    zones: Sequence[Any] | None = None,
    taps: Sequence[Any] | None = None,
    reverse: bool = False,
    fused: bool = False,
    every: bool = True,
) -> tuple[Any, Any, Any]:
    """Runs a cell's step over a sequence.

    **Arguments** step: `(x_t, state) -> (y_t, state)`; a state is a Tensor, (B, ...), or a tree of
    them, as in `scan`, whose leaves are its parts. x: (T, B, I). lengths, reset, reverse, fused: as
    `scan` takes them. initial: the state that a reset sets a row to; zeros, if None. zones: for
    each part of the state the share of the old one that survives each step, (T, B, ...) or
    (1, 1, 1), or None (zoneout, Krueger et al. 2016: a mask of zeros and ones, or the mean of one).
    taps: for each part of the state what is added to it after each step, (T, B, ...), or None:
    zeros have the states' gradients. An output that is a part of the state itself is that part
    after all this. every: whether the states are wanted. **Returns** the outputs, (T, B, ...), zero
    past a row's length; the last state; and the states after every step, as the outputs, or None.

    >>> import tinygrad_rnn as tg
    >>> def step(x, h):
    ...     return x + h, x + h
    >>> y, last, states = by_steps(step, tg.ones((3, 1, 1)), tg.zeros((1, 1)))
    >>> y.squeeze().tolist(), last.item()
    ([1.0, 2.0, 3.0], 3.0)
    """
    shares = [] if zones is None else [(k, z) for k, z in enumerate(zones) if z is not None]
    given = [x, *(broadcast_to(z, shape=(x.shape[0], *z.shape[1:])) for _, z in shares)]
    given += taps or ()
    first, begin = tree.leaves(state), tree.leaves(initial, state)
    anew = reset is not None and initial is not None
    if anew:  # scan knows of zeros only
        given, reset = [*given, reset], None

    def run(old: Any, given: Any) -> tuple[Any, Any]:
        if anew:
            *given, rows = given
            old = [
                where(rows.reshape((-1,) + (1,) * (b.ndim - 1)), a, b)
                for a, b in zip(begin, old, strict=True)
            ]
        x, *more = given
        y, new = step(x, tree.filled(state, old))
        parts = tree.leaves(new, state)
        changed = list(parts)
        for (k, _), zone in zip(shares, more, strict=False):
            changed[k] = selected(zone, old[k]) + selected(1 - zone, parts[k])
        if taps is not None:
            pairs = zip(changed, more[len(shares) :], strict=True)
            changed = [p if tap is None else p + tap for p, tap in pairs]
        y = next((p for p, before in zip(changed, parts, strict=True) if before is y), y)
        return tuple(changed), (y, *changed) if every else (y,)

    last, (y, *states) = scan(
        run, tuple(first), tuple(given), reverse=reverse, lengths=lengths, reset=reset, fused=fused
    )
    return y, tree.filled(state, last), tree.filled(state, states) if every else None


def _read(x: Any, ids: Any) -> Any:
    """The inputs: x, or the rows of it that ids name."""
    return x if ids is None else take(x, ids, axis=0)


def _rnn_by_steps(
    x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None,
    lengths: Any = None, reset: Any = None, h_mask: Any = None, h_zone: Any = None, ids: Any = None,
    *, activation: str = "tanh", reverse: bool = False,
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

    def step(x: Any, h: Any) -> tuple[Any, Any]:
        h = rnn_step(x, h, w_ih, w_hh, b_ih, b_hh, h_mask, activation=activation)
        return h, h

    zones = (h_zone,)
    return by_steps(
        step, _read(x, ids), h0, lengths=lengths, reset=reset, zones=zones, reverse=reverse,
        every=False,
    )[:2]  # fmt: skip


def _gru_by_steps(
    x: Any, h0: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None,
    lengths: Any = None, reset: Any = None, h_mask: Any = None, h_zone: Any = None, ids: Any = None,
    *, reset_after: bool = False, reverse: bool = False,
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

    def step(x: Any, h: Any) -> tuple[Any, Any]:
        h = gru_step(x, h, w_ih, w_hh, b_ih, b_hh, h_mask, reset_after=reset_after)
        return h, h

    zones = (h_zone,)
    return by_steps(
        step, _read(x, ids), h0, lengths=lengths, reset=reset, zones=zones, reverse=reverse,
        every=False,
    )[:2]  # fmt: skip


def _lstm_by_steps(
    x: Any, h0: Any, c0: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None,
    w_hr: Any = None, w_ch: Any = None, lengths: Any = None, reset: Any = None,
    h_mask: Any = None, h_zone: Any = None, c_zone: Any = None, ids: Any = None,
    *, coupled_gates: bool = False, cell_clip: float | None = None, every_cell: bool = False,
    reverse: bool = False,
) -> tuple[Any, ...]:  # fmt: skip
    """The long short-term memory over a sequence, as one operation: see `lstm_step`.

    **Arguments** x: (T, B, I); h0: (B, H), or (B, P) under a projection; c0: (B, H); weights,
    biases, coupled_gates and cell_clip as `lstm_step` takes them. Constants, or None: lengths,
    (B,), the valid steps of each row, 0 to T; reset, (T, B), true where a row begins anew, from
    zeros, before the step; h_mask, (B, H or P); h_zone and c_zone, as h and c of every step or
    (1, 1, 1), the share of the old that survives a step (zoneout); ids, (T, B) whole numbers: x is
    a table, (V, I), of which they are the rows that are read. every_cell: returns c of every
    step, too. reverse: from each row's last step to its first. **Returns** y, (T, B, H or P), zero
    past a row's length; the last h and c; and with every_cell cs, (T, B, H). **Raises** ShapeError.

    >>> import tinygrad_rnn as tg
    >>> h = c = tg.zeros((1, 1))
    >>> y, h, c = tg.lstm(tg.ones((2, 1, 1)), h, c, tg.ones((4, 1)), tg.ones((4, 1)))
    >>> y.shape, h.shape, c.shape
    ((2, 1, 1), (1, 1), (1, 1))
    """

    def step(x: Any, state: Any) -> tuple[Any, Any]:
        h, c = state
        h, c = lstm_step(
            x, h, c, w_ih, w_hh, b_ih, b_hh, w_hr, w_ch, h_mask,
            coupled_gates=coupled_gates, cell_clip=cell_clip,
        )  # fmt: skip
        return h, (h, c)

    zones = (h_zone, c_zone)
    y, (h, c), states = by_steps(
        step, _read(x, ids), (h0, c0), lengths=lengths, reset=reset, zones=zones, reverse=reverse,
        every=every_cell,
    )  # fmt: skip
    return (y, h, c, states[1]) if every_cell else (y, h, c)


def plain(
    cell: str,
    layers: int,
    x: Any,
    state: Any,
    weights: Sequence[Any],
    rounded: tuple[Any, ...] | None = None,
) -> tuple[Any, Any] | None:
    """Plain layers upon each other, without a graph and in one call: `kernels.plain`.

    **Arguments** cell, layers, weights, rounded: as there, weights as values. x: (T, B, I), or
    (B, I); state: h or (h, c), each (L, B, H), or None for zeros. **Returns** y, (T, B, H) or
    (B, H), and the state; None where the operations must run it one by one: because somebody looks
    at them, or because they will say what is wrong.
    """
    two = isinstance(state, tuple) and len(state) == 2
    h, c = state if two else (state, None)
    if not isinstance(x, Traced) or watch.forward or recorders:
        return None
    if (state is not None and not isinstance(h, Traced)) or (two and not isinstance(c, Traced)):
        return None
    h, c = [part.array if isinstance(part, Traced) else part for part in (h, c)]
    arrays = tuple([w.array for w in weights])
    found = kernels.plain(cell, layers, x.array, h, c, arrays, rounded)
    if found is None:
        return None
    y, h, c = found
    cls = x.made
    h = wrap(cls, h, None)
    return wrap(cls, y, None), h if c is None else (h, wrap(cls, c, None))


def rounded(w: Any) -> tuple[Any, ...]:
    """Rounds a leaf's matrix, (R, D), to 8 bits, and makes it one that nobody can write to.

    **Returns** what `plain` takes of it: its array, whole numbers and scales, as
    `kernels.rounded` has them.
    """
    w.data, whole, scales = kernels.rounded(backend.module_of(w.array), w.array)
    freeze(w.array)
    return w.array, whole, scales


def freeze(array: Any) -> None:
    """Makes an array one that nobody can write to, where there is such a thing."""
    if isinstance(array, np.ndarray):
        array.setflags(write=False)


def is_frozen(array: Any) -> bool:
    """Whether nobody can have written to an array since it was frozen."""
    return isinstance(array, np.ndarray) and not array.flags.writeable


_SHAPES = (
    "x (T, B, I), or (V, I) with ids (T, B), h0 (B, H), w_ih ({0}H, I), w_hh ({0}H, H) and biases "
    "({0}H,)"
)

rnn = Op("rnn", kernels.rnn_forward, composed=_rnn_by_steps, expects=_SHAPES.format(""), fresh=True)
gru = Op("gru", kernels.gru_forward, composed=_gru_by_steps, expects=_SHAPES.format(3), fresh=True)
lstm = Op(
    "lstm", kernels.lstm_forward, composed=_lstm_by_steps, expects=_SHAPES.format(4), fresh=True
)

rnn.vjp(kernels.rnn_backward)
gru.vjp(kernels.gru_backward)
lstm.vjp(kernels.lstm_backward)
