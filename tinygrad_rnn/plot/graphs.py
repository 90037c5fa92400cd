"""The autograd graph of a Tensor, in layers: inputs at the top, the Tensor at the bottom.

The layout follows Sugiyama et al. (1981). A node lies one layer below its lowest input; an edge
that crosses layers passes through invisible points in them; each layer is sorted by the mean
positions of the neighbours, down and up in turn, which leaves few crossings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..errors import GraphError, InvalidTypeError, InvalidValueError, public
from ..tensor.graph import Leaf, Node
from ..tensor.tensor import Tensor
from .canvas import axes_of, labels_of, points_of

MOST = 300  # nodes that can be read
SWEEPS = 8
ARROW: dict[str, Any] = {
    "arrowstyle": "-|>",
    "shrinkA": 0,
    "shrinkB": 0,
    "lw": 0.9,
    "color": "#555555",
    "zorder": 1,
}
LETTER, GAP, LAYER = 0.095, 0.25, 0.62  # inches: a letter's width, between boxes, between layers


@dataclass(eq=False)
class _Box:
    """A node, or a point on an edge that crosses layers."""

    text: str = ""
    kind: str = "point"
    layer: int = 0
    x: float = 0.0
    above: list[_Box] = field(default_factory=list)
    below: list[_Box] = field(default_factory=list)

    @property
    def width(self) -> float:
        return LETTER * max(map(len, self.text.split("\n")), default=0) + GAP


@public
def graph(tensor: Tensor, names: Mapping[str, Tensor] | None = None, *, ax: Any = None) -> Any:
    """Draws the graph that `backward` would walk: leaves at the top, operations below.

    **Arguments** tensor: one that was computed from others that require grad. names: of the leaves,
    as in `dict(model.named_parameters())`; others show their shapes alone. ax: the Axes to draw in.
    **Returns** the Figure. **Raises** GraphError for a Tensor without a graph, ValueError for a
    graph too large to be read.

    >>> import tinygrad_rnn as tg
    >>> w, x = tg.ones((3, 2), requires_grad=True), tg.ones((4, 3))
    >>> figure = graph(tg.sum(tg.tanh(x @ w)), {"w": w})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['w\\n(3, 2)', 'matmul', 'tanh', 'sum', 'result\\n()']
    """
    if not isinstance(tensor, Tensor):
        raise InvalidTypeError(f"graph: expected a Tensor, got {type(tensor).__name__}")
    if tensor.edge is None:
        raise GraphError(
            "graph: expected a Tensor that was computed from one that requires grad; this one has "
            "no graph: pass requires_grad=True to an input, and leave no_grad()"
        )
    known = {id(t.edge[0]): name for name, t in (names or {}).items() if t.edge is not None}
    layers = _layers(tensor, known)
    width = max(sum(box.width for box in layer) for layer in layers)
    height = LAYER * len(layers) + 0.4
    figure, axes = axes_of(ax, max(3.0, width + 0.6), max(2.0, height))
    axes.set_axis_off()
    _place(layers)
    room = points_of(axes)
    fits = 1.0 if ax is None else min(1.0, room[0] / 72 / width, room[1] / 72 / height)
    _draw(axes, layers, 9 * fits)
    return figure


def _layers(tensor: Tensor, names: Mapping[int, str]) -> list[list[_Box]]:
    """The boxes of each layer, with points where edges cross it."""
    root: Node = tensor.edge[0]  # type: ignore[index]
    nodes, stack = {id(root): root}, [root]
    while stack:
        for edge in stack.pop().edges:
            if edge is not None and id(edge[0]) not in nodes:
                nodes[id(edge[0])] = edge[0]
                stack.append(edge[0])
        if len(nodes) > MOST:
            raise InvalidValueError(
                f"graph: more than {MOST} nodes, too many to read: draw fewer steps, or a smaller "
                "part"
            )
    order = sorted(nodes.values(), key=lambda node: -node.serial)  # inputs before results
    shapes = {
        id(edge[0]): shape
        for node in order
        for edge, shape in zip(node.edges, node.shapes, strict=True)
        if edge is not None
    }
    boxes = {id(node): _box(node, names, shapes) for node in order}
    for node in order:
        above = [boxes[id(edge[0])] for edge in node.edges if edge is not None]
        box = boxes[id(node)]
        box.layer = 1 + max((one.layer for one in above), default=-1)
    for node in reversed(order):  # a leaf lies just above the first operation that reads it
        readers = [
            boxes[id(other)].layer
            for other in order
            for edge in other.edges
            if edge is not None and edge[0] is node
        ]
        if isinstance(node, Leaf) and readers:
            boxes[id(node)].layer = min(readers) - 1
    end = _Box(f"result\n{tensor.shape}", "result", boxes[id(root)].layer + 1)
    layers: list[list[_Box]] = [[] for _ in range(end.layer + 1)]
    for box in [*boxes.values(), end]:
        layers[box.layer].append(box)
    for node in order:
        for edge in node.edges:
            if edge is not None:
                _link(boxes[id(edge[0])], boxes[id(node)], layers)
    _link(boxes[id(root)], end, layers)
    return layers


def _box(node: Node, names: Mapping[int, str], shapes: Mapping[int, tuple[int, ...]]) -> _Box:
    if node.op is not None:
        return _Box(str(node.op.name), "operation")
    [name] = labels_of([names.get(id(node), "leaf")])
    return _Box(f"{name}\n{shapes[id(node)]}" if id(node) in shapes else name, "leaf")


def _link(upper: _Box, lower: _Box, layers: list[list[_Box]]) -> None:
    """Joins two boxes, through a point in each layer between them."""
    for layer in range(upper.layer + 1, lower.layer):
        point = _Box(layer=layer)
        layers[layer].append(point)
        upper.below.append(point)
        point.above.append(upper)
        upper = point
    upper.below.append(lower)
    lower.above.append(upper)


def _place(layers: list[list[_Box]]) -> None:
    """Sorts each layer, and sets the positions of its boxes."""
    for layer in layers:
        _spread(layer)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            wanted = {}
            for box in layer:
                near = box.above if down else box.below
                wanted[box] = sum(one.x for one in near) / len(near) if near else box.x
            layer.sort(key=wanted.__getitem__)
            _spread(layer, wanted)


def _spread(layer: list[_Box], wanted: Mapping[_Box, float] | None = None) -> None:
    """Sets positions near the wanted ones, in the order of the layer, without overlap."""
    edge = None
    for i, box in enumerate(layer):
        goal = (box.x if wanted is None else wanted[box]) if i or wanted else 0.0
        box.x = goal if edge is None else max(goal, edge + box.width / 2)
        edge = box.x + box.width / 2
    if wanted and layer:  # what moved to the right moves back, on average
        shift = sum(wanted[box] - box.x for box in layer) / len(layer)
        for box in layer:
            box.x += shift


def _draw(axes: Any, layers: list[list[_Box]], size: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    looks = {
        "leaf": {"boxstyle": "round,pad=0.3", "fc": "#d9e8f5", "ec": "#0072B2"},
        "operation": {"boxstyle": "square,pad=0.3", "fc": "white", "ec": "black"},
        "result": {"boxstyle": "round,pad=0.3", "fc": "#eeeeee", "ec": "black", "lw": 2},
    }
    for layer in layers:
        for box in layer:
            if box.kind == "point":
                continue
            axes.text(
                box.x, -LAYER * box.layer, box.text, ha="center", va="center", fontsize=size,
                bbox=looks[box.kind], zorder=2,
            )  # fmt: skip
            for below in box.below:
                points = [(box.x, -LAYER * box.layer)]
                while below.kind == "point":
                    points.append((below.x, -LAYER * below.layer))
                    [below] = below.below
                height = 0.27 if "\n" in below.text else 0.17
                points.append((below.x, -LAYER * below.layer + height))
                vertices, codes = [points[0]], [Path.MOVETO]
                for (x, y), (u, v) in pairwise(points):
                    vertices += [(x, (y + v) / 2), (u, (y + v) / 2), (u, v)]
                    codes += [Path.CURVE4] * 3
                path = Path(vertices, codes)
                axes.add_patch(FancyArrowPatch(path=path, mutation_scale=size, **ARROW))
    xs = [box.x + side * box.width / 2 for layer in layers for box in layer for side in (-1, 1)]
    axes.set_xlim(min(xs) - 0.1, max(xs) + 0.1)
    axes.set_ylim(-LAYER * (len(layers) - 1) - 0.4, 0.4)
