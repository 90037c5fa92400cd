"""OpInfos of a user's own cells, from the Python file that defines them."""

from __future__ import annotations

import os
import runpy
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import GradcheckError, InvalidValueError
from ..nn import Cell, Recurrent
from .builders import module_info
from .op_info import OpInfo, Sample, Sampler, real

MODULE = "cells_of_a_file"


def cells_of(path: str) -> list[OpInfo]:
    """Runs a Python file, and returns an OpInfo for each `nn.Cell` that it defines.

    A sample is a cell `Name(input_size, hidden_size, dtype="float64")`, which runs three steps.
    **Raises** ValueError if the file defines no cell, or with the line of the file that raises an
    error; OSError if there is no such file.
    """
    if os.path.isdir(path):
        raise InvalidValueError(f"{path} is a folder; expected a Python file")
    with _naming_the_line(path):
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
    return [module_info(cell.__name__, _three_steps, cell, path, kind="cell") for cell in found]


def _three_steps(d: Sampler, cell: Any, path: str) -> Sample:
    batch, features, hidden = (d.integer(1, 3) for _ in range(3))
    with _naming_the_line(path):
        module = cell(features, hidden, dtype="float64")

    def steps(_: object, x: Any) -> Any:
        with _naming_the_line(path):
            y, state = Recurrent(module)(x)
        return y[-1], state

    return Sample([real(d, (3, batch, features))], steps, module)


@contextmanager
def _naming_the_line(path: str) -> Iterator[None]:
    """Adds the line of the file to an error that it raises."""
    try:
        yield
    except GradcheckError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        text = str(error)
        if isinstance(error, SyntaxError) and error.filename == path:
            lines, text = [error.lineno], error.msg
        if not lines:
            raise
        raise InvalidValueError(
            f"{path}, line {lines[-1]}: {type(error).__name__}: {text}"
        ) from error
