"""Conversion of data to the array of a Tensor.

The array is a base array of numbers in native byte order. Subclasses of NumPy arrays have their own
operators, masks and units; native code reads other byte orders wrongly; objects and strings have no
arithmetic. These functions convert such data or refuse it.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError, ShapeError, TinygradRnnError
from .backend import Array

# The dtypes of a Tensor, in native byte order. Pickles and conversions of NumPy create dtypes that
# are equal to these, but not identical, and native code compares by identity.
DTYPES = {d: np.dtype(d.name) for d in map(np.dtype, "?bBhHiIlLqQefdgFDG")}
NAMES = {d.name: d for d in DTYPES.values()}
NUMBERS = frozenset("biufc")  # their kinds, as NumPy names them
PYTHON = frozenset({int, float, bool, list, tuple, range})  # of nested lists of numbers

# What `dtype=` accepts: a name, a type of Python's or NumPy's, or the dtype itself; None, where a
# function has a default.
DType = str | type | np.dtype[Any] | None

REMEDIES = {
    "O": "give it a dtype of numbers: a.astype('float32')",
    "M": "numbers are differences of times: (a - a[0]) / np.timedelta64(1, 's')",
    "m": "numbers are shares of a unit: a / np.timedelta64(1, 's')",
    "S": "tg.data's vocabularies turn text into ids",
    "U": "tg.data's vocabularies turn text into ids",
    "V": "take its fields one by one: a['name']",
}


def normalized(array: Array, what: str = "tensor") -> Array:
    """Converts an array to a base array in native byte order; without a copy if it is one.

    The values of a subclass are not copied; another byte order is converted. **Raises** TypeError
    for a masked array, and for a dtype that is not of numbers.
    """
    if type(array) is np.ndarray and DTYPES.get(array.dtype) is array.dtype:
        return array
    if not isinstance(array, np.ndarray):
        return array  # arrays of a device have numbers only
    if isinstance(array, np.ma.MaskedArray):
        raise InvalidTypeError(
            f"{what}: got a masked array, whose mask would be lost: fill it (a.filled(0)), and "
            "pass the mask (np.ma.getmaskarray(a)) as an array of its own"
        )
    if array.dtype.kind not in NUMBERS:
        raise InvalidTypeError(
            f"{what}: a tensor holds numbers, not {array.dtype}: "
            f"{REMEDIES.get(array.dtype.kind, 'convert it')}"
        )
    return _native(array)


def _native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Converts to a base array of the native dtype; without a copy if the dtypes are equal."""
    array, native = np.asarray(array), np.dtype(array.dtype.name)
    return array.view(native) if array.dtype == native else array.astype(native)


def number_dtype(dtype: DType, what: str = "tensor") -> np.dtype[Any]:
    """Converts to a numeric dtype in native byte order. **Raises** TypeError for others."""
    known = NAMES.get(dtype) if type(dtype) is str else None
    if known is None and isinstance(dtype, np.dtype):
        known = DTYPES.get(dtype)
    if known is not None:
        return known
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise InvalidTypeError(
            f"{what}: dtype: expected the name of one, such as 'float32', got {dtype!r}"
        ) from error
    if dtype is None or found.kind not in NUMBERS or found.shape:
        raise InvalidTypeError(f"{what}: dtype: expected one of numbers, got {dtype!r}")
    native: np.dtype[Any] = np.dtype(found.name)
    return native


def check_cast(source: np.dtype[Any], own: np.dtype[Any], what: str) -> None:
    """Refuses a cast to a lower kind: reals to integers, complex to reals."""
    if source.kind in "fc" and own.kind not in ("c", source.kind):
        raise InvalidTypeError(
            f"{what}: expected numbers that {own} can represent, got {source}: convert them, for "
            f"instance with .astype({own.name!r}), which truncates"
        )


def from_python(
    data: Any, dtype: np.dtype[Any] | None = None, what: str = "tensor"
) -> np.ndarray[Any, Any]:
    """Converts numbers, nested lists and other data that NumPy can read to an array.

    Python floats become float32 unless dtype is given; values with a dtype keep it. **Raises**
    TypeError for anything but numbers; ValueError for integers out of the range of the dtype;
    ShapeError for lists of different lengths.
    """
    kinds = _kinds(data)
    if not kinds <= PYTHON:
        if any(hasattr(kind, "edge") for kind in kinds):
            raise InvalidTypeError(
                f"{what}: got a list of tensors: join them with tg.stack or tg.concat"
            )
        if any(issubclass(kind, np.ma.MaskedArray) for kind in kinds):
            raise InvalidTypeError(f"{what}: got a list of masked arrays: fill them: a.filled(0)")
    array = _read(data, None, what)
    if array.dtype.kind not in "fiub":
        raise InvalidTypeError(
            f"{what}: a tensor holds numbers, not {array.dtype} ({type(data).__name__})"
            + (f": {REMEDIES[array.dtype.kind]}" if array.dtype.kind in "MmSUV" else "")
        )
    typed = not kinds <= PYTHON and any(hasattr(kind, "dtype") for kind in kinds)
    whole = not typed and float not in kinds and not kinds.isdisjoint((int, range))
    if dtype is not None:
        if dtype.kind not in "iu":
            return array.astype(dtype)
        if whole:
            return _read(data, dtype, what)  # NumPy checks the range; astype wraps around
        if array.dtype.kind == "f" and array.size:
            least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
            if not (array.min() >= least and array.max() <= most):
                raise InvalidValueError(f"{what}: {array.max()} or {array.min()}: not for {dtype}")
        return array.astype(dtype)
    if whole and array.dtype.kind == "f":
        raise InvalidValueError(f"{what}: these integers fit no one dtype: ask for one")
    if array.dtype != np.float64:
        return array
    if not typed:
        return array.astype(np.float32) if float in kinds or not array.size else array
    return array.astype(_common_dtype(data))


def promoted(
    data: Any, dtype: np.dtype[Any], differentiable: bool, what: str
) -> np.ndarray[Any, Any]:
    """Converts nested lists beside an array: Python numbers in them take its dtype.

    Integers of a non-differentiable input keep theirs, since they may be indices.
    """
    array, kinds = from_python(data, what=what), _kinds(data)
    python = kinds <= PYTHON
    takes = float in kinds or (differentiable and not kinds.isdisjoint({int, range}))
    if python and takes and (dtype.kind == "f" or (dtype.kind in "iu" and float not in kinds)):
        return from_python(data, dtype, what)
    return array


def holds_tensors(data: object) -> bool:
    """Whether nested lists contain Tensors."""
    return any(hasattr(kind, "edge") for kind in _kinds(data))


def _kinds(data: object) -> set[type]:
    """The types of all items of nested lists."""
    found, nests = {type(data)}, [data] if isinstance(data, (list, tuple)) else []
    while nests:
        kinds = set(map(type, chain.from_iterable(nests)))
        found |= kinds
        if not any(issubclass(kind, (list, tuple)) for kind in kinds):
            break
        nests = [v for v in chain.from_iterable(nests) if isinstance(v, (list, tuple))]
    return found


def _common_dtype(data: Any) -> Any:
    """The common dtype of lists in which some numbers have one; Python numbers take it."""
    dtypes, level = set[Any](), [data]
    while level:
        leaves = [v for v in level if not isinstance(v, (list, tuple))]
        dtypes |= {np.asarray(v).dtype for v in leaves if type(v) not in (int, float, bool)}
        level = [v for nest in level if isinstance(nest, (list, tuple)) for v in nest]
    return np.result_type(*dtypes, 1.0)


def _read(data: Any, dtype: np.dtype[Any] | None, what: str) -> np.ndarray[Any, Any]:
    """Converts with NumPy, whose errors become errors of the package."""
    try:
        array = np.asarray(data, dtype)
    except OverflowError as error:
        raise InvalidValueError(f"{what}: {error}") from error
    except (ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, TinygradRnnError):
            raise
        if "inhomogeneous" in str(error):
            raise ShapeError(f"{what}: expected lists of equal lengths ({error})") from error
        raise InvalidTypeError(
            f"{what}: expected numbers, got {type(data).__name__} ({error})"
        ) from error
    return _native(array) if array.dtype.kind in NUMBERS else array
