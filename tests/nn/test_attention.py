"""Attention looks where it may, says the same in a batch as alone, and prepares its source once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

Q, M = 4, 4  # features of queries and memory; equal, as the dot product wants it
KINDS: dict[str, Any] = {
    "dot": lambda **o: nn.DotAttention(Q, **without_dtype(o)),
    "scaled dot": lambda **o: nn.DotAttention(Q, scaled=True, **without_dtype(o)),
    "general": lambda **o: nn.GeneralAttention(Q, M, **o),
    "additive": lambda **o: nn.AdditiveAttention(Q, M, 5, **o),
    "multi-head": lambda **o: nn.MultiHeadAttention(Q, M, 2, **o),
    "location": lambda **o: nn.LocationAttention(Q, M, 5, filters=3, reach=2, **o),
    "coverage": lambda **o: nn.CoverageAttention(Q, M, 5, **o),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def without_dtype(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name == "normalize"}


def made(kind: str, **options: Any) -> nn.Attention:
    generator = tg.Generator(3)
    attention = KINDS[kind](dtype="float64", generator=generator, **options)
    for p in attention.parameters():  # larger than at first, so that weights differ
        p.data = p.data * 3
    return attention


def drawn(*shape: int, seed: int = 0) -> tg.Tensor:
    return tg.tensor(np.random.default_rng(seed).normal(size=shape))


@kinds
@pytest.mark.parametrize("normalize", ["softmax", "sparsemax"])
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(1, 3))
def test_weights_are_a_distribution_over_what_is_there(
    kind: str, normalize: str, lengths: list[int], steps: int
) -> None:
    batch = len(lengths)
    context, weights = made(kind, normalize=normalize)(
        drawn(steps, batch, Q), drawn(6, batch, M, seed=1) * 9, lengths=lengths
    )
    assert weights.shape == (steps, batch, 6)
    assert context.shape[:2] == (steps, batch)
    found = weights.numpy()
    for row, length in enumerate(lengths):
        assert (found[:, row, length:] == 0).all()  # not merely little
        assert (found[:, row, :length] >= 0).all()
        np.testing.assert_allclose(found[:, row, :length].sum(-1), 1, rtol=1e-12)


@kinds
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 3))
def test_padding_and_company_change_nothing(kind: str, lengths: list[int], more: int) -> None:
    attention, batch = made(kind), len(lengths)
    query, memory = drawn(3, batch, Q), drawn(5 + more, batch, M, seed=1)
    memory[5:] = 1e6
    context, weights = attention(query, memory, lengths=lengths)
    for row, length in enumerate(lengths):
        alone = slice(row, row + 1)
        c, w = attention(query[:, alone], memory[:length, alone])
        np.testing.assert_allclose(context[:, alone].numpy(), c.numpy(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(weights[:, alone, :length].numpy(), w.numpy(), atol=1e-12)


@kinds
def test_steps_are_what_all_of_them_at_once_are(kind: str) -> None:
    attention, query = made(kind), drawn(4, 2, Q)
    memory = attention.prepare_memory(drawn(5, 2, M, seed=1), [5, 3])
    contexts, weights = attention.attend(query, memory)
    past = attention.initial(memory)
    for t, q in enumerate(query.unstack()):
        context, looked, past = attention.step(q, memory, past)
        np.testing.assert_allclose(context.numpy(), contexts[t].numpy(), rtol=1e-12)
        np.testing.assert_allclose(looked.numpy(), weights[t].numpy(), rtol=1e-12)


@kinds
def test_the_source_is_prepared_once(kind: str) -> None:
    attention = made(kind)
    calls = []
    sound = attention.keys
    attention.keys = lambda memory: calls.append(memory) or sound(memory)  # type: ignore[method-assign, func-returns-value]
    attention(drawn(7, 2, Q), drawn(5, 2, M))
    assert len(calls) == 1


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_scores_are_the_papers() -> None:
    q, m = (np.random.default_rng(i).normal(size=(1, 1, 4)) for i in (0, 1))
    m = np.concatenate([m, -m, 2 * m])

    def weights(kind: str) -> tuple[Any, Any]:
        attention = made(kind)
        found = attention(tg.tensor(q), tg.tensor(m))[1].numpy()[0, 0]
        return attention, found

    h, s = m[:, 0], q[0, 0]
    np.testing.assert_allclose(weights("dot")[1], softmax(h @ s))
    np.testing.assert_allclose(weights("scaled dot")[1], softmax(h @ s / 2))
    a, found = weights("general")
    np.testing.assert_allclose(found, softmax((h @ a.key.weight.numpy().T) @ s))
    a, found = weights("additive")
    w, b, u = a.query.weight.numpy(), a.query.bias.numpy(), a.key.weight.numpy()
    np.testing.assert_allclose(
        found, softmax(np.tanh(w @ s + b + h @ u.T) @ a.energy.weight.numpy()[0])
    )


def test_multi_head_is_heads_side_by_side() -> None:
    attention = made("multi-head")
    q, m = drawn(3, 2, Q), drawn(5, 2, M, seed=1)
    heads, looks = [], []
    for i in range(2):
        of_head = slice(2 * i, 2 * i + 2)

        def projected(linear: Any, x: tg.Tensor, part: slice = of_head) -> Any:
            return (x.numpy() @ linear.weight.numpy().T + linear.bias.numpy())[..., part]

        query, key = projected(attention.query, q), projected(attention.key, m)
        w = softmax(np.einsum("tbd,sbd->tbs", query, key) / np.sqrt(2))
        heads.append(np.einsum("tbs,sbd->tbd", w, projected(attention.value, m)))
        looks.append(w)
    out = attention.out
    context, weights = attention(q, m)
    want = np.concatenate(heads, -1) @ out.weight.numpy().T + out.bias.numpy()
    np.testing.assert_allclose(context.numpy(), want, rtol=1e-9)
    np.testing.assert_allclose(weights.numpy(), np.mean(looks, 0), rtol=1e-9)


def test_location_can_move_on_by_one() -> None:
    """A filter that answers one step after the last look, and nothing else in the score."""
    attention = nn.LocationAttention(1, 1, 1, filters=1, reach=1, dtype="float64")
    for p in attention.parameters():
        p.data = np.zeros(p.shape)
    attention.filters.weight.data = np.array([[1.0, 0.0, 0.0]])
    attention.place.weight.data = np.array([[2.0]])
    attention.energy.weight.data = np.array([[100.0]])
    memory = attention.prepare_memory(tg.zeros((4, 1, 1), dtype="float64"))
    past: Any = tg.tensor([[1.0, 0.0, 0.0, 0.0]]).astype("float64")
    for want in (1, 2, 3):
        _, weights, past = attention.step(tg.zeros((1, 1), dtype="float64"), memory, past)
        assert weights.numpy().argmax() == want
        assert weights.numpy().max() > 0.99


def test_coverage_is_the_sum_of_all_weights() -> None:
    attention = made("coverage")
    memory = attention.prepare_memory(drawn(5, 2, M))
    _, first, past = attention.step(drawn(2, Q), memory)
    _, second, past = attention.step(drawn(2, Q, seed=1), memory, past)
    assert past is not None
    np.testing.assert_allclose(past.numpy(), (first + second).numpy())


@kinds
def test_an_empty_source_is_named(kind: str) -> None:
    with pytest.raises(tg.ShapeError, match=r"lengths\[1\] = 0 is outside 1..5"):
        made(kind)(drawn(2, 3, Q), drawn(5, 3, M), lengths=[5, 0, 2])


@pytest.mark.parametrize(
    ("query", "memory", "lengths", "said"),
    [
        ((2, 3, 5), (5, 3, M), None, r"query: expected 4 features .* got \[2, 3, 5\]"),
        ((2, 3, Q), (5, 3, 2), None, r"memory: expected 4 features .* got \[5, 3, 2\]"),
        ((2, 2, Q), (5, 3, M), None, r"query: expected \(T, 3, 4\) .* got \[2, 2, 4\]"),
        ((3, Q), (5, 3, M), None, r"query: expected \(T, 3, 4\)"),
        ((2, 3, Q), (0, 3, M), None, r"memory: expected \(S, B, 4\), none empty"),
        ((2, 3, Q), (5, 3, M), [5, 6, 1], r"lengths\[1\] = 6 is outside 0..5"),
        ((2, 3, Q), (5, 3, M), [5, -1, 1], r"lengths\[1\] = -1 is outside 0..5"),
        ((2, 3, Q), (5, 3, M), [5, 1], "expected 3 integers"),
        ((2, 3, Q), (5, 3, M), [5.0, 1.0, 1.0], "expected 3 integers"),
    ],
)
def test_wrong_shapes(query: Any, memory: Any, lengths: Any, said: str) -> None:
    for kind in KINDS:
        with pytest.raises(tg.ShapeError, match=said):
            made(kind)(drawn(*query), drawn(*memory), lengths=lengths)


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: nn.GeneralAttention(0, 3), "query_size: expected an integer from 1"),
        (lambda: nn.AdditiveAttention(3, 3, 0), "hidden_size: expected an integer from 1"),
        (lambda: nn.MultiHeadAttention(4, 4, heads=3), "3 heads do not divide 4 features"),
        (lambda: nn.DotAttention(4, normalize="hardmax"), "expected softmax or sparsemax"),
        (lambda: nn.LocationAttention(4, 4, reach=0), "reach: expected an integer from 1"),
    ],
)
def test_wrong_sizes(build: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


def test_float32_stays_float32() -> None:
    for kind in KINDS:
        y, w = KINDS[kind](dtype="float32")(tg.randn(1, 1, Q), tg.randn(1, 1, M))
        assert (y.dtype, w.dtype) == (np.float32, np.float32)
        assert w.tolist() == [[[1.0]]]
