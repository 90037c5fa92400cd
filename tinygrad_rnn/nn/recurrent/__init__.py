"""Recurrent cells, and layers of them.

`cells` defines the vanilla RNN, the GRU and the LSTM: weights, a step, a fused operation. `layer`
runs cells over time; `layers` and `recurrent` are its kinds, of built-in cells and of any.
"""

from .cells import Cell, GRUCell, LSTMCell, RNNCell
from .conv_lstm import ConvLSTMCell
from .layers import GRU, LSTM, RNN
from .light import IndRNNCell, JANETCell, MGUCell, SRUCell
from .parallel import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell
from .recurrent import Recurrent
from .xlstm import MLSTMCell, SLSTMCell

__all__ = [
    "GRU", "LSTM", "RNN", "Recurrent",
    "Cell", "GRUCell", "LSTMCell", "RNNCell",
    "ConvLSTMCell", "IndRNNCell", "JANETCell", "MGUCell", "MLSTMCell", "MinGRU", "MinGRUCell",
    "MinLSTM", "MinLSTMCell", "SLSTMCell", "SRUCell",
]  # fmt: skip
