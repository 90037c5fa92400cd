"""Packages of other libraries, which are imported when they are asked for."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import needs
from .files import CheckpointError


def package(name: str, function: str, install: str) -> Any:
    """Imports a package. **Raises** CheckpointError that says how to install it."""
    with needs(name, function, install, CheckpointError):
        return importlib.import_module(name)
