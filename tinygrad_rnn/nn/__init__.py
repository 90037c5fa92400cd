"""Layers and losses, under PyTorch's names."""

from . import decoding, init, teacher_forcing, utils
from .attention import (
    AdditiveAttention,
    Attention,
    DotAttention,
    GeneralAttention,
    Memory,
)
from .attention_heads import MultiHeadAttention
from .attention_past import CoverageAttention, LocationAttention
from .bridge import Bridge
from .cells import Cell, GRUCell, LSTMCell, RNNCell
from .convolutional import ConvLSTMCell
from .crf import CRF
from .ctc import ctc_loss
from .custom import Recurrent
from .decoder import Decoder
from .dropout import Dropout, dropout
from .embedding import Embedding
from .encoder import Encoder
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
from .pointer import Pointer
from .recurrent import GRU, LSTM, RNN
from .seq2seq import Seq2Seq
from .xlstm import MLSTMCell, SLSTMCell

__all__ = [
    "decoding", "init", "teacher_forcing", "utils",
    "Module", "ModuleList", "Parameter", "Sequential", "StateDictError",
    "Dropout", "Embedding", "LayerNorm", "Linear", "dropout",
    "Cell", "GRUCell", "LSTMCell", "RNNCell", "GRU", "LSTM", "RNN", "Recurrent",
    "ConvLSTMCell", "IndRNNCell", "JANETCell", "MGUCell", "MLSTMCell", "MinGRU", "MinGRUCell",
    "MinLSTM", "MinLSTMCell", "SLSTMCell", "SRUCell",
    "AdditiveAttention", "Attention", "CoverageAttention", "DotAttention", "GeneralAttention",
    "LocationAttention", "Memory", "MultiHeadAttention", "Pointer",
    "Bridge", "Decoder", "Encoder", "Seq2Seq", "CRF",
    "activation_regularization", "binary_cross_entropy_with_logits", "cross_entropy", "ctc_loss",
    "mse_loss", "nll_loss", "temporal_activation_regularization",
]  # fmt: skip
