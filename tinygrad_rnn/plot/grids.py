"""Grids of cells: heat maps of gates and states, attention weights, confusion matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidValueError, ShapeError, public
from .canvas import array_of, axes_of, font_size, name_axes, points_of, symbol_ticks

MAP = "cividis"  # from dark to light, also in grey and to colour-blind readers
CELL = 0.22  # inches
SMALLEST, LARGEST = 3.0, 40.0  # inches of a side


def _side(cells: int, margin: float, cell: float = CELL) -> float:
    return float(np.clip(cells * cell + margin, SMALLEST, LARGEST))


@public
def heat_map(
    values: ArrayLike,
    *,
    symbols: Sequence[Any] | None = None,
    units: Sequence[Any] | None = None,
    low: float | None = None,
    high: float | None = None,
    label: str = "",
    ax: Any = None,
) -> Any:
    """Draws values over a sequence: a column for each step, a row for each unit.

    **Arguments** values: (T, units). symbols: the labels of the steps. units: the labels of the
    rows. low, high: the ends of the scale; of the values, if None. label: of the scale. ax: the
    Axes to draw in. **Returns** the Figure.

    >>> heat_map([[0.1, 0.9], [0.2, 0.8]], symbols="ab", label="update gate").axes[0].get_xlabel()
    'symbol'
    """
    grid = array_of("heat_map: values", values, 2).T
    figure, axes = axes_of(ax, _side(grid.shape[1], 2.2), _side(grid.shape[0], 1.3, 0.14))
    image = axes.imshow(grid, cmap=MAP, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    axes.set_facecolor("white")
    if symbols is None:
        axes.set_xlabel("step t")
    else:
        symbol_ticks(axes.xaxis, symbols, grid.shape[1])
        axes.set_xlabel("symbol")
    if units is None:
        axes.set_ylabel("unit")
    else:
        symbol_ticks(axes.yaxis, units, grid.shape[0])
    _color_bar(axes, image, label, 0.02)
    return figure


@public
def activations(
    parts: Mapping[str, Any],
    *,
    symbols: Sequence[Any] | None = None,
    title: str = "",
    ax: Any = None,
) -> Any:
    """Draws gates and states of a layer over a sequence, one block of units below another.

    **Arguments** parts: by letter, (T, units), or (T, 1, units) for a batch of one: one of the
    dicts that `nn.utils.activations` returned. symbols: the labels of the steps. ax: the Axes to
    draw in. **Returns** the Figure.

    >>> import tinygrad_rnn as tg
    >>> gru, x = tg.nn.GRU(3, 4), tg.ones((5, 1, 3))
    >>> [layer] = tg.nn.utils.activations(gru, lambda: gru(x))[""]
    >>> [label.get_text() for label in activations(layer).axes[0].get_yticklabels()]
    ['r', 'z', 'n', 'h']
    """
    if not parts:
        raise InvalidValueError("activations: parts: expected gates or states by name, got none")
    grids = {name: _of_one(f"activations: parts[{name!r}]", part) for name, part in parts.items()}
    steps = len(next(iter(grids.values())))
    units = sum(grid.shape[1] for grid in grids.values())
    thick, gap = max(1, 16 // units), max(1, units // 40)  # rows of a unit, and between blocks
    blocks: list[NDArray[Any]] = []
    places, row = [], 0
    for name, grid in grids.items():
        if len(grid) != steps:
            raise ShapeError(
                f"activations: parts[{name!r}]: expected {steps} steps, as in the first part, got "
                f"{len(grid)}"
            )
        block = np.repeat(grid.T, thick, axis=0)
        blocks += [block, np.full((gap, steps), np.nan)]
        places.append(row + (len(block) - 1) / 2)
        row += len(block) + gap
    whole = np.concatenate(blocks[:-1])
    finite = whole[np.isfinite(whole)]
    if not finite.size:
        raise InvalidValueError("activations: parts: expected finite values, got none")
    bound = max(1.0, float(np.abs(finite).max()))
    low = -bound if finite.min() < 0 else 0.0
    figure, axes = axes_of(ax, _side(whole.shape[1], 2.2), _side(len(whole), 1.3, 0.06))
    heat_map(whole.T, symbols=symbols, low=low, high=bound, label="activation", ax=axes)
    axes.set_yticks(places, list(parts))
    name_axes(axes, axes.get_xlabel(), "gate or state, by unit", title)
    return figure


def _of_one(what: str, values: ArrayLike) -> NDArray[Any]:
    """The values of one sequence, (T, units)."""
    grid = array_of(what, values, 2, 3).astype("float64")
    if grid.ndim == 3:
        if grid.shape[1] != 1:
            raise ShapeError(
                f"{what}: expected a batch of one, got {list(grid.shape)}: choose a sequence, as "
                "in values[:, 0]"
            )
        grid = grid[:, 0]
    return grid


@public
def attention(
    weights: ArrayLike, source: Sequence[Any], target: Sequence[Any], *, ax: Any = None
) -> Any:
    """Draws attention weights: a row for each target symbol, a column for each source symbol.

    **Arguments** weights: (target, source), in [0, 1]. ax: the Axes to draw in. **Returns** the
    Figure.

    >>> figure = attention([[0.9, 0.1], [0.2, 0.8]], ["the", "cat"], ["le", "chat"])
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['le', 'chat']
    """
    grid = array_of("attention: weights", weights, 2)
    size = _side(grid.shape[1], 2.4, 0.3), _side(grid.shape[0], 1.5, 0.3)
    figure, axes = axes_of(ax, *size)
    image = axes.imshow(grid, cmap="Greys", vmin=0, vmax=1)
    symbol_ticks(axes.xaxis, source, grid.shape[1], rotation=90)
    symbol_ticks(axes.yaxis, target, grid.shape[0])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set(xlabel="source", ylabel="target")
    _color_bar(axes, image, "attention weight", 0.03)
    return figure


@public
def confusion(matrix: ArrayLike, labels: Sequence[Any], *, ax: Any = None) -> Any:
    """Draws a confusion matrix: counts, shaded by their share of the true class.

    **Arguments** matrix: (classes, classes), a row for each true class. labels: of the classes. ax:
    the Axes to draw in. **Returns** the Figure.

    >>> figure = confusion([[8, 2], [1, 9]], ["negative", "positive"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['8', '2', '1', '9']
    """
    counts = array_of("confusion: matrix", matrix, 2)
    if counts.shape[0] != counts.shape[1] or (counts < 0).any():
        raise ShapeError(
            "confusion: matrix: expected counts of each true class as each predicted one, (N, N); "
            f"got shape {list(counts.shape)}" + ", with negative ones" * bool((counts < 0).any())
        )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = _side(len(counts), 2.0, 0.55)
    figure, axes = axes_of(ax, side + 1, side)
    image = axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    symbol_ticks(axes.xaxis, labels, len(counts), rotation=90 if len(counts) > 3 else 0)
    symbol_ticks(axes.yaxis, labels, len(counts))
    axes.set(xlabel="predicted class", ylabel="true class")
    _color_bar(axes, image, "share of the true class", 0.03)
    texts = [
        axes.text(
            j, i, f"{count:g}", ha="center", va="center",
            color="white" if shares[i, j] > 0.5 else "black",
        )
        for (i, j), count in np.ndenumerate(counts)
    ]  # fmt: skip
    figure.draw_without_rendering()  # chooses the place of the axes
    cell = points_of(axes)[0] / len(counts)
    size = min(0.8 * cell, font_size("0" * max(len(one.get_text()) for one in texts), 0.9 * cell))
    for one in texts:
        one.set_fontsize(size)
    return figure


def _color_bar(axes: Any, image: Any, label: str, pad: float) -> None:
    bar = axes.get_figure().colorbar(image, ax=axes, fraction=0.05, pad=pad)
    bar.set_label(label, fontsize=font_size(label, points_of(axes)[1]))
