"""A program is planned once for all loops that do the same to values of the same kinds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InvalidTypeError
from .program import Program
from .trace import Call, Slot

_known: dict[Any, Program] = {}


def planned(calls: Sequence[Call], *numbers: Sequence[Any]) -> Program:
    """The program of some calls: that of an earlier loop, if it did the same to such values.

    **Arguments** as `Program`.
    """
    try:
        form = tuple(map(_form, calls)), tuple(map(tuple, numbers))
    except TypeError:  # an array or a user's own object, which may change
        return Program(calls, *numbers)
    program = _known.get(form)
    if program is None:
        if len(_known) >= 64:
            _known.clear()
        program = _known[form] = Program(calls, *numbers)
    return program


def _form(call: Call) -> Any:
    """All of a call that a program depends on: two calls of equal forms make the same one."""
    op = call.op
    rules = op.forward, op.joint, *op.rules.items()
    results = tuple([(tuple(y.shape), y.dtype.char) for y in call.results])
    args = tuple(map(_constant, call.args))
    params = tuple([(name, _constant(value)) for name, value in call.params.items()])
    return op, rules, args, params, call.outs, results, call.several, call.live, call.shapes


def _constant(value: Any) -> Any:
    """What tells a value from all others that it might have been, and can be a key."""
    kind = type(value)
    if kind in (Slot, type):
        return value
    if kind in (int, float, bool, str, type(None), type(...)) or isinstance(value, np.dtype):
        return repr(value)  # 0.0 equals -0.0, and 1 equals True
    if kind is slice:
        return kind, _constant((value.start, value.stop, value.step))
    if kind is tuple:
        return kind, tuple(map(_constant, value))
    raise InvalidTypeError(f"{kind} may change")
