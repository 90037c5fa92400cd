"""nn.Recurrent: any cell over a sequence, with all that the built-in layers have around a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg

from ..drawing import HypothesisSampler
from .layers import KINDS, Array, as_state, drawn_call, flat

CELLS = {"RNN": tg.nn.RNNCell, "GRU": tg.nn.GRUCell, "LSTM": tg.nn.LSTMCell}


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_the_built_in_cells_in_it_are_the_built_in_layers(kind: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
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
    x, state, arguments = drawn_call(d, layer)
    masks, found = generator.state, []
    for module in (layer, any_cell):
        generator.state = masks
        found.append(flat(module(tg.tensor(x), as_state(state), return_states=True, **arguments)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11)


class Counter:
    """A cell that is no Module: it counts its steps beside a matrix that each step turns."""

    output_size = 3

    def initial(self, x: tg.Tensor) -> Any:
        return tg.ones((len(x), 2, 2)), tg.full((len(x), 1), 5.0)

    def step(self, x: tg.Tensor, state: Any) -> Any:
        matrix, count = state
        rotated = matrix @ tg.tensor([[0.0, 1.0], [-1.0, 0.0]])
        return x + count, (rotated, count + 1)


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


# ---------------------------------------------------------------- states of any structure


class Named(NamedTuple):
    h: Any
    c: Any


STRUCTURES: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any], tuple[Any, Any]]]] = {
    "tuple": (lambda h, c: (h, c), lambda s: s),
    "list": (lambda h, c: [h, c], lambda s: s),
    "dict": (lambda h, c: {"h": h, "c": c}, lambda s: (s["h"], s["c"])),
    "named": (lambda h, c: Named(h, c), lambda s: (s.h, s.c)),
    "nested": (
        lambda h, c: {"a": [None, (h,)], "b": Named(0.5, c)},
        lambda s: (s["a"][1][0], s["b"].c),
    ),
}  # fmt: skip


class Structured(tg.nn.Cell):
    """Two parts in any container: what is remembered, and whether it was ever large."""

    def __init__(self, structure: str, features: int, flags: bool = False) -> None:
        super().__init__(features, 4, dtype="float64", generator=tg.Generator(0))
        self.into, self.out_of = STRUCTURES[structure]
        self.kind = "bool" if flags else "float64"

    def initial(self, x: tg.Tensor) -> Any:
        h = tg.full((x.shape[0], 4), 0.1, dtype=x.dtype)
        return self.into(h, tg.zeros((x.shape[0], 1), dtype=self.kind))

    def step(self, x: tg.Tensor, state: Any) -> Any:
        h, c = self.out_of(state)
        h = tg.tanh(x @ self.weight_ih.mT + h @ self.weight_hh.mT + c.astype("float64") * 0.3)
        large = (h > 0.2).any(axis=1, keepdims=True)
        c = c | large if self.kind == "bool" else 0.5 * c + h[:, :1]
        return h, self.into(h, c)


@given(data=st.data())
def test_a_state_of_any_structure_is_the_tuple_of_its_parts(data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    structure, flags = d.one_of(sorted(STRUCTURES)), d.one_of([False, True])
    options: dict[str, Any] = {
        "num_layers": d.integer(1, 2),
        "bidirectional": d.one_of([False, True]),
        "batch_first": d.one_of([False, True]),
        "zoneout": d.one_of([0.0, 0.3, (0.4, 0.0)]),
    }
    steps, batch = d.integer(1, 4), d.integer(1, 3)
    shape = (batch, steps) if options["batch_first"] else (steps, batch)
    x = tg.tensor(d.reals((*shape, 3)), requires_grad=True)
    arguments = {
        "lengths": d.one_of([None, [d.integer(0, steps) for _ in range(batch)]]),
        "reset": d.one_of([None, d.reals(shape) > 0.5]),
    }
    training, again = d.one_of([False, True]), d.one_of([False, True])
    found: list[Any] = []
    for name, fused in [("tuple", False), (structure, False), (structure, True)]:
        generator = tg.Generator(1)
        layer = tg.nn.Recurrent(
            lambda n, name=name: Structured(name, n, flags),  # type: ignore[misc]
            3, fused=fused, generator=generator, **options,
        ).train(training)  # fmt: skip
        y, last, states = layer(x, return_states=True, **arguments)
        if again:
            y, last, states = layer(x, last, return_states=True, **arguments)
        assert type(last) is type(layer.cells[0].into(0, 0))
        parts = [*STRUCTURES[name][1](last), *STRUCTURES[name][1](states)]
        reals = [v for v in (y, *parts) if v.dtype.kind == "f"]
        gradients = tg.grad(sum((v * v).sum() for v in reals), [x, *layer.parameters()])
        found.append([y, *parts, *gradients])
    for others in found[1:]:
        for a, b in zip(others, found[0], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(
                a.detach().numpy(), b.detach().numpy(), rtol=1e-9, atol=1e-11
            )


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        lambda h: [h, h],
        lambda h: {"h": h},
        lambda h: None,
        lambda h: 0.5,
        lambda h: (h, (h, h)),
        lambda h: Named(h, h),
        lambda h: (),
    ],
)
def test_states_of_other_kinds(kind: Any, fused: bool) -> None:
    class Keeper(tg.nn.Cell):
        def initial(self, x: tg.Tensor) -> Any:
            return kind(tg.zeros((x.shape[0], 5)))

        def step(self, x: tg.Tensor, state: Any) -> Any:
            h = tg.tanh(x @ self.weight_ih.mT)
            return (h + state.h if isinstance(state, Named) else h), kind(h)

    layer = tg.nn.Recurrent(Keeper(4, 5), fused=fused)
    x = tg.ones((6, 3, 4))
    y, state = layer(x, lengths=[6, 3, 1])
    assert y.shape == (6, 3, 5)
    assert layer(x, state)[0].shape == (6, 3, 5)
    assert layer.step(x[0], state)[0].shape == (3, 5)
    assert layer(x, reset=np.ones((6, 3), bool), return_states=True)[0].shape == (6, 3, 5)
    tg.nn.utils.detach(state)


class Says(tg.nn.Cell):
    """A cell whose initial state, output and state are made by functions."""

    def __init__(self, initial: Any, step: Any) -> None:
        super().__init__(3, 5)
        self.begin, self.go = initial, step

    def initial(self, x: tg.Tensor) -> Any:
        return self.begin(tg.zeros((x.shape[0], 5)))

    def step(self, x: tg.Tensor, state: Any) -> Any:
        return self.go(tg.tanh(x @ self.weight_ih.mT), state)


class Box:
    def __init__(self, h: Any) -> None:
        self.h = h


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize(
    ("initial", "step", "words"),
    [
        (lambda h: h.numpy(), lambda h, s: (h, h), "Says.initial: .*Tensors.*numpy.ndarray"),
        (lambda h: h, lambda h, s: (h, np.zeros((2, 5))), "Says.step: .*Tensors.*numpy.ndarray"),
        (Box, lambda h, s: (h, Box(h)), "Says.initial: expected a state of Tensors.*Box"),
        (lambda h: (h, Box(h)), lambda h, s: (h, s), "Says.initial: .*Box"),
        (lambda h: 0, lambda h, s: (h, s + 1), "Says.step: expected a state .*int 0, then int 1"),
        (lambda h: (h, 0.5), lambda h, s: (h, (h, 0.25)), "state .*: float 0.5, then float 0.25"),
        (lambda h: h, lambda h, s: (h, (h,)), "state .*Tensor float32.*, then tuple of 1"),
        (lambda h: (h,), lambda h, s: (h, [h]), "state .*tuple of 1, then list of 1"),
        (lambda h: {"h": h}, lambda h, s: (h, {"c": h}), "state .*dict of 'h', then dict of 'c'"),
        (lambda h: None, lambda h, s: (h, h), "state .*None, then Tensor"),
        (lambda h: h, lambda h, s: h, r"Says.step: expected the output and the state.*got Tensor"),
        (lambda h: h, lambda h, s: (None, h), "Says.step: .*a Tensor for the output.*NoneType"),
    ],
)  # fmt: skip
def test_wrong_states_are_named_with_their_cell(
    initial: Any, step: Any, words: str, fused: bool
) -> None:
    layer = tg.nn.Recurrent(Says(initial, step), fused=fused)
    with pytest.raises(tg.TinygradRnnError, match=words):
        layer(tg.ones((4, 2, 3)))


def test_a_state_is_handed_over_in_its_structure_or_refused() -> None:
    layer = tg.nn.Recurrent(Structured("dict", 3))
    x = tg.ones((4, 2, 3), dtype="float64")
    _, state = layer(x)
    arrays = {"c": state["c"].numpy(), "h": state["h"].numpy()}  # in another order, and not Tensors
    np.testing.assert_array_equal(layer(x, arrays)[0].numpy(), layer(x, state)[0].numpy())
    for other, words in [
        ({"h": state["h"]}, "dict of 'h', 'c', then dict of 'h'"),
        (state["h"], "dict of 'h', 'c', then Tensor"),
        ((state["h"], state["c"]), "dict of 'h', 'c', then tuple of 2"),
        ({"h": state["h"][0], "c": state["c"]}, r"got \[2, 4\] and \[1, 2, 1\]"),
        (3, "then int 3"),
    ]:
        with pytest.raises(tg.ShapeError, match=f"Recurrent: state: expected .*{words}"):
            layer(x, other)
    nested = tg.nn.Recurrent(Structured("nested", 3))
    with pytest.raises(tg.ShapeError, match=r"state: .*float 0.5, then float 0.25"):
        nested(x, {"a": [None, (state["h"],)], "b": Named(0.25, state["c"])})


class Wide(Counter):
    """One that counts in so many columns."""

    def __init__(self, columns: int) -> None:
        self.columns = columns

    def initial(self, x: tg.Tensor) -> Any:
        return tg.ones((len(x), 2, 2)), tg.ones((len(x), self.columns))

    def step(self, x: tg.Tensor, state: Any) -> Any:
        return x, state


def test_layers_of_different_states_are_refused_by_name() -> None:
    made = iter([1, 2])
    layer = tg.nn.Recurrent(lambda _: Wide(next(made)), 3, 2)
    words = r"Recurrent: state: .*one size.*\[2, 1\]\] and \[\[2, 2, 2\], \[2, 2\]\]"
    with pytest.raises(tg.ShapeError, match=words):
        layer(tg.zeros((5, 2, 3)))


def test_zoneout_leaves_truths_and_counts_alone() -> None:
    x = tg.ones((6, 2, 3), dtype="float64")
    for training in (False, True):
        layer = tg.nn.Recurrent(Structured("named", 3, flags=True), zoneout=0.9).train(training)
        cell = layer.cells[0]
        cell.weight_ih.data = np.ones((4, 3))
        _, state = layer(x)
        assert state.c.dtype == bool
        assert state.c.numpy().all()
    with pytest.raises(tg.InvalidValueError, match=r"zoneout: expected 0 for part 1 .*bool"):
        tg.nn.Recurrent(Structured("named", 3, flags=True), zoneout=(0.1, 0.2))(x)


def test_what_zoneout_leaves_out_is_chosen_not_multiplied() -> None:
    class Grows(tg.nn.Cell):
        def step(self, x: tg.Tensor, h: tg.Tensor) -> Any:
            h = h + x @ self.weight_ih.mT / (x[:, :1] * 0.0)  # infinite
            return h, h

    layer = tg.nn.Recurrent(Grows(3, 50, generator=tg.Generator(0)), zoneout=0.5)
    with np.errstate(all="ignore"):
        y, _ = layer(tg.ones((1, 1, 3)))
    assert not np.isnan(y.detach().numpy()).any()


@pytest.mark.parametrize("flags", [False, True])
def test_one_can_look_into_any_state(flags: bool) -> None:
    layer = tg.nn.Recurrent(Structured("nested", 3, flags=flags))
    x = tg.ones((4, 2, 3), dtype="float64")
    flow = tg.nn.utils.gradient_flow(layer, lambda: layer(x)[0][-1].sum())[""]
    h, c = STRUCTURES["nested"][1](flow)
    assert h.shape == c.shape == (1, 4)
    assert (h.numpy() > 0).all()
    assert bool((c.numpy()[0, :3] > 0).all()) is not flags
