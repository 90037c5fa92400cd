"""Options of recurrent layers, all of them together: by plain loops, and fused as composed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.nn.recurrent.cells import BuiltInCell
from tinygrad_rnn.tensor.graph import Node
from tinygrad_rnn.tensor.observers import observe

from ..drawing import HypothesisSampler
from .layers import KINDS, Array, as_state, drawn_call, drawn_layer, flat

every_kind = pytest.mark.parametrize("kind", KINDS)


@contextmanager
def composed() -> Iterator[None]:
    """Everything as a scan of the step, which has its own proof beside the plain loop."""
    before = BuiltInCell.fused
    BuiltInCell.fused = property(lambda self: False)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        BuiltInCell.fused = before  # type: ignore[method-assign]


@every_kind
@given(data=st.data())
def test_fused_is_composed_with_any_options(kind: str, data: st.DataObject) -> None:
    d, generator = HypothesisSampler(data), tg.Generator(0)
    plain = {"layer_norm": False}
    plain |= {"nonlinearity": d.one_of(["tanh", "relu"])} if kind == "RNN" else {
        "activation": "tanh", "recurrent_activation": "sigmoid",
    }  # fmt: skip
    layer = drawn_layer(d, kind, generator, **plain)
    if d.one_of([False, True]):
        layer.eval()
    x, state, options = drawn_call(d, layer)
    options["return_states"] = d.one_of([False, True])
    masks = generator.state

    def run() -> list[Array]:
        generator.state = masks
        given = tg.tensor(x, requires_grad=True)
        ys = flat(layer(given, as_state(state), **options))
        ws = [tg.tensor(np.cos(np.arange(y.size)).reshape(y.shape)) for y in ys]
        found = tg.grad(ys, [given, *layer.parameters()], ws)
        return [v.numpy() for v in (*ys, *found)]

    fused, once = run(), count_nodes(lambda: layer(tg.tensor(x), as_state(state), **options))
    begins_anew = layer.learn_initial and options["reset"] is not None
    assert once[kind.lower()] == (0 if begins_anew else layer.num_layers * layer.directions)
    with composed():
        for a, b in zip(fused, run(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


@every_kind
@given(data=st.data())
def test_a_table_is_read_as_its_vectors_would_be(kind: str, data: st.DataObject) -> None:
    """In all that a layer returns, and in every gradient, with any options."""
    d, generator = HypothesisSampler(data), tg.Generator(0)
    layer = drawn_layer(d, kind, generator)
    vectors, state, options = drawn_call(d, layer)
    entries = d.integer(1, 5)
    table = d.reals((entries, 3))
    ids = np.array([d.integer(0, entries - 1) for _ in range(vectors[..., 0].size)])
    ids = ids.reshape(vectors.shape[:2])
    masks = generator.state

    def run(read: bool) -> list[Array]:
        generator.state = masks
        given = tg.tensor(table, requires_grad=True)
        x, rows = (given, ids) if read else (tg.take(given, ids, axis=0), None)
        ys = flat(layer(x, as_state(state), ids=rows, **options))
        ws = [tg.tensor(np.cos(np.arange(y.size)).reshape(y.shape)) for y in ys]
        found = tg.grad(ys, [given, *layer.parameters()], ws)
        return [v.numpy() for v in (*ys, *found)]

    for a, b in zip(run(True), run(False), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def count_nodes(fn: Any) -> Counter[str]:
    """How many nodes of each operation a function leaves."""
    counts: Counter[str] = Counter()

    def seen(node: Node) -> None:
        counts[node.op.name] += 1

    with observe(recorded=seen):
        fn()
    return counts


def test_a_plain_layer_is_one_node_for_each_layer_and_direction_and_little_else() -> None:
    layer = tg.nn.LSTM(3, 4, 2, bidirectional=True, zoneout=0.1, peephole=True, cell_clip=1.0)
    counts = count_nodes(lambda: layer(tg.zeros((50, 2, 3)), lengths=[50, 7]))
    assert counts["lstm"] == 4
    assert sum(counts.values()) < 15


# ---------------------------------------------------------------- by hand


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def normal(z: Array) -> Array:
    return (z - z.mean()) / np.sqrt(z.var() + 1e-5)


def act(name: Any, z: Array) -> Array:
    named = {"tanh": np.tanh, "sigmoid": sigmoid, "sin": np.sin, "relu": lambda z: np.maximum(z, 0)}
    return named[name if isinstance(name, str) else name.__name__](z)


def step_by_hand(layer: Any, x: Array, state: list[Array], p: dict[str, Array]) -> list[Array]:
    """One step of one row of a batch, evaluation mode, in the words of the papers."""
    r, n = layer.cells[0], layer.hidden_size
    h = state[0]
    b, b_hh = p.get("bias_ih", 0), p.get("bias_hh", 0)

    def product(weight: str, gain: str, v: Array, of: slice = slice(None)) -> Array:
        z = p[weight][of] @ v
        return normal(z) * p[gain][of] if r.layer_norm else z

    u = product("weight_ih", "gain_ih", x) + b
    if isinstance(layer, tg.nn.RNN):
        return [act(layer.nonlinearity, u + product("weight_hh", "gain_hh", h) + b_hh)]
    gate, squash = (lambda z: act(r.recurrent_activation, z)), (lambda z: act(r.activation, z))
    if isinstance(layer, tg.nn.GRU):
        if layer.reset_after:
            w = product("weight_hh", "gain_hh", h) + b_hh
            reset, update = gate(u[:n] + w[:n]), gate(u[n : 2 * n] + w[n : 2 * n])
            new = squash(u[2 * n :] + reset * w[2 * n :])
        else:
            w = product("weight_hh", "gain_hh", h, slice(0, 2 * n))
            reset, update = gate(u[:n] + w[:n]), gate(u[n : 2 * n] + w[n:])
            inner = product("weight_hh", "gain_hh", reset * h, slice(2 * n, None))
            new = squash(u[2 * n :] + inner)
        return [update * h + (1 - update) * new]
    c = state[1]
    z = np.split(u + product("weight_hh", "gain_hh", h) + b_hh, r.gates)
    peep = np.split(p["weight_ch"], r.gates - 1) if r.peephole else [np.zeros(n)] * 3
    i = gate(z[0] + peep[0] * c)
    f = 1 - i if r.coupled_gates else gate(z[1] + peep[1] * c)
    c = f * c + i * squash(z[-2])
    if r.cell_clip:
        c = np.clip(c, -r.cell_clip, r.cell_clip)
    o = gate(z[-1] + peep[-1] * c)
    shown = normal(c) * p["gain_c"] + p["bias_c"] if r.layer_norm else c
    h = o * squash(shown)
    return [p["weight_hr"] @ h if r.proj_size else h, c]


def by_hand(
    layer: Any, x: Array, state: Any, lengths: Any, reset: Any
) -> tuple[Array, list[Array], list[Array]]:
    """A layer in evaluation mode, a row of the batch at a time: nothing masked, nothing stacked."""
    p = {name: value.numpy() for name, value in layer.state_dict().items()}
    if layer.batch_first:
        x = x.swapaxes(0, 1)
        reset = None if reset is None else reset.T
    steps, batch = x.shape[:2]
    rows, sizes = layer.num_layers * layer.directions, layer.cells[0].sizes
    zones = layer.zoneout if isinstance(layer.zoneout, tuple) else (layer.zoneout,) * len(sizes)
    last = [np.zeros((rows, batch, n)) for n in sizes]
    states = [np.zeros((rows, steps, batch, n)) for n in sizes]
    for k in range(layer.num_layers):
        ys = []
        for way in range(layer.directions):
            row, suffix = k * layer.directions + way, f"_l{k}" + ("_reverse" if way else "")
            own = {n.removesuffix(suffix): v for n, v in p.items() if n.endswith(suffix)}
            begin = [own.get(f"{part}0", np.zeros(n)) for part, n in zip("hc", sizes, strict=False)]
            y = np.zeros((steps, batch, sizes[0]))
            for b in range(batch):
                length = steps if lengths is None else lengths[b]
                now = begin if state is None else [part[row, b] for part in state]
                for t in reversed(range(length)) if way else range(length):
                    # Backwards, an episode's last step is where it begins.
                    first = t if not way else t + 1
                    if reset is not None and first < length and reset[first, b]:
                        now = begin
                    new = step_by_hand(layer, x[t, b], now, own)
                    now = [z * a + (1 - z) * c for z, a, c in zip(zones, now, new, strict=True)]
                    y[t, b] = now[0]
                    for part, value in zip(states, now, strict=True):
                        part[row, t, b] = value
                for part, value in zip(last, now, strict=True):
                    part[row, b] = value
            ys.append(y)
        merged = {
            "concat": lambda ys: np.concatenate(ys, axis=-1),
            "sum": sum,
            "mean": lambda ys: sum(ys) / len(ys),
            "mul": lambda ys: np.prod(ys, axis=0),
        }[layer.merge](ys)
        x = x + merged if layer.residual and k else merged
    if layer.batch_first:
        x, states = x.swapaxes(0, 1), [part.swapaxes(1, 2) for part in states]
    return x, last, states


@every_kind
@given(data=st.data())
def test_any_options_together_are_a_plain_loop(kind: str, data: st.DataObject) -> None:
    """Lengths, resets, both directions, depth, states, and every option of a step."""
    d = HypothesisSampler(data)
    layer = drawn_layer(d, kind, tg.Generator(0)).eval()
    x, state, options = drawn_call(d, layer)
    with np.errstate(under="ignore"):
        y, last, states = by_hand(layer, x, state, **options)
    found = flat(layer(tg.tensor(x), as_state(state), **options, return_states=True))
    for a, b in zip(found, [y, *last, *states], strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-9, atol=1e-11)


@every_kind
@given(data=st.data())
def test_a_step_is_a_step_of_evaluation_whichever_the_mode(kind: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    layer = drawn_layer(d, kind, tg.Generator(0), bidirectional=False)
    x, state, _ = drawn_call(d, layer)
    whole, end = layer.eval()(tg.tensor(x), as_state(state))
    layer.train(d.one_of([True, False]))
    now, ys = as_state(state), []
    for t in range(x.shape[1 if layer.batch_first else 0]):
        y, now = layer.step(tg.tensor(x[:, t] if layer.batch_first else x[t]), now)
        assert not y.requires_grad
        ys.append(y)
    y = tg.stack(ys, axis=1 if layer.batch_first else 0)
    for a, b in zip([y, *flat(now)], [whole, *flat(end)], strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-11)


def test_backwards_a_row_begins_from_its_state_whatever_begins_after_its_end() -> None:
    layer = tg.nn.GRU(3, 4, bidirectional=True, dtype="float64", generator=tg.Generator(0))
    x, h = tg.randn(4, 1, 3, generator=tg.Generator(1)), tg.ones((2, 1, 4), dtype="float64")
    reset = np.array([[False], [False], [True], [False]])
    found = flat(layer(x.astype("float64"), h, lengths=[2], reset=reset))
    for a, b in zip(found, flat(layer(x.astype("float64"), h, lengths=[2])), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
