"""Availability of CUDA devices."""

from __future__ import annotations

from ..errors import DeviceError
from . import backend


def is_available() -> bool:
    """Whether device `cuda` can be used: CuPy is installed and finds a GPU.

    >>> import tinygrad_rnn as tg
    >>> tg.cuda.is_available() in (True, False)
    True
    """
    return why_not() == ""


def why_not() -> str:
    """Explains why device `cuda` is not available, and what to install; empty if it is."""
    try:
        backend.platforms["cuda"]()
    except DeviceError as error:
        return str(error)
    return ""
