"""Decoding byte pairs restores every text, whatever text the merges come from."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import END, PAD, START, UNKNOWN, BPEVocabulary, VocabularyError

from .test_words import SENTENCES, TEXTS

pytest.importorskip("tokenizers")
LEARNT = BPEVocabulary.of(["the cat sat on the mat, the cat sat", "не так ли? не так!"] * 3, 270)


@given(TEXTS)
def test_round_trip(text: str) -> None:
    ids = LEARNT.encode(text)
    assert ids.dtype == np.int64
    assert not set(ids.tolist()) & {PAD, START, END, UNKNOWN}
    assert LEARNT.decode([START, *ids, END]) == text


@given(st.lists(st.integers(0, len(LEARNT) - 1)))
def test_any_ids_are_some_text(ids: list[int]) -> None:
    assert LEARNT.decode(ids).count("\ufffd") >= ids.count(UNKNOWN)


@pytest.mark.parametrize("mark", ["<pad>", "<s>", "</s>", "<?>", "<unk>", "[UNK]"])
def test_a_text_that_looks_like_a_mark_is_text(mark: str) -> None:
    text = f"{mark} the {mark}"
    assert LEARNT.decode(LEARNT.encode(text)) == text


@pytest.mark.parametrize("name", SENTENCES)
def test_a_frequent_word_becomes_one_symbol_in_every_script(name: str) -> None:
    text = SENTENCES[name].replace("'", "").replace("״", "").replace("·", "")
    vocabulary = BPEVocabulary.of([f" {text}"] * 9, 400)
    for word in text.split():
        assert len(vocabulary.encode(f" {word}")) == 1
    assert vocabulary.unknown_in(text + "x☃") == []
    assert vocabulary.decode(vocabulary.encode(text)) == text


def test_frequent_pairs_become_one_symbol() -> None:
    assert len(LEARNT) == 270 + 4
    assert len(LEARNT.encode("the cat sat")) <= 5
    again = BPEVocabulary(json.loads(json.dumps(LEARNT.symbols)))
    assert again == LEARNT
    np.testing.assert_array_equal(again.encode("the dog, нет"), LEARNT.encode("the dog, нет"))


def test_mistakes() -> None:
    with pytest.raises(VocabularyError, match=r"U\+DC80 at position 1"):
        LEARNT.encode("a\udc80")
    pieces = LEARNT.symbols["pieces"]
    for wrong in (
        {},
        {"pieces": ["a"], "merges": [["a", "b"]]},
        {"pieces": 3, "merges": []},
        {"pieces": ["a"], "merges": []},  # other bytes would be left out
        {"pieces": [*pieces, "a"], "merges": []},
    ):
        with pytest.raises(VocabularyError, match="are not a byte-pair encoding"):
            BPEVocabulary(wrong)
