"""The option `--device`, which every command has that computes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated

import typer

from ..tensor import backend

Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="cpu")]


def on(device: str | None) -> AbstractContextManager[None]:
    """Computes there within a `with` block; on the default device, if None."""
    return backend.device(backend.default_device() if device is None else device)
