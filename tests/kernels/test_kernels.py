"""The contract of the kernels: each implementation equals the composed twin, in all it returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.catalogue import index_of, real

from ..drawing import Searched

CELLS = {
    "rnn tanh": (tg.rnn, 1, 1, {"activation": "tanh"}),
    "rnn relu": (tg.rnn, 1, 1, {"activation": "relu"}),
    "gru": (tg.gru, 3, 1, {"reset_after": False}),
    "gru reset_after": (tg.gru, 3, 1, {"reset_after": True}),
    "lstm": (tg.lstm, 4, 2, {}),
    "lstm projected": (tg.lstm, 4, 2, {}),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 2e-4)])
@given(data=st.data())
def test_fused_equals_composed_forwards_and_backwards(
    name: str, dtype: str, tolerance: float, data: st.DataObject
) -> None:
    op, gates, states, options = CELLS[name]
    d = Searched(data)
    steps, batch, features, hidden = (d.integer(1, 5) for _ in range(4))
    out = d.integer(1, 4) if name == "lstm projected" else hidden
    shapes: list[Any] = [
        (steps, batch, features),
        (batch, out),
        *([(batch, hidden)] if states == 2 else []),
        (gates * hidden, features),
        (gates * hidden, out),
        d.one_of([None, (gates * hidden,)]),
        None if name == "gru" else d.one_of([None, (gates * hidden,)]),
        *([(out, hidden) if name == "lstm projected" else None] if states == 2 else []),
    ]
    lengths = d.one_of([None, np.array([d.integer(0, steps) for _ in range(batch)])])
    reverse = d.one_of([False, True])
    arrays = [None if s is None else real(d, s).astype(dtype) for s in shapes]
    used = [d.one_of([True, False]) for _ in range(1 + states)]  # absent cotangents among them
    used[d.integer(0, states)] = True

    def gradients(fn: Any) -> tuple[list[Any], list[Any]]:
        xs = [None if a is None else tg.tensor(a, requires_grad=True) for a in arrays]
        ys = fn(*xs, lengths=lengths, reverse=reverse, **options)
        live = [y for y, use in zip(ys, used, strict=True) if use]
        weights = [
            tg.tensor(np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype)) for y in live
        ]
        return list(ys), list(tg.grad(live, [x for x in xs if x is not None], weights))

    for fused, composed in zip(gradients(op), gradients(op.composed), strict=True):
        for a, b in zip(fused, composed, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CELLS)
def test_what_is_not_wanted_is_not_computed(name: str) -> None:
    op, gates, states, options = CELLS[name]
    rng = np.random.default_rng(0)
    x = tg.tensor(rng.normal(size=(3, 2, 4)))
    state = [tg.zeros((2, 5), dtype="float64")] * states
    w_ih = tg.tensor(rng.normal(size=(gates * 5, 4)), requires_grad=True)
    w_hh = tg.tensor(rng.normal(size=(gates * 5, 5)))
    ys = op(x, *state, w_ih, w_hh, reverse=False, **options)
    node = ys[0].edge[0]
    gs = (np.ones((3, 2, 5)), *[None] * states)
    found = dict(node.op.cotangents(node, gs, np, node.kept))
    costly = {"x": 0, "w_ih": 1 + states, "w_hh": 2 + states}
    assert {n for n, i in costly.items() if found[i] is not None} == {"w_ih"}


def test_index_of_draws_every_kind() -> None:
    """The catalogue's indices are worth something only if all kinds come up."""
    from tinygrad_rnn.catalogue import Seeded

    kinds = {type(index_of(Seeded(seed), 3)) for seed in range(50)}
    assert kinds == {int, slice, list, np.ndarray}


def test_a_kernel_that_nobody_will_differentiate_keeps_nothing() -> None:
    from tinygrad_rnn import kernels

    x, h = np.ones((2, 1, 3)), np.zeros((1, 4))
    _, saved = kernels.rnn_forward(
        np, x, h, np.ones((4, 3)), np.ones((4, 4)), None, None, None, keep=False
    )
    assert saved is None
