"""Which implementation runs a call; what it saved goes back to its own backward function."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import DeviceError
from . import reference
from .contract import NO_OPTIONS, SequenceOptions, check_whole, checker
from .cpu import functions as cpu

IMPLEMENTATIONS = ("reference", "cpu", "cuda")

wanted = os.environ.get("TINYGRAD_RNN_KERNELS", "")  # "reference" turns compiled code off


class _Refused:
    """Stands for native code where the environment names no implementation: any use raises."""

    def __getattr__(self, name: str) -> Any:
        raise DeviceError(
            f"TINYGRAD_RNN_KERNELS: expected one of {', '.join(IMPLEMENTATIONS)}; got {wanted!r}"
        )


if wanted and wanted not in IMPLEMENTATIONS:
    cpu.native = _Refused()


def pick(xp: ModuleType, floats: Sequence[Any]) -> ModuleType:
    """The implementation that runs a call, by the kind and the dtype of its arrays.

    **Arguments** floats: the call's arrays of real numbers, or None, x first; none of them empty.
    """
    if cpu.supports(*floats):
        return cpu
    if xp is np:
        return reference
    from .cuda import recurrent  # which the CPU does not need

    return recurrent if recurrent.supports(xp, floats) else reference


def _inputs(forward: Callable[..., Any]) -> tuple[list[str], int]:
    """The arrays that a forward function takes, and how many of them, the first, it needs."""
    arrays = [p for p in signature(forward).parameters.values() if p.kind is not p.KEYWORD_ONLY][1:]
    return [p.name for p in arrays], sum(p.default is p.empty for p in arrays)


def _shapes(inputs: Sequence[str], given: Sequence[Any]) -> tuple[tuple[int, ...] | None, ...]:
    """The arrays' shapes, None for those that are not there."""
    try:
        return tuple([None if a is None else a.shape for a in given])
    except AttributeError:
        name, a = next(
            (n, a)
            for n, a in zip(inputs, given, strict=True)
            if not (a is None or hasattr(a, "shape"))
        )
        raise TypeError(f"{name}: expected an array, got {type(a).__name__}") from None


def _option_shapes(options: SequenceOptions) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """The names and shapes of the options' arrays."""
    arrays = (
        ("lengths", options.lengths), ("reset", options.reset), ("h_mask", options.h_mask),
        *zip(("h_zone", "c_zone"), options.zoneout, strict=False), ("ids", options.ids),
    )  # fmt: skip
    there = [(name, a) for name, a in arrays if a is not None]
    names = [name for name, _ in there]
    shapes: Any = _shapes(names, [a for _, a in there])
    return tuple(zip(names, shapes, strict=True))


def _forward(operation: str) -> Callable[..., Any]:
    """A forward function that picks an implementation, and saves its backward function."""
    name = f"{operation}_forward"
    forward = getattr(reference, name)
    inputs, needed = _inputs(forward)
    check = checker(operation, inputs, needed)

    @wraps(forward)
    def run(
        xp: ModuleType,
        *given: Any,
        options: SequenceOptions = NO_OPTIONS,
        keep: bool = True,
        **settings: Any,
    ) -> tuple[Any, Any]:
        given += tuple([settings.pop(n, None) for n in inputs[len(given) :]])
        there = () if options is NO_OPTIONS else _option_shapes(options)
        some = check(_shapes(inputs, given), there, **settings)
        picked = pick(xp, (*given, options.h_mask, *options.zoneout)) if some else reference
        if picked is not cpu:  # native code looks for itself
            _check_numbers(given[0], options)
        outputs, saved = getattr(picked, name)(xp, *given, options=options, keep=keep, **settings)
        return outputs, (getattr(picked, f"{operation}_backward"), saved) if keep else None

    return run


def _check_numbers(x: Any, options: SequenceOptions) -> None:
    """Checks dtypes and ranges that array code would not."""
    lengths, ids = options.lengths, options.ids
    if x.dtype.kind in "biu":
        raise TypeError(f"x: expected real numbers, got {x.dtype}")
    if lengths is not None:
        check_whole("lengths", lengths, 0, len(x if ids is None else ids))
    if ids is not None:
        check_whole("ids", ids, 0, len(x) - 1, IndexError)


def backward(xp: ModuleType, g: Any, saved: Any, needs: Sequence[bool]) -> Any:
    """The cotangents of all inputs, by the implementation that ran forwards."""
    function, kept = saved
    return function(xp, g, kept, needs)


rnn_forward, gru_forward, lstm_forward = map(_forward, ("rnn", "gru", "lstm"))


def describe() -> str:
    """Which implementation runs, and why."""
    if cpu.native is None:
        return f"reference (array code); native code: {cpu.describe()}"
    from .cuda import recurrent

    on_gpu = f"cuda on a GPU: {recurrent.describe()}"
    return f"cpu: {cpu.describe()}; {on_gpu}; reference (array code) for the rest"
