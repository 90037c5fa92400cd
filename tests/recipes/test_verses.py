"""Modules of verses: reading, the fixed split, and the word-by-word baseline."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.data import TextError
from tinygrad_rnn.data.parallel_texts import read_module
from tinygrad_rnn.recipes.verses import verses
from tinygrad_rnn.recipes.word_by_word import WordByWord

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NUMEROS = ["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"]


def write_module(folder: Path, old: Sequence[Sequence[str]], new: Sequence[Sequence[str]]) -> None:
    """Writes books of verses in the format of modules."""
    folder.mkdir(parents=True)
    for testament, books in (("ot", old), ("nt", new)):
        packed = index = places = b""
        for number, book in enumerate(books):
            text = b""
            for verse in book:
                raw = verse.encode()
                places += struct.pack("<IIH", number, len(text), len(raw))
                text += raw
            block = zlib.compress(text)
            index += struct.pack("<III", len(packed), len(block), len(text))
            packed += block
        for end, content in (("bzs", index), ("bzv", places), ("bzz", packed)):
            (folder / f"{testament}.{end}").write_bytes(content)


def test_verses_lose_their_markup(tmp_path: Path) -> None:
    write_module(
        tmp_path / "a",
        [["<title>Genesis</title>In the <w lemma='x'>beginning</w>", "", "a\n b&amp;c"], ["día"]],
        [["said<note>or <i>spoke</i></note>."]],
    )
    assert read_module(tmp_path / "a") == ["In the beginning", "", "a b&c", "día", "said."]


def test_a_verse_is_in_one_part_and_pairs_stay_together(tmp_path: Path) -> None:
    english = [f"{a} {b}" for a in NUMBERS for b in NUMBERS] + ["", "alone"]
    spanish = [f"{a} {b}" for a in NUMEROS for b in NUMEROS] + ["solo", ""]
    write_module(tmp_path / "en", [english], [["one one"]])
    write_module(tmp_path / "es", [spanish], [["otra vez"]])
    parts = verses("en", "es", tmp_path, test=20, validation=10)
    assert [len(part) for part in (parts.test, parts.validation, parts.training)] == [20, 10, 70]
    everything = parts.training + parts.validation + parts.test
    translated = dict(zip(NUMBERS, NUMEROS, strict=True))
    assert len(dict(everything)) == 100
    for source, target in everything:
        assert target == " ".join(translated[word] for word in source.split())


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "es" / "nt.bzz").unlink(), "no SWORD module in .*es: .*apt-get install"),
        (lambda f: (f / "es" / "ot.bzz").write_bytes(b"none"), "es: ot.bz. cannot be read: "),
        (lambda f: (f / "es" / "nt.bzv").write_bytes(b"12345"), "es: nt.bz. cannot be read: "),
        (lambda f: (f / "es" / "nt.bzv").write_bytes(b""), "3 verses and es for 2: they number"),
    ],
)
def test_modules_that_cannot_be_used(tmp_path: Path, harm: object, said: str) -> None:
    for name in ("en", "es"):
        write_module(tmp_path / name, [["a", "b"]], [["c"]])
    assert callable(harm)
    harm(tmp_path)
    with pytest.raises(TextError, match=said):
        verses("en", "es", tmp_path)


def test_word_by_word_is_the_first_ibm_model() -> None:
    """Compares with the definition: each target word aligns with the source's distinct words."""
    pairs = [("b c", "x y"), ("b", "y"), ("c d d", "x z"), ("d b", "z y w")]
    sources, targets = "bcd", "wxyz"
    t = np.ones((3, 4))
    for _ in range(3):
        count = np.zeros((3, 4))
        for e, f in pairs:
            rows = [sources.index(word) for word in sorted(set(e.split()))]
            for column in (targets.index(word) for word in f.split()):
                count[rows, column] += t[rows, column] / t[rows, column].sum()
        t = count / count.sum(axis=1, keepdims=True)
    best = [targets[i] for i in t.argmax(axis=1)]
    assert WordByWord(pairs, rounds=3).translate("b c d") == " ".join(best)


def test_word_by_word_learns_numbers_and_keeps_unknown_words() -> None:
    draws = np.random.default_rng(0).integers(0, 10, (60, 4))
    pairs = [
        (", ".join(NUMBERS[i] for i in row), ", ".join(NUMEROS[i] for i in row)) for row in draws
    ]
    dictionary = WordByWord(pairs)
    assert dictionary.translate("seven, eleven, three") == "siete, eleven, tres"
    assert dictionary.translate("") == ""
