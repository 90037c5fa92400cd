"""Decoding words restores every text with its blanks, in every script."""

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import UNKNOWN, VocabularyError, WordVocabulary, without_blanks
from tinygrad_rnn.data.words import words

SENTENCES = {
    "Hindi": "हिन्दी भाषा सीखो",
    "Tamil": "வணக்கம் உலகம்",
    "Bengali": "আমি বাংলা পড়ি",
    "Sinhala": "ශ්‍රී ලංකාව",
    "Arabic": "مُحَمَّد كَتَبَ",
    "Persian": "می‌خواهم بروم",
    "Hebrew": "שָׁלוֹם צה״ל",
    "Catalan": "una col·lecció",
    "Ukrainian": "п'ять об'єктів",
    "Korean": "한국어 문장",
    "decomposed": unicodedata.normalize("NFD", "café naïve 한국어"),
    "emoji": "a 👨‍👩‍👧 b 👍🏽 🇩🇪 1️⃣ 🏴󠁧󠁢󠁷󠁬󠁳󠁿",
}
JOINS = "\u0301\u093f\u200c\u200d\ufe0f\u20e3\u200f\u202e\ufeff🏽🇩🇪👩❤"  # joins what is beside it
BLANKS = " \t\n\r\x0b\x85\xa0\u2003\u2028\u3000"
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from(" \n\ta.b" + JOINS + BLANKS)))
LETTERS = st.sampled_from("aßжאعहกக가")
MARKED = st.text(st.characters(categories=["Mn", "Mc"]), max_size=2)
WORDS = st.lists(st.tuples(LETTERS, MARKED).map("".join), min_size=1).map("".join)


@given(TEXTS, TEXTS)
def test_round_trip(text: str, other: str) -> None:
    vocabulary = WordVocabulary.of([text, other, "a"])
    for known in (text, other):
        ids = vocabulary.encode(known)
        assert ids.dtype == np.int64
        assert UNKNOWN not in ids
        assert vocabulary.decode(ids) == known


@pytest.mark.parametrize("name", SENTENCES)
def test_as_many_symbols_as_words(name: str) -> None:
    text = SENTENCES[name]
    vocabulary = WordVocabulary.of([text])
    assert sorted(vocabulary.symbols) == sorted(" " + word for word in text.split())
    assert vocabulary.decode(vocabulary.encode(text)) == text


@given(WORDS)
def test_no_symbol_begins_with_a_mark(text: str) -> None:
    assert not any(unicodedata.category(word[0]).startswith("M") for word in words(text))


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("Thai", "สวัสดีชาวโลก"),
        ("Lao", "ສະບາຍດີ"),
        ("Khmer", "សួស្តី"),
        ("Myanmar", "မင်္ဂလာပါ"),
        ("Han", "你好,世界"),
        ("Han", "日本語を話す"),
        ("Hiragana", "ひらがな"),
        ("", "हिन्दी भाषा"),
        ("", "한국어 문장"),
        ("", ""),
    ],
)
def test_scripts_without_blanks(script: str, text: str) -> None:
    others = ["hello world"] * (1 if script else 2)
    assert without_blanks([text, text, *others]) == script


def test_unknown_symbols() -> None:
    vocabulary = WordVocabulary.of(["the cat"])
    assert vocabulary.unknown_in("the dog, the cat, the bird") == [" dog", ",", ",", " bird"]


@given(TEXTS)
def test_words_are_the_text(text: str) -> None:
    assert "".join(words(text)) == (" " + text if text else "")


def test_a_word_is_the_same_wherever_it_stands() -> None:
    vocabulary = WordVocabulary.of(["K AE1 T", "AE1 K"])
    assert set(vocabulary.symbols) == {" K", " AE1", " T"}
    first, second = vocabulary.encode("K AE1 T"), vocabulary.encode("AE1 K")
    assert first.tolist()[:2] == second.tolist()[::-1]


def test_symbols_are_all_that_is_kept() -> None:
    vocabulary = WordVocabulary.of(["the cat sat on the mat"], vocab_size=3)
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
