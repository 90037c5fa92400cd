"""Describes the argument of a failed call that does not fit its annotation, for the error."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

_IN_WORDS = {
    NoneType: ("None", "None"),
    bool: ("True or False", "booleans"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    np.generic: ("a number", "numbers"),
    np.ndarray: ("an array", "arrays"),
    Callable: ("a function", "functions"),
    Sequence: ("a sequence", "sequences"),
    list: ("a list", "lists"),
    tuple: ("a tuple", "tuples"),
}


def misfit(given: Mapping[str, object], function: Any) -> str:
    """Describes the first argument that does not fit its annotation; empty if each does.

    **Arguments** given: the arguments by name. function: a function, or a dataclass, whose fields
    they are.
    """
    hints = getattr(function, "__annotations__", {})
    names = getattr(function, "__globals__", None)
    if names is None:
        names = vars(sys.modules[function.__module__])
    for strict in (False, True):  # many functions convert lists to the arrays that they ask for
        for name, value in given.items():
            hint = hints.get(name, Any)
            try:
                hint = eval(hint, names) if isinstance(hint, str) else hint
            except Exception:  # a name that only type checkers import
                continue
            if not _fits(value, hint, strict):
                return f"{name}: expected {_in_words(hint)}, got {described(value)}"
    return ""


def _fits(value: Any, hint: Any, strict: bool) -> bool:
    """Whether a value has the type of an annotation; true for those that are not known here."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if isinstance(hint, TypeVar):
        origin = hint.__bound__ or Any
    if origin in (Union, UnionType):
        return any(_fits(value, part, strict) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin in (None, NoneType):
        return value is None
    if origin is int:
        return _converts(operator.index, value)
    if origin is float:
        return not isinstance(value, (str, bytes)) and _converts(float, value)
    if origin is bool:
        return isinstance(value, (bool, np.bool_))
    if origin is Callable:
        return callable(value)
    if origin in (list, tuple, Sequence, Collection, Iterable):
        return _is_sequence(value, origin, parts, strict)
    if origin is Any or not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
        return True
    if origin is np.ndarray or origin.__name__ == "Tensor":
        return hasattr(value, "dtype") or (not strict and isinstance(value, (list, tuple)))
    return isinstance(value, origin)


def _is_sequence(value: Any, kind: type, parts: tuple[Any, ...], strict: bool) -> bool:
    if isinstance(value, dict) or (
        isinstance(value, (str, bytes)) and not {Any, type(value)}.intersection(parts)
    ):
        return False
    if strict and kind is tuple and not isinstance(value, tuple):
        return False
    if not isinstance(value, (list, tuple)):  # the elements of an iterator can be read only once
        return _converts(iter, value)
    kinds = parts[:1] * len(value) if len(parts) < 2 or parts[1] is ... else parts
    fit = all(_fits(v, part, strict) for v, part in zip(value, kinds, strict=False))
    return fit and len(value) >= len(kinds)


def _converts(convert: Callable[[Any], Any], value: Any) -> bool:
    try:
        convert(value)
    except Exception:
        return False
    return True


def _in_words(hint: Any, several: bool = False) -> str:
    """Describes the type that an annotation asks for, in the singular or the plural."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if isinstance(hint, TypeVar):
        origin = hint.__bound__
    if origin in (Union, UnionType):
        return _joined([_in_words(part, several) for part in parts])
    if origin is Literal:
        return _joined([repr(part) for part in parts])
    origin = {None: NoneType, Collection: Sequence, Iterable: Sequence}.get(origin, origin)
    of = parts[0] if parts and origin in (list, tuple, Sequence) else Any
    name = getattr(origin, "__name__", "value")
    default = (f"{'an' if name[0] in 'AEIO' else 'a'} {name}", f"{name}s")
    words = _IN_WORDS.get(origin, default)[several]
    return words if of is Any else f"{words} of {_in_words(of, several=True)}"


def _joined(words: list[str]) -> str:
    *first, last = dict.fromkeys(words)  # without repetitions
    return f"{', '.join(first)} or {last}" if first else last


def described(value: object) -> str:
    """Describes a value in an error: an array by its dtype and shape."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None and not isinstance(value, (type, np.generic)):
        return f"{dtype}{list(shape)}"
    if isinstance(value, (tuple, list)) and any(hasattr(v, "shape") for v in value[:9]):
        return f"{type(value).__name__} of {', '.join(map(described, value[:9]))}"
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
