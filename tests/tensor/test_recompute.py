"""checkpoint: the same numbers, in every order, from less memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.testing import OpInfo, op_infos

from ..drawing import HypothesisSampler, share
from ..strict import strict_device

RNG = np.random.default_rng(0)


def outputs(y: Any) -> list[Any]:
    return list(y) if isinstance(y, (tuple, list)) else [y]


@pytest.mark.parametrize("info", op_infos(), ids=lambda info: info.name)
@share(6)
@given(data=st.data())
def test_checkpointed_is_plain_in_value_and_both_orders(info: OpInfo, data: st.DataObject) -> None:
    """Of every operation, cell and layer; in inputs, and in parameters that it closes over."""
    sample = info.draw(HypothesisSampler(data))
    xs = [tg.tensor(x, requires_grad=True) for x in sample.inputs]
    wanted = [*xs, *(sample.module.parameters() if sample.module else ())]

    def computed(run: Callable[..., Any]) -> tuple[list[Any], Any]:
        ys = outputs(run(lambda *xs: sample.call(info.function, *xs), *xs))
        live = [y for y in ys if y.requires_grad]
        if not live:
            return ys, ()  # constant almost everywhere: a value, and no derivative
        ws = [tg.tensor(np.cos(np.arange(y.size)).reshape(y.shape)) for y in live]
        first = tg.grad(live, wanted, ws, create_graph=True)
        curved = [g for g in first if g.requires_grad]
        second: tuple[Any, ...] = ()
        if curved:
            weights = [tg.tensor(np.sin(np.arange(g.size)).reshape(g.shape)) for g in curved]
            second = tg.grad(curved, wanted, weights)
        ys = outputs(run(lambda *xs: sample.call(info.function, *xs), *xs))
        fused = tg.grad([y for y in ys if y.requires_grad], wanted, ws)
        return [*ys, *first, *fused], second

    once, once_more = computed(lambda fn, *xs: fn(*xs))
    again, again_more = computed(tg.checkpoint)
    for a, b in zip(again, once, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    # A layer's second order has sums of many terms, which a recomputed part adds up by itself: the
    # order of the sums differs, and so their rounding. Where nothing is rounded: see below.
    rounding = 1e-13 if info.kind == "layer" else 0
    for a, b in zip(again_more, once_more, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=rounding, atol=10 * rounding)


@pytest.mark.parametrize("seed", range(12))
def test_a_layer_is_plain_bit_for_bit_where_nothing_is_rounded(seed: int) -> None:
    """With all its masks, on small integers: twice differentiated, the same bits."""
    rng, generator = np.random.default_rng(seed), tg.Generator(seed)
    layer = tg.nn.RNN(
        2, 3, 1 + seed % 2, dropout=0.5 * (seed % 2), recurrent_dropout=0.5, weight_dropout=0.5,
        nonlinearity="square", learn_initial=seed % 3 == 0, dtype="float64", generator=generator,
    )  # fmt: skip
    for p in layer.parameters():
        p.data = rng.integers(-1, 2, p.shape).astype(float)
    x = tg.tensor(rng.integers(-1, 2, (2, 2, 2)).astype(float), requires_grad=True)
    wanted = [x, *layer.parameters()]
    whole = rng.integers(-2, 3, (2, 2, 3)).astype(float)

    def computed(run: Callable[..., Any]) -> tuple[Any, Any]:
        generator.state = tg.Generator(seed).state
        first = tg.grad(run(lambda x: layer(x)[0], x), wanted, tg.tensor(whole), create_graph=True)
        curved = [g for g in first if g.requires_grad]
        second = tg.grad(curved, wanted, [tg.ones_like(g) for g in curved])
        assert max(np.abs(g.numpy()).max() for g in (*first, *second)) < 2**50, "it was rounded"
        return first, second

    once = computed(lambda fn, x: fn(x))
    again = computed(lambda fn, x: tg.checkpoint(fn, x, generators=[generator]))
    for a, b in zip([*once[0], *once[1]], [*again[0], *again[1]], strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_passes_finite_differences_nested_with_tied_inputs_and_a_module() -> None:
    cell = tg.nn.GRUCell(2, 2, dtype="float64")

    def inner(x: Any, h: Any) -> Any:
        return cell(tg.checkpoint(tg.tanh, x * h), h)

    def outer(x: Any, h: Any) -> Any:
        h = tg.checkpoint(inner, x, h)
        return tg.checkpoint(inner, h, h) * x

    inputs = [RNG.normal(size=(2, 2)), RNG.normal(size=(2, 2)), *cell.parameters()]
    for fn in (outer, lambda x, h: tg.checkpoint(outer, x, h)):
        assert tg.gradcheck(lambda x, h, *_, fn=fn: fn(x, h), inputs, order=2)
        assert tg.gradcheck(lambda x, *_, fn=fn: fn(x, x), inputs[:1], order=2)


def test_functions_of_checkpointed_functions() -> None:
    x, v = tg.tensor(RNG.normal(size=3)), tg.tensor(RNG.normal(size=3))

    def plain(x: Any) -> Any:
        return (tg.exp(x) * tg.tanh(x)).sum()

    def saved(x: Any) -> Any:
        return tg.checkpoint(plain, x)

    for derivative in (
        lambda f: tg.jvp(f, x, v)[1],
        lambda f: tg.hessian(f, x),
        lambda f: tg.hvp(f, x, v),
    ):
        np.testing.assert_array_equal(derivative(saved).numpy(), derivative(plain).numpy())


def test_a_training_step_of_a_checkpointed_module_recording_nothing() -> None:
    model, x = tg.nn.GRU(2, 3), tg.randn(4, 1, 2)

    def loss_of(model: Any, run: Callable[..., Any]) -> Any:
        return run(model, x)[0].square().sum()

    plain = tg.value_and_grad(loss_of)(model, lambda fn, x: fn(x))[1]
    with tg.no_grad():
        saved = tg.value_and_grad(loss_of)(model, tg.checkpoint)[1]
    loss = loss_of(model, tg.checkpoint)
    with tg.no_grad():
        loss.backward()
    for name, p in model.named_parameters():
        assert p.grad is not None
        assert plain[name].tolist() == saved[name].tolist() == p.grad.tolist()


# ---------------------------------------------------------------- random numbers


def test_dropout_sees_the_same_bits_and_the_generators_go_on_undisturbed() -> None:
    own = tg.Generator(3)
    default, other = tg.nn.Dropout(0.5), tg.nn.Dropout(0.5, generator=own)
    x = tg.tensor(RNG.normal(size=(4, 5)), requires_grad=True)

    def fn(x: Any) -> Any:
        return tg.exp(other(tg.tanh(default(x)) * x))

    def computed(run: Callable[..., Any]) -> list[Any]:
        tg.manual_seed(7)
        own.state = tg.Generator(3).state
        y = run(x)
        between = tg.rand(2), own.random((2,))
        (g,) = tg.grad(y.sum(), [x])
        return [y.numpy(), *between, g.numpy(), tg.rand(2), own.random((2,))]

    plain = computed(fn)
    for a, b in zip(computed(lambda x: tg.checkpoint(fn, x, generators=[own])), plain, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_a_generator_that_was_not_named_is_noticed() -> None:
    dropout = tg.nn.Dropout(0.5, generator=tg.Generator(0))
    x = tg.tensor(np.ones(50), requires_grad=True)
    y = tg.checkpoint(lambda x: tg.exp(dropout(x)), x)
    with pytest.raises(tg.GraphError, match=r"name every generator.* in generators="):
        y.sum().backward()


def test_another_graph_is_noticed_even_if_its_values_are_the_same() -> None:
    calls: list[int] = []

    def fn(x: Any) -> Any:
        calls.append(1)
        return tg.exp(x + x if len(calls) > 1 else x * 2)

    y = tg.checkpoint(fn, tg.ones((2,), requires_grad=True))
    with pytest.raises(tg.GraphError, match="to compute the same"):
        y.sum().backward()


def test_generators_are_restored_even_after_an_error() -> None:
    broken: list[int] = []

    def fn(x: Any) -> Any:
        if broken:
            raise RuntimeError("the second time")
        return tg.exp(x * tg.rand(3, dtype="float64"))

    tg.manual_seed(0)
    y = tg.checkpoint(fn, tg.tensor(np.ones(3), requires_grad=True)).sum()
    broken.append(1)
    expected = tg.Generator(0)
    expected.random((3,))
    with pytest.raises(RuntimeError, match="the second time"):
        y.backward()
    assert tg.rand(2, dtype="float64").tolist() == expected.random((2,)).tolist()


# ---------------------------------------------------------------- memory, and how often


def peak(segments: int, run: Callable[..., Any], passes: int = 1) -> int:
    """Bytes at the peak of a chain's forward and backward passes."""
    x = tg.tensor(np.full(10_000, 0.1), requires_grad=True)

    def segment(x: Any) -> Any:
        for _ in range(5):
            x = tg.tanh(x) * x + tg.exp(-x)
        return x

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        y = x
        for _ in range(segments):
            y = run(segment, y)
        for i in range(passes):
            tg.grad(y.sum(), [x], retain_graph=i < passes - 1)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()


def test_a_chain_keeps_a_segments_input_and_not_its_inside() -> None:
    def plain(fn: Any, x: Any) -> Any:
        return fn(x)

    array = 80_000
    grown = (peak(30, tg.checkpoint) - peak(10, tg.checkpoint)) / 20
    assert grown < 1.5 * array
    assert (peak(30, plain) - peak(10, plain)) / 20 > 10 * array
    again = (peak(30, tg.checkpoint, 2) - peak(10, tg.checkpoint, 2)) / 20
    assert again < 1.5 * array  # a graph that is retained recomputes every time


def test_a_pass_computes_a_segment_once_more_and_only_if_it_must() -> None:
    calls = []

    def fn(x: Any) -> Any:
        calls.append(1)
        return tg.exp(tg.tanh(x) * x) + x

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = tg.checkpoint(fn, x)
    assert len(calls) == 1
    y.sum().backward(retain_graph=True)
    assert len(calls) == 2
    y.sum().backward()
    assert len(calls) == 3
    with pytest.raises(tg.GraphError, match="freed"):
        y.sum().backward()
    with tg.no_grad():
        assert not tg.checkpoint(fn, x).requires_grad
    tg.checkpoint(fn, x.detach())
    assert len(calls) == 5


def test_nothing_is_left_when_the_last_tensor_goes() -> None:
    x = tg.tensor(np.ones(100_000), requires_grad=True)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        y = tg.checkpoint(lambda x: tg.exp(tg.tanh(x)), x).sum()
        y.backward(retain_graph=True)
        x.grad = None
        del y
        assert tracemalloc.get_traced_memory()[0] < 100_000
        assert gc.collect() == 0
    finally:
        tracemalloc.stop()
        gc.enable()


# ---------------------------------------------------------------- what goes in and comes out


def test_outputs_may_be_nested_and_arguments_may_be_anything() -> None:
    layer = tg.nn.LSTM(2, 3)
    x, h, c = tg.randn(4, 1, 2), tg.randn(1, 1, 3, requires_grad=True), tg.randn(1, 1, 3)
    y, (h_n, c_n) = tg.checkpoint(lambda x, s, n: layer(x, s, lengths=n), x, (h, c), [3])
    true, (h_true, c_true) = layer(x, (h, c), lengths=[3])
    for found, expected in ((y, true), (h_n, h_true), (c_n, c_true)):
        assert found.tolist() == expected.tolist()
    wanted = [h, *layer.parameters()]
    for a, b in zip(
        tg.grad(y.sum() * c_n.sum(), wanted),
        tg.grad(true.sum() * c_true.sum(), wanted),
        strict=True,
    ):
        assert a.tolist() == b.tolist()


def test_an_argument_that_is_assigned_to_later_is_seen_as_it_was() -> None:
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    h = x * 1
    y = tg.checkpoint(lambda h: h * h, h)
    h[0] = 100.0
    assert tg.grad(y.sum(), [x])[0].tolist() == [2.0, 4.0]


def test_a_parameter_that_is_overwritten_in_between_is_refused() -> None:
    layer = tg.nn.Linear(2, 2)
    y = tg.checkpoint(lambda x: tg.tanh(layer(x)), tg.ones((1, 2)))
    layer.weight.data *= 2.0
    with pytest.raises(tg.GraphError, match="change no parameter"):
        y.sum().backward()


def test_new_tensors_are_made_where_they_were_made_before() -> None:

    with strict_device() as device:
        with tg.device(device):
            x = tg.ones((2,), requires_grad=True)
            y = tg.checkpoint(lambda x: tg.exp(x * tg.full((2,), 2.0)), x)
        (g,) = tg.grad(y.sum(), [x])
        assert g.device == device


def test_what_is_wrong_is_said() -> None:
    x = tg.ones((2,), requires_grad=True)
    with pytest.raises(TypeError, match="expected fn to return Tensors, got float"):
        tg.checkpoint(lambda x: 1.0, x)
    with pytest.raises(TypeError, match="generators: expected Generators, got int"):
        tg.checkpoint(tg.tanh, x, generators=[3])  # type: ignore[list-item]
