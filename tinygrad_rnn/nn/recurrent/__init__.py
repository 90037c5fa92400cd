"""Recurrent cells, and layers of them.

`recurrence` and `builtin` say what a vanilla RNN, a GRU and an LSTM are; `cells` and `layers` give
them weights. `stack` is what all layers share, `custom` runs a cell of one's own.
"""

from .cells import Cell, GRUCell, LSTMCell, RNNCell
from .conv_lstm import ConvLSTMCell
from .custom import Recurrent
from .layers import GRU, LSTM, RNN
from .light import IndRNNCell, JANETCell, MGUCell, SRUCell
from .parallel import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell
from .xlstm import MLSTMCell, SLSTMCell

__all__ = [
    "GRU", "LSTM", "RNN", "Recurrent",
    "Cell", "GRUCell", "LSTMCell", "RNNCell",
    "ConvLSTMCell", "IndRNNCell", "JANETCell", "MGUCell", "MLSTMCell", "MinGRU", "MinGRUCell",
    "MinLSTM", "MinLSTMCell", "SLSTMCell", "SRUCell",
]  # fmt: skip
