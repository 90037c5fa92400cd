"""Recurrent networks on plain arrays: autograd and RNN, GRU, LSTM on NumPy or CuPy."""

from .tensor import cuda
from .tensor.autodiff import enable_grad, grad, no_grad
from .tensor.backend import default_device, device, set_default_device
from .tensor.creation import arange, full, ones, rand, randn, zeros
from .tensor.errors import DeviceError, GradcheckError, GraphError, ShapeError
from .tensor.gradcheck import gradcheck
from .tensor.graph import Op, operation
from .tensor.ops import *
from .tensor.random import Generator, manual_seed
from .tensor.tensor import Tensor

tensor = Tensor
