"""Layers and losses, under PyTorch's names."""

from . import decoding, init, teacher_forcing
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
from .crf import CRF
from .ctc import ctc_loss
from .decoder import Decoder
from .dropout import Dropout, dropout
from .embedding import Embedding
from .encoder import Encoder
from .linear import Linear
from .loss import binary_cross_entropy_with_logits, cross_entropy, mse_loss, nll_loss
from .module import Module, ModuleList, Parameter, Sequential, StateDictError
from .normalization import LayerNorm
from .pointer import Pointer
from .recurrent import GRU, LSTM, RNN
from .seq2seq import Seq2Seq

__all__ = [
    "decoding", "init",
    "Module", "ModuleList", "Parameter", "Sequential", "StateDictError",
    "Dropout", "Embedding", "LayerNorm", "Linear", "dropout",
    "Cell", "GRUCell", "LSTMCell", "RNNCell", "CRF", "GRU", "LSTM", "RNN",
    "AdditiveAttention", "Attention", "CoverageAttention", "DotAttention", "GeneralAttention",
    "LocationAttention", "Memory", "MultiHeadAttention", "Pointer",
    "Bridge", "Decoder", "Encoder", "Seq2Seq", "teacher_forcing",
    "binary_cross_entropy_with_logits", "cross_entropy", "ctc_loss", "mse_loss", "nll_loss",
]  # fmt: skip
