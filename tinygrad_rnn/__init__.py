"""Recurrent networks on plain arrays: autograd and RNN, GRU, LSTM on NumPy or CuPy."""

import importlib
import sys
import typing

# Before all else, because Python 3.11 calls slowly where a piece of its stack of frames ends, and
# ten imports deep that was in the midst of NumPy's own: it took a quarter longer to load.
import numpy  # noqa: F401

if not getattr(sys, "_is_gil_enabled", lambda: True)():
    raise ImportError(
        "tinygrad_rnn does not support free-threaded Python: its caches rely on the global lock: "
        "set PYTHON_GIL=1, or run python -X gil=1"
    )

from . import cells, loops
from . import tensor as _engine
from .cells import *
from .errors import (
    AnomalyError,
    DeviceError,
    ExportError,
    GradcheckError,
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    MatrixError,
    OutOfMemoryError,
    OutOfRangeError,
    ShapeError,
    TinygradRnnError,
    UnknownNameError,
)
from .errors import unknown_name as _unknown_name
from .kernels.cpu.functions import get_num_threads, set_num_threads
from .loops import *
from .tensor import *
from .tensor import ops
from .tensor.ops import *

if typing.TYPE_CHECKING:
    from . import data, distributed, nn, optim, plot, train
    from .io import load, save
    from .tensor.tensor import Tensor as tensor  # the package, which makes one when it is called

__all__ = [
    "nn", "optim", "data", "train", "distributed", "plot", "load", "save", "tensor",
    "get_num_threads", "set_num_threads",
    "TinygradRnnError", "AnomalyError", "DeviceError", "ExportError", "GradcheckError",
    "GraphError", "InvalidTypeError", "InvalidValueError", "MatrixError",
    "OutOfMemoryError", "OutOfRangeError", "ShapeError", "UnknownNameError",
]  # fmt: skip
__all__ += _engine.__all__
__all__ += ops.__all__
__all__ += loops.__all__
__all__ += cells.__all__

__version__ = "0.1.0"

_MODULE = {
    "nn": "nn", "optim": "optim", "data": "data", "train": "train", "plot": "plot", "io": "io",
    "distributed": "distributed", "load": "io", "save": "io",
}  # fmt: skip


def __getattr__(name: str) -> typing.Any:
    """Layers, optimizers and files, loaded when first asked for: the engine starts without them."""
    if name not in _MODULE:
        renamed = _engine.interop.RENAMED.get(name)
        remedy = f"tg.{renamed}" if renamed else ""
        raise _unknown_name("tg", name, sys.modules[__name__], remedy)
    module = importlib.import_module(f".{_MODULE[name]}", __name__)
    globals()[name] = found = module if name == _MODULE[name] else getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE})
