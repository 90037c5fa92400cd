"""The kernels in C++ for CPUs; `functions.py` is their Python side; read `kernels.hpp` first."""

from .functions import (
    adam,
    add_rows,
    cross_entropy,
    describe,
    get_num_threads,
    gru_backward,
    gru_forward,
    infer_stack,
    lstm_backward,
    lstm_forward,
    rnn_backward,
    rnn_forward,
    set_num_threads,
    sum_of_squares,
    supports,
)

__all__ = [
    "adam",
    "add_rows",
    "cross_entropy",
    "describe",
    "get_num_threads",
    "gru_backward",
    "gru_forward",
    "infer_stack",
    "lstm_backward",
    "lstm_forward",
    "rnn_backward",
    "rnn_forward",
    "set_num_threads",
    "sum_of_squares",
    "supports",
]
