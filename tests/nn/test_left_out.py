"""What does not count is selected away: whatever stands there, it is as if zeros did.

A row of a table draws inputs and which of their elements do not count: ignored targets, steps past
a row's length, what is dropped out, a state that a reset forgets. Put NaN or infinities there, and
the value is the same, and so are all gradients of first and second order, those of parameters among
them; of what does not count itself they are exactly zero. Zero times any of these would be NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.cells.common import by_steps
from tinygrad_rnn.kernels import SequenceOptions
from tinygrad_rnn.kernels.cpu import functions as cpu
from tinygrad_rnn.tensor import tree

from ..drawing import HypothesisSampler
from .layers import KINDS, drawn_layer

Array = np.ndarray[Any, Any]
F64: dict[str, Any] = {"dtype": "float64"}


class Case(NamedTuple):
    """Inputs, which of their elements do not count, and a function of them with its module."""

    inputs: list[Array]
    out: list[Array]  # booleans, which broadcast to the inputs
    call: Callable[..., Any]
    module: nn.Module | None = None


# ---------------------------------------------------------------- what is drawn


def past(lengths: list[int], steps: int) -> Array:
    """(T, B, 1), true past a row's length."""
    return (np.arange(steps)[:, None] >= np.array(lengths))[:, :, None]


def drawn_lengths(d: HypothesisSampler, steps: int, batch: int, least: int = 0) -> list[int]:
    return [d.integer(least, steps) for _ in range(batch)]


def class_loss(loss: Any, reductions: tuple[str, ...], **options: Any) -> Any:
    def draw(d: HypothesisSampler) -> Case:
        whole, classes = (d.integer(1, 3), d.integer(1, 3)), d.integer(2, 4)
        targets = np.array([d.integer(-1, classes - 1) for _ in range(np.prod(whole))])
        targets = targets.reshape(whole)
        given: dict[str, Any] = {"ignore_index": -1, "reduction": d.one_of(reductions)}
        given |= {name: d.one_of(values) for name, values in options.items()}
        out = [(targets == -1)[..., None]]
        inputs = [d.reals((*whole, classes))]
        if loss is not nn.linear_cross_entropy:
            return Case(inputs, out, lambda x: loss(x, targets, **given))
        inputs += [d.reals((5, classes)), d.reals((5,))]  # features, then: of 5 classes
        out += [np.array(False)] * 2
        return Case(inputs, out, lambda x, w, b: loss(x, w, targets, linear_bias=b, **given))

    return draw


def regularization(loss: Any) -> Any:
    def draw(d: HypothesisSampler) -> Case:
        steps, batch = d.integer(1, 4), d.integer(1, 3)
        lengths = drawn_lengths(d, steps, batch)
        y = d.reals((steps, batch, 2))
        return Case([y], [past(lengths, steps)], lambda y: loss(y, lengths=lengths))

    return draw


def ctc(d: HypothesisSampler) -> Case:
    steps, batch, most = d.integer(1, 4), d.integer(1, 3), d.integer(1, 2)
    lengths, counts = drawn_lengths(d, steps, batch), drawn_lengths(d, most, batch)
    targets = np.array([[d.integer(1, 2) for _ in range(most)] for _ in range(batch)])
    targets[np.arange(most) >= np.array(counts)[:, None]] = -100

    def call(x: Any) -> Any:
        return nn.ctc_loss(x, targets, lengths, counts, zero_infinity=True)

    return Case([d.reals((steps, batch, 3))], [past(lengths, steps)], call)


def crf(what: str) -> Any:
    def draw(d: HypothesisSampler) -> Case:
        steps, batch = d.integer(1, 4), d.integer(1, 3)
        lengths = drawn_lengths(d, steps, batch)
        module = nn.CRF(3, **F64, generator=tg.Generator(0))
        tags = np.where(past(lengths, steps)[..., 0], -100, d.integer(0, 2))
        calls: dict[str, Any] = {
            "likelihood": lambda x: module(x, tags, lengths, reduction="none"),
            "partition": lambda x: module.partition(x, lengths),
            "marginals": lambda x: module.marginals(x, lengths),
        }
        return Case([d.reals((steps, batch, 3))], [past(lengths, steps)], calls[what], module)

    return draw


ATTENTIONS: dict[str, Any] = {
    "DotAttention": lambda **o: nn.DotAttention(3, **{n: o[n] for n in ("normalize",)}),
    "GeneralAttention": lambda **o: nn.GeneralAttention(3, 3, **o),
    "AdditiveAttention": lambda **o: nn.AdditiveAttention(3, 3, **o),
    "MultiHeadAttention": lambda **o: nn.MultiHeadAttention(3, 3, 3, **o),
    "LocationAttention": lambda **o: nn.LocationAttention(3, 3, filters=2, reach=1, **o),
    "CoverageAttention": lambda **o: nn.CoverageAttention(3, 3, **o),
}


def attention(kind: str, normalize: str) -> Any:
    def draw(d: HypothesisSampler) -> Case:
        steps, source, batch = (d.integer(1, 3) for _ in range(3))
        lengths = drawn_lengths(d, source, batch, least=1)
        module = ATTENTIONS[kind](**F64, normalize=normalize, generator=tg.Generator(0))
        inputs = [d.reals((steps, batch, 3)), d.reals((source, batch, 3))]
        out = [np.array(False), past(lengths, source)]
        return Case(inputs, out, lambda q, m: module(q, m, lengths=lengths), module)

    return draw


def sequences(d: HypothesisSampler) -> Case:
    """A source of vectors, of which symbols are copied; -100 past its end."""
    steps, source, batch = (d.integer(1, 3) for _ in range(3))
    lengths, generator = drawn_lengths(d, source, batch, least=1), tg.Generator(0)
    encoder = nn.Encoder(
        nn.Linear(2, 3, **F64, generator=generator), nn.GRU(3, 3, **F64, generator=generator)
    )
    decoder = nn.Decoder(
        nn.Embedding(4, 3, **F64, generator=generator), nn.GRU(3, 3, **F64, generator=generator),
        nn.GeneralAttention(3, 3, **F64, generator=generator), copy=True, **F64,
        generator=generator,
    )  # fmt: skip
    module = nn.ModuleList([encoder, decoder])
    symbols = np.array([d.integer(0, 3) for _ in range(source * batch)]).reshape(source, batch)
    symbols[past(lengths, source)[..., 0]] = -100
    target = np.array([d.integer(0, 3) for _ in range(steps * batch)]).reshape(steps, batch)

    def call(x: Any) -> Any:
        memory, state = encoder(x, lengths=lengths)
        prepared = decoder.prepare_memory(memory, symbols=symbols, lengths=lengths)
        return decoder(target, prepared, state)

    return Case([d.reals((source, batch, 2))], [past(lengths, source)], call, module)


def layer(kind: str) -> Any:
    """Any options, and lengths."""

    def draw(d: HypothesisSampler) -> Case:
        generator = tg.Generator(0)
        module = drawn_layer(d, kind, generator, batch_first=False)
        steps, batch, masks = d.integer(1, 4), d.integer(1, 3), generator.state
        lengths = drawn_lengths(d, steps, batch)

        def call(x: Any) -> Any:
            generator.state = masks
            return module(x, lengths=lengths)

        return Case([d.reals((steps, batch, 3))], [past(lengths, steps)], call, module)

    return draw


CELLS: dict[str, Any] = {
    "GRUCell": lambda n, **o: nn.GRUCell(n, 4, **o),
    "LSTMCell": lambda n, **o: nn.LSTMCell(n, 4, layer_norm=True, **o),
    "MGUCell": lambda n, **o: nn.MGUCell(n, 4, **o),
    "SLSTMCell": lambda n, **o: nn.SLSTMCell(n, 4, **o),
    "MLSTMCell": lambda n, **o: nn.MLSTMCell(n, 4, **o),
    "MinGRUCell": lambda n, **o: nn.MinGRUCell(n, 4, **o),
}


def cells(kind: str, forgets: bool) -> Any:
    """Steps past a row's length; or, of rows that a reset begins with, the initial state."""

    def draw(d: HypothesisSampler) -> Case:
        generator = tg.Generator(0)
        zoneout, fused = d.one_of([0.0, 0.3]), d.one_of([False, True])
        module = nn.Recurrent(
            lambda n: CELLS[kind](n, **F64, generator=generator), 3, zoneout=zoneout, fused=fused,
            generator=generator,
        )  # fmt: skip
        steps, batch, masks = d.integer(1, 4), d.integer(1, 3), generator.state
        x, lengths = d.reals((steps, batch, 3)), drawn_lengths(d, steps, batch)

        def again(x: Any, state: Any = None, **options: Any) -> Any:
            generator.state = masks
            return module(x, state, **options)

        if not forgets:
            return Case([x], [past(lengths, steps)], lambda x: again(x, lengths=lengths), module)
        begins = np.zeros((steps, batch), bool)
        begins[0] = [d.one_of([False, True]) for _ in range(batch)]
        like = tree.leaves(module.cells[0].initial(tg.tensor(x[0])))
        state = [np.abs(d.reals((1, *part.shape))) + 1 for part in like]
        out = [begins[0].reshape(1, batch, *(1,) * (part.ndim - 2)) for part in state]

        def call(*state: Any) -> Any:
            return again(tg.tensor(x), state if len(state) > 1 else state[0], reset=begins)

        return Case(state, out, call, module)

    return draw


def parallel(kind: Any) -> Any:
    def draw(d: HypothesisSampler) -> Case:
        steps, batch = d.integer(1, 4), d.integer(1, 3)
        lengths = drawn_lengths(d, steps, batch)
        module = kind(3, 4, **F64, reverse=d.one_of([False, True]), generator=tg.Generator(0))
        return Case(
            [d.reals((steps, batch, 3))], [past(lengths, steps)],
            lambda x: module(x, lengths=lengths), module,
        )  # fmt: skip

    return draw


def dropout(d: HypothesisSampler) -> Case:
    shape, p = (d.integer(1, 4), d.integer(1, 4)), 0.5
    shared = d.one_of([None, 0, 1])
    wide = tuple(1 if axis == shared else n for axis, n in enumerate(shape))
    seed = d.integer(0, 9)
    out = ~tg.Generator(seed).keep_mask(wide, p)

    def call(x: Any) -> Any:
        return nn.dropout(x, p, tg.Generator(seed), shared_axis=shared)

    return Case([d.reals(shape)], [out], call)


def dropped_words(d: HypothesisSampler) -> Case:
    seed, generator = d.integer(0, 9), tg.Generator(0)
    module = nn.Embedding(4, 2, **F64, dropout=0.5, generator=generator)
    ids = [d.integer(0, 3) for _ in range(5)]

    def call(weight: Any) -> Any:
        generator.state = tg.Generator(seed).state
        module.weight = weight
        return module(ids)

    return Case([d.reals((4, 2))], [~tg.Generator(seed).keep_mask((4, 1), 0.5)], call)


def dropped_weights(d: HypothesisSampler) -> Case:
    seed, generator = d.integer(0, 9), tg.Generator(0)
    module = nn.LSTM(2, 3, **F64, weight_dropout=0.5, generator=generator)
    x = tg.tensor(d.reals((3, 2, 2)))

    def call(weight: Any) -> Any:
        generator.state = tg.Generator(seed).state
        module.weight_hh_l0 = weight
        return module(x)

    return Case([d.reals((12, 3))], [~tg.Generator(seed).keep_mask((12, 3), 0.5)], call)


def dropped_state(step: Any, gates: int) -> Any:
    """What the recurrent mask takes out of h; all else of the step sees c, or nothing."""

    def draw(d: HypothesisSampler) -> Case:
        mask = np.where(d.reals((2, 3)) > 0, 2.0, 0.0)
        x, c, w_ih, w_hh = map(d.reals, ((2, 2), (2, 3), (gates * 3, 2), (gates * 3, 3)))
        more = [c] if step is tg.lstm_step else []

        def call(h: Any, w_hh: Any) -> Any:
            given = [tg.tensor(a) for a in (x, *more, w_ih)]
            return step(given[0], h, *given[1:], w_hh, h_mask=tg.tensor(mask))

        return Case([d.reals((2, 3)), w_hh], [mask == 0, np.array(False)], call)

    return draw


def zoned_out(d: HypothesisSampler) -> Case:
    """The state is the input, or with zoneout the old one: one of them does not count."""
    steps, batch, fused = d.integer(1, 4), d.integer(1, 3), d.one_of([False, True])
    zone = np.where(d.reals((steps, batch, 2)) > 0, 1.0, 0.0)

    def call(x: Any, h0: Any) -> Any:
        options = SequenceOptions(zoneout=(tg.tensor(zone),), every=True)
        return by_steps(lambda x, _: (x, x), x, h0, options, fused=fused)

    return Case([d.reals((steps, batch, 2)), d.reals((batch, 2))], [zone == 1, zone[0] == 0], call)


CASES: dict[str, Callable[[HypothesisSampler], Case]] = {
    "cross_entropy": class_loss(
        nn.cross_entropy, ("mean", "sum", "none"), label_smoothing=[0.0, 0.2]
    ),
    "linear_cross_entropy": class_loss(
        nn.linear_cross_entropy, ("mean", "sum"), label_smoothing=[0.0, 0.2]
    ),
    "nll_loss": class_loss(nn.nll_loss, ("mean", "sum", "none")),
    "activation_regularization": regularization(nn.activation_regularization),
    "temporal_activation_regularization": regularization(nn.temporal_activation_regularization),
    "ctc_loss": ctc,
    **{f"CRF {what}": crf(what) for what in ("likelihood", "partition", "marginals")},
    **{
        f"{kind} {normalize}": attention(kind, normalize)
        for kind in ATTENTIONS
        for normalize in ("softmax", "sparsemax")
    },
    "Encoder and Decoder": sequences,
    **{kind: layer(kind) for kind in KINDS},
    **{f"Recurrent {kind}": cells(kind, forgets=False) for kind in CELLS},
    **{f"Recurrent {kind} reset": cells(kind, forgets=True) for kind in CELLS},
    "MinGRU": parallel(nn.MinGRU),
    "MinLSTM": parallel(nn.MinLSTM),
    "dropout": dropout,
    "Embedding dropout": dropped_words,
    "weight_dropout": dropped_weights,
    "zoneout": zoned_out,
    "recurrent_dropout": dropped_state(tg.lstm_step, 4),
    "recurrent_dropout of RNN": dropped_state(tg.rnn_step, 1),
}


# ---------------------------------------------------------------- what is checked


def flat(values: Any) -> list[Any]:
    if isinstance(values, tuple):
        return [v for part in values for v in flat(part)]
    return [] if values is None else [values]


def weighed(values: list[Any]) -> Any:
    """A sum of elements and their squares, each with a weight of its own."""
    terms = [((v + v * v) * np.cos(np.arange(v.size)).reshape(v.shape)).sum() for v in values]
    return tg.sum(tg.stack(terms))


def results(case: Case, filling: float) -> tuple[list[Array], list[Array]]:
    """All values and gradients; and those gradients that are of the inputs."""
    filled = [np.where(out, filling, x) for x, out in zip(case.inputs, case.out, strict=True)]
    xs = [tg.tensor(x, requires_grad=True) for x in filled]
    wanted = [*xs, *(case.module.parameters() if case.module else ())]
    ys = [y for y in flat(case.call(*xs)) if y.requires_grad]
    found, of_inputs = [y.numpy() for y in ys], []
    if ys:
        for create_graph in (False, True):  # by the fused rules; by those that are composed
            first = tg.grad(weighed(ys), wanted, create_graph=create_graph, retain_graph=True)
            found += [g.numpy() for g in first]
            of_inputs.append([g.numpy() for g in first[: len(xs)]])
        if any(g.requires_grad for g in first):
            second = tg.grad(weighed([g for g in first if g.requires_grad]), wanted)
            found += [g.numpy() for g in second]
            of_inputs.append([g.numpy() for g in second[: len(xs)]])
    return found, [g for gs in of_inputs for g in gs]


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=12)
@given(data=st.data())
def test_what_does_not_count_may_be_anything(name: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    case = CASES[name](d)
    expected, _ = results(case, 0.0)
    found, gradients = results(case, d.one_of([np.nan, np.inf, -np.inf]))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    for g, out in zip(gradients, case.out * (len(gradients) // len(case.out)), strict=True):
        assert (np.where(out, g, 0) == 0).all()


@pytest.mark.parametrize("way", ["native", "reference"])
@pytest.mark.parametrize("kind", [tg.nn.RNN, tg.nn.GRU, tg.nn.LSTM])
def test_padding_gets_no_gradient_through_weights_that_are_not_finite(
    kind: Any, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "reference":
        monkeypatch.setattr(cpu, "native", None)
    layer = kind(3, 4)
    with tg.no_grad():
        layer.weight_ih_l0[1, 2] = float("nan")
    x = tg.ones((3, 2, 3), requires_grad=True)
    layer(x, lengths=[0, 2])[0].sum().backward()
    assert x.grad is not None
    assert (x.grad.numpy()[:, 0] == 0).all()
    assert (x.grad.numpy()[2:, 1] == 0).all()
