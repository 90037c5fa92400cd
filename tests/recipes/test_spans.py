"""Entities of tags, as conlleval counts them; transitions that BIO excludes; baselines."""

from __future__ import annotations

import pytest

from tinygrad_rnn.recipes.spans import MostFrequentTag, forbidden, is_bio, spans


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O O", []),
        ("B-A I-A O", [(0, 2, "A")]),
        ("B-A B-A", [(0, 1, "A"), (1, 2, "A")]),
        ("I-A I-A I-B", [(0, 2, "A"), (2, 3, "B")]),  # IOB1, and a change of kind
        ("O I-A", [(1, 2, "A")]),
        ("B-A O B-A", [(0, 1, "A"), (2, 3, "A")]),
        ("B-A E-A S-B", [(0, 2, "A"), (2, 3, "B")]),
        ("B-A-B I-A-B", [(0, 2, "A-B")]),
    ],
)
def test_entities(tags: str, expected: list[tuple[int, int, str]]) -> None:
    assert sorted(spans(tags.split(), bio=True)) == expected


def test_runs() -> None:
    assert spans(["X", "X", "O", "X"], bio=False) == {(0, 2, "X"), (3, 4, "X")}
    assert is_bio(["B-A", "O"])
    assert not is_bio(["NOUN", "O"])
    assert not is_bio(["O"])


def test_an_inside_follows_its_entity_only() -> None:
    tags = ["B-A", "B-B", "I-A", "I-B", "O"]
    wrong = set(forbidden(tags))
    follows = {(i, j) for i in range(5) for j in range(5)} - wrong
    assert {j for i, j in follows if j == 2 and tags[i][2:] != "A"} == set()
    assert {(0, 2), (2, 2), (1, 3), (3, 3)} <= follows
    assert {(None, 2), (None, 3)} <= wrong
    assert all(j in (2, 3) for _, j in wrong)
    assert forbidden(["NOUN", "VERB"]) == []


def test_the_most_frequent_tag_ignores_case_and_has_a_default() -> None:
    tagger = MostFrequentTag([[("May", "N"), ("may", "V"), ("may", "V"), ("x", "N"), ("y", "N")]])
    assert tagger.predict([["MAY", "z"]]) == [["V", "N"]]
