"""Lines: any curves, the losses of a training, the gradient's norm over time and depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError, ShapeError, public
from ..tensor import tree
from .canvas import add_legend, array_of, axes_of, name_axes, styles

FEW = 10  # positions, which a logarithmic axis then names
LEFT_OUT = ("step", "epoch", "lr")  # of a loss curve


@public
def curves(
    series: Mapping[str, Any],
    *,
    xlabel: str = "",
    ylabel: str = "",
    title: str = "",
    xscale: str = "linear",
    yscale: str = "linear",
    ax: Any = None,
) -> Any:
    """Draws named lines, which differ in dashes and markers as well as in colour.

    **Arguments** series: by name, the values (N,), or a pair of positions and values. xlabel,
    ylabel: with their units. title, xscale, yscale: as in matplotlib. ax: the Axes to draw in.
    **Returns** the Figure.

    >>> figure = curves({"gru": [1.0, 0.5], "lstm": ([1, 2], [0.9, 0.4])}, xlabel="updates")
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['gru', 'lstm']
    """
    if not series:
        raise InvalidValueError("curves: series: expected at least one named line, got none")
    lines = {}
    for name, values in series.items():
        pair = isinstance(values, tuple) and len(values) == 2
        x, y = values if pair else (None, values)
        y = array_of(f"curves: series[{name!r}]", y, 1)
        x = np.arange(len(y)) if x is None else np.asarray(x)
        if x.shape != y.shape:
            raise ShapeError(
                f"curves: series[{name!r}]: expected a position for each of the {len(y)} values, "
                f"got {list(x.shape)}"
            )
        lines[str(name)] = (x, y)
    figure, axes = axes_of(ax, 7, 4.5)
    looks = styles(max(len(y) for _, y in lines.values()))
    for (name, (x, y)), look in zip(lines.items(), looks, strict=False):
        axes.plot(x, y, label=name, **look)
    name_axes(axes, xlabel, ylabel, title)
    axes.set(xscale=xscale, yscale=yscale)
    places = sorted({position for x, _ in lines.values() for position in x.tolist()})
    if xscale == "log" and len(places) <= FEW:
        axes.set_xticks(places, [f"{position:g}" for position in places])
        axes.set_xticks([], minor=True)
    elif xscale == "linear" and all(x.dtype.kind in "iu" for x, _ in lines.values()):
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3, linewidth=0.5)
    if len(lines) > 1:
        add_legend(axes, handlelength=3.5)
    return figure


@public
def losses(history: Sequence[Mapping[str, float]], *, ylabel: str = "loss", ax: Any = None) -> Any:
    """Draws the history of a training: the loss and the validation figures by update.

    **Arguments** history: of a `Trainer`, a dict for each evaluation. ylabel: of the figures, with
    their unit. ax: the Axes to draw in. **Returns** the Figure.

    >>> history = [{"step": 5, "loss": 1.0, "validation": 1.2}, {"step": 10, "loss": 0.7}]
    >>> losses(history).savefig("losses.png")  # doctest: +SKIP
    """
    if not history:
        raise InvalidValueError("losses: history: expected at least one evaluation, got none")
    names = [n for n in dict.fromkeys(n for r in history for n in r) if n not in LEFT_OUT]
    series = {
        name: tuple(zip(*((r["step"], r[name]) for r in history if name in r), strict=True))
        for name in names
    }
    return curves(series, xlabel="updates", ylabel=ylabel, ax=ax)


@public
def gradient_flow(flow: Any, *, title: str = "", ax: Any = None) -> Any:
    """Draws the norms of a gradient over time, a line for each layer and direction.

    **Arguments** flow: what `nn.utils.gradient_flow` returned, or an array (rows, T) or (T,). Of a
    state with several parts, such as LSTM's (h, c), the first is drawn. ax: the Axes to draw in.
    **Returns** the Figure.

    >>> import tinygrad_rnn as tg
    >>> gru, x = tg.nn.GRU(3, 4, 2), tg.ones((20, 2, 3))
    >>> flow = tg.nn.utils.gradient_flow(gru, lambda: gru(x)[0][-1].sum())
    >>> figure = gradient_flow(flow)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['row 0', 'row 1']
    """
    by_name = flow if isinstance(flow, Mapping) else {"": flow}
    series = {}
    for name, state in by_name.items():
        leaves = tree.leaves(state) if isinstance(state, tuple) else [state]
        if not leaves:
            raise InvalidTypeError(f"gradient_flow: flow[{name!r}]: expected norms, got none")
        norms = np.atleast_2d(array_of(f"gradient_flow: flow[{name!r}]", leaves[0], 1, 2))
        for row, values in enumerate(norms):
            part = f"row {row}" if len(norms) > 1 else ""
            label = " ".join(filter(None, (name, part))) or "state"
            series[label] = np.where(values > 0, values, np.nan)  # 0 has no logarithm
    return curves(
        series, xlabel="step t", ylabel="norm of dL/dh_t", yscale="log", title=title, ax=ax
    )
