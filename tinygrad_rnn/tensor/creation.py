"""New tensors: of float32 unless said otherwise, on the default device."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import backend, entrance
from .graph import wrap
from .random import Generator, Shape, default_generator
from .tensor import Tensor


def as_tensor(data: Any, *, device: str | None = None) -> Tensor:
    """A constant of what is one already, or of numbers; an array is shared, not copied.

    **Arguments** data: a Tensor (returned as it is), an array, numbers. device: where to have it;
    where it is, if None. An array in foreign byte order is copied. **Raises** TypeError for masked
    arrays, and for anything but numbers.

    >>> import tinygrad_rnn as tg
    >>> x = tg.ones((2,))
    >>> tg.as_tensor(x) is x
    True
    """
    if isinstance(data, Tensor):
        return data if device is None else data.to(device)
    if not backend.is_array(data):
        return Tensor(data, device=device)
    data = entrance.normalized(data)
    return wrap(Tensor, backend.to_device(data, device) if device else data, None)


def from_dlpack(x: Any) -> Tensor:
    """A constant in the memory of another library's array: nothing is copied.

    **Arguments** x: what has `__dlpack__`: an array of PyTorch, JAX, CuPy, NumPy. **Returns** a
    Tensor on its device; writing to the one writes to the other. **Raises** TypeError if x does not
    have it; DeviceError for a device that we cannot use.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> a = np.zeros(2)
    >>> x = tg.from_dlpack(a)
    >>> a[0] = 5.0
    >>> x.tolist()
    [5.0, 0.0]
    """
    return wrap(Tensor, backend.from_dlpack(x), None)


def full(
    shape: Shape,
    value: float,
    *,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor that holds one number everywhere.

    >>> import tinygrad_rnn as tg
    >>> tg.full((2,), 3.0)
    tensor([3., 3.])
    """
    return _place(np.full(shape, value, dtype), device, requires_grad)


def zeros(
    shape: Shape, *, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros.

    >>> import tinygrad_rnn as tg
    >>> tg.zeros((2, 3)).shape
    (2, 3)
    """
    return _place(np.zeros(shape, dtype), device, requires_grad)


def ones(
    shape: Shape, *, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones.

    >>> import tinygrad_rnn as tg
    >>> tg.ones((2,))
    tensor([1., 1.])
    """
    return _place(np.ones(shape, dtype), device, requires_grad)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: str | None = None,
) -> Tensor:
    """Numbers from start to before stop, as NumPy's; reals are float32.

    >>> import tinygrad_rnn as tg
    >>> tg.arange(3)
    tensor([0, 1, 2])
    """
    array = np.arange(start, stop, step) if stop is not None else np.arange(start)
    return _place(array.astype(dtype or _python_dtype(array)), device, False)


def linspace(
    start: float,
    stop: float,
    num: int = 50,
    *,
    endpoint: bool = True,
    dtype: Any = "float32",
    device: str | None = None,
) -> Tensor:
    """Evenly spaced numbers from start to stop, which is among them unless endpoint is False.

    >>> import tinygrad_rnn as tg
    >>> tg.linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    return _place(np.linspace(start, stop, num, endpoint, dtype=dtype), device, False)


def eye(
    n: int, m: int | None = None, *, k: int = 0, dtype: Any = "float32", device: str | None = None
) -> Tensor:
    """A matrix (n, m) of zeros with ones on its k-th diagonal; square, if m is None.

    >>> import tinygrad_rnn as tg
    >>> tg.eye(2)
    tensor([[1., 0.], [0., 1.]])
    """
    return _place(np.eye(n, m, k, dtype), device, False)


def randn(
    *shape: int,
    generator: Generator | None = None,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of standard normal numbers, drawn on the host.

    >>> import tinygrad_rnn as tg
    >>> tg.randn(2, 3, generator=tg.Generator(0)).shape
    (2, 3)
    """
    numbers = (generator or default_generator()).normal(shape)
    return _place(numbers.astype(dtype), device, requires_grad)


def rand(
    *shape: int,
    generator: Generator | None = None,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of numbers in [0, 1), drawn on the host.

    >>> import tinygrad_rnn as tg
    >>> tg.rand(2, 3, generator=tg.Generator(0)).shape
    (2, 3)
    """
    numbers = (generator or default_generator()).random(shape)
    return _place(numbers.astype(dtype), device, requires_grad)


def randint(
    low: int,
    high: int,
    shape: Shape = (),
    *,
    generator: Generator | None = None,
    device: str | None = None,
) -> Tensor:
    """A tensor of integers in [low, high), drawn on the host.

    >>> import tinygrad_rnn as tg
    >>> tg.randint(0, 10, (2, 3), generator=tg.Generator(0)).shape
    (2, 3)
    """
    return _place((generator or default_generator()).integers(low, high, shape), device, False)


def randperm(n: int, *, generator: Generator | None = None, device: str | None = None) -> Tensor:
    """The integers below n, shuffled on the host.

    >>> import tinygrad_rnn as tg
    >>> sorted(tg.randperm(4, generator=tg.Generator(0)).tolist())
    [0, 1, 2, 3]
    """
    return _place((generator or default_generator()).permutation(n), device, False)


def _python_dtype(array: np.ndarray[Any, Any]) -> Any:
    return np.float32 if array.dtype.kind == "f" else array.dtype


def _place(array: np.ndarray[Any, Any], device: str | None, requires_grad: bool) -> Tensor:
    x = wrap(Tensor, backend.to_device(array, device), None)
    if requires_grad:
        x.requires_grad = True
    return x
