"""Attention mechanisms."""

from .attention import AdditiveAttention, Attention, DotAttention, GeneralAttention, Memory
from .heads import MultiHeadAttention
from .stateful import CoverageAttention, LocationAttention

__all__ = [
    "AdditiveAttention",
    "Attention",
    "CoverageAttention",
    "DotAttention",
    "GeneralAttention",
    "LocationAttention",
    "Memory",
    "MultiHeadAttention",
]
