"""The autograd engine: Tensors, operations and the backward pass, without networks.

The package is callable as `tensor(data, dtype=None, device=None, *, requires_grad=False)`, which
returns a Tensor, under the name of the PyTorch function.

>>> import tinygrad_rnn as tg
>>> tg.tensor([[1.0, 2.0]], requires_grad=True)
tensor([[1., 2.]], requires_grad=True)
"""

import sys
import types
import typing

from ..errors import public as _public
from . import creation as _creation
from . import cuda
from .anomaly import detect_anomaly
from .autodiff import enable_grad, grad, no_grad
from .backend import default_device, device, set_default_device
from .creation import *
from .functional import hessian, hvp, jacobian, jvp, value_and_grad, vjp
from .gradcheck import gradcheck
from .operation import Op, operation
from .ops import linalg
from .random import Generator, manual_seed
from .recompute import checkpoint
from .tensor import Tensor

__all__ = [
    "linalg",
    "Tensor", *_creation.__all__,
    "vjp", "jvp", "jacobian", "hessian", "hvp", "value_and_grad", "checkpoint",
    "grad", "no_grad", "enable_grad", "gradcheck", "detect_anomaly", "Op", "operation",
    "Generator", "manual_seed", "cuda", "device", "default_device", "set_default_device",
]  # fmt: skip

for _name in _creation.__all__:  # here, and not where they stand: the package's own calls are bare
    globals()[_name] = _public(getattr(_creation, _name))


class _CallablePackage(types.ModuleType):
    """A callable package, so that `tg.tensor` is both a package and a function."""

    @_public
    def __call__(
        self,
        data: typing.Any,
        dtype: typing.Any = None,
        device: str | None = None,
        *,
        requires_grad: bool = False,
    ) -> Tensor:
        return Tensor(data, dtype, device, requires_grad=requires_grad)


_CallablePackage.__name__ = "tensor"  # as errors name it
sys.modules[__name__].__class__ = _CallablePackage
