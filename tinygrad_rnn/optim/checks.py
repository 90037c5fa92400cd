"""Checks the arguments of optimizers, schedules and clipping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any

from ..errors import InvalidTypeError, InvalidValueError
from ..tensor.tensor import Tensor


def listed(parameters: object, what: str) -> list[Any]:
    """Returns the parameters as a list of at least one.

    **Raises** TypeError for one Tensor, whose rows would not be leaves, or for another type that is
    not a list; ValueError for an empty list, as of an exhausted generator.
    """
    if isinstance(parameters, Tensor):
        raise InvalidTypeError(
            f"{what}: expected a list of tensors, got one: put it into a list, [w]"
        )
    if hasattr(parameters, "parameters"):
        raise InvalidTypeError(
            f"{what}: expected a list of tensors, got a {type(parameters).__name__}: pass its "
            ".parameters()"
        )
    if isinstance(parameters, (Mapping, str)) or not isinstance(parameters, Iterable):
        raise InvalidTypeError(
            f"{what}: expected a list of tensors, got {type(parameters).__name__}"
        )
    items = list(parameters)
    if not items:
        raise InvalidValueError(
            f"{what}: there are no parameters (a generator can be read only once: make it a list)"
        )
    return items


def number(value: object, what: str) -> float:
    """Converts a number, a scalar of NumPy, or an array without axes to a number of Python."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidTypeError(f"{what}: expected a number, got {value!r}")
    return value


def between(value: object, what: str, least: float = 0, below: float = inf) -> float:
    """Checks that a number is at least `least` and below `below`."""
    result = number(value, what)
    if not least <= result < below:
        upper = "" if below == inf else f" and below {below:g}"
        finite = "" if isfinite(result) or below != inf else ", and finite"
        raise InvalidValueError(f"{what}: expected {least:g} or more{upper}{finite}, got {result}")
    return result


def above_zero(value: object, what: str) -> float:
    """Checks that a number is above 0."""
    result = number(value, what)
    if not result > 0:
        raise InvalidValueError(f"{what}: expected more than 0, got {result}")
    return result


def whole(value: object, what: str, least: int = 0) -> int:
    """Checks that a number is an integer, and at least `least`."""
    result = number(value, what)
    if result != result // 1 or not isfinite(result):
        raise InvalidTypeError(f"{what}: expected an integer, got {value!r}")
    if result < least:
        raise InvalidValueError(f"{what}: expected {least} or more, got {result}")
    return int(result)


def pair(value: object, what: str) -> list[float]:
    """Checks that a value is a pair of numbers from 0 to below 1."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise InvalidTypeError(f"{what}: expected two numbers, got {value!r}")
    return [between(v, f"{what}: beta{i}", 0, 1) for i, v in enumerate(value, 1)]


def keys(mapping: object, what: str, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Refuses a mapping that lacks keys, or has others."""
    if not isinstance(mapping, Mapping):
        raise InvalidTypeError(f"{what}: expected a dict, got {type(mapping).__name__}")
    missing = [k for k in required if k not in mapping]
    unknown = [k for k in mapping if k not in {*required, *optional}]
    faults = [f"missing {missing}"] * bool(missing) + [f"unexpected {unknown}"] * bool(unknown)
    if faults:
        raise InvalidValueError(f"{what}: {'; '.join(faults)}")
