"""Which implementation runs a call; what it saved goes back to its own backward function."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from inspect import signature
from types import ModuleType
from typing import Any

from . import cpu, reference
from .contract import check

IMPLEMENTATIONS: dict[str, ModuleType] = {"reference": reference, "cpu": cpu}

wanted = os.environ.get("TINYGRAD_RNN_KERNELS", "")  # "reference" turns native code off
if wanted and wanted not in IMPLEMENTATIONS:
    raise ImportError(
        f"TINYGRAD_RNN_KERNELS: expected one of {', '.join(IMPLEMENTATIONS)}; got {wanted!r}"
    )


def pick(xp: Any, arrays: dict[str, Any]) -> ModuleType:
    """The implementation that runs a call, by the kind, dtype and sizes of its arrays.

    **Arguments** arrays: the call's, by name, checked against the contract.
    """
    return cpu if cpu.runs(xp, arrays) else reference


def _inputs(forward: Callable[..., Any]) -> list[str]:
    """The arrays that a forward function takes; what follows them is by keyword only."""
    parameters = list(signature(forward).parameters.values())[1:]
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def _forward(operation: str) -> Callable[..., Any]:
    """A forward function that picks an implementation, and saves which it was."""
    name = f"{operation}_forward"
    plain = getattr(reference, name)
    inputs = _inputs(plain)

    @wraps(plain)
    def run(xp: Any, *given: Any, keep: bool = True, **options: Any) -> tuple[Any, Any]:
        arrays = dict(zip(inputs, given, strict=False))
        arrays |= {n: options.pop(n) for n in [n for n in options if n in inputs]}
        arrays = {n: a for n, a in arrays.items() if a is not None}
        check(operation, arrays, options)
        picked = pick(xp, arrays)
        outputs, saved = getattr(picked, name)(xp, **arrays, keep=keep, **options)
        return outputs, (picked, saved) if keep else None

    return run


def _backward(operation: str) -> Callable[..., Any]:
    """The backward function of the implementation that ran forwards."""
    name = f"{operation}_backward"
    inputs = _inputs(getattr(reference, f"{operation}_forward"))
    constants = inputs.index("lengths")  # it, and all that follow

    @wraps(getattr(reference, name))
    def run(xp: Any, g: Any, saved: Any, needs: Sequence[bool], *given: Any) -> Any:
        if any(needs[constants:]):
            wanted = inputs[needs.index(True, constants)]
            raise TypeError(
                f"{operation}: {wanted} is a constant, but requires grad: detach it, or "
                f"differentiate {operation}_step in a scan"
            )
        picked, kept = saved
        return getattr(picked, name)(xp, g, kept, needs, *given)

    return run


rnn_forward, rnn_backward = _forward("rnn"), _backward("rnn")
gru_forward, gru_backward = _forward("gru"), _backward("gru")
lstm_forward, lstm_backward = _forward("lstm"), _backward("lstm")


def step(
    cell: str,
    x: Any,
    h: Any,
    c: Any,
    weights: tuple[Any, ...],
    rounded: tuple[Any, ...] | None = None,
) -> Any:
    """One step of plain layers upon each other, of which nothing is saved, in one native call.

    **Arguments** cell: `rnn_tanh`, `rnn_relu`, `gru`, `gru_reset_after` or `lstm`. x: (B, I); h,
    and an LSTM's c: (L, B, H). weights: of each layer w_ih and w_hh, and all biases that there are,
    one after another. rounded: of each w_ih and w_hh, one after another, what `rounding.rounded`
    gave; not used where the weights are others now, or could have been written to. **Returns**
    (y, h, c), y being (B, H); None where native code does not have it or the arrays are not as it
    wants them: then the forward functions run it, or say what is wrong.
    """
    return cpu.step(cell, x, h, c, weights, rounded)


def describe() -> str:
    """Which implementation runs, and why."""
    if cpu.functions.native is None:
        return f"reference (array code); native code: {cpu.describe()}"
    return f"cpu: {cpu.describe()}; reference (array code) for the rest"
