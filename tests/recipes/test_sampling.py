"""The filters keep what they promise, and a draw follows its distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import tinygrad_rnn as tg
from tinygrad_rnn.recipes import SettingError, draw, probabilities

LOGITS = arrays.arrays(
    st.sampled_from(["f4", "f8"]),
    st.integers(1, 12),
    elements=st.floats(-30, 30, width=32),
)
TEMPERATURES = st.floats(0.05, 5)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z.astype("f8") - z.max())
    return e / e.sum()


@given(LOGITS, TEMPERATURES)
def test_temperature_divides_the_logits(logits: np.ndarray, temperature: float) -> None:
    expected = softmax(logits.astype("f8") / temperature)
    np.testing.assert_allclose(probabilities(logits, temperature), expected, atol=1e-12)


@given(LOGITS)
def test_temperature_zero_is_greedy(logits: np.ndarray) -> None:
    p = probabilities(logits, temperature=0)
    np.testing.assert_array_equal(p, np.eye(len(logits))[logits.argmax()])


@pytest.mark.parametrize("temperature", [1e-300, 5e-324])
def test_tiny_temperatures_do_not_overflow(temperature: float) -> None:
    p = probabilities(np.array([1.0, 3.0, -20.0]), temperature)
    np.testing.assert_array_equal(p, [0, 1, 0])


@given(LOGITS, TEMPERATURES, st.integers(1, 14))
def test_top_k(logits: np.ndarray, temperature: float, k: int) -> None:
    p, whole = probabilities(logits, temperature, top_k=k), probabilities(logits, temperature)
    kept = np.sort(np.argsort(-logits, kind="stable")[:k])
    np.testing.assert_allclose(p[kept], whole[kept] / whole[kept].sum())
    assert np.all(np.delete(p, kept) == 0)


@given(LOGITS, TEMPERATURES, st.floats(0.01, 1))
def test_top_p_is_the_smallest_set_that_reaches_p(
    logits: np.ndarray, temperature: float, top_p: float
) -> None:
    p, whole = probabilities(logits, temperature, top_p=top_p), probabilities(logits, temperature)
    ranked = np.sort(whole)[::-1]
    size = np.count_nonzero(p)
    assert size >= 1
    assert p.sum() == pytest.approx(1)
    assert ranked[:size].sum() >= top_p - 1e-9 or size == np.count_nonzero(whole)
    assert ranked[: size - 1].sum() < top_p  # one less does not reach it
    assert whole[p > 0].min() >= whole[p == 0].max(initial=0)  # and they are the most probable


@given(LOGITS, st.integers(1, 12), st.floats(0.01, 1))
def test_both_filters_keep_the_smaller_set(logits: np.ndarray, k: int, top_p: float) -> None:
    both = probabilities(logits, 1.0, k, top_p) > 0
    one, other = probabilities(logits, top_k=k) > 0, probabilities(logits, top_p=top_p) > 0
    np.testing.assert_array_equal(both, one & other)


def test_ties_go_to_the_lower_id() -> None:
    np.testing.assert_array_equal(probabilities(np.zeros(4), top_k=2), [0.5, 0.5, 0, 0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": -0.1}, "temperature must be 0 or more"),
        ({"temperature": float("nan")}, "temperature must be 0 or more"),
        ({"temperature": float("inf")}, "temperature must be 0 or more"),
        ({"top_k": 0}, "top-k must be at least 1"),
        ({"top_p": 0.0}, "top-p must lie above 0"),
        ({"top_p": 1.5}, "top-p must lie above 0"),
    ],
)
def test_settings_outside_their_ranges(settings: dict[str, float], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        probabilities(np.zeros(3), **settings)  # type: ignore[arg-type]


def test_draws_follow_the_distribution() -> None:
    p = np.array([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    generator = tg.Generator(0)
    counts = np.bincount([draw(p, generator) for _ in range(4000)], minlength=6)
    np.testing.assert_array_equal(counts[p == 0], 0)
    np.testing.assert_allclose(counts / 4000, p, atol=0.03)


class Largest:
    """A source that gives the largest number below 1, where rounding hurts most."""

    def random(self) -> float:
        return 1 - 2.0**-53


@given(LOGITS, st.integers(1, 12))
def test_a_draw_never_falls_off_the_end(logits: np.ndarray, k: int) -> None:
    p = probabilities(logits, top_k=k)
    assert p[draw(p, Largest())] > 0  # type: ignore[arg-type]
