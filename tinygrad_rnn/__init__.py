"""Recurrent networks on plain arrays: autograd and RNN, GRU, LSTM on NumPy or CuPy."""

import importlib
import typing

# Before all else, because Python 3.11 calls slowly where a piece of its stack of frames ends, and
# ten imports deep that was in the midst of NumPy's own: it took a quarter longer to load.
import numpy  # noqa: F401

from . import cells, loops
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
    OutOfRangeError,
    ShapeError,
    TinygradRnnError,
)
from .kernels.cpu import get_num_threads, set_num_threads
from .loops import *
from .tensor import cuda, ops
from .tensor.anomaly import detect_anomaly
from .tensor.autodiff import enable_grad, grad, no_grad
from .tensor.backend import default_device, device, set_default_device
from .tensor.creation import (
    arange,
    as_tensor,
    eye,
    from_dlpack,
    full,
    linspace,
    ones,
    rand,
    randint,
    randn,
    randperm,
    zeros,
)
from .tensor.functional import hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .tensor.gradcheck import gradcheck
from .tensor.graph import Op, operation
from .tensor.ops import *
from .tensor.ops import linalg
from .tensor.random import Generator, manual_seed
from .tensor.recompute import checkpoint
from .tensor.tensor import Tensor

if typing.TYPE_CHECKING:
    from . import nn, optim
    from .io import load, save
    from .tensor.tensor import Tensor as tensor  # the package, which makes one when it is called

__all__ = [
    "linalg", "nn", "optim", "load", "save",
    "Tensor", "tensor", "as_tensor", "from_dlpack",
    "arange", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "randperm", "zeros",
    "vjp", "jvp", "jacobian", "hessian", "hvp", "value_and_grad", "checkpoint",
    "grad", "no_grad", "enable_grad", "gradcheck", "detect_anomaly", "Op", "operation",
    "Generator", "manual_seed", "cuda", "device", "default_device", "set_default_device",
    "get_num_threads", "set_num_threads",
    "TinygradRnnError", "AnomalyError", "DeviceError", "ExportError", "GradcheckError",
    "GraphError", "InvalidTypeError", "InvalidValueError", "MatrixError", "OutOfRangeError",
    "ShapeError",
]  # fmt: skip
__all__ += ops.__all__
__all__ += loops.__all__
__all__ += cells.__all__

_MODULE = {"nn": "nn", "optim": "optim", "io": "io", "load": "io", "save": "io"}


def __getattr__(name: str) -> typing.Any:
    """Layers, optimizers and files, loaded when first asked for: the engine starts without them."""
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_MODULE[name]}", __name__)
    globals()[name] = found = module if name == _MODULE[name] else getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE})
