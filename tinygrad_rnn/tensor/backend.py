"""Array modules, devices, and transfers between host and device.

Only this file depends on CuPy; other code receives the array module as `xp`. A device is named by a
string: `cpu`, `cuda` (the current GPU) or `cuda:1`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from ..errors import (
    DeviceError,
    ExportError,
    InvalidTypeError,
    OutOfRangeError,
    TinygradRnnError,
    public,
)
from ..kernels import cuda

Array: TypeAlias = Any  # an array of NumPy or CuPy

LINE = 64  # bytes of a cache line
WORTH_ALIGNING = 256  # elements; fewer are copied faster than aligned

INSTALL_CUPY = "pip install 'tinygrad_rnn[cuda13]' (or [cuda12], as your driver has it)"


def _cupy() -> Any:
    """Imports CuPy on first use, if there is a usable GPU."""
    from importlib.util import find_spec  # loaded with CuPy, not with the package

    if find_spec("cupy") is None:
        raise DeviceError(f"device 'cuda' needs CuPy, which is not installed: {INSTALL_CUPY}")
    import cupy

    if not cupy.is_available():
        raise DeviceError(
            f"device 'cuda': CuPy {cupy.__version__} is installed, but it finds no usable GPU: "
            "install an NVIDIA driver, or make a device visible (CUDA_VISIBLE_DEVICES)"
        )
    return cupy


# The array modules by kind of device. Each has NumPy's names and an `ndarray` type.
platforms: dict[str, Callable[[], Any]] = {"cpu": lambda: np, "cuda": _cupy}
_modules: dict[type, tuple[str, Any]] = {np.ndarray: ("cpu", np)}


def _module(kind: str) -> Any:
    module = platforms[kind]()
    _modules[module.ndarray] = (kind, module)
    return module


def _entry(array: Array) -> tuple[str, Any]:
    """The device kind and the array module of an array; those of NumPy for other values."""
    entry = _modules.get(type(array))
    if entry is None and type(array).__module__.partition(".")[0] == "cupy":
        _module("cuda")
        entry = _modules.get(type(array))
    return entry or ("cpu", np)


def is_array(value: object) -> bool:
    """Whether a value is an array of one of the modules (NumPy's scalars are not)."""
    return isinstance(value, np.ndarray) or _entry(value)[1] is not np


def as_array(value: object) -> Any:
    """Converts a NumPy scalar to an array without axes; returns other values unchanged."""
    return np.asarray(value) if isinstance(value, np.generic) else value


def module_of(array: Array) -> Any:
    """The module of an array: `numpy` or `cupy`."""
    return np if type(array) is np.ndarray else _entry(array)[1]


def device_of(array: Array) -> str:
    """The name of the device that holds an array."""
    if type(array) is np.ndarray:
        return "cpu"
    kind, _ = _entry(array)
    return f"cuda:{array.device.id}" if kind == "cuda" else kind


def to_host(array: Array) -> np.ndarray[Any, Any]:
    """Converts an array to NumPy, without a copy if it is one.

    **Raises** OutOfRangeError for an id on the device that `check_later` found out of range.
    """
    if isinstance(array, (np.ndarray, np.generic)):
        return np.asarray(array)
    return _with_findings(array) if _noted else np.asarray(array.get())


# ---------------------------------------------------------------- checks on a device

_checks: list[tuple[str, int, int]] = []  # (name, low, high); a check's code is its place from 1
_codes: dict[tuple[str, int, int], int] = {}
_noted: dict[int, Array] = {}  # on which devices something was checked: the words that note it
_words: dict[int, Array] = {}


def check_later(xp: ModuleType, name: str, ids: Array, low: int, high: int) -> None:
    """Checks on the device that ids are from low to high, without waiting for it.

    What is wrong is raised with the next value that comes to the host.
    """
    if not cuda.compiles(xp):
        return
    code = _codes.setdefault((name, low, high), len(_codes) + 1)
    if code > len(_checks):
        _checks.append((name, low, high))
    device = ids.device.id
    if device not in _words:
        _words[device] = xp.zeros(2, "uint64")
    _noted[device] = _words[device]
    cuda.refuse_outside(xp, ids, low, high, code, _words[device])


def _with_findings(array: Array) -> np.ndarray[Any, Any]:
    """Brings an array to the host, and with it, in the same wait, what checks have found."""
    words = _noted.pop(array.device.id, None)
    if words is None:
        return np.asarray(array.get())
    found = words.get(blocking=False)
    result = np.asarray(array.get())
    code, number = found.tolist()
    if code:
        words.fill(0)
        name, low, high = _checks[code - 1]
        number -= 2**64 * (number >= 2**63)
        raise OutOfRangeError(
            f"{name}: {number} is outside {low} to {high} (found on the device, by an earlier call)"
        )
    return result


def copied(array: Array, dtype: np.dtype[Any]) -> Array:
    """A copy in C order. One of NumPy's begins at a cache line, so that no vector that a kernel
    loads from it lies across two.
    """
    if type(array) is not np.ndarray or array.size < WORTH_ALIGNING:
        return array.astype(dtype, order="C")
    dtype = np.dtype(dtype)
    room = np.empty(array.size * dtype.itemsize + LINE, np.uint8)
    start = -room.__array_interface__["data"][0] % LINE
    copy = room[start : start - LINE].view(dtype).reshape(array.shape)
    copy[...] = array
    return copy


def pinned(length: int) -> np.ndarray[Any, Any]:
    """Allocates bytes of the host that are page-locked, which a GPU reads and writes fastest."""
    _module("cuda")
    from cupyx import empty_pinned

    return np.asarray(empty_pinned(length, np.uint8))


def to_device(array: Array, device: str | None = None) -> Array:
    """Moves an array to a device (the default one, if None), without a copy if it is there."""
    device, here = default_device() if device is None else device, _entry(array)[0]
    if device == here:
        return array
    kind, index = parse(device)
    if kind == here and array.device.id == index:
        return array
    with placed(device) as module:
        return module.asarray(to_host(array))


def filled(
    shape: tuple[int, ...], value: object, dtype: np.dtype[Any], device: str | None = None
) -> Array:
    """An array filled with a number, made on its device: nothing is copied from the host."""
    device = default_device() if device is None else device
    if device == "cpu":
        zeros = type(value) is int and value == 0  # their pages are the system's until written
        return np.zeros(shape, dtype) if zeros else np.full(shape, value, dtype)
    with placed(device) as xp:
        return xp.full(shape, np.asarray(value).item(), dtype)


def _gpu(module: Any, index: int) -> Any:
    """The device of that number. **Raises** DeviceError if there is none."""
    count = module.cuda.runtime.getDeviceCount()
    if index >= count:
        there = "'cuda:0'" if count == 1 else f"'cuda:0' to 'cuda:{count - 1}'"
        raise DeviceError(f"unknown device 'cuda:{index}': there is {there}")
    return module.cuda.Device(index)


@contextmanager
def placed(device: str) -> Iterator[Any]:
    """Gives the array module of a device, whose arrays are on it within a `with` block."""
    if device == "cpu":
        yield np
        return
    kind, index = parse(device)
    module = _module(kind)
    with nullcontext() if index is None else _gpu(module, index):
        yield module


@contextmanager
def raising_linalg(xp: ModuleType) -> Iterator[None]:
    """Raises LinAlgError for a singular matrix within a `with` block, as NumPy does without one.

    CuPy gives NaN unless told to look, which waits for the device.
    """
    if xp is np or not hasattr(xp, "RawModule"):
        yield
        return
    from cupyx import errstate

    with errstate(linalg="raise"):
        yield


_DLPACK = {1: "cpu", 2: "cuda", 3: "cpu", 13: "cuda"}  # 3 and 13: pinned, and managed by CUDA


def from_dlpack(x: Any) -> Array:
    """Imports the array of another library without a copy (DLPack)."""
    if not hasattr(x, "__dlpack__"):
        raise InvalidTypeError(
            f"from_dlpack: expected an array that has __dlpack__, got {type(x).__name__}: "
            "tg.tensor(...) copies other data"
        )
    try:
        number, index = map(int, x.__dlpack_device__())
        if number not in _DLPACK:
            raise DeviceError(
                "from_dlpack: expected an array on the CPU or a CUDA GPU, got DLPack device "
                f"{number}"
            )
        module = _module(_DLPACK[number])
        if module is not np:
            _gpu(module, index)
        return module.from_dlpack(x)
    except TinygradRnnError:
        raise
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise ExportError(
            f"from_dlpack: x: {type(x).__name__} cannot be shared: {error}: expected a dense array "
            "of a dtype of NumPy's that is a constant"
        ) from error


def to_dlpack(array: Array, request: dict[str, Any]) -> Any:
    """Exports an array to another library. CuPy makes no copy that stays on a GPU."""
    cpu = (request.get("dl_device") or (2, 0))[0] == 1
    if request.get("copy") and module_of(array) is not np and not cpu:
        array, request = array.copy(), {**request, "copy": None}
    return array.__dlpack__(**request)


# C libraries (glibc's malloc) return the top of the heap to the system when much of it is free, so
# that the kernel maps its pages again for the next backward pass: up to a third of its time. The
# threshold is twice the largest block that was freed, so that freeing one here raises it. The block
# is never written, so that it needs no memory.
np.empty(31 * 2**20, np.uint8)

# ---------------------------------------------------------------- the device in use


class _Default(threading.local):
    stack: tuple[str, ...] = ()


_inside = _Default()
_process_wide: str | None = None


def parse(device: str) -> tuple[str, int | None]:
    """Splits a device's name into its kind and its index."""
    if not isinstance(device, str):
        raise DeviceError(f"device: expected its name, 'cpu', 'cuda' or 'cuda:0', got {device!r}")
    kind, colon, index = device.partition(":")
    number = kind == "cuda" and index.isascii() and index.isdigit() and len(index) < 10
    if kind not in platforms or (colon and not number):
        raise DeviceError(f"unknown device {device!r}: say 'cpu', 'cuda' or 'cuda:0'")
    return kind, int(index) if index else None


def default_device() -> str:
    """The device of new tensors: `tg.device`, else `set_default_device`, else the environment.

    **Returns** the name of the device, `cpu` by default.

    >>> import tinygrad_rnn as tg
    >>> with tg.device("cpu"):
    ...     print(tg.default_device())
    cpu
    """
    if _inside.stack:
        return _inside.stack[-1]
    return _process_wide or os.environ.get("TINYGRAD_RNN_DEVICE") or "cpu"


@public
def set_default_device(device: str) -> None:
    """Sets the device of new tensors, in all threads.

    **Arguments** device: `cpu`, `cuda` or `cuda:0`. **Raises** DeviceError if it is not
    available, naming what to install.

    >>> import tinygrad_rnn as tg
    >>> tg.set_default_device("cpu")
    """
    global _process_wide
    kind, index = parse(device)
    module = _module(kind)
    if index is not None:
        _gpu(module, index).use()
    _process_wide = device


@contextmanager
def device(name: str) -> Iterator[None]:
    """Sets the device of new tensors within a `with` block, in this thread.

    **Arguments** name: `cpu`, `cuda` or `cuda:0`. **Raises** DeviceError if it is not available.

    >>> import tinygrad_rnn as tg
    >>> with tg.device("cpu"):
    ...     tg.zeros((2,)).device
    'cpu'
    """
    kind, index = parse(name)
    module = _module(kind)
    before, _inside.stack = _inside.stack, (*_inside.stack, name)
    try:
        with nullcontext() if index is None else _gpu(module, index):
            yield
    finally:
        _inside.stack = before
