"""How near a sample comes to where finite differences fail."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from ..tensor import backend
from ..tensor.observers import observe
from ..tensor.tensor import Tensor
from .op_info import Array

CONSTANT = 0.00316228  # just above sqrt(1e-5), the standard deviation of what does not vary


def nearest(call: Callable[..., Any], *inputs: Array) -> dict[str, float]:
    """The least distances to the kinks of `clip` and `maximum`, and the least result of `sqrt`.

    **Arguments** call: a function of Tensors, made of operations. inputs: their arrays. **Returns**
    a number for each of the three; equal arguments of `maximum` and constants do not count.
    """
    least = {"clip": inf, "maximum": inf, "sqrt": inf}

    def look(op: Any, y: Any, raw: list[Any]) -> None:
        if op.name not in least:
            return
        x, *others = (backend.to_host(v) if backend.is_array(v) else v for v in raw)
        if op.name == "sqrt":
            found = backend.to_host(y)
            found = found[found > CONSTANT]
        else:
            found = np.concatenate([np.ravel(np.abs(x - v)) for v in others if v is not None])
            found = found[found > 0] if op.name == "maximum" else found
        least[op.name] = min(least[op.name], float(np.min(found, initial=inf)))

    with observe(forward=look):
        call(*map(Tensor, inputs))
    return least
