"""The compilation cache: equal traces share one compiled Tape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InvalidTypeError
from .program import Tape
from .trace import Call, Var

_cache: dict[Any, Tape] = {}


def cached_tape(calls: Sequence[Call], *numbers: Sequence[Any]) -> Tape:
    """Compiles traced calls, or finds the Tape of an equal earlier trace.

    **Arguments** as `Tape`.
    """
    try:
        key = tuple(map(_key, calls)), tuple(map(tuple, numbers))
    except TypeError:  # an array or a user's own object is mutable: not a key
        return Tape(calls, *numbers)
    tape = _cache.get(key)
    if tape is None:
        if len(_cache) >= 64:
            _cache.clear()
        tape = _cache[key] = Tape(calls, *numbers)
    return tape


def _key(call: Call) -> Any:
    """The cache key of a call: calls with equal keys compile to the same instructions."""
    op = call.op
    rules = op.forward, op.joint, *op.rules.items()
    results = tuple([(tuple(y.shape), y.dtype.char) for y in call.results])
    args = tuple(map(_constant_key, call.args))
    params = tuple([(name, _constant_key(value)) for name, value in call.params.items()])
    return op, rules, args, params, call.outs, results, call.several, call.live, call.shapes


def _constant_key(value: Any) -> Any:
    """The cache key of a constant; TypeError for a mutable one."""
    kind = type(value)
    if kind in (Var, type):
        return value
    if kind in (int, float, bool, str, type(None), type(...)) or isinstance(value, np.dtype):
        return repr(value)  # 0.0 equals -0.0, and 1 equals True
    if kind is slice:
        return kind, _constant_key((value.start, value.stop, value.step))
    if kind is tuple:
        return kind, tuple(map(_constant_key, value))
    raise InvalidTypeError(f"{kind} is mutable")
