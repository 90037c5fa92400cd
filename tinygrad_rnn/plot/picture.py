"""The figure of a plot. This file alone imports matplotlib when it is loaded."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):
    """A Figure that notebooks show, without pyplot and its global state."""

    def _repr_png_(self) -> bytes:
        buffer: Any = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        found: bytes = buffer.getvalue()
        return found
