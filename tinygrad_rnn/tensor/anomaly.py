"""Anomaly detection: the operation that produced the first NaN or infinity."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import AnomalyError
from . import backend
from .graph import Node
from .observers import observe
from .operation import Op

_PACKAGE = os.path.dirname(os.path.dirname(__file__))


@contextmanager
def detect_anomaly() -> Iterator[None]:
    """Checks every value and gradient within a `with` block, in this thread. Slow.

    **Raises** AnomalyError naming the operation that produced the first NaN or infinity, forward
    or backward, and the line that called it.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> with tg.detect_anomaly(), np.errstate(all="ignore"):
    ...     tg.log(tg.tensor([0.0, 1.0]))
    Traceback (most recent call last):
    ...
    tinygrad_rnn.errors.AnomalyError: ...
    """
    places: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()

    def forward(op: Op, y: Any, inputs: list[Any]) -> None:
        for value in y if type(y) is tuple else (y,):
            if (fault := _fault(value)) > max(map(_fault, inputs), default=0):
                raise AnomalyError(
                    f"{op.name!r} returned a value that is {WORDS[fault]} ({_caller()})"
                )

    def recorded(node: Node) -> None:
        places[node] = _caller()

    def backward(node: Node, i: int, g: Any) -> None:
        if fault := _fault(getattr(g, "array", getattr(g, "value", g))):
            names = node.op.inputs
            where = places.get(node, "called before detect_anomaly")
            raise AnomalyError(
                f"backward of {node.op.name!r}: the gradient of {names[min(i, len(names) - 1)]} is "
                f"{WORDS[fault]} ({where})"
            )

    with observe(forward, recorded, backward):
        yield


WORDS = ("finite", "infinite", "no number")


def _fault(value: object) -> int:
    """The severity of a number or an array: 0 if it is finite, 1 for infinity, 2 for NaN."""
    if isinstance(value, float):  # such as the -inf that masks scores
        return 0 if math.isfinite(value) else 1 + math.isnan(value)
    if not hasattr(value, "dtype") or value.dtype.kind != "f":
        return 0
    xp = backend.module_of(value)
    if bool(xp.isfinite(value).all()):
        return 0
    return 2 if bool(xp.isnan(value).any()) else 1


def _caller() -> str:
    """The innermost line outside this package."""
    import traceback  # which few processes need

    frames = traceback.extract_stack()
    frame = next((f for f in reversed(frames) if not f.filename.startswith(_PACKAGE)), frames[0])
    return f"{frame.filename}:{frame.lineno}: {frame.line}"
