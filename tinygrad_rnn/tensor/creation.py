"""Creation of tensors: float32 by default, on the default device."""

from __future__ import annotations

from math import isfinite
from typing import Any, cast

import numpy as np

from ..errors import ExportError, InvalidTypeError, InvalidValueError
from . import backend, conversion
from .conversion import DType
from .graph import Traced, wrap
from .observers import concretize
from .random import Generator, Shape, given_or_default
from .shapes import integer, size, sizes
from .tensor import Tensor

__all__ = [
    "arange", "as_tensor", "eye", "from_dlpack", "full", "linspace", "ones", "rand", "randint",
    "randn", "randperm", "zeros",
]  # fmt: skip


def as_tensor(data: Any, *, device: str | None = None) -> Tensor:
    """Converts data to a Tensor; an array is shared, not copied.

    **Arguments** data: a Tensor (returned unchanged), an array, numbers. device: of the result;
    None for that of data. An array in another byte order is copied. **Raises** TypeError for masked
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
    data = conversion.normalized(data)
    return wrap(Tensor, backend.to_device(data, device) if device else data, None)


def from_dlpack(x: Any) -> Tensor:
    """Creates a Tensor from the array of another library without a copy (DLPack).

    **Arguments** x: an object with `__dlpack__`: an array of PyTorch, JAX, CuPy, NumPy. **Returns**
    a Tensor that shares the memory of x, on its device. **Raises** TypeError if x has no
    `__dlpack__`; DeviceError for an unsupported device; BufferError if the memory cannot be
    shared.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> a = np.zeros(2)
    >>> x = tg.from_dlpack(a)
    >>> a[0] = 5.0
    >>> x.tolist()
    [5.0, 0.0]
    """
    if isinstance(x, np.ndarray) and not conversion.normalized(x, "from_dlpack").dtype == x.dtype:
        raise ExportError(
            f"from_dlpack: expected native byte order, got {x.dtype.str}: tg.as_tensor converts it"
        )
    return wrap(Tensor, backend.from_dlpack(x), None)


def full(
    shape: Shape,
    value: float,
    *,
    dtype: DType = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Creates a tensor filled with a number.

    >>> import tinygrad_rnn as tg
    >>> tg.full((2,), 3.0)
    tensor([3., 3.])
    """
    number, wanted = _number(value, "full: value"), _dtype(dtype, "full")
    number = conversion.from_python(number, wanted, "full: value")
    return _filled("full", shape, number, wanted, device, requires_grad)


def zeros(
    shape: Shape,
    *,
    dtype: DType = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Creates a tensor of zeros.

    >>> import tinygrad_rnn as tg
    >>> tg.zeros((2, 3)).shape
    (2, 3)
    """
    return _filled("zeros", shape, 0, dtype, device, requires_grad)


def ones(
    shape: Shape,
    *,
    dtype: DType = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Creates a tensor of ones.

    >>> import tinygrad_rnn as tg
    >>> tg.ones((2,))
    tensor([1., 1.])
    """
    return _filled("ones", shape, 1, dtype, device, requires_grad)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DType = None,
    device: str | None = None,
) -> Tensor:
    """Creates numbers from start to stop, exclusive, as `numpy.arange`; reals are float32.

    >>> import tinygrad_rnn as tg
    >>> tg.arange(3)
    tensor([0, 1, 2])
    """
    if stop is None:
        start, stop = 0, start
    arguments = {"start": start, "stop": stop, "step": step}
    first, last, by = (_number(v, f"arange: {name}") for name, v in arguments.items())
    if not by or not isfinite((last - first) / by):
        raise InvalidValueError(
            f"arange: expected a step other than 0, and finite numbers, got {arguments}"
        )
    array = np.arange(first, last, by)
    default = np.float32 if array.dtype.kind == "f" else array.dtype
    wanted = _dtype(dtype, "arange", default)
    if wanted.kind in "iub" and not np.array_equal(array.astype(wanted), array):
        raise InvalidValueError(f"arange: dtype: {wanted} does not hold the numbers of {arguments}")
    return _place(array.astype(wanted), device, False)


def linspace(
    start: float,
    stop: float,
    num: int = 50,
    *,
    endpoint: bool = True,
    dtype: DType = "float32",
    device: str | None = None,
) -> Tensor:
    """Creates evenly spaced numbers from start to stop, inclusive unless endpoint is False.

    >>> import tinygrad_rnn as tg
    >>> tg.linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    first, last = _number(start, "linspace: start"), _number(stop, "linspace: stop")
    count, wanted = size(num, "linspace: num"), _dtype(dtype, "linspace")
    return _place(np.linspace(first, last, count, endpoint, dtype=wanted), device, False)


def eye(
    n: int, m: int | None = None, *, k: int = 0, dtype: DType = "float32", device: str | None = None
) -> Tensor:
    """Creates an (n, m) matrix with ones on the k-th diagonal; square, if m is None.

    >>> import tinygrad_rnn as tg
    >>> tg.eye(2)
    tensor([[1., 0.], [0., 1.]])
    """
    columns = None if m is None else size(m, "eye: m")
    array = np.eye(size(n, "eye: n"), columns, integer(k, "eye: k"), _dtype(dtype, "eye"))
    return _place(array, device, False)


def randn(
    *shape: Shape,
    generator: Generator | None = None,
    dtype: DType = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Draws standard normal numbers, on the host.

    **Arguments** shape: its lengths, or a tuple of them.

    >>> import tinygrad_rnn as tg
    >>> x = tg.randn(2, 3, generator=tg.Generator(0))
    >>> tg.randn(x.shape).shape
    (2, 3)
    """
    wanted = _real_dtype(dtype, "randn")
    numbers = given_or_default(generator, "randn").normal(_lengths(shape, "randn"))
    return _place(numbers.astype(wanted), device, requires_grad)


def rand(
    *shape: Shape,
    generator: Generator | None = None,
    dtype: DType = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Draws uniform numbers in [0, 1), on the host.

    **Arguments** shape: its lengths, or a tuple of them.

    >>> import tinygrad_rnn as tg
    >>> tg.rand(2, 3, generator=tg.Generator(0)).shape
    (2, 3)
    """
    wanted = _real_dtype(dtype, "rand")
    numbers = given_or_default(generator, "rand").random(_lengths(shape, "rand"))
    return _place(numbers.astype(wanted), device, requires_grad)


def _lengths(shape: tuple[Shape, ...], what: str) -> tuple[int, ...]:
    """The lengths of axes, each an argument, or all of them in one."""
    return sizes(shape[0] if len(shape) == 1 else cast(Shape, shape), what)


def randint(
    low: int,
    high: int,
    shape: Shape = (),
    *,
    generator: Generator | None = None,
    device: str | None = None,
) -> Tensor:
    """Draws integers in [low, high), on the host.

    >>> import tinygrad_rnn as tg
    >>> tg.randint(0, 10, (2, 3), generator=tg.Generator(0)).shape
    (2, 3)
    """
    if isinstance(high, (tuple, list)):
        raise InvalidTypeError(
            f"randint: high: expected an integer, got {high}: tg.randint(0, {low}, {high})"
        )
    least, above = integer(low, "randint: low"), integer(high, "randint: high")
    if not -(2**63) <= least < above <= 2**63:
        raise InvalidValueError(
            f"randint: expected low below high, both of 64 bits, got {least} and {above}"
        )
    numbers = given_or_default(generator, "randint").integers(least, above, sizes(shape, "randint"))
    return _place(numbers, device, False)


def randperm(n: int, *, generator: Generator | None = None, device: str | None = None) -> Tensor:
    """Draws a permutation of the integers below n, on the host.

    >>> import tinygrad_rnn as tg
    >>> sorted(tg.randperm(4, generator=tg.Generator(0)).tolist())
    [0, 1, 2, 3]
    """
    numbers = given_or_default(generator, "randperm").permutation(size(n, "randperm: n"))
    return _place(numbers, device, False)


def _dtype(dtype: DType, what: str, default: DType = np.float32) -> np.dtype[Any]:
    """Converts a dtype; None stands for the default one."""
    return conversion.number_dtype(default if dtype is None else dtype, what)


def _real_dtype(dtype: DType, what: str) -> np.dtype[Any]:
    wanted = _dtype(dtype, what)
    if wanted.kind != "f":
        raise InvalidTypeError(
            f"{what}: dtype: expected one of reals, got {wanted}: see tg.randint"
        )
    return wanted


def _number(value: object, what: str) -> Any:
    """Converts a number, or a constant without axes, to a Python number."""
    if isinstance(value, Traced) and value.edge is None and not value.array.shape:
        value = concretize(value).item()
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.shape):
        value = value.item()
    if not isinstance(value, (int, float)):
        got = f"{value!r}: x.item() is one" if isinstance(value, Traced) else repr(value)
        raise InvalidTypeError(f"{what}: expected a number, got {got}")
    return value


def _filled(
    name: str,
    shape: Shape,
    value: float | np.ndarray[Any, Any],
    dtype: DType,
    device: str | None,
    requires_grad: bool,
) -> Tensor:
    wanted = conversion.number_dtype(np.float32 if dtype is None else dtype, name)
    return _as_leaf(backend.filled(sizes(shape, name), value, wanted, device), requires_grad)


def _place(array: np.ndarray[Any, Any], device: str | None, requires_grad: bool) -> Tensor:
    return _as_leaf(backend.to_device(array, device), requires_grad)


def _as_leaf(array: backend.Array, requires_grad: bool) -> Tensor:
    x = wrap(Tensor, array, None)
    if requires_grad:
        x.requires_grad = True
    return x
