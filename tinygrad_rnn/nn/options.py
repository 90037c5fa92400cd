"""Options of modules: the arguments of their constructors, read from attributes of these names.

A repr shows them, a file of a model holds them, and other libraries' layers are compared by them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

PLACEMENT = frozenset({"self", "device", "dtype", "generator"})  # arguments that are no options
PLAIN = (bool, int, float, str, tuple, list, type(None))


@cache
def parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    """The arguments of a class's constructor."""
    return inspect.signature(kind.__init__).parameters


@cache
def _arguments(kind: Any) -> Mapping[str, inspect.Parameter]:
    """The options of a class, in the order of its constructor."""
    return {name: p for name, p in parameters(kind).items() if name not in PLACEMENT}


arguments: Callable[[Any], Mapping[str, inspect.Parameter]] = _arguments  # mypy: classes, no hash


def option(module: Any, name: str) -> Any:
    """The value of an option. **Raises** AttributeError if no attribute has it."""
    held = module.held_options()
    value = held[name] if name in held else getattr(module, name)
    return value is not None if name == "bias" and not isinstance(value, bool) else value


def plain_options(module: Any, *, changed: bool = False) -> dict[str, Any]:
    """The options that are numbers, words or functions. **Arguments** changed: without defaults."""
    found = {}
    for name, p in arguments(type(module)).items():
        value = option(module, name) if name in module.held_options() else p.default
        is_function = callable(value) and not isinstance(value, type)
        plain = isinstance(value, PLAIN) or (is_function and not hasattr(value, "state_dict"))
        if plain and not (changed and value == p.default):
            found[name] = value
    return found


def described(module: Any) -> str:
    """The sizes of a module, and its options that are not as they are by default."""
    needed = {n for n, p in arguments(type(module)).items() if p.default is p.empty}
    found = plain_options(module, changed=True).items()
    return ", ".join(f"{v!r}" if n in needed else f"{n}={v!r}" for n, v in found)
