"""The backward pass: orders, freeing, deep and wide graphs, ties, threads, stale leaves."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.cpu import functions as cpu
from tinygrad_rnn.tensor.ops.indexing import Part


def leaf(*values: float) -> tg.Tensor:
    return tg.tensor(np.array(values), requires_grad=True)


def test_derivatives_of_every_order() -> None:
    x = leaf(0.5)
    y = tg.exp(2 * x).sum()
    for order in range(1, 6):
        (y,) = tg.grad(y, [x], create_graph=True)
        assert y.item() == pytest.approx(2**order * np.e)


def test_gradients_add_up_over_passes_and_uses() -> None:
    x = leaf(3.0)
    (x * x + x).sum().backward()
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [13.0]


def test_two_leaves_never_share_a_gradient() -> None:
    a, b = leaf(1.0, 2.0), leaf(1.0, 2.0)
    (a + b).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    a.grad.data[...] = 7.0
    assert b.grad.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("kind", ["rnn", "gru", "gru after", "lstm", "options", "row", "rows"])
def test_a_gradient_that_is_not_copied_is_nobody_elses(
    kind: str, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not native:
        monkeypatch.setattr(cpu, "native", None)
    of = {
        "rnn": tg.nn.RNN, "gru": tg.nn.GRU, "lstm": tg.nn.LSTM, "rows": tg.nn.Linear,
        "row": tg.nn.Linear, "gru after": lambda i, h: tg.nn.GRU(i, h, reset_after=True),
        "options": lambda i, h: tg.nn.LSTM(i, h, num_layers=2, proj_size=2, peephole=True),
    }[kind]  # fmt: skip
    layer: Any = of(3, 3)
    x = tg.randn(*{"row": (3,), "rows": (5, 3)}.get(kind, (4, 2, 3)), requires_grad=True)
    y = layer(x) if isinstance(layer, tg.nn.Linear) else layer(x)[0]
    g = tg.ones_like(y)
    y.backward(g, retain_graph=True)
    grads = [leaf.grad.data for leaf in (x, *layer.parameters())]
    held = [g.data, y.data, x.data, *(p.data for p in layer.parameters())]
    for i, one in enumerate(grads):
        assert not any(np.may_share_memory(one, other) for other in [*held, *grads[:i]])
    before = [one.copy() for one in grads]
    y.backward(g)
    for one, other in zip(grads, before, strict=True):
        np.testing.assert_allclose(one, 2 * other, rtol=1e-6)


def test_a_second_backward_names_the_operation_and_the_remedy() -> None:
    x = leaf(1.0)
    y = tg.tanh(x).sum()
    y.backward()
    with pytest.raises(tg.GraphError, match=r"'sum' has been freed.*retain_graph=True"):
        y.backward()


def test_retain_graph_allows_another_pass() -> None:
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [8.0]


def test_what_cannot_be_differentiated_says_why() -> None:
    x = leaf(1.0, 2.0)
    with pytest.raises(tg.GraphError, match="expected a scalar, got shape"):
        (x * x).backward()
    with pytest.raises(tg.GraphError, match="nothing to differentiate"):
        tg.zeros(()).backward()
    with tg.no_grad():
        y = x.sum()
    with pytest.raises(tg.GraphError, match="under no_grad"):
        y.backward()
    with pytest.raises(tg.GraphError, match="cotangent of shape"):
        (x * x).backward(tg.zeros((3,)))
    with pytest.raises(tg.GraphError, match="every x must be"):
        tg.grad(x.sum(), [tg.zeros((2,))])


def test_what_y_does_not_depend_on_has_gradient_zero() -> None:
    x, w = leaf(1.0), leaf(1.0, 2.0)
    gx, gw = tg.grad(tg.exp(x).sum(), [x, w])
    assert gx.tolist() == [np.e]
    assert gw.tolist() == [0.0, 0.0]


def test_gradients_of_computed_tensors_and_of_several_outputs() -> None:
    x = leaf(1.0, 2.0)
    h = x * x
    gh, gx = tg.grad([(h * 3).sum(), h.sum()], [h, x])
    assert gh.tolist() == [4.0, 4.0]
    assert gx.tolist() == [8.0, 16.0]


def test_a_graph_200_000_deep() -> None:
    x = leaf(0.1)
    y = x
    for _ in range(200_000):
        y = y + 1e-6
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0]
    del y  # and it falls apart without recursion


def test_a_deep_graph_that_is_dropped_unused() -> None:
    x = leaf(0.1)
    y = x
    for _ in range(200_000):
        y = y + 1e-6
    del y
    gc.collect()


def test_reading_each_step_of_a_sequence_builds_one_buffer_not_one_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built, spread = [], Part.spread
    monkeypatch.setattr(Part, "spread", lambda part: built.append(part) or spread(part))
    xs = tg.tensor(np.ones((100, 2)), requires_grad=True)
    total = xs[0]
    for t in range(1, 100):
        total = total + xs[t]
    total.sum().backward()
    assert xs.grad is not None
    assert xs.grad.tolist() == np.ones((100, 2)).tolist()
    assert len(built) == 1


def test_a_part_is_never_added_into_what_another_node_holds() -> None:
    a, x = leaf(1.0, 2.0), leaf(3.0, 4.0)
    first = x[0]
    both = (a + x) * tg.tensor(np.array([5.0, 6.0]))  # add hands one array to a and to x
    (both.sum() + first).backward()
    assert a.grad is not None
    assert x.grad is not None
    assert a.grad.tolist() == [5.0, 6.0]
    assert x.grad.tolist() == [6.0, 6.0]


def test_taking_rows_costs_what_is_taken() -> None:
    table = tg.tensor(np.zeros((50, 3)), requires_grad=True)
    ids = np.array([7, 7, -43, 1])
    (tg.take(table, ids, axis=0) * tg.tensor(np.arange(4.0)[:, None])).sum().backward()
    assert table.grad is not None
    rows = table.grad.numpy()[:, 0]
    assert rows[7] == 0 + 1 + 2
    assert rows[1] == 3
    assert np.count_nonzero(rows) == 2


def test_absent_cotangents_of_an_operation_with_several_outputs() -> None:
    x = tg.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    (tg.unstack(x)[1] * 2).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 0], [2, 2], [0, 0]]


@pytest.mark.parametrize("tie", ["same", "computed"])
def test_tied_inputs_of_a_fused_operation_are_not_counted_twice(tie: str) -> None:
    """h0 and x the same tensor, or one computed from the other: fused and composed must agree."""
    rng = np.random.default_rng(0)
    w_ih, w_hh = rng.normal(size=(2, 3, 3))

    def fused(w: Any) -> Any:
        h0 = w if tie == "same" else tg.tanh(w)
        x = w.reshape(1, *w.shape)
        return tg.rnn(x, h0, tg.tensor(w_ih), tg.tensor(w_hh), None, None, None,
                      activation="tanh", reverse=False)  # fmt: skip

    assert tg.gradcheck(fused, [rng.normal(size=(2, 3))], order=2)
    assert tg.gradcheck(
        lambda w: tg.rnn(w, w[0], w[0], w[0], None, None, None, activation="tanh", reverse=False),
        [rng.normal(size=(1, 3, 3))],
        order=2,
    )


class TestStaleLeaves:
    """A leaf that is overwritten between forward and backward must not give wrong numbers."""

    def stale(self, change: Any) -> None:
        w = tg.nn.Linear(2, 1)
        loss = (w(tg.ones((1, 2))) ** 2).sum()
        w.weight.grad, w.bias.grad = tg.ones((1, 2)), tg.ones((1,))  # type: ignore[union-attr]
        change(w)
        with pytest.raises(tg.GraphError, match="overwritten between forward and backward"):
            loss.backward()
        w.zero_grad()
        (w(tg.ones((1, 2))) ** 2).sum().backward()

    def test_by_an_optimizer(self) -> None:
        self.stale(lambda w: tg.optim.SGD(w.parameters(), lr=0.1).step())

    def test_by_loading(self) -> None:
        self.stale(lambda w: w.load_state_dict(w.state_dict()))

    def test_by_assigning_to_data(self) -> None:
        def change(w: Any) -> None:
            w.weight.data -= 1.0

        self.stale(change)

    def test_by_writing_without_grad(self) -> None:
        def change(w: Any) -> None:
            with tg.no_grad():
                w.weight[0] = 0.0

        self.stale(change)

    def test_by_moving(self) -> None:
        self.stale(lambda w: w.to("float64").to("float32"))

    def test_but_not_one_beyond_what_is_asked_for(self) -> None:
        w = tg.nn.Parameter(tg.ones((2,)))
        hidden = w * 2
        loss = (hidden * hidden).sum()
        with tg.no_grad():
            w += 1
        (g,) = tg.grad(loss, [hidden])
        assert g.tolist() == [4.0, 4.0]

    def test_even_where_the_gradient_of_another_tensor_is_asked_for(self) -> None:
        x, w = leaf(1.0), leaf(2.0)
        y = (x * w).sum()
        w.data *= 2.0
        with pytest.raises(tg.GraphError, match="'multiply' used was overwritten"):
            tg.grad(y, [x])


def test_grad_mode_is_per_thread() -> None:
    x, seen = leaf(1.0), []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
        seen.append((x * 2).requires_grad)
        with tg.enable_grad():
            seen.append((x * 2).requires_grad)
    assert seen == [True, False, True]


def test_mixed_precision_comes_back_in_each_leafs_own() -> None:
    a = tg.tensor([1.0], requires_grad=True)
    b = tg.tensor(np.array([2.0]), requires_grad=True)
    (a * b).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.dtype, b.grad.dtype) == (np.float32, np.float64)
    assert [g.dtype for g in tg.grad((a * b).sum(), [a, b], create_graph=True)] == [
        np.float32,
        np.float64,
    ]


SHAPES = [(2, 2), (2,), (1, 2)]
STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 99), st.integers(0, 99)), max_size=8)


def values_of(steps: list[tuple[int, int, int]], *xs: Any) -> list[Any]:
    """The values of a drawn program, with shared nodes, broadcasts and several outputs."""
    values = list(xs)
    for kind, i, j in steps:
        a, b = values[i % len(values)], values[j % len(values)]
        values.append(
            [
                lambda a, b: tg.tanh(a * b),
                lambda a, b: a + b,
                lambda a, b: tg.sigmoid(a - b),
                lambda a, b: tg.softmax(a, axis=-1) * b,
                lambda a, b: tg.unstack(a + b)[-1],
                lambda a, b: tg.matmul(a.mT if a.ndim > 1 else a, tg.tanh(a)),
            ][kind](a, b)
            if kind < 4 or a.ndim > 1
            else a.sum() * b
        )
    return values


@given(steps=STEPS)
def test_random_programs(steps: Any) -> None:
    rng = np.random.default_rng(0)
    xs = [0.5 * rng.normal(size=s) for s in SHAPES]
    tg.gradcheck(lambda *xs: values_of(steps, *xs)[-1], xs, order=2, tolerance=1e-5)


@given(steps=STEPS, asked=st.sets(st.integers(0, 99), min_size=1), create_graph=st.booleans())
def test_the_gradients_of_some_values_are_those_of_all(
    steps: Any, asked: set[int], create_graph: bool
) -> None:
    rng = np.random.default_rng(0)
    xs = [tg.tensor(rng.normal(size=s), requires_grad=True) for s in SHAPES]
    values = values_of(steps, *xs)
    found = tg.grad(tg.sin(values[-1]).sum(), values, create_graph=create_graph, retain_graph=True)
    some = sorted({i % len(values) for i in asked})
    again = tg.grad(tg.sin(values[-1]).sum(), [values[i] for i in some], create_graph=create_graph)
    for i, g in zip(some, again, strict=True):
        np.testing.assert_array_equal(g.numpy(), found[i].numpy())


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("create_graph", [False, True])
def test_rules_of_inputs_whose_gradient_nobody_asks_for_do_not_run(
    joint: bool, create_graph: bool
) -> None:
    ran = list[str]()

    def rule(name: str, value: Any) -> Any:
        ran.append(name)
        return value

    op = tg.Op("product", lambda xp, a, b: a * b)
    if joint:
        op.vjp(lambda g, a, b, needs: (rule("a", g * b) if needs[0] else None,
                                       rule("b", g * a) if needs[1] else None))  # fmt: skip
    else:
        op.vjp(a=lambda g, b: rule("a", g * b), b=lambda g, a: rule("b", g * a))
    a, b = leaf(2.0), leaf(3.0)
    hidden = op(a, b)
    y = op(hidden, b).sum()
    for x, expected in [(a, "aa"), (b, "abb"), (hidden, "a")]:
        ran.clear()
        tg.grad(y, [x], create_graph=create_graph, retain_graph=True)
        assert sorted(ran) == [*expected]
    tg.grad(y, [hidden])  # frees what it visits, and nothing before
    hidden.sum().backward()


def test_grad_takes_one_tensor_or_several() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    for xs in (w, [w], (w,), iter([w])):
        (g,) = tg.grad((w * w).sum(), xs)
        assert g.tolist() == [2.0, 4.0]


@pytest.mark.parametrize(
    ("ys", "xs", "gs", "words"),
    [
        (lambda w: [], lambda w: [w], None, "grad: ys: expected one Tensor or more"),
        (lambda w: w.sum(), lambda w: [], None, "grad: xs: expected one Tensor or more"),
        (lambda w: w.sum(), lambda w: None, None, "grad: xs: expected Tensors, got NoneType"),
        (lambda w: None, lambda w: [w], None, "grad: ys: expected Tensors, got NoneType"),
        (lambda w: [w.sum(), None], lambda w: [w], None, "grad: expected Tensors .*got NoneType"),
        (lambda w: w.sum(), lambda w: [w, 3], None, "grad: every x must be a Tensor"),
        (lambda w: [w.sum()] * 2, lambda w: [w], [tg.tensor(1.0)], "expected 2 of them, got 1"),
        (lambda w: w * 1, lambda w: [w], ["a"], "grad: a tensor holds numbers"),
    ],
)
def test_gradients_of_nothing_are_refused(ys: Any, xs: Any, gs: Any, words: str) -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(tg.TinygradRnnError, match=words):
        tg.grad(ys(w), xs(w), gs)


def test_elements_of_a_gradient_can_be_assigned() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    w.sum().backward()
    assert w.grad is not None
    w.grad[0] = 5.0
    assert w.grad.tolist() == [5.0, 1.0]
    w.grad *= 2
    assert w.grad.tolist() == [10.0, 2.0]
    for copied in (copy.copy(w.grad), copy.deepcopy(w.grad), pickle.loads(pickle.dumps(w.grad))):
        copied[1] = 7.0
        assert type(copied) is tg.Tensor
        assert copied.tolist() == [10.0, 7.0]
        assert w.grad.tolist() == [10.0, 2.0]


def test_a_gradient_is_assigned_in_the_leafs_dtype() -> None:
    w = tg.tensor([1.0, 2.0], requires_grad=True)
    for g in ([3.0, 4.0], np.array([3.0, 4.0]), tg.tensor([3, 4]), tg.tensor([3.0, 4.0])):
        w.grad = g
        assert w.grad is not None
        assert w.grad.dtype == np.float32
        assert w.grad.tolist() == [3.0, 4.0]
    with pytest.raises(tg.GraphError, match=r"expected shape \[2\], got \[3\]"):
        w.grad = np.ones(3)
