"""Whole-sequence recurrent kernels: one contract for all implementations, on plain arrays.

A kernel runs one layer in one direction over a whole sequence:

    x        (T, B, I)   the inputs, time first
    h0, c0   (B, H)      the states before the first step; h0 is (B, P) under a projection
    w_ih     (G*H, I)    input weights of the G gates, stacked in PyTorch's order
    w_hh     (G*H, H)    recurrent weights
    b_ih     (G*H,)      biases, or None
    b_hh     (G*H,)      biases of the recurrent part, or None
    lengths  (B,)        valid steps of each row, 0 to T, or None for T throughout
    reverse              runs from each row's own last step to its first

A forward function gives `((y, h_n[, c_n]), saved)`. y is (T, B, H), zero past a row's length; the
final states are those after the row's last step in running order, the initial ones where a row is
empty. `saved` is what its backward function needs, None if `keep` is false. A backward function
takes the cotangents g of the outputs (None where absent) and gives one for each input, in order,
None for those that `needs` does not ask for.
"""

from .reference import (
    gru_backward,
    gru_forward,
    lstm_backward,
    lstm_forward,
    rnn_backward,
    rnn_forward,
)

__all__ = [
    "describe",
    "gru_backward",
    "gru_forward",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
]


def describe() -> str:
    """Which implementation runs, and why."""
    return "reference (array code on NumPy or CuPy): the only one in this version"
