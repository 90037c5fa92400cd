"""Helpers of all plots: figures and axes, arrays, styles of lines, fonts, files."""

from __future__ import annotations

import itertools
import math
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidTypeError, InvalidValueError, ShapeError, needs, public
from ..tensor.tensor import Tensor

PIXELS, SIDE = 50e6, 60_000  # upper bounds of a PNG: a large figure gets a lower resolution

# The colours of Okabe and Ito, which colour-blind readers tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)))
MARKERS = ("o", "s", "^", "D", "v", "x", "P")
SMALLEST_FONT = 5.0  # points
MARKED = 6  # markers on a long line
NUMBERS = "biuf"


def axes_of(ax: Any, width: float, height: float) -> tuple[Any, Any]:
    """Returns a figure and its axes: those that were passed, or new ones of a size in inches.

    **Raises** ValueError if matplotlib is missing, TypeError if `ax` is no Axes.
    """
    picture = _picture_class()
    if ax is None:
        # Cells of a fixed shape leave room that the layout `constrained` would give to no label.
        figure = picture(figsize=(width, height), layout="compressed")
        return figure, figure.add_subplot()
    if not hasattr(ax, "get_figure"):
        raise InvalidTypeError(
            f"ax: expected one Axes of matplotlib, such as figure.add_subplot() returns; got "
            f"{type(ax).__name__}"
        )
    return ax.get_figure(), ax


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """Creates a figure of a size in inches, and returns it with its axes, row by row.

    **Arguments** rows, columns: of axes. width, height: of the figure, in inches. **Returns** the
    Figure, and a list of rows * columns Axes.

    >>> import tinygrad_rnn as tg
    >>> figure, axes = tg.plot.panels(2, 3, 9, 4)
    >>> len(axes), figure.get_size_inches().tolist()
    (6, [9.0, 4.0])
    """
    figure = _picture_class()(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel().tolist()


def _picture_class() -> Any:
    with needs("matplotlib", "a plot", "pip install 'tinygrad_rnn[plot]'", InvalidValueError):
        import matplotlib.figure  # noqa: F401
    from .picture import Picture

    return Picture


def array_of(what: str, values: ArrayLike, *ndims: int) -> NDArray[Any]:
    """Returns real numbers as an array on the host. **Raises** ShapeError, TypeError."""
    array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.dtype.kind not in NUMBERS:
        raise InvalidTypeError(f"{what}: expected real numbers, got {array.dtype}")
    if array.ndim not in ndims:
        wanted = " or ".join(map(str, ndims))
        raise ShapeError(f"{what}: expected {wanted} axes, got shape {list(array.shape)}")
    if not array.size:
        raise ShapeError(f"{what}: expected values, got none: shape {list(array.shape)}")
    return array


def styles(points: int) -> Iterator[dict[str, Any]]:
    """Yields styles of lines that differ in colour, dashes and markers."""
    every = max(1, points // MARKED)
    for i in itertools.count():
        yield {
            "color": COLORS[i % len(COLORS)],
            "linestyle": DASHES[i % len(DASHES)],
            "marker": MARKERS[i % len(MARKERS)],
            "markersize": 4.5,
            # Each line has its markers at other points: lines may lie on each other.
            "markevery": (i * max(1, every // 4) % every, every),
        }


# ---------------------------------------------------------------- letters


@public
def families(text: str) -> list[str]:
    """Returns the fonts that have the letters of a text: matplotlib's default, and others.

    >>> families("plain text")
    ['DejaVu Sans']
    """
    _picture_class()
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font  # get_font keeps its files open

    fonts = font_manager.fontManager
    default = font_manager.FontProperties()
    missing = {ord(c) for c in text if not c.isspace()}
    missing -= {*FT2Font(fonts.findfont(default)).get_charmap()}
    names = [default.get_name()]
    for entry in fonts.ttflist:  # reading them takes time: only if letters are missing
        if not missing:
            break
        if "Last Resort" in entry.name:  # it has a box for every letter
            continue
        if found := missing & {*FT2Font(entry.fname).get_charmap()}:
            names.append(entry.name)
            missing -= found
    return names


def labels_of(symbols: Sequence[Any]) -> list[str]:
    """Makes blanks and line ends visible, and escapes what matplotlib would read as a formula."""
    shown = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥", "$": r"\$"})
    return [str(symbol).translate(shown) for symbol in symbols]


def symbol_ticks(axis: Any, symbols: Sequence[Any], count: int, rotation: float = 0) -> None:
    """Labels an axis with symbols, in a font that has their letters, and as large as there is room.

    **Raises** ShapeError if there are not as many symbols as cells.
    """
    if len(symbols) != count:
        raise ShapeError(
            f"expected a symbol for each of the {count} cells of an axis, got {len(symbols)}"
        )
    labels = labels_of(symbols)
    font = families("".join(labels))
    ahead = axis.axis_name == "x" and not rotation  # labels stand side by side
    letters = 0.6 * max(map(len, labels)) + 0.3 if ahead else 1.1
    size = points_of(axis.axes)[axis.axis_name == "y"] / count / letters
    every = max(1, math.ceil(SMALLEST_FONT / size))
    if not ahead:  # long labels leave room for the cells
        across = points_of(axis.axes)[axis.axis_name == "x"]
        size = min(
            size, max(SMALLEST_FONT / every, font_size("x" * max(map(len, labels)), across / 4))
        )
    axis.set_ticks(
        range(0, count, every), labels[::every], rotation=rotation, fontfamily=font,
        fontsize=min(10.0, size * every),
    )  # fmt: skip


def font_size(text: str, points: float) -> float:
    """Returns the size of a font, 10 at most, in which a line of text has so many points."""
    return float(np.clip(points / (0.6 * max(1, len(text))), SMALLEST_FONT, 10.0))


def name_axes(axes: Any, xlabel: str, ylabel: str, title: str = "") -> None:
    """Writes the labels of the axes and the title, smaller where there is little room."""
    across, up = points_of(axes)
    axes.set_xlabel(xlabel, fontsize=font_size(xlabel, across))
    axes.set_ylabel(ylabel, fontsize=font_size(ylabel, up))
    axes.set_title(title, fontsize=1.2 * font_size(title, across))


def add_legend(axes: Any, **options: Any) -> None:
    """Adds a legend that covers half the axes at most, in either direction, if it can."""
    names = axes.get_legend_handles_labels()[1]
    across, up = points_of(axes)
    size = min(font_size("x" * (max(map(len, names)) + 6), across / 2), up / 2 / 1.5 / len(names))
    axes.legend(fontsize=max(SMALLEST_FONT, size), **options)


def points_of(axes: Any) -> tuple[float, float]:
    """Returns the width and the height of axes in points, as the font sizes are."""
    figure = axes.get_figure()
    box = axes.get_position()
    width, height = figure.get_size_inches()
    return 72 * width * box.width, 72 * height * box.height


# ---------------------------------------------------------------- files


@public
def check_file(path: str | Path) -> None:
    """Refuses a file name to which no plot can be saved, before the plotted work begins.

    **Raises** ValueError if the package matplotlib is missing, the name does not end in `.png`, or
    the file cannot be written.

    >>> check_file("losses.png")
    """
    check_plot_file(path)


def check_plot_file(path: str | Path) -> None:
    """Refuses a file name as `check_file` does, for the command, whose errors name no function."""
    _picture_class()
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InvalidValueError(f"a plot is a PNG file: end its name in .png, not {str(path)!r}")
    try:
        there = path.exists()
        if there and not path.is_file():
            raise InvalidValueError(f"cannot write {path}: it is not a regular file")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
        if not there:
            path.unlink()
    except OSError as error:
        raise InvalidValueError(f"cannot write {path}: {error.strerror}") from None


@public
def save(figure: Any, path: str | Path) -> None:
    """Saves a figure as PNG; says in a line on stderr if no font has some of its letters.

    **Arguments** figure: that a plot returned. path: of the file. **Raises** ValueError if the file
    cannot be written.

    >>> import os, tempfile, tinygrad_rnn as tg
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(tg.plot.heat_map([[0.0, 1.0]]), f"{folder}/a.png")
    ...     os.listdir(folder)
    ['a.png']
    """
    width, height = figure.get_size_inches()
    dpi = min(150.0, (PIXELS / (width * height)) ** 0.5, SIDE / max(width, height))
    try:
        with warnings.catch_warnings(record=True) as messages:
            warnings.simplefilter("always")
            figure.savefig(path, format="png", dpi=dpi)
    except OSError as error:
        raise InvalidValueError(f"cannot write {path}: {error.strerror}") from None
    if any("missing from font" in str(warning.message) for warning in messages):
        print(
            f"hint: {path} shows some letters as boxes: no installed font has them; install one "
            "that does, such as Noto Sans CJK",
            file=sys.stderr,
        )
