"""Layers and losses, under PyTorch's names."""

from . import init
from .cells import Cell, GRUCell, LSTMCell, RNNCell
from .convolutional import ConvLSTMCell
from .dropout import Dropout, dropout
from .embedding import Embedding
from .gated import IndRNNCell, JANETCell, MGUCell, SRUCell
from .linear import Linear
from .loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss, nll_loss
from .minimal import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell
from .module import Module, ModuleList, Parameter, Sequential, StateDictError
from .normalization import LayerNorm
from .recurrent import GRU, LSTM, RNN
from .xlstm import MLSTMCell, SLSTMCell

__all__ = [
    "init",
    "Module", "ModuleList", "Parameter", "Sequential", "StateDictError",
    "Dropout", "Embedding", "LayerNorm", "Linear", "dropout",
    "Cell", "GRUCell", "LSTMCell", "RNNCell", "GRU", "LSTM", "RNN",
    "ConvLSTMCell", "IndRNNCell", "JANETCell", "MGUCell", "MLSTMCell", "MinGRU", "MinGRUCell",
    "MinLSTM", "MinLSTMCell", "SLSTMCell", "SRUCell",
    "binary_cross_entropy_with_logits", "cross_entropy", "mse_loss", "nll_loss",
]  # fmt: skip
