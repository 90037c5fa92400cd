"""The autograd engine: arrays that remember, and a backward pass. It knows nothing of networks.

The package can be called, `tensor(data, dtype=None, device=None, *, requires_grad=False)`: it makes
a Tensor, as `tensor.Tensor` does, under the name that PyTorch's function has.
"""

import sys
import types
import typing

from .tensor import Tensor

__all__ = ["Tensor"]


class _CallablePackage(types.ModuleType):
    """A package that is a function, too, so that `tg.tensor` can be both."""

    def __call__(
        self,
        data: typing.Any,
        dtype: typing.Any = None,
        device: str | None = None,
        *,
        requires_grad: bool = False,
    ) -> Tensor:
        return Tensor(data, dtype, device, requires_grad=requires_grad)


sys.modules[__name__].__class__ = _CallablePackage
