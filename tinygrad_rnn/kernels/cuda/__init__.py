"""CUDA C++ kernels for array modules that compile them (CuPy): sources, and how they are launched.

Where there is no such kernel, as on the CPU, the callers run array code.
"""

from .many import adam, clip_norm, fits
from .philox import random_words
from .rows import compiles, refuse_outside, scatter_add

__all__ = ["adam", "clip_norm", "compiles", "fits", "random_words", "refuse_outside", "scatter_add"]
