"""CUDA C++ kernels for array modules that compile them (CuPy): sources, and how they are launched.

Where there is no such kernel, as on the CPU, the callers run array code.
"""

from .elementwise import evaluate
from .linear import has_linear_recurrence, linear_recurrence
from .losses import cross_entropy, has_cross_entropy, weighted_sum
from .many import adam, clip_norm, fits
from .philox import random_words
from .rows import compiles, enabled, refuse_outside, scatter_add

__all__ = [
    "adam", "clip_norm", "compiles", "cross_entropy", "enabled", "evaluate", "fits",
    "has_cross_entropy", "has_linear_recurrence", "linear_recurrence", "random_words",
    "refuse_outside", "scatter_add", "weighted_sum",
]  # fmt: skip
