"""nn.Recurrent: any cell over a sequence, with all that the built-in layers have around a cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

from ..drawing import Searched
from .layers import KINDS, Array, as_state, drawn_call, flat

CELLS = {"RNN": tg.nn.RNNCell, "GRU": tg.nn.GRUCell, "LSTM": tg.nn.LSTMCell}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_built_in_cells_in_it_are_the_built_in_layers(kind: str, data: st.DataObject) -> None:
    d = Searched(data)
    options = {
        "num_layers": d.integer(1, 2),
        "bidirectional": d.one_of([False, True]),
        "batch_first": d.one_of([False, True]),
        "dropout": d.one_of([0.0, 0.4]),
        "zoneout": d.one_of([0.0, 0.3]),
        "merge": d.one_of(["concat", "sum", "mean", "mul", None]),
    }
    options["residual"] = options["merge"] is not None and d.one_of([False, True])
    generator = tg.Generator(0)
    layer = KINDS[kind](3, 4, dtype="float64", generator=generator, **options)

    def made(features: int) -> Any:
        return CELLS[kind](features, 4, dtype="float64", generator=tg.Generator(0))

    fused = d.one_of([False, True])
    any_cell = tg.nn.Recurrent(made, 3, fused=fused, generator=generator, **options)
    for row, cell in enumerate(any_cell.cells):
        suffix = layer.suffix(row)
        cell.load_state_dict({n: getattr(layer, n + suffix) for n in cell.state_dict()})
    x, state, course = drawn_call(d, layer)
    masks, found = generator.state, []
    for module in (layer, any_cell):
        generator.state = masks
        found.append(flat(module(tg.tensor(x), as_state(state), return_states=True, **course)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11)


class Counter:
    """A cell that is no Module: it counts its steps beside a matrix that each step turns."""

    output_size = 3

    def initial(self, x: tg.Tensor) -> Any:
        return tg.ones((len(x), 2, 2)), tg.full((len(x), 1), 5.0)

    def step(self, x: tg.Tensor, state: Any) -> Any:
        matrix, count = state
        turned = matrix @ tg.tensor([[0.0, 1.0], [-1.0, 0.0]])
        return x + count, (turned, count + 1)


def test_a_state_is_any_tuple_of_tensors_and_resets_begin_from_the_cells_initial() -> None:
    layer = tg.nn.Recurrent(Counter())
    reset = np.zeros((4, 2), bool)
    reset[2, 1] = True
    y, (matrix, count), states = layer(
        tg.zeros((4, 2, 3)), lengths=[3, 4], reset=reset, return_states=True
    )
    assert y[:, 0, 0].tolist() == [5, 6, 7, 0]
    assert y[:, 1, 0].tolist() == [5, 6, 5, 6]
    assert matrix.shape == (1, 2, 2, 2)
    assert count.tolist() == [[[8.0], [7.0]]]
    assert [s.shape for s in states] == [(1, 4, 2, 2, 2), (1, 4, 2, 1)]
    _, (_, count) = layer(tg.zeros((1, 2, 3)), (matrix, count))
    assert count.tolist() == [[[9.0], [8.0]]]


def test_zoneout_has_a_probability_for_each_part_of_any_state() -> None:
    layer = tg.nn.Recurrent(Counter(), zoneout=(0.0, 0.25)).eval()
    y, (matrix, count) = layer(tg.zeros((2, 1, 3)))
    assert y[:, 0, 0].tolist() == [5.0, 5.75]
    assert count.item() == 6.5
    np.testing.assert_array_equal(matrix.numpy()[0, 0], -np.ones((2, 2)))


def test_inputs_may_have_more_axes() -> None:
    class Blur(tg.nn.Cell):
        """Images whose state is an image."""

        def __init__(self) -> None:
            self.mix = tg.nn.Parameter(tg.tensor(0.5, "float64"))

        def initial(self, x: tg.Tensor) -> tg.Tensor:
            return tg.zeros(x.shape, dtype="float64")

        def step(self, x: tg.Tensor, h: tg.Tensor) -> tuple[tg.Tensor, tg.Tensor]:
            h = self.mix * h + (1 - self.mix) * x
            return h, h

    layer = tg.nn.Recurrent(Blur(), batch_first=True)
    x: Array = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
    y, h = layer(tg.tensor(x))
    assert h.shape == (1, 2, 4, 4)
    np.testing.assert_allclose(y.numpy()[:, 1], x[:, 0] / 4 + x[:, 1] / 2)
    assert tg.gradcheck(lambda x, *_: layer(x), [x, *layer.parameters()], order=2)


def test_parameters_are_found_and_named_by_their_row() -> None:
    layer = tg.nn.Recurrent(lambda n: tg.nn.RNNCell(n, 4, bias=False), 3, 2, bidirectional=True)
    shapes = {name: p.shape for name, p in layer.named_parameters()}
    assert shapes["cells.1.weight_ih"] == (4, 3)
    assert shapes["cells.3.weight_ih"] == (4, 8)
    assert len(shapes) == 8
    assert layer.step if not layer.bidirectional else True


class Grows(tg.nn.Cell):
    def step(self, x: tg.Tensor, h: tg.Tensor) -> Any:
        return h, tg.concat([h, x], axis=-1)


class Shown(tg.nn.RNNCell):
    """A cell that shows a part of its state."""

    def __init__(self, features: int, hidden_size: int, shown: int) -> None:
        super().__init__(features, hidden_size)
        self.output_size = shown

    def step(self, x: tg.Tensor, h: tg.Tensor) -> Any:
        y, h = super().step(x, h)
        return y[:, : self.output_size], h


class Unseen:
    """A cell whose parameters no module holds."""

    hidden_size = 4

    def __init__(self) -> None:
        self.inner = tg.nn.GRUCell(3, 4)
        self.initial, self.step = self.inner.initial, self.inner.step


class Mute:
    initial = step = None


cell = tg.nn.GRUCell(3, 4)


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (
            lambda: tg.nn.Recurrent(cell, num_layers=2, bidirectional=True),
            ValueError,
            r"2 layers in 2 directions need 4 cells.*Recurrent\(lambda features: GRUCell",
        ),
        (lambda: tg.nn.Recurrent(cell, 5), ValueError, "the GRUCell takes 3 features, got 5"),
        (lambda: tg.nn.Recurrent(lambda n: cell), ValueError, r"Recurrent\(function, input_size\)"),
        (lambda: tg.nn.Recurrent(lambda n: cell, 3, 2), ValueError, "the same cell twice"),
        (lambda: tg.nn.Recurrent(lambda n: 3, 3), TypeError, "function to make a cell.*made int"),
        (lambda: tg.nn.Recurrent("lstm", 3), TypeError, "a function that makes one; got str"),
        (
            lambda: tg.nn.Recurrent(lambda n: Mute(), 3, 2),
            TypeError,
            "Mute does not say how many features.*self.output_size",
        ),
        (lambda: tg.nn.Recurrent(cell)(tg.zeros((5, 2, 4))), tg.ShapeError, "expected 3 features"),
        (lambda: tg.nn.Recurrent(cell)(tg.zeros((0, 2, 3))), tg.ShapeError, "none empty"),
        (lambda: tg.nn.Recurrent(Unseen()), tg.InvalidTypeError, "derive Unseen from tg.nn.Module"),
        (lambda: tg.nn.Recurrent(lambda n: Unseen(), 3), tg.InvalidTypeError, "derive Unseen from"),
        (
            lambda: tg.nn.Recurrent(Grows(3, 4))(tg.zeros((5, 2, 3))),
            tg.ShapeError,
            r"Grows.step: expected a state as the one before, \[\[2, 4\]\]; got \[\[2, 7\]\]",
        ),
        (
            lambda: tg.nn.Recurrent(lambda n: Shown(n, 4, 4 if n == 3 else 2), 3, 2, residual=True)(
                tg.zeros((5, 2, 3))
            ),
            tg.ShapeError,
            "residual=True expects layers of one size",
        ),
    ],
)
def test_wrong_cells_are_told_what_to_hand_over(
    build: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        build()
