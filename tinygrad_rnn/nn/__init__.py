"""Layers and losses, under PyTorch's names."""

from . import decoding, init
from .cells import Cell, GRUCell, LSTMCell, RNNCell
from .crf import CRF
from .ctc import ctc_loss
from .dropout import Dropout, dropout
from .embedding import Embedding
from .linear import Linear
from .loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss, nll_loss
from .module import Module, ModuleList, Parameter, Sequential, StateDictError
from .normalization import LayerNorm
from .recurrent import GRU, LSTM, RNN

__all__ = [
    "decoding", "init",
    "Module", "ModuleList", "Parameter", "Sequential", "StateDictError",
    "Dropout", "Embedding", "LayerNorm", "Linear", "dropout",
    "Cell", "GRUCell", "LSTMCell", "RNNCell", "CRF", "GRU", "LSTM", "RNN",
    "binary_cross_entropy_with_logits", "cross_entropy", "ctc_loss", "mse_loss", "nll_loss",
]  # fmt: skip
