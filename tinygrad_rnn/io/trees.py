"""States as JSON: the arrays of a tree of dicts and lists are moved out of it, and put back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError
from ..tensor.backend import is_array
from ..tensor.tensor import Tensor
from .weights import Arrays, check_array

_ARRAY = "$array"  # {"$array": "w"} in the JSON stands for the array "w" in the entry's file
_DEPTH = 100  # of nested dicts and lists; readers of JSON have limits
_BITS = 10_000  # of an integer, for the same reason


def take_arrays(value: object, path: str, arrays: dict[str, Any], depth: int = 0) -> Any:
    """Moves the arrays of a tree into `arrays`, by their path, and leaves references.

    **Returns** the rest in JSON's types: dicts, lists, strings, numbers, None.
    """
    if depth > _DEPTH:
        raise InvalidValueError(f"at {path[:30]!r}...: dicts and lists are over {_DEPTH} deep")
    if isinstance(value, Tensor) or is_array(value):
        check_array(value, f"at {path!r}")
        if not path:
            raise InvalidValueError("an array needs a name: put it in a dict")
        if path in arrays:
            raise InvalidValueError(f"at {path!r}: two arrays have this path: rename a key")
        arrays[path] = value
        return {_ARRAY: path}
    if isinstance(value, Mapping):
        taken = {}
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InvalidTypeError(f"at {path!r}: expected strings as keys, got {key!r}")
            key = str.__str__(key)
            if key == _ARRAY or key in taken:
                raise InvalidValueError(f"at {path!r}: the key {key!r} is taken: rename it")
            taken[key] = take_arrays(inner, _below(path, key), arrays, depth + 1)
        return taken
    if isinstance(value, list | tuple):
        return [
            take_arrays(inner, _below(path, str(i)), arrays, depth + 1)
            for i, inner in enumerate(value)
        ]
    return _leaf(value, path)


def _leaf(value: object, path: str) -> Any:
    """Converts a leaf of the tree to a type of JSON."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        if value.bit_length() > _BITS:
            raise InvalidValueError(f"at {path!r}: an integer of more than {_BITS:,} bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidValueError(
                f"at {path!r}: {value} is not finite, as JSON needs: save None, or an array"
            )
        return float(value)
    raise InvalidTypeError(
        f"at {path!r}: {type(value).__name__} cannot be saved: a state consists of dicts, lists, "
        "tuples, strings, numbers, None, Tensors and arrays; convert it, as by list() or str()"
    )


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def put_arrays(value: object, arrays: Arrays) -> Any:
    """Replaces the references in a tree by the arrays that they name."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return arrays[value[_ARRAY]]
        return {key: put_arrays(v, arrays) for key, v in value.items()}
    if isinstance(value, list):
        return [put_arrays(v, arrays) for v in value]
    return value
