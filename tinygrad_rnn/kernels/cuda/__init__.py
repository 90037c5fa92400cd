"""CUDA C++ kernels for array modules that compile them (CuPy): sources, and how they are launched.

Where there is no such kernel, as on the CPU, the callers run array code. A file is imported when
one of its functions is asked for.
"""

import importlib
import typing

from .rows import compiles, enabled, refuse_outside, scatter_add

if typing.TYPE_CHECKING:
    from .elementwise import evaluate
    from .linear import has_linear_recurrence, linear_recurrence
    from .losses import cross_entropy, has_cross_entropy, weighted_sum
    from .many import adam, clip_norm, fits, rmsprop, sgd
    from .philox import random_words

__all__ = [
    "adam", "clip_norm", "compiles", "cross_entropy", "enabled", "evaluate", "fits",
    "has_cross_entropy", "has_linear_recurrence", "linear_recurrence", "random_words",
    "refuse_outside", "rmsprop", "scatter_add", "sgd", "weighted_sum",
]  # fmt: skip

_FILES = {
    "elementwise": "evaluate",
    "linear": "has_linear_recurrence linear_recurrence",
    "losses": "cross_entropy has_cross_entropy weighted_sum",
    "many": "adam clip_norm fits rmsprop sgd",
    "philox": "random_words",
}


def __getattr__(name: str) -> typing.Any:
    for file, functions in _FILES.items():
        if name in functions.split():
            return getattr(importlib.import_module(f"{__name__}.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
