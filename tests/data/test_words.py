"""Words give every text back, blanks and all."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import UNKNOWN, VocabularyError, WordVocabulary
from tinygrad_rnn.data.words import words

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from(" \n\ta.b")))


@given(TEXTS, TEXTS)
def test_round_trip(text: str, other: str) -> None:
    vocabulary = WordVocabulary.of([text, other, "a"])
    for known in (text, other):
        ids = vocabulary.encode(known)
        assert ids.dtype == np.int64
        assert UNKNOWN not in ids
        assert vocabulary.decode(ids) == known


@given(TEXTS)
def test_words_are_the_text(text: str) -> None:
    assert "".join(words(text)) == (" " + text if text else "")


def test_a_word_is_the_same_wherever_it_stands() -> None:
    vocabulary = WordVocabulary.of(["K AE1 T", "AE1 K"])
    assert set(vocabulary.symbols) == {" K", " AE1", " T"}
    first, second = vocabulary.encode("K AE1 T"), vocabulary.encode("AE1 K")
    assert first.tolist()[:2] == second.tolist()[::-1]


def test_symbols_are_all_that_is_kept() -> None:
    vocabulary = WordVocabulary.of(["the cat sat on the mat"], most=3)
    assert vocabulary.symbols == (" the", " cat", " mat")
    again = WordVocabulary(json.loads(json.dumps(vocabulary.symbols)))
    assert again == vocabulary
    assert again.encode("the dog").tolist() == [4, UNKNOWN]
    assert again.decode([4, UNKNOWN]) == "the \ufffd"
    assert again.tokens([4, UNKNOWN]) == ["the", "<?>"]


@pytest.mark.parametrize("symbols", [(), (" a", " a")])
def test_symbols_that_are_none(symbols: tuple[str, ...]) -> None:
    with pytest.raises(VocabularyError, match="at least one word, and each of them once"):
        WordVocabulary(symbols)
