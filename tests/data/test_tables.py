"""Tables of users' own: what is read; errors are one line that names the row and the column."""

from __future__ import annotations

import io
import json
import re
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinygrad_rnn.data import TextError
from tinygrad_rnn.data.tables import Table, TableError

GOOD = 'text,label\nfine,1\n"a, b\nc",2\n'


def test_delimiters_quotes_and_trailing_lines(tmp_path: Path) -> None:
    expected = [{"text": "fine", "label": "1"}, {"text": "a, b\nc", "label": "2"}]
    assert Table.parse(GOOD + "\n\n", "x.csv").rows == expected
    assert Table.parse("text;label\nx, y;z\n", "x.csv").rows == [{"text": "x, y", "label": "z"}]
    assert Table.parse("text\tlabel\nx, y\tz\n", "x.tsv").rows == [{"text": "x, y", "label": "z"}]
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert Table.read(tmp_path / "bom.csv").rows == expected


def test_json_lines_and_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Any] = [{"text": "a", "label": 1}, {"text": "b", "label": 2, "more": None}]
    text = "\n".join(map(json.dumps, rows))
    table = Table.parse(text, "x.JSONL")
    assert table.columns == ["text", "label", "more"]
    assert (table.texts("label"), table.numbers("label")) == (["1", "2"], [1.0, 2.0])
    stdin = SimpleNamespace(buffer=io.BytesIO(GOOD.encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert Table.read("-").texts("label") == ["1", "2"]


def test_columns_of_numbers_and_dates() -> None:
    table = Table.parse("date,price\n2020-01-02,1e3\n2020-01-03T10:00, 2.5\n", "x.csv")
    assert table.numbers("price") == [1000.0, 2.5]
    assert table.dates("date") == [datetime(2020, 1, 2), datetime(2020, 1, 3, 10)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "x.csv has no rows"),
        ("a,a\n1,2\n", "x.csv: row 1: the column 'a' occurs twice"),
        ("a,b\n1,2\n\n3,4\n", "x.csv: row 3 is empty: remove it"),
        ("a,b\n1,2\n3\n", "x.csv: row 3 has 1 fields, but the header has 2 ('a', 'b')"),
        ('a,b\n1,2\n"3,4\n', "x.csv: row 3: unexpected end of data"),
    ],
)
def test_rows_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(TableError) as caught:
        Table.parse(text, "x.csv")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n\n{"a": 2}', "x.jsonl: row 2 is empty: remove it"),
        ('{"a": 1}\n{"a": ', "x.jsonl: row 2 is not JSON (Expecting value)"),
        ('{"a": 1}\n[2]', 'x.jsonl: row 2: expected an object such as {"text": ...}, got [2]'),
        ("[" * 100_000, "x.jsonl: row 1 is not JSON"),
    ],
)
def test_lines_of_json_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(TableError) as caught:
        Table.parse(text, "x.jsonl")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("read", "name", "text", "message"),
    [
        ("texts", "x.csv", "a,b\n1,2\n", "x.csv: no column 'c': it has 'a', 'b'"),
        ("texts", "x.csv", "c,d\n1,2\n ,2\n", "x.csv: row 3, column 'c': missing"),
        ("texts", "x.jsonl", '{"c": "1"}\n{"b": 1}', "x.jsonl: row 2, column 'c': missing value"),
        ("texts", "x.jsonl", '{"c": "1"}\n{"c": 1}', "x.jsonl: row 2, column 'c': mixed types: 1"),
        ("texts", "x.jsonl", '{"c": [1]}', "x.jsonl: row 1, column 'c': expected a string"),
        ("numbers", "x.csv", "c\n1\nn/a\n", "x.csv: row 3, column 'c': expected a number, got"),
        ("numbers", "x.csv", "c\n1\nnan\n", "x.csv: row 3, column 'c': expected a number, got"),
        ("numbers", "x.jsonl", '{"c": true}', "x.jsonl: row 1, column 'c': expected a number"),
        ("dates", "x.csv", "c\n1.5.2020\n", "x.csv: row 2, column 'c': expected a date such"),
        ("dates", "x.csv", "c\n2020-02-01\n2020-01-01\n", "x.csv: row 3, column 'c': dates out of"),
        ("dates", "x.csv", "c\n2020-02-01\n2020-02-01\n", "x.csv: row 3, column 'c': dates out of"),
        (
            "dates", "x.csv", "c\n2020-02-01\n2020-02-02T00:00+01:00\n",
            "x.csv: row 3, column 'c': some dates have a time zone",
        ),
    ],
)  # fmt: skip
def test_values_that_are_refused(read: str, name: str, text: str, message: str) -> None:
    with pytest.raises(TableError) as caught:
        getattr(Table.parse(text, name), read)("c")
    assert str(caught.value).startswith(message)


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers()
    | st.sampled_from([10**400, -(10**4000), 1e30, -1e308, "1e999", "2020-01-01", "a.png"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=3,
)  # fmt: skip


@given(rows=st.lists(st.dictionaries(st.sampled_from("cd"), VALUES), min_size=1, max_size=5))
@example([{"c": "a"}, {}, {"c": 1}])
def test_any_json_is_read_or_refused_by_row_and_column(rows: list[dict[str, Any]]) -> None:
    with suppress(TableError):
        table = Table.parse("\n".join(map(json.dumps, rows)), "x.jsonl")
        for read in (table.texts, table.numbers, table.dates):
            said = ""
            try:
                assert len(read("c")) == len(rows)
            except TableError as error:
                said = str(error)
            assert re.match(r"$|x.jsonl: (row \d+, column 'c': |no column 'c')", said)


def test_other_encodings(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("text\nété\n".encode("latin-1"))
    with pytest.raises(TextError, match=r"latin.csv is not UTF-8: byte 0xE9 .* in line 2"):
        Table.read(tmp_path / "latin.csv")
    (tmp_path / "wide.csv").write_text("text\nx\n", "utf-16")
    with pytest.raises(TextError, match="it looks like UTF-16"):
        Table.read(tmp_path / "wide.csv")
