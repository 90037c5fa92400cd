"""Recurrent cells: one file a family, with the equations of a step and the fused operation."""

from ..errors import public as _public
from ..tensor.operation import Op as _Op
from .conv_lstm import conv_lstm_step
from .gru import gru, gru_step
from .light import indrnn_step, janet_step, mgu_step, sru_step
from .lstm import lstm, lstm_step
from .parallel import min_gru, min_gru_step, min_lstm, min_lstm_step
from .rnn import rnn, rnn_step
from .xlstm import mlstm_step, slstm_step

__all__ = [
    "conv_lstm_step", "gru", "gru_step", "indrnn_step", "janet_step", "lstm", "lstm_step",
    "mgu_step", "min_gru", "min_gru_step", "min_lstm", "min_lstm_step", "mlstm_step", "rnn",
    "rnn_step", "slstm_step", "sru_step",
]  # fmt: skip

for _name in __all__:
    if not isinstance(globals()[_name], _Op):  # an operation says itself what was wrong
        globals()[_name] = _public(globals()[_name])
