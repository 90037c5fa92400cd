"""Optimizers, learning rate schedules, and gradient clipping."""

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
