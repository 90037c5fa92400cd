"""Layers and losses, under PyTorch's names."""

from . import attention as _attention
from . import decoding, init, utils
from . import recurrent as _recurrent
from . import seq2seq as _seq2seq
from .attention import *
from .containers import ModuleList, Sequential
from .crf import CRF
from .ctc import ctc_loss
from .dropout import Dropout, dropout
from .embedding import Embedding
from .linear import Linear
from .loss import (
    activation_regularization,
    binary_cross_entropy_with_logits,
    cross_entropy,
    linear_cross_entropy,
    mse_loss,
    nll_loss,
    temporal_activation_regularization,
)
from .module import Module, Parameter, StateDictError
from .normalization import LayerNorm
from .recurrent import *
from .seq2seq import *

__all__ = [
    "decoding", "init", "utils",
    "Module", "ModuleList", "Parameter", "Sequential", "StateDictError",
    "Dropout", "Embedding", "LayerNorm", "Linear", "dropout", "CRF",
    "activation_regularization", "binary_cross_entropy_with_logits", "cross_entropy", "ctc_loss",
    "linear_cross_entropy", "mse_loss", "nll_loss", "temporal_activation_regularization",
]  # fmt: skip
__all__ += _recurrent.__all__
__all__ += _attention.__all__
__all__ += _seq2seq.__all__
