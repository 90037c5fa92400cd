"""What optimizers, schedules and clipping are given: lists of parameters, and settings in range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError
from ..tensor.tensor import Tensor


def listed(parameters: Any, what: str) -> list[Any]:
    """The parameters as a list: at least one.

    **Raises** TypeError for one Tensor, whose rows would be computed from it, or for what holds no
    list; ValueError for none, as of a generator that was used up.
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
            f"{what}: no parameters were given (a generator can be gone through only once: make it "
            "a list)"
        )
    return items


def number(value: Any, what: str) -> float:
    """A number of Python: from one, a scalar of NumPy, or anyone's array without axes."""
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidTypeError(f"{what}: expected a number, got {value!r}")
    return value


def between(value: Any, what: str, least: float = 0, below: float = inf) -> float:
    """A number from `least` to below `below`."""
    found = number(value, what)
    if not least <= found < below:
        upper = "" if below == inf else f" and below {below:g}"
        finite = "" if isfinite(found) or below != inf else ", and finite"
        raise InvalidValueError(f"{what}: expected {least:g} or more{upper}{finite}, got {found}")
    return found


def above_zero(value: Any, what: str) -> float:
    """A number above 0."""
    found = number(value, what)
    if not found > 0:
        raise InvalidValueError(f"{what}: expected more than 0, got {found}")
    return found


def whole(value: Any, what: str, least: int = 0) -> int:
    """An integer from `least` up."""
    found = number(value, what)
    if found != found // 1 or not isfinite(found):
        raise InvalidTypeError(f"{what}: expected an integer, got {value!r}")
    if found < least:
        raise InvalidValueError(f"{what}: expected {least} or more, got {found}")
    return int(found)


def flag(value: Any, what: str) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise InvalidTypeError(f"{what}: expected True or False, got {value!r}")
    return bool(value)


def pair(value: Any, what: str) -> list[float]:
    """Two numbers from 0 to below 1."""
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise InvalidTypeError(f"{what}: betas: expected two numbers, got {value!r}")
    return [between(v, f"{what}: beta{i}", 0, 1) for i, v in enumerate(value, 1)]


def keys(given: Any, what: str, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Refuses a mapping that lacks keys, or has others."""
    if not isinstance(given, Mapping):
        raise InvalidTypeError(f"{what}: expected a dict, got {type(given).__name__}")
    missing = [k for k in required if k not in given]
    unknown = [k for k in given if k not in {*required, *optional}]
    faults = [f"missing {missing}"] * bool(missing) + [f"unexpected {unknown}"] * bool(unknown)
    if faults:
        raise InvalidValueError(f"{what}: {'; '.join(faults)}")
