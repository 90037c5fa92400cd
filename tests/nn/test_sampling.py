"""The filters keep what they promise, and a draw follows its distribution."""

from __future__ import annotations

from math import inf, nan
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tinygrad_rnn as tg
from tinygrad_rnn.nn import decoding
from tinygrad_rnn.nn.decoding import Constraints, draw, greedy, sample

from .table_model import Table

Array = np.ndarray[Any, Any]

LOGITS = arrays.arrays(
    st.sampled_from(["f4", "f8"]),
    st.integers(1, 12),
    elements=st.floats(-30, 30, width=32),
)
TEMPERATURES = st.floats(0.05, 5)


def probabilities(logits: Array, *settings: Any, **named: Any) -> Array:
    return decoding.probabilities(tg.tensor(logits), *settings, **named).numpy()


def softmax(z: Array) -> Array:
    e = np.exp(z.astype("f8") - z.max())
    return np.asarray(e / e.sum())


@given(LOGITS, TEMPERATURES)
def test_temperature_divides_the_logits(logits: Array, temperature: float) -> None:
    expected = softmax(logits.astype("f8") / temperature)
    np.testing.assert_allclose(probabilities(logits, temperature), expected, atol=1e-12)


@given(LOGITS)
def test_temperature_zero_is_greedy(logits: Array) -> None:
    p = probabilities(logits, temperature=0)
    np.testing.assert_array_equal(p, np.eye(len(logits))[logits.argmax()])


@pytest.mark.parametrize("temperature", [1e-300, 5e-324])
def test_tiny_temperatures_do_not_overflow(temperature: float) -> None:
    p = probabilities(np.array([1.0, 3.0, -20.0]), temperature)
    np.testing.assert_array_equal(p, [0, 1, 0])


@given(LOGITS, TEMPERATURES, st.integers(1, 14))
def test_top_k(logits: Array, temperature: float, k: int) -> None:
    p, whole = probabilities(logits, temperature, top_k=k), probabilities(logits, temperature)
    kept = np.sort(np.argsort(-logits, kind="stable")[:k])
    np.testing.assert_allclose(p[kept], whole[kept] / whole[kept].sum())
    assert np.all(np.delete(p, kept) == 0)


@given(LOGITS, TEMPERATURES, st.floats(0.01, 1))
def test_top_p_is_the_smallest_set_that_reaches_p(
    logits: Array, temperature: float, top_p: float
) -> None:
    p, whole = probabilities(logits, temperature, top_p=top_p), probabilities(logits, temperature)
    ranked = np.sort(whole)[::-1]
    size = np.count_nonzero(p)
    assert size >= 1
    assert p.sum() == pytest.approx(1)
    assert ranked[:size].sum() >= top_p - 1e-9 or size == np.count_nonzero(whole)
    assert ranked[: size - 1].sum() < top_p  # one less does not reach it
    assert whole[p > 0].min() >= whole[p == 0].max(initial=0)  # and they are the most probable


@given(LOGITS, TEMPERATURES, st.floats(0, 1))
def test_min_p_is_a_share_of_the_most_probable(
    logits: Array, temperature: float, min_p: float
) -> None:
    p, whole = probabilities(logits, temperature, min_p=min_p), probabilities(logits, temperature)
    kept = whole >= min_p * whole.max()
    np.testing.assert_allclose(p, np.where(kept, whole, 0) / whole[kept].sum(), atol=1e-15)


@given(LOGITS, st.integers(1, 12), st.floats(0.01, 1), st.floats(0, 1))
def test_filters_together_keep_the_smallest_set(
    logits: Array, k: int, top_p: float, min_p: float
) -> None:
    together = probabilities(logits, 1.0, k, top_p, min_p) > 0
    alone = ({"top_k": k}, {"top_p": top_p}, {"min_p": min_p})
    kept = np.all([probabilities(logits, **settings) > 0 for settings in alone], axis=0)
    np.testing.assert_array_equal(together, kept)


@given(st.lists(LOGITS.filter(lambda x: len(x) > 3), min_size=1, max_size=4), TEMPERATURES)
def test_rows_are_filtered_each_for_itself(rows: list[Array], temperature: float) -> None:
    table = np.stack([row[:4].astype("f8") for row in rows])
    for settings in ({}, {"top_k": 2}, {"top_p": 0.6}, {"min_p": 0.3}):
        together = probabilities(table, temperature, **settings)
        for row, p in zip(table, together, strict=True):
            np.testing.assert_array_equal(p, probabilities(row, temperature, **settings))


def test_ties_go_to_the_lower_token() -> None:
    np.testing.assert_array_equal(probabilities(np.zeros(4), top_k=2), [0.5, 0.5, 0, 0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": -0.1}, "temperature: expected 0 or more"),
        ({"temperature": float("nan")}, "temperature: expected 0 or more"),
        ({"temperature": float("inf")}, "temperature: expected 0 or more"),
        ({"top_k": 0}, "top_k: expected an integer from 1 up"),
        ({"top_k": 2.5}, "top_k: expected an integer from 1 up, got 2.5"),
        ({"top_p": 0.0}, "top_p: expected above 0"),
        ({"top_p": 1.5}, "top_p: expected above 0"),
        ({"min_p": -0.1}, "min_p: expected 0 to 1"),
        ({"min_p": 1.1}, "min_p: expected 0 to 1"),
    ],
)
def test_settings_outside_their_ranges(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        probabilities(np.zeros(3), **settings)
    with pytest.raises(ValueError, match=said):
        sample(stay, None, [0], generator=tg.Generator(0), max_length=1, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", [[nan, 0.0], [0.0, inf], [-inf, -inf]])
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.0}, {"top_k": 1}, {"top_p": 0.5}])
def test_logits_that_are_no_numbers(row: list[float], settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="probabilities: logits: expected a finite maximum"):
        probabilities(tg.tensor([[0.0, 1.0], row]), **settings)


@pytest.mark.parametrize("row", [[nan, 1.0], [0.0, 0.0], [-1.0, 2.0], [inf, 1.0]])
def test_nothing_is_drawn_of_what_are_no_probabilities(row: list[float]) -> None:
    with pytest.raises(ValueError, match="draw: p: expected numbers from 0 up"):
        draw(tg.tensor([[0.5, 0.5], row]), tg.Generator(0))


def test_draws_follow_the_distribution() -> None:
    p = np.array([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    drawn = draw(tg.tensor(np.tile(p, (4000, 1))), tg.Generator(0)).numpy()
    counts = np.bincount(drawn, minlength=6)
    np.testing.assert_array_equal(counts[p == 0], 0)
    np.testing.assert_allclose(counts / 4000, p, atol=0.03)


class Fixed:
    """A source of one number."""

    def __init__(self, number: float) -> None:
        self.number = number

    def random(self, shape: tuple[int, ...]) -> Array:
        return np.full(shape, self.number)


@given(LOGITS, st.integers(1, 12))
def test_a_draw_never_falls_off_the_end(logits: Array, k: int) -> None:
    p = probabilities(logits, top_k=k)
    largest: Any = Fixed(1 - 2.0**-53)  # where rounding hurts most
    assert p[draw(tg.tensor(p), largest).item()] > 0


@given(LOGITS, st.integers(0, 99))
def test_a_draw_inverts_the_cumulative_distribution(logits: Array, hundredths: int) -> None:
    p, number = probabilities(logits), hundredths / 100
    source: Any = Fixed(number)
    token = draw(tg.tensor(p), source).item()
    assert p[:token].sum() <= number + 1e-12
    assert p[: token + 1].sum() >= number - 1e-12


# ---------------------------------------------------------------- whole sequences


def stay(tokens: tg.Tensor, state: Any) -> tuple[tg.Tensor, Any]:
    return tg.tensor([[0.0, 1.0, 2.0, 3.0]] * len(tokens)), state


@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 4))
def test_temperature_zero_and_one_token_are_greedy(seed: int, tokens: int, batch: int) -> None:
    table = Table(seed, tokens, batch)
    settings: Any = {"max_length": 5, "end": 1, "batch_axis": table.batch_axis,
                     "constraints": Constraints(min_length=2)}  # fmt: skip
    want = greedy(table.step, table.start(), table.first, **settings)
    for choice in ({"temperature": 0}, {"top_k": 1}, {"min_p": 1}):
        settings["generator"] = tg.Generator(seed)
        found = sample(table.step, table.start(), table.first, **choice, **settings)
        assert [(h.tokens, h.ended) for h in found] == [(h.tokens, h.ended) for h in want]
        np.testing.assert_allclose([h.log_prob for h in found], [h.log_prob for h in want])


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_sample_is_the_draws_by_hand(seed: int, batch: int) -> None:
    table = Table(seed, 4, batch)
    found = sample(
        table.step, table.start(), table.first, batch_axis=table.batch_axis, max_length=4, end=0,
        generator=tg.Generator(seed), temperature=0.7, top_p=0.8,
        constraints=Constraints(forbidden=[(2,)]),
    )  # fmt: skip
    numbers, sequences = tg.Generator(seed), dict.fromkeys(range(batch), ())
    for _ in range(4):
        running = [row for row, s in sequences.items() if not s or s[-1] != 0]
        for row, number in zip(running, numbers.random((len(running),)), strict=True):
            options = [table.path(row, (*sequences[row], t))[0][-1] for t in range(4)]
            options[2] = -np.inf
            p = probabilities(np.array(options), 0.7, top_p=0.8)
            token = int(np.searchsorted(np.cumsum(p) / p.sum(), number, side="right"))
            sequences[row] = (*sequences[row], token)
    for row, h in enumerate(found):
        assert h.tokens == sequences[row]
        np.testing.assert_allclose(h.log_prob, table.path(row, h.tokens)[0].sum())
        assert h.ended == (h.tokens[-1] == 0)
        assert h.attention is not None
        np.testing.assert_allclose(h.attention.numpy(), table.path(row, h.tokens)[1])
