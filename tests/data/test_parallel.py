"""Pairs are read line by line, padded to batches, and batched in the order of their lengths."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_rnn.data import (
    END,
    PAD,
    START,
    TextError,
    collate_pairs,
    in_order,
    read_lines,
    read_pairs,
)

SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\ufeff \t"
LENGTHS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12)


def pairs_of(lengths: list[tuple[int, int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Creates distinct pairs: the n-th consists of n's."""
    return [(np.full(s, 4 + n), np.full(t, 4 + n)) for n, (s, t) in enumerate(lengths)]


@given(LENGTHS)
def test_collate(lengths: list[tuple[int, int]]) -> None:
    pairs = pairs_of(lengths)
    batch = collate_pairs(pairs)
    assert batch.symbols == sum(t + 1 for _, t in lengths)
    for column, (source, target) in enumerate(pairs):
        assert batch.lengths[column] == len(source) + 1
        for table, row in (
            (batch.source, [*source, END]),
            (batch.inputs, [START, *target]),
            (batch.targets, [*target, END]),
        ):
            np.testing.assert_array_equal(table[: len(row), column], row)
            assert (table[len(row) :, column] == PAD).all()


@given(LENGTHS, st.integers(1, 5))
def test_in_order(lengths: list[tuple[int, int]], size: int) -> None:
    pairs = pairs_of(lengths)
    places = [place for found, batch in in_order(pairs, size) for place in found]
    assert sorted(places) == list(range(len(pairs)))
    for found, batch in in_order(pairs, size):
        assert batch.lengths.tolist() == [lengths[i][0] + 1 for i in found]


def test_files(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("one\n\nthree\u2028x\n", "utf-8")
    b.write_bytes(b"eins\r\nzwei\r\ndrei")
    assert read_pairs(a, b) == [("one", "eins"), ("three\u2028x", "drei")]
    b.write_text("eins\n")
    with pytest.raises(TextError, match=r"has 3 lines and .* 1: each line"):
        read_pairs(a, b)
    a.write_text(" \n")
    with pytest.raises(TextError, match="no line with text on both sides"):
        read_pairs(a, b)


ENDS = st.sampled_from(["\n", "\r\n"])
LINE = st.text(st.one_of(st.characters(exclude_characters="\n\r\0"), st.sampled_from(SEPARATORS)))


@given(
    st.lists(LINE, min_size=1, max_size=6), st.lists(ENDS, min_size=6, max_size=6), st.booleans()
)
def test_lines_are_those_that_are_counted(
    tmp_path_factory: pytest.TempPathFactory, found: list[str], ends: list[str], whole: bool
) -> None:
    """Other line separators of Unicode are part of the line; a byte-order mark is not."""
    text = "".join(map("".join, zip(found, ends, strict=False)))
    if not whole:
        text = text.removesuffix("\n").removesuffix("\r") + "."
        found = [*found[:-1], found[-1] + "."]
    path = tmp_path_factory.getbasetemp() / "drawn"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_lines(path) == found


def test_a_lone_carriage_return(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\rmore\ntwo\n")  # ends no line beside line feeds
    (tmp_path / "b").write_bytes(b"eins\rzwei")  # ends all lines of an old Macintosh
    assert read_pairs(tmp_path / "a", tmp_path / "b") == [("one\rmore", "eins"), ("two", "zwei")]
