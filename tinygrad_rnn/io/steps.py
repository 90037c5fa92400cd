"""The step of a recurrent layer, as formats without our layers run it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from ..errors import InvalidValueError
from ..nn import Module
from ..nn.module import inference
from ..tensor import tree


def evaluated(model: Module, who: str) -> AbstractContextManager[None]:
    """Evaluation mode without a graph, of a model on the CPU."""
    if {str(p.device) for p in model.parameters()} - {"cpu"}:
        raise InvalidValueError(f"{who}: model: expected one on the CPU: model.to('cpu')")
    return inference(model)


def step_of(module: Any, row: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The step of a layer's cell in evaluation mode, and its initial state for an input.

    Zoneout mixes the old and the new state by its probabilities. **Arguments** row: of the layer's
    states: layer * directions + direction.
    """
    cell, zones = module.cells[row], module.zoneout
    step, initial = cell.step, cell.initial
    if not np.any(np.atleast_1d(zones) != 0):
        return step, initial

    def zoned(x: Any, state: Any) -> Any:
        y, new = step(x, state)
        old, parts = tree.leaves(state), tree.leaves(new, state)
        rates = zones if isinstance(zones, tuple | list) else [
            zones if part.dtype.kind == "f" else 0.0 for part in parts
        ]  # fmt: skip
        mixed = [
            part if not p else p * before + (1 - p) * part
            for p, before, part in zip(rates, old, parts, strict=True)
        ]
        y = next((m for m, part in zip(mixed, parts, strict=True) if part is y), y)
        return y, tree.filled(state, mixed)

    return zoned, initial
