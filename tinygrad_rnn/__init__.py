"""Recurrent networks on plain arrays: autograd and RNN, GRU, LSTM on NumPy or CuPy."""

from . import nn, optim
from .io import load, save
from .kernels.cpu import get_num_threads, set_num_threads
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
from .tensor.errors import AnomalyError, DeviceError, GradcheckError, GraphError, ShapeError
from .tensor.functional import hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .tensor.gradcheck import gradcheck
from .tensor.graph import Op, operation
from .tensor.ops import *
from .tensor.ops import linalg
from .tensor.random import Generator, manual_seed
from .tensor.recompute import checkpoint
from .tensor.tensor import Tensor

tensor = Tensor

__all__ = [
    "linalg", "nn", "optim", "load", "save",
    "Tensor", "tensor", "as_tensor", "from_dlpack",
    "arange", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "randperm", "zeros",
    "vjp", "jvp", "jacobian", "hessian", "hvp", "value_and_grad", "checkpoint",
    "grad", "no_grad", "enable_grad", "gradcheck", "detect_anomaly", "Op", "operation",
    "Generator", "manual_seed", "cuda", "device", "default_device", "set_default_device",
    "get_num_threads", "set_num_threads",
    "AnomalyError", "DeviceError", "GradcheckError", "GraphError", "ShapeError",
]  # fmt: skip
__all__ += ops.__all__
