"""Each plot shows its data, has named axes, takes an `ax`, and refuses what it cannot show."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import plot
from tinygrad_rnn.plot.graphs import LAYER

pytest.importorskip("matplotlib")
rng = np.random.default_rng(0)

Draw = Callable[..., Any]


def product(names: bool = True, ax: Any = None) -> Any:
    w, x = tg.ones((3, 2), requires_grad=True), tg.ones((4, 3), requires_grad=True)
    h = tg.tanh(x @ w)
    return plot.graph(tg.sum(h * h + h), {"w": w, "x": x} if names else None, ax=ax)


PLOTS: dict[str, Draw] = {
    "graph": product,
    "curves": lambda ax=None: plot.curves(
        {"a": [1.0, 2.0], "b": ([3, 4], [1.0, 2.0])}, xlabel="step", ylabel="m", ax=ax
    ),
    "losses": lambda ax=None: plot.losses([{"step": 1, "loss": 2.0, "lr": 9.0}], ax=ax),
    "gradient_flow": lambda ax=None: plot.gradient_flow({"a": (rng.random((2, 5)),)}, ax=ax),
    "heat_map": lambda ax=None: plot.heat_map(rng.random((5, 3)), symbols="ab cd", ax=ax),
    "activations": lambda ax=None: plot.activations(
        {"z": rng.random((5, 1, 3)), "h": rng.normal(size=(5, 4))}, symbols="hello", ax=ax
    ),
    "attention": lambda ax=None: plot.attention(rng.random((2, 3)), "abc", "de", ax=ax),
    "confusion": lambda ax=None: plot.confusion([[3, 1], [0, 2]], ["no", "yes"], ax=ax),
    "fan": lambda ax=None: plot.fan(rng.normal(size=(9, 4)), [1.0, 2.0], [2.0, 2.0], ax=ax),
    "calibration": lambda ax=None: plot.calibration(rng.random(50), rng.random(50) < 0.5, ax=ax),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_a_figure_with_named_axes(name: str) -> None:
    figure = PLOTS[name]()
    axes = figure.axes[0]
    assert name == "graph" or (axes.get_xlabel() and axes.get_ylabel())
    assert figure._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_draws_in_the_axes_that_it_is_given(name: str) -> None:
    figure, (left, right) = plot.panels(1, 2, 8, 4)
    assert PLOTS[name](ax=right) is figure
    assert not left.has_data()
    assert right.has_data() or right.texts
    with pytest.raises(TypeError, match="ax: expected one Axes of matplotlib"):
        PLOTS[name](ax=[right])


def test_lines_differ_without_colour() -> None:
    lines = plot.curves({str(i): rng.random(40) for i in range(7)}).axes[0].lines
    assert len({(line.get_linestyle(), line.get_marker()) for line in lines}) == 7
    assert len({line.get_marker() for line in lines}) == 7


def test_a_logarithmic_axis_names_its_few_positions() -> None:
    axes = plot.curves({"a": ([32, 64, 128], [1.0, 2.0, 3.0])}, xscale="log").axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["32", "64", "128"]
    assert not axes.get_xticks(minor=True).size


def test_a_graph_has_every_operation_once_and_no_edge_goes_up() -> None:
    figure = product()
    texts = {text.get_text(): text.get_position() for text in figure.axes[0].texts}
    assert set(texts) == {
        "w\n(3, 2)", "x\n(4, 3)", "matmul", "tanh", "multiply", "add", "sum", "result\n()",
    }  # fmt: skip
    for above, below in (
        ("w\n(3, 2)", "matmul"), ("matmul", "tanh"), ("tanh", "multiply"), ("multiply", "add"),
        ("add", "sum"), ("sum", "result\n()"),
    ):  # fmt: skip
        assert texts[above][1] - texts[below][1] == pytest.approx(LAYER)  # of the next layer
    # x and w to matmul, matmul to tanh, tanh to multiply twice and to add, ...
    assert len(figure.axes[0].patches) == 9
    assert "leaf\n(3, 2)" in {text.get_text() for text in product(names=False).axes[0].texts}


def test_boxes_of_a_layer_do_not_overlap() -> None:
    gru = tg.nn.GRUCell(3, 4)
    x, h = tg.ones((2, 3)), tg.ones((2, 4), requires_grad=True)
    figure = plot.graph(gru(x, gru(x, h)), dict(gru.named_parameters()))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    for i, a in enumerate(boxes):
        assert not any(a.overlaps(b) for b in boxes[:i])


def test_graphs_that_cannot_be_drawn() -> None:
    with pytest.raises(tg.GraphError, match="pass requires_grad=True"):
        plot.graph(tg.ones((2,)))
    x = tg.ones((2,), requires_grad=True)
    for _ in range(301):
        x = x + 1
    with pytest.raises(ValueError, match="more than 300 nodes"):
        plot.graph(x)


def test_blocks_of_gates_are_labelled_at_their_middles() -> None:
    axes = PLOTS["activations"]().axes[0]
    [image] = axes.images
    assert image.get_array().shape == (6 + 1 + 8, 5)  # of few units each has two rows
    assert list(axes.get_yticks()) == [2.5, 10.5]
    assert np.ma.getmaskarray(image.get_array())[6].all()
    assert image.get_clim()[0] == -image.get_clim()[1] <= -1


def test_a_fan_s_intervals_are_quantiles() -> None:
    paths = np.arange(101.0)[:, None] * np.ones((1, 3))
    axes = plot.fan(paths, levels=[0.9]).axes[0]
    [band] = axes.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(5)
    assert heights.max() == pytest.approx(95)
    assert set(axes.lines[0].get_ydata()) == {50.0}


def test_calibration_compares_each_group_s_frequency() -> None:
    p = np.repeat([0.25, 0.75], 4)
    axes = plot.calibration(p, [1, 0, 0, 0, 1, 1, 1, 0]).axes[0]
    np.testing.assert_allclose(axes.lines[1].get_xydata(), [[0.25, 0.25], [0.75, 0.75]])


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: plot.curves({}), "at least one named line"),
        (lambda: plot.curves({"a": ([1, 2], [1.0])}), "a position for each of the 1 values"),
        (lambda: plot.losses([]), "at least one evaluation"),
        (lambda: plot.heat_map(["a"]), "expected real numbers"),
        (lambda: plot.heat_map(np.ones((2, 3, 4))), "expected 2 axes, got shape"),
        (lambda: plot.heat_map(np.ones((2, 0))), "expected values, got none"),
        (lambda: plot.heat_map(np.ones((2, 3)), symbols="abc"), "each of the 2 cells"),
        (lambda: plot.activations({}), "gates or states by name"),
        (lambda: plot.activations({"h": [[np.nan]]}), "finite values, got none"),
        (lambda: plot.activations({"h": np.ones((3, 2, 4))}), "a batch of one"),
        (lambda: plot.activations({"h": np.ones((3, 4)), "c": np.ones((2, 4))}), "3 steps"),
        (lambda: plot.confusion(-np.eye(2), "ab"), "with negative ones"),
        (lambda: plot.confusion(np.ones((2, 3)), "ab"), "shape \\[2, 3\\]"),
        (lambda: plot.fan(np.ones((3, 2)), times=[1]), "2 of the forecast"),
        (lambda: plot.fan(np.ones((3, 2)), levels=[1.5]), "between 0 and 1"),
        (lambda: plot.calibration([0.5], [1, 0]), "each of the 1 probabilities"),
        (lambda: plot.calibration([1.5], [1]), r"in \[0, 1\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: Draw, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said) as raised:
        draw()
    assert isinstance(raised.value, tg.TinygradRnnError)


SIZES = [(3.5, 2.5), (12.0, 8.0)]  # inches: a phone or a quarter of a slide, and a slide


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_labels_have_room_at_any_size(size: tuple[float, float], seed: int) -> None:
    drawn = np.random.default_rng(seed)
    names = [f"{'class ' * (seed > 1)}{i}" for i in range(drawn.integers(2, 10))]
    label = "loss, mean of all words (nats)"[: drawn.integers(1, 31)]
    days = np.arange(60).astype("datetime64[D]") + seed * 900
    draws: list[Callable[[Any], Any]] = [
        lambda ax: plot.curves(
            {n: drawn.normal(size=9) for n in names}, xlabel=label, ylabel=label, ax=ax
        ),
        lambda ax: plot.fan(
            drawn.normal(size=(9, 20)), np.zeros(40), times=days, ylabel=label, ax=ax
        ),
        lambda ax: plot.confusion(drawn.integers(0, 9999, (len(names),) * 2), names, ax=ax),
    ]
    for draw in draws:
        figure, [axes] = plot.panels(1, 1, *size)
        draw(axes)
        figure.draw_without_rendering()
        whole, inside = figure.bbox, axes.get_window_extent()
        for text in (axes.xaxis.label, axes.yaxis.label):
            box = text.get_window_extent()
            assert box.x0 >= -1
            assert box.y0 >= -1
            assert box.x1 <= whole.x1 + 1
            assert box.y1 <= whole.y1 + 1
        if (legend := axes.get_legend()) is not None:
            assert legend.get_window_extent().width <= 0.75 * inside.width
            assert legend.get_window_extent().height <= 0.75 * inside.height
        ticks = [t.get_window_extent() for t in axes.get_xticklabels() if t.get_text()]
        texts = [t.get_window_extent() for t in axes.texts]
        for boxes in (ticks, texts):
            for one, other in itertools.combinations(boxes, 2):
                assert not one.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9))


@pytest.mark.parametrize("rows", [1, 2, 5, 25, 40, 90])
@pytest.mark.parametrize("columns", [1, 3, 23, 60])
def test_a_saved_picture_cuts_nothing_off(rows: int, columns: int) -> None:
    from matplotlib.text import Text

    values = np.linspace(0, 1, rows * columns).reshape(rows, columns)  # no label past the scale
    names, units = ([f"word{i}" for i in range(n)] for n in (columns, rows))
    for figure in (
        plot.attention(values, names, units),
        plot.heat_map(values.T, symbols=names, units=units, label="update gate"),
        plot.activations({"z": values.T, "h": -values.T}, symbols=names),
        plot.confusion(rng.integers(0, 999, (min(rows, 30),) * 2), units[:30]),
    ):
        figure.savefig(io.BytesIO(), format="png", dpi=100)
        for text in figure.findobj(Text):
            box = text.get_window_extent()
            if text.get_text() and text.get_visible() and box.width:
                assert figure.bbox.padded(1).contains(*box.min), text
                assert figure.bbox.padded(1).contains(*box.max), text
