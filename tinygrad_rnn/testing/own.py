"""OpInfos of a user's own cells, from the Python file that defines them."""

from __future__ import annotations

import runpy
from typing import Any

from ..errors import InvalidValueError
from ..nn import Cell
from .builders import module_info
from .op_info import OpInfo, Sample, Sampler, real

MODULE = "cells_of_a_file"


def cells_of(path: str) -> list[OpInfo]:
    """Runs a Python file, and returns an OpInfo for each `nn.Cell` that it defines.

    A sample is a cell `Name(input_size, hidden_size, dtype="float64")`, which runs three steps.
    **Raises** ValueError if the file defines no cell, OSError if there is no such file, and what
    the file raises.
    """
    defined = runpy.run_path(path, run_name=MODULE).values()
    found = [
        value
        for value in defined
        if isinstance(value, type) and issubclass(value, Cell) and value.__module__ == MODULE
    ]
    if not found:
        raise InvalidValueError(
            f"{path}: expected a class that derives from tinygrad_rnn.nn.Cell, and found none"
        )
    return [module_info(cell.__name__, _three_steps, cell, kind="cell") for cell in found]


def _three_steps(d: Sampler, cell: Any) -> Sample:
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    module = cell(features, hidden, dtype="float64")

    def call(_: Any, x: Any) -> Any:
        state = module.initial(x[0])
        for x_t in x:
            y, state = module.step(x_t, state)
        return y, state

    return Sample([real(d, (3, batch, features))], call, module)
