"""Optimizers, learning rate schedules, and gradient clipping."""

import sys as _sys
import typing as _typing

from ..errors import unknown_name as _unknown_name
from .clipping import clip_grad_norm_, clip_grad_value_
from .optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from .schedules import (
    CosineLR,
    ExponentialLR,
    LambdaLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
)

__all__ = [
    "SGD", "Adam", "AdamW", "Optimizer", "RMSprop",
    "CosineLR", "ExponentialLR", "LambdaLR", "MultiStepLR", "OneCycleLR", "ReduceLROnPlateau",
    "Schedule", "StepLR",
    "clip_grad_norm_", "clip_grad_value_",
]  # fmt: skip

if not _typing.TYPE_CHECKING:

    def __getattr__(name: str) -> _typing.Any:
        """Refuses a name that does not exist; of PyTorch's, it says what to type."""
        raise _unknown_name("optim", name, _sys.modules[__name__])
