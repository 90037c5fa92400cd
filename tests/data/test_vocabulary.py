"""Decoding restores every text, and errors name unknown symbols."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import (
    END,
    PAD,
    START,
    UNKNOWN,
    VOCABULARIES,
    CharVocabulary,
    Vocabulary,
    VocabularyError,
)
from tinygrad_rnn.data.vocabulary import most_frequent

TEXTS = st.text(min_size=1)  # any script, any plane; hypothesis draws no surrogates


@given(TEXTS)
def test_round_trip(text: str) -> None:
    vocabulary = CharVocabulary(text)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert ids.dtype == np.int64
    assert ids.shape == (len(text),)
    assert set(ids.tolist()) == set(range(len(vocabulary)))


@given(TEXTS)
def test_symbols_are_sorted_and_survive_json(text: str) -> None:
    vocabulary = CharVocabulary(text)
    assert vocabulary.symbols == "".join(sorted(set(text)))
    assert CharVocabulary(json.loads(json.dumps(vocabulary.symbols))) == vocabulary


@given(TEXTS, TEXTS)
def test_first_unknown_character_is_named(known: str, text: str) -> None:
    vocabulary = CharVocabulary(known)
    unknown = [(at, c) for at, c in enumerate(text) if c not in known]
    if not unknown:
        assert vocabulary.decode(vocabulary.encode(text)) == text
        return
    at, symbol = unknown[0]
    with pytest.raises(VocabularyError) as caught:
        vocabulary.encode(text)
    assert f"{symbol!r} (U+{ord(symbol):04X}) at position {at}:" in str(caught.value)


def test_astral_characters_count_as_one() -> None:
    vocabulary = CharVocabulary("a𝄞é😀")
    assert vocabulary.symbols == "aé𝄞😀"
    np.testing.assert_array_equal(vocabulary.encode("😀a"), [3, 0])
    assert "😀" in vocabulary
    assert "b" not in vocabulary
    assert "aé" not in vocabulary


def test_empty_text_encodes_to_nothing() -> None:
    vocabulary = CharVocabulary("ab")
    assert vocabulary.encode("").shape == (0,)
    assert vocabulary.decode([]) == ""


@pytest.mark.parametrize(("text", "said"), [("", "text is empty"), ("a\udc80", "U+DC80")])
def test_texts_without_an_alphabet(text: str, said: str) -> None:
    with pytest.raises(VocabularyError, match=said.replace("+", r"\+")):
        CharVocabulary(text)


def test_lone_surrogate_is_an_unknown_character() -> None:
    with pytest.raises(VocabularyError, match=r"U\+DC80\) at position 1"):
        CharVocabulary("ab").encode("a\udc80")


@pytest.mark.parametrize("bad", [-1, 2])
def test_ids_outside_the_range(bad: int) -> None:
    with pytest.raises(VocabularyError, match=f"id {bad} is outside"):
        CharVocabulary("ab").decode([0, bad])


# ---------------------------------------------------------------- with marks


@given(TEXTS, TEXTS)
def test_marks_come_first_and_the_unknown_is_one(known: str, text: str) -> None:
    vocabulary = CharVocabulary(known, marks=True)
    ids = vocabulary.encode(text)
    assert ids.dtype == np.int64
    assert len(vocabulary) == len(set(known)) + 4
    assert vocabulary.decode(vocabulary.encode(known)) == known
    assert [i == UNKNOWN for i in ids] == [c not in known for c in text]
    assert vocabulary.decode(ids) == "".join(c if c in known else "\ufffd" for c in text)
    framed = [START, *ids, END, PAD, PAD]
    assert vocabulary.decode(framed) == vocabulary.decode(ids)


def test_vocabularies_with_and_without_marks_differ() -> None:
    plain, marked = CharVocabulary("ab"), CharVocabulary("ab", marks=True)
    assert plain != marked
    assert marked == CharVocabulary("ba", marks=True)
    assert marked.tokens([PAD, START, END, UNKNOWN, 4, 5]) == [
        "<pad>",
        "<s>",
        "</s>",
        "<?>",
        "a",
        "b",
    ]
    with pytest.raises(VocabularyError, match=r"id 6 is outside \[0, 6\)"):
        marked.decode([6])


def test_the_most_frequent_are_kept() -> None:
    assert CharVocabulary.of(["abba", "ca"], vocab_size=2).symbols == "ab"
    assert most_frequent(Counter("bbaac"), None) == ["a", "b", "c"]


def test_one_family() -> None:
    assert list(VOCABULARIES) == ["chars", "words", "bpe"]
    assert all(issubclass(kind, Vocabulary) for kind in VOCABULARIES.values())
