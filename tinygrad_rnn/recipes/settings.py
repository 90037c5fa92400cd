"""Settings: dataclass fields that carry their default, their help text and their range.

Creating a configuration checks the ranges, and `cli/options.py` derives the command line from the
same fields. Errors put a setting's name in backquotes, and the command line shows it as the user
types it: `hidden_size` becomes --hidden-size.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection
from dataclasses import Field, dataclass, field, fields
from numbers import Integral, Real
from typing import Any

from ..data.memory import too_large
from ..errors import TinygradRnnError

MOST = 2**31 - 1  # the largest integer, unless a setting has its own `at_most`

_KINDS: dict[type, tuple[Any, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "an integer"),
    float: (Real, "a number"),
    str: (str, "a string"),
}
_LIMITS: dict[str, Callable[[Any, Any], bool]] = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}


class SettingError(TinygradRnnError, ValueError):
    """A setting of a recipe outside its range."""


def setting(default: Any, help: str, **limits: Any) -> Any:
    """Declares a field of a `Settings` class.

    **Arguments** help: its line in `--help`. limits: its range, as `check` takes it.
    """
    return field(default=default, metadata={"help": help, "limits": limits})


@dataclass(frozen=True)
class Settings:
    """The base of a recipe's configuration, whose fields are declared by `setting`.

    A subclass may give a setting of its base another default.

    **Raises** SettingError for the first setting outside its range.

    >>> @dataclass(frozen=True)
    ... class Sizes(Settings):
    ...     hidden_size: int = setting(256, "Units in a layer.", at_least=1)
    >>> Sizes(hidden_size=0)
    Traceback (most recent call last):
    tinygrad_rnn.recipes.settings.SettingError: `hidden_size` must be at least 1, not 0
    >>> @dataclass(frozen=True)
    ... class Small(Sizes):
    ...     hidden_size: int = 16
    >>> Small(), Small(8)
    (Small(hidden_size=16), Small(hidden_size=8))
    """

    def __init_subclass__(cls) -> None:
        inherited = getattr(cls, "__dataclass_fields__", {})
        for name in vars(cls).keys() & inherited.keys():
            if not isinstance(default := vars(cls)[name], Field):
                setattr(cls, name, field(default=default, metadata=inherited[name].metadata))

    def __post_init__(self) -> None:
        for one in fields(self):
            check(one.name, getattr(self, one.name), type(one.default), **one.metadata["limits"])


def check(
    name: str, value: Any, kind: type = int, one_of: Collection[str] = (), **limits: float
) -> None:
    """Refuses a value of another type, or outside its range.

    **Arguments** kind: bool, int, float or str; an integer is a float, too. one_of: the values to
    choose from. limits: at_least, above, at_most, below; real numbers must also be finite.
    **Raises** SettingError.
    """
    accepted, noun = _KINDS[kind]
    if not isinstance(value, accepted) or isinstance(value, bool) is not (kind is bool):
        raise SettingError(f"`{name}` must be {noun}, not {value!r}")
    if one_of and value not in one_of:
        raise SettingError(f"`{name}` must be one of {', '.join(one_of)}, not {value!r}")
    if not all(_LIMITS[limit](value, bound) for limit, bound in limits.items()):
        raise SettingError(f"`{name}` must be {bounds(limits)}, not {value:,}")
    if kind is float and not math.isfinite(value):
        raise SettingError(f"`{name}` must be finite, not {value}")
    if kind is int and "at_most" not in limits and value > MOST:
        raise SettingError(f"`{name}` must be at most {MOST:,}, not {value:,}")


def bounds(limits: dict[str, float]) -> str:
    """Describes a range in words.

    >>> bounds({"at_least": 0, "below": 1})
    'at least 0 and below 1'
    """
    return " and ".join(f"{limit.replace('_', ' ')} {n:,}" for limit, n in limits.items())


def check_memory(name: str, needed: int) -> None:
    """Refuses what cannot fit in memory, before it is allocated. **Raises** SettingError.

    **Arguments** name: what would need so many bytes.
    """
    if why := too_large(needed):
        raise SettingError(f"{name} {why}")
