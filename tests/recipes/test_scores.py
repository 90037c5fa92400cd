"""Edits equal their definitions, and BLEU is sacrebleu's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.recipes import SettingError, bleu_and_chrf
from tinygrad_rnn.recipes.scores import edit_distance, edits_to

WORDS = st.text("ab", max_size=7)


@given(WORDS, WORDS, WORDS)
def test_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    d = edit_distance
    assert d(a, b) == d(b, a)
    assert (d(a, b) == 0) == (a == b)
    assert d(a, c) <= d(a, b) + d(b, c)
    assert abs(len(a) - len(b)) <= d(a, b) <= max(len(a), len(b))


@given(WORDS, WORDS)
def test_edit_distance_is_the_recursion(a: str, b: str) -> None:
    def by_definition(a: str, b: str) -> int:
        if not a or not b:
            return len(a) + len(b)
        if a[0] == b[0]:
            return by_definition(a[1:], b[1:])
        return 1 + min(
            by_definition(a[1:], b), by_definition(a, b[1:]), by_definition(a[1:], b[1:])
        )

    assert edit_distance(a[:5], b[:5]) == by_definition(a[:5], b[:5])


def test_the_nearest_reference_counts() -> None:
    assert edits_to("A B C", ["X", "A B"]) == (1, 2)
    assert edits_to("A", ["B", "A"]) == (0, 1)
    assert edits_to("", ["A B"]) == (2, 2)


def test_bleu_and_chrf() -> None:
    pytest.importorskip("sacrebleu")
    right = ["the cat sat on the mat", "it was a cat"]
    assert bleu_and_chrf(right, right) == pytest.approx((100, 100))
    bleu, chrf = bleu_and_chrf(["the cat sat on a mat", "it was the dog"], right)
    assert 0 < bleu < chrf < 100
    with pytest.raises(SettingError, match="1 translations cannot be compared with 2"):
        bleu_and_chrf(["a"], right)
