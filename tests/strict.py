"""An array module over NumPy that refuses what CuPy refuses: it stands in for a GPU in the tests.

It refuses implicit conversion to NumPy and NumPy's arrays as operands, knows only the names that
CuPy has, gives arrays without axes where NumPy gives scalars, and counts how often the host waits.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tinygrad_rnn.tensor import backend

_lists = (Path(__file__).parent / "cupy_names.txt").read_text().partition("\n")[2].split("\n\n")
MODULE_NAMES, ARRAY_NAMES, LINALG_NAMES = (frozenset(names.split()) for names in _lists)
META = ("shape", "ndim", "size", "dtype", "strides", "itemsize", "nbytes", "flags")


class Counter:
    """How often a value was brought to the host."""

    waits = 0


class StrictArray:
    """What the stand-in's functions take and give."""

    __array_priority__ = 100

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array = array

    def get(self) -> np.ndarray[Any, Any]:
        """An explicit copy on the host."""
        Counter.waits += 1
        return self._array.copy()

    def item(self) -> Any:
        return self.get().item()

    def tolist(self) -> Any:
        return self.get().tolist()

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use .get()")

    def __array_ufunc__(self, ufunc: Any, *_: Any, **__: Any) -> Any:
        raise TypeError(f"numpy.{ufunc.__name__} was called on a device array")

    def __array_function__(self, function: Any, *_: Any) -> Any:
        raise TypeError(f"numpy.{function.__name__} was called on a device array")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in ARRAY_NAMES:
            raise AttributeError(f"cupy.ndarray has no attribute {name!r}")
        value = getattr(self._array, name)
        if name in META:
            return value
        if callable(value):
            return lambda *args, **kwargs: on_device(value(*raw(args), **raw(kwargs)))
        return on_device(value)

    def __getitem__(self, index: Any) -> StrictArray:
        return StrictArray(np.asarray(self._array[raw(index)]))

    def __setitem__(self, index: Any, value: Any) -> None:
        self._array[raw(index)] = raw(value)

    def __len__(self) -> int:
        return len(self._array)

    def __iter__(self) -> Iterator[StrictArray]:
        return (StrictArray(np.asarray(part)) for part in self._array)


def to_host(name: str, convert: Any) -> Any:
    def method(self: StrictArray) -> Any:
        Counter.waits += 1
        return convert(self._array)

    method.__name__ = name
    return method


def operate(name: str, in_place: bool = False) -> Any:
    function = getattr(operator, name.strip("_"), None)

    def method(self: StrictArray, *others: Any) -> Any:
        if in_place:
            self._array = function(self._array, *raw(others))
            return self
        return on_device(getattr(self._array, name)(*raw(others)))

    return method


_conversions = {"__float__": float, "__int__": int, "__bool__": bool}
for _name, _convert in _conversions.items():
    setattr(StrictArray, _name, to_host(_name, _convert))
for _name in [
    "add",
    "sub",
    "mul",
    "truediv",
    "pow",
    "matmul",
    "mod",
    "floordiv",
    "and",
    "or",
    "xor",
]:
    setattr(StrictArray, f"__{_name}__", operate(f"__{_name}__"))
    setattr(StrictArray, f"__r{_name}__", operate(f"__r{_name}__"))
    setattr(StrictArray, f"__i{_name}__", operate(f"__i{_name}__", in_place=True))
for _name in ["lt", "le", "gt", "ge", "eq", "ne", "neg", "abs", "invert"]:
    setattr(StrictArray, f"__{_name}__", operate(f"__{_name}__"))
StrictArray.__hash__ = None  # type: ignore[assignment]


def on_device(value: Any) -> Any:
    """NumPy's results as the stand-in's."""
    if isinstance(value, (np.ndarray, np.generic)):
        return StrictArray(np.asarray(value))
    if isinstance(value, (tuple, list)):  # a tuple with names becomes one without
        return (list if isinstance(value, list) else tuple)(map(on_device, value))
    return value


def raw(value: Any) -> Any:
    """The stand-in's arguments as NumPy's; an array of the host among them is refused."""
    if isinstance(value, StrictArray):
        return value._array
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>")
    if isinstance(value, (tuple, list)):
        return type(value)(map(raw, value))
    if isinstance(value, dict):
        return {key: raw(v) for key, v in value.items()}
    return value


class StrictModule:
    """NumPy's functions, as far as CuPy has them, on the stand-in's arrays."""

    ndarray = StrictArray

    def __init__(self, module: Any = np, known: frozenset[str] | None = MODULE_NAMES) -> None:
        self._module, self._known = module, known

    def __getattr__(self, name: str) -> Any:
        if self._known is not None and name not in self._known:
            raise AttributeError(f"{self._module.__name__}: cupy has no {name!r} there")
        value = getattr(self._module, name)
        if name in ("asarray", "array", "ascontiguousarray"):  # from the host, too, as in CuPy

            def made(data: Any, *args: Any, **kwargs: Any) -> StrictArray:
                host = data._array if isinstance(data, StrictArray) else data
                shares = name != "array" and isinstance(data, StrictArray)
                array = value(host, *args, **kwargs)
                return StrictArray(array if shares else np.array(array))

            return made
        if isinstance(value, ModuleType):
            return StrictModule(value, LINALG_NAMES if name == "linalg" else None)
        if isinstance(value, np.ufunc):
            return StrictUfunc(value)
        if not callable(value) or isinstance(value, type):
            return value
        return lambda *args, **kwargs: on_device(value(*raw(args), **raw(kwargs)))


class StrictUfunc:
    """A ufunc of the stand-in, with `at`."""

    def __init__(self, ufunc: np.ufunc) -> None:
        self._ufunc = ufunc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return on_device(self._ufunc(*raw(args), **raw(kwargs)))

    def at(self, buffer: StrictArray, index: Any, value: Any) -> None:
        self._ufunc.at(buffer._array, raw(index), raw(value))


@contextmanager
def strict_device() -> Iterator[str]:
    """Adds the stand-in to the devices, under the name `strict`."""
    module = StrictModule()
    backend.platforms["strict"] = lambda: module
    try:
        yield "strict"
    finally:
        del backend.platforms["strict"]
        backend._modules.pop(StrictArray, None)
