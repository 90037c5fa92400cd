"""The kernels in array code: it runs on NumPy and on CuPy, and allocates nothing in its loops.

The inputs of all steps go through one product before the loop, and each weight's gradient comes
from one product after it; what remains in the loop is the recurrence itself. The backward passes
are those of the equations in `cells/`, written out by hand.
"""

from .gru import gru_backward, gru_forward
from .lstm import lstm_backward, lstm_forward
from .rnn import rnn_backward, rnn_forward

__all__ = [
    "gru_backward", "gru_forward",
    "lstm_backward", "lstm_forward",
    "rnn_backward", "rnn_forward",
]  # fmt: skip
