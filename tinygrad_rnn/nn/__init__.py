"""Layers and losses, under PyTorch's names."""

import sys as _sys
import typing as _typing

from ..errors import unknown_name as _unknown_name
from ..tensor import ops as _ops
from . import attention as _attention
from . import criteria as _criteria
from . import decoding, init, utils
from . import loss as _loss
from . import recurrent as _recurrent
from . import regression as _regression
from . import seq2seq as _seq2seq
from .activations import GELU, Flatten, Identity, ReLU, Sigmoid, SiLU, Tanh
from .attention import *
from .containers import ModuleDict, ModuleList, Sequential
from .convolution import Conv1d, Conv2d
from .crf import CRF
from .criteria import *
from .ctc import ctc_loss
from .dropout import Dropout, dropout
from .embedding import Embedding
from .linear import Linear
from .loss import *
from .module import Module, Parameter
from .normalization import BatchNorm1d, LayerNorm
from .recurrent import *
from .regression import *
from .seq2seq import *
from .state_dict import StateDictError
from .summary import summary

__all__ = [
    "decoding", "init", "utils",
    "Flatten", "GELU", "Identity", "ReLU", "SiLU", "Sigmoid", "Tanh",
    "Module", "ModuleDict", "ModuleList", "Parameter", "Sequential", "StateDictError",
    "BatchNorm1d", "Conv1d", "Conv2d", "Dropout", "Embedding", "LayerNorm", "Linear",
    "dropout", "CRF", "ctc_loss", "summary",
]  # fmt: skip
__all__ += _criteria.__all__
__all__ += _loss.__all__
__all__ += _regression.__all__
__all__ += _recurrent.__all__
__all__ += _attention.__all__
__all__ += _seq2seq.__all__

if not _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> _typing.Any:
        """Refuses a name that does not exist; of PyTorch's, it says what to type."""
        remedy = f"tg.{name}" if name in _ops.__all__ else ""
        raise _unknown_name("nn", name, _sys.modules[__name__], remedy)
