"""HTML of Tensors and of tables, for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

SHOWN = 10  # rows and columns of a long axis: the first and the last five


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table; cells are escaped."""
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{escape(caption)}</caption>")
    if header:
        lines.append(_row("th", header))
    lines += [_row("td", row) for row in rows]
    return "\n".join([*lines, "</table>"])


def _row(tag: str, cells: Sequence[Any]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"


def of_values(values: np.ndarray[Any, Any], caption: str, text: str) -> str:
    """Values with up to two axes as a table, others as text."""
    if values.ndim not in (1, 2) or not values.size:
        return f"<pre>{escape(text)}</pre>"
    rows = values if values.ndim == 2 else values[None]
    shown = [[_number(rows[i, j]) for j in _ends(rows.shape[1])] for i in _ends(rows.shape[0])]
    for row in shown:
        _mark(row, rows.shape[1], "…")
    _mark(shown, rows.shape[0], ["⋮"] * len(shown[0]))
    return table([], shown, caption)


def _ends(n: int) -> list[int]:
    """The indices that are shown of an axis."""
    half = SHOWN // 2
    return list(range(n)) if n <= SHOWN else [*range(half), *range(n - half, n)]


def _mark(cells: list[Any], n: int, sign: Any) -> None:
    """Marks where indices were left out."""
    if n > SHOWN:
        cells.insert(SHOWN // 2, sign)


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, np.floating) else str(value)
