"""Layers and losses, under PyTorch's names."""

from . import decoding, init, utils
from .cells import Cell, GRUCell, LSTMCell, RNNCell
from .convolutional import ConvLSTMCell
from .crf import CRF
from .ctc import ctc_loss
from .custom import Recurrent
from .dropout import Dropout, dropout
from .embedding import Embedding
from .gated import IndRNNCell, JANETCell, MGUCell, SRUCell
from .linear import Linear
from .loss import (
    activation_regularization,
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
    nll_loss,
    temporal_activation_regularization,
)
from .minimal import MinGRU, MinGRUCell, MinLSTM, MinLSTMCell
from .module import Module, ModuleList, Parameter, Sequential, StateDictError
from .normalization import LayerNorm
from .recurrent import GRU, LSTM, RNN
from .xlstm import MLSTMCell, SLSTMCell

__all__ = [
    "decoding", "init", "utils",
    "Module", "ModuleList", "Parameter", "Sequential", "StateDictError",
    "Dropout", "Embedding", "LayerNorm", "Linear", "dropout",
    "Cell", "GRUCell", "LSTMCell", "RNNCell", "GRU", "LSTM", "RNN", "Recurrent",
    "ConvLSTMCell", "IndRNNCell", "JANETCell", "MGUCell", "MLSTMCell", "MinGRU", "MinGRUCell",
    "MinLSTM", "MinLSTMCell", "SLSTMCell", "SRUCell",
    "CRF",
    "activation_regularization", "binary_cross_entropy_with_logits", "cross_entropy", "ctc_loss",
    "mse_loss", "nll_loss", "temporal_activation_regularization",
]  # fmt: skip
