"""Attention: where in a source to look, by what is asked, and by where one has looked before."""

from .attention import AdditiveAttention, Attention, DotAttention, GeneralAttention, Memory
from .heads import MultiHeadAttention
from .past import CoverageAttention, LocationAttention

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
