"""Whole-sequence recurrent kernels: one contract for all implementations, on plain arrays.

A kernel runs one layer in one direction over a whole sequence. With G gates, T steps, B rows, I
features, H hidden units, and P features of h (H, or those of an LSTM's projection):

    x        (T, B, I)   the inputs, time first; with ids (V, I), a table that they are rows of
    h0       (B, P)      the state before the first step, and for an LSTM
    c0       (B, H)
    w_ih     (G*H, I)    input weights of the gates, stacked in PyTorch's order
    w_hh     (G*H, P)    recurrent weights
    b_ih     (G*H,)      biases, or None
    b_hh     (G*H,)      biases of the recurrent part, or None
    w_hr     (P, H)      an LSTM's projection, or None
    w_ch     (3*H,)      an LSTM's peepholes, from c into i, f and o, or None; with coupled gates
                         (2*H,), into i and o
From here to `every` they are the fields of one value, `options`, a `SequenceOptions`:

    lengths  (B,)        valid steps of each row, 0 to T, or None for T throughout: what x has past
                         them is not read, be it NaN
    reset    (T, B)      true where a row is reset to a state of zeros before that step,
                         whatever the old one was; or None
    h_mask   (B, P)      multiplies h where it enters the recurrent products, or None
    zoneout  (T, B, P)   the keep probability, or mask, of h at each step, or None; (1, 1, 1) for
             (T, B, H)   one probability at all places; and of c; "h_zone" and "c_zone" in errors
    ids      (T, B)      which row of the table is the input, 0 to V - 1; or None
    reverse              runs from each row's own last step to its first
    every                an LSTM gives c of every step too

    coupled_gates        an LSTM of three gates i, g, o, with f = 1 - i
    cell_clip            an LSTM's new c is held within [-cell_clip, cell_clip]

In words, at each step: where reset, h = c = 0; (h~, c~) is the cell's step with h_mask * h in
place of h in its recurrent products; then, under zoneout,
h' = keep * h + (1 - keep) * h~, and so for c. A row
that is over, or has not begun, keeps its state. A reset is seen by rows that are running. c~, not
c', is what the output gate and its peephole see. Where cell_clip cuts c~ off, no gradient passes;
where c~ meets the bound by itself, it does.

A forward function gives `((y, h_n[, c_n][, cs]), saved)`. y is (T, B, P), h' of every step, and cs
(T, B, H), c' of every step, both zero past a row's length; the final states are those after the
row's last step in running order, the initial ones where a row is empty. `saved` is what its
backward function needs, inputs among it, None if `keep` is false. A backward function takes the
cotangents g of the outputs (None where absent) and gives one for each input, in order, in new
arrays; None for those that `needs` does not ask for. The options are constants and have none.

The signatures are those of `reference`, and an implementation is a module with the same six
functions. The functions here check what they are given (`contract.py`) and hand it to the
implementation that `pick` chooses (`dispatch.py`); `backward` is of all three, as `saved` says
whose backward function it is for.

Kernels for training (losses, embedding gradients, Adam) are in `training.py`.
"""

from . import cuda
from .contract import NO_OPTIONS, SequenceOptions
from .cpu.functions import infer_stack
from .dispatch import backward, describe, gru_forward, lstm_forward, rnn_forward
from .linear import linear_recurrence
from .philox import keep_mask
from .quantize import quantize_int8
from .training import (
    adam,
    add_rows,
    cross_entropy,
    cross_entropy_gradient,
    linear_cross_entropy,
    sum_of_squares,
)

__all__ = [
    "NO_OPTIONS",
    "SequenceOptions",
    "adam",
    "add_rows",
    "backward",
    "cross_entropy",
    "cross_entropy_gradient",
    "cuda",
    "describe",
    "gru_forward",
    "infer_stack",
    "linear_recurrence",
    "keep_mask",
    "linear_cross_entropy",
    "lstm_forward",
    "quantize_int8",
    "rnn_forward",
    "sum_of_squares",
]
