"""Masks with holes and layers in reverse, beside a loop over rows and steps that skips what is not
read, to second order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.tensor import tree

from ..drawing import HypothesisSampler
from .layers import KINDS, flat
from .test_options import composed, count_nodes

Array = Any


class Leaky(nn.Cell):
    """A cell of one's own, with two parts of a state, of which the output is neither."""

    output_size = 3

    def initial(self, x: Any) -> Any:
        h = super().initial(x)
        return {"h": h, "mean": h + 0.5}

    def step(self, x: Any, state: Any) -> Any:
        h = (x @ self.weight_ih.mT + state["h"] @ self.weight_hh.mT).tanh()
        return h * state["mean"], {"h": h, "mean": (state["mean"] + h) / 2}


def drawn(d: HypothesisSampler, kind: str) -> Any:
    both = d.one_of([False, True])
    options: dict[str, Any] = {
        "num_layers": d.integer(1, 2),
        "bidirectional": both,
        "reverse": not both and d.one_of([False, True]),
        "batch_first": d.one_of([False, True]),
        "generator": tg.Generator(0),
    }
    if kind == "Recurrent":
        return nn.Recurrent(
            lambda n: Leaky(n, 3, bias=False, dtype="float64", generator=tg.Generator(n)), 2,
            fused=d.one_of([False, True]), **options,
        )  # fmt: skip
    if kind == "LSTM":
        options["proj_size"] = d.one_of([0, 2])
    return KINDS[kind](2, 3, dtype="float64", **options)


def by_hand(layer: Any, x: Any, state: Any, mask: Array, reset: Array | None) -> Any:
    """Rows and steps one at a time; a step that is not read is passed over.

    **Arguments** x: (T, B, F); state: parts (L * D, B, H); mask, reset: (T, B). **Returns** the
    outputs, the last state, and the states after every step.
    """
    steps, batch = mask.shape
    last, every = [], []
    for level in range(layer.num_layers):
        ys = []
        for direction in range(layer.directions):
            index = level * layer.directions + direction
            backwards = layer.reverse or direction == 1
            cell, columns, ends, courses = layer.cells[index], [], [], []
            for row in range(batch):
                h = tree.mapped(lambda p, i=index, b=row: p[i, b : b + 1], state)
                times = [t for t in range(steps) if mask[t, row]]
                output: list[Any] = [None] * steps
                states_of_steps: list[Any] = [None] * steps
                episode = np.zeros(steps) if reset is None else np.cumsum(reset[:, row])
                visits = times[::-1] if backwards else times
                before = visits[0] if backwards and visits else -1
                for t in visits:
                    if episode[t] != (episode[before] if before >= 0 else 0):
                        h = cell.initial(x[t][row : row + 1])
                    before = t
                    y, h = cell.step(x[t][row : row + 1], h)
                    output[t], states_of_steps[t] = y, h
                zero = tg.zeros((1, cell.output_size), dtype="float64")
                columns.append(tg.concat([zero if y is None else y for y in output]))
                nothing = tree.mapped(tg.zeros_like, h)
                states_of_steps = [nothing if s is None else s for s in states_of_steps]
                parts = zip(*map(tree.leaves, states_of_steps), strict=True)
                courses.append([tg.concat(list(part)) for part in parts])
                ends.append(tree.leaves(h))
            ys.append(tg.stack(columns, axis=1))
            last.append([tg.concat(list(part)) for part in zip(*ends, strict=True)])
            every.append([tg.stack(list(part), axis=1) for part in zip(*courses, strict=True)])
        x = tg.concat(ys, axis=-1)
    ends, courses = ([tg.stack(list(p)) for p in zip(*s, strict=True)] for s in (last, every))
    return [x, *ends, *courses]


@pytest.mark.parametrize("kind", [*KINDS, "Recurrent"])
@given(data=st.data())
def test_a_masked_layer_is_a_loop_that_passes_over_steps(kind: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    layer = drawn(d, kind)
    steps, batch = d.integer(1, 4), d.integer(1, 3)
    mask = d.reals((steps, batch)) > d.one_of([-0.7, 0.0, 5.0])
    if d.one_of([False, True]):  # no holes
        mask = ~np.sort(~mask, axis=0)
    reset = d.reals((steps, batch)) > 0.3 if d.one_of([False, True]) else None
    values = d.reals((steps, batch, 2))
    if kind != "Recurrent":  # whose loop multiplies what a scan drops by zero
        values[~mask] = np.nan
    begin = tree.mapped(
        lambda p: d.reals((layer.num_layers * layer.directions, *p.shape)),
        layer.begin(0, tg.tensor(values), batch),
    )

    def orders(run: Any) -> list[Array]:
        x = tg.tensor(values, requires_grad=True)
        state = tree.mapped(lambda p: tg.tensor(p, requires_grad=True), begin)
        wanted = [x, *tree.leaves(state), *layer.parameters()]
        ys = run(x, state)
        ws = [tg.tensor(np.cos(np.arange(y.size)).reshape(y.shape)) for y in ys]
        loss = sum((tg.sum(y * w) for y, w in zip(ys, ws, strict=True)), tg.tensor(0.0))
        loss = loss + sum((tg.sum(p * p) for p in wanted[1:]), tg.tensor(0.0))  # if all is masked
        firsts = tg.grad(loss, wanted, create_graph=True)
        seconds = tg.grad(sum((tg.sum(g * g) for g in firsts), tg.tensor(0.0)), wanted)
        return [v.numpy() for v in (*ys, *firsts, *seconds)]

    def masked(x: Any, state: Any) -> Any:
        swap = layer.batch_first
        y, last, every = layer(
            x.swapaxes(0, 1) if swap else x, state, mask=mask.T if swap else mask,
            reset=reset.T if swap and reset is not None else reset, return_states=True,
        )  # fmt: skip
        every = [s.swapaxes(1, 2) if swap else s for s in tree.leaves(every)]
        return [y.swapaxes(0, 1) if swap else y, *tree.leaves(last), *every]

    found = orders(masked)
    expected = orders(lambda x, state: by_hand(layer, x, state, mask, reset))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_keeps_the_fused_operation_and_without_holes_is_lengths(kind: str) -> None:
    layer, x = KINDS[kind](2, 3, 2, generator=tg.Generator(0)), np.ones((5, 3, 2), "float32")
    holes = np.array([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool).T
    assert count_nodes(lambda: layer(x, mask=holes))[kind.lower()] == 2
    padding = np.arange(5)[:, None] < np.array([5, 0, 3])
    masked = count_nodes(lambda: layer(x, mask=padding))
    assert masked == count_nodes(lambda: layer(x, lengths=[5, 0, 3]))


@pytest.mark.parametrize("kind", KINDS)
def test_reverse_is_the_layer_on_each_row_turned_round(kind: str) -> None:
    layer = KINDS[kind](2, 3, 2, reverse=True, dtype="float64", generator=tg.Generator(0))
    plain = KINDS[kind](2, 3, 2, dtype="float64")
    plain.load_state_dict(layer.state_dict())
    x, lengths = np.random.default_rng(0).normal(size=(5, 2, 2)), [5, 3]
    y, last = layer(x, lengths=lengths)
    for row, n in enumerate(lengths):
        y_, last_ = plain(x[:n, row][::-1].copy())
        np.testing.assert_allclose(y.numpy()[:n, row], y_.numpy()[::-1], rtol=1e-12)
        for a, b in zip(flat(last), flat(last_), strict=True):
            np.testing.assert_allclose(a.numpy()[:, row], b.numpy(), rtol=1e-12)
    with tg.no_grad():  # not the inference kernel, which runs forwards
        np.testing.assert_array_equal(layer(x, lengths=lengths)[0].numpy(), y.numpy())
        whole = layer(x)[0].numpy()
    with composed():
        np.testing.assert_allclose(layer(x)[0].numpy(), whole, rtol=1e-12)


def test_an_episode_that_begins_at_a_skipped_step_begins_with_the_next() -> None:
    layer, x = nn.RNN(2, 3, bidirectional=True, dtype="float64"), np.ones((3, 2))
    y, _ = layer(x, mask=[True, False, True], reset=[False, True, False])
    expected = np.concatenate([layer(x[:1])[0].numpy(), np.zeros((1, 6)), layer(x[2:])[0].numpy()])
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12)


def test_a_table_is_read_through_a_mask() -> None:
    layer, table = nn.GRU(4, 3, bidirectional=True), nn.Embedding(5, 4)
    ids = np.array([[1, 99], [-1, 2], [3, 4]])  # those out of range are masked
    mask = np.array([[True, False], [False, True], [True, True]])
    y = layer(table.weight, ids=ids, mask=mask)[0].numpy()
    expected = layer(table(np.where(mask, ids, 0)), mask=mask)[0].numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-7)


def test_one_sequence_and_parallel_layers_take_masks() -> None:
    x, mask = np.random.default_rng(0).normal(size=(5, 2)), np.array([1, 0, 1, 1, 0], bool)
    for layer in (
        nn.LSTM(2, 3, dtype="float64"), nn.LSTM(2, 3, dtype="float64", batch_first=True),
    ):  # fmt: skip
        y, (h, _) = layer(x, mask=mask)
        expected, (h_, _) = layer(x[mask])
        np.testing.assert_allclose(y.numpy()[mask], expected.numpy(), rtol=1e-12)
        np.testing.assert_allclose(h.numpy(), h_.numpy(), rtol=1e-12)
        assert not y.numpy()[~mask].any()
    for kind in (nn.MinGRU, nn.MinLSTM):
        for reverse in (False, True):
            parallel = kind(2, 3, reverse=reverse, dtype="float64")
            y, h = parallel(x[:, None], mask=mask[:, None])
            expected, h_ = parallel(x[mask][:, None])
            np.testing.assert_allclose(y.numpy()[mask], expected.numpy(), rtol=1e-9)
            np.testing.assert_allclose(h.numpy(), h_.numpy(), rtol=1e-9)


@pytest.mark.parametrize("make", [np.array, tg.tensor])
def test_lengths_that_the_caller_overwrites_later_are_those_of_the_call(make: Any) -> None:
    layer, x = nn.LSTM(3, 4), tg.ones((5, 2, 3), requires_grad=True)
    lengths = make([5, 3])
    y, _ = layer(x, lengths=lengths)
    (lengths if isinstance(lengths, np.ndarray) else lengths.data)[:] = 1
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad.numpy() != 0).any(axis=-1).sum(axis=0).tolist() == [5, 3]


def test_diagnostics_show_masked_layers_in_order_of_time() -> None:
    layer = nn.RNN(2, 3, dtype="float64", generator=tg.Generator(0))
    x, mask = np.ones((5, 1, 2)), np.array([[1, 0, 1, 1, 0]], bool).T
    flow = nn.utils.gradient_flow(layer, lambda: layer(x, mask=mask)[1].sum())[""].numpy()
    plain = nn.utils.gradient_flow(layer, lambda: layer(x[:3])[1].sum())[""].numpy()
    np.testing.assert_allclose(flow[0][[0, 2, 3]], plain[0], rtol=1e-12)
    found = nn.utils.gate_saturation(layer, tg.tensor(x), mask=mask, margin=0.9)
    assert found == nn.utils.gate_saturation(layer, tg.tensor(x[:3]), margin=0.9)


MASK = np.ones((5, 3), bool)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": MASK.T}, r"mask: expected \[5, 3\], \(T, B\).*got \[3, 5\]: mask.T"),
        ({"mask": MASK[:4]}, r"mask: expected \[5, 3\].*got \[4, 3\]$"),
        ({"mask": MASK.astype(int)}, r"mask: expected booleans.*int64.*mask.astype\(bool\)"),
        ({"mask": MASK, "lengths": [5, 5, 5]}, "mask and lengths: expected one of them"),
    ],
)
def test_wrong_masks_are_refused(options: Any, message: str) -> None:
    for layer in (nn.GRU(2, 4), nn.Recurrent(nn.GRUCell(2, 4)), nn.MinGRU(2, 4)):
        with pytest.raises(tg.errors.TinygradRnnError, match=message):
            layer(np.zeros((5, 3, 2), "float32"), **options)


def test_reversed_layers_say_what_they_cannot_do() -> None:
    layer = nn.LSTM(2, 4, reverse=True)
    assert repr(layer) == "LSTM(2, 4, reverse=True)"
    with pytest.raises(tg.errors.InvalidValueError, match="reverse=True excludes bidirectional"):
        nn.LSTM(2, 4, reverse=True, bidirectional=True)
    with pytest.raises(tg.errors.InvalidTypeError, match="reverse: expected True or False"):
        nn.LSTM(2, 4, reverse=1)  # type: ignore[arg-type]
    with pytest.raises(tg.errors.InvalidValueError, match="a reversed layer cannot run one step"):
        layer.step(tg.zeros((1, 2)))
    with pytest.raises(tg.errors.InvalidValueError, match="runs backwards"):
        nn.utils.truncated(layer, tg.zeros((5, 1, 2)), 2)
    with pytest.raises(tg.errors.InvalidValueError, match="expected reverse=False"):
        nn.Decoder(nn.Embedding(5, 2), layer)
    with pytest.raises(
        tg.errors.ShapeError, match=r"mask: expected \[5\], a boolean for each step"
    ):
        layer(np.zeros((5, 2), "float32"), mask=MASK)
