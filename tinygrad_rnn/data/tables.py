"""Tables of users' own: CSV and TSV with a header, and JSON lines.

A row has the number that a spreadsheet shows: the header is row 1, or, in JSON lines, the first
object is. An error names the file, the row and the column, and what to do.
"""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from .datasets import TextError, decoded, file_text, lines

DELIMITERS = ",;\t|"
JSON_LINES = (".jsonl", ".ndjson", ".json")
TABLES = (".csv", ".tsv", *JSON_LINES)
LONGEST = 2**24  # letters of a field
STANDARD_INPUT = "-"
LARGEST = 1e30  # float32 holds it, and float64 its square

T = TypeVar("T")


class TableError(TextError):
    """A table with a row or a column that a task cannot use."""


def read_input(path: str | Path) -> str:
    r"""Reads a UTF-8 file, or the standard input if path is `-`; line ends become "\n".

    **Raises** TextError as `read_text` does.
    """
    if str(path) != STANDARD_INPUT:
        return file_text(path)
    text = decoded(sys.stdin.buffer.read(), "the standard input")
    if not text:
        raise TextError("the standard input is empty; expected a text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def text_lines(path: str | Path) -> list[str]:
    """Reads the lines that are not blank, as `read_input` does. **Raises** TextError for none."""
    found = [line for line in lines(read_input(path)) if line.strip()]
    if not found:
        raise TextError(f"{path} has blank lines only")
    return found


@dataclass(frozen=True)
class Table:
    """The rows of a file: strings, or, in JSON lines, any values.

    >>> table = Table.parse("date,price\\n2020-01-02,3.5\\n2020-01-03,4\\n", "prices.csv")
    >>> table.columns, table.numbers("price")
    (['date', 'price'], [3.5, 4.0])
    >>> table.numbers("date")
    Traceback (most recent call last):
    tinygrad_rnn.data.tables.TableError: prices.csv: row 2, column 'date': expected a number, ...
    """

    name: str  # of the file, for errors
    columns: list[str]
    rows: list[dict[str, Any]]
    places: list[int]  # the number of each row

    @classmethod
    def read(cls, path: str | Path) -> Table:
        """Reads a file. **Raises** TextError for a file that is no text, TableError for a row."""
        return cls.parse(read_input(path), str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> Table:
        """Parses the text of a file: JSON lines if its name ends as theirs do, else CSV or TSV."""
        parse = _json_rows if name.lower().endswith(JSON_LINES) else _csv_rows
        columns, rows, places = parse(text, name)
        if not rows:
            raise TableError(f"{name} has no rows")
        return cls(name, columns, rows, places)

    def __len__(self) -> int:
        return len(self.rows)

    def error(self, row: int, column: str, what: str) -> TableError:
        """Returns an error about a value. **Arguments** row: its index in `rows`."""
        return TableError(f"{self.name}: row {self.places[row]}, column {column!r}: {what}")

    def texts(self, column: str) -> list[str]:
        """Returns a column of strings, none of them blank; integers become strings."""

        first: type | None = None

        def text(value: object) -> str:
            nonlocal first
            if not isinstance(value, int | str) or isinstance(value, bool):
                raise ValueError(f"expected a string, got {_shown(value)}")
            first = first or type(value)
            if type(value) is not first:
                raise ValueError(
                    f"mixed types: {_shown(value)} is no {first.__name__}, as the values above are"
                )
            if any("\ud800" <= letter <= "\udfff" for letter in str(value)):
                raise ValueError(f"half a letter, without its other \\u: {_shown(value)}")
            return str(value)

        return self._column(column, text)

    def numbers(self, column: str) -> list[float]:
        """Returns a column of numbers, each smaller than LARGEST in size."""
        return self._column(column, number)

    def dates(self, column: str) -> list[datetime]:
        """Returns a column of dates or times of ISO 8601, which must increase."""

        def day(value: Any) -> datetime:
            try:
                return datetime.fromisoformat(value.strip())
            except (AttributeError, ValueError):
                raise ValueError(
                    f"expected a date such as 2024-12-31, got {_shown(value)}"
                ) from None

        found = self._column(column, day)
        for i in range(1, len(found)):
            if (found[i].tzinfo is None) is not (found[0].tzinfo is None):
                raise self.error(i, column, "some dates have a time zone, and others none")
            if found[i] <= found[i - 1]:
                raise self.error(
                    i, column, f"dates out of order: {self.rows[i][column]} follows "
                    f"{self.rows[i - 1][column]}: sort the rows, and keep one of each date",
                )  # fmt: skip
        return found

    def _column(self, column: str, convert: Callable[[Any], T]) -> list[T]:
        if column not in self.columns:
            raise TableError(
                f"{self.name}: no column {column!r}: it has {', '.join(map(repr, self.columns))}"
            )
        values = []
        for i, row in enumerate(self.rows):
            value = row.get(column)
            if value is None or (isinstance(value, str) and not value.strip()):
                raise self.error(i, column, "missing value: fill it in, or remove the row")
            try:
                values.append(convert(value))
            except ValueError as error:
                raise self.error(i, column, str(error)) from None
        return values


def number(value: Any) -> float:
    """Converts a value to a number. **Raises** ValueError for what is none, or not below LARGEST.

    >>> number("3.5")
    3.5
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except OverflowError:  # an integer of JSON
        found = LARGEST
    except (TypeError, ValueError):
        found = math.nan
    if math.isfinite(found) and abs(found) >= LARGEST:
        raise ValueError(f"{_shown(value)} is too large: scale the column down")
    if not math.isfinite(found):
        raise ValueError(f"expected a number, got {_shown(value)}")
    return found


Rows = tuple[list[str], list[dict[str, Any]], list[int]]


def _csv_rows(text: str, name: str) -> Rows:
    header = text.split("\n", 1)[0]
    delimiter = "\t" if name.lower().endswith(".tsv") else max(DELIMITERS, key=header.count)
    rows: list[dict[str, Any]] = []
    columns: list[str] = []
    limit = csv.field_size_limit(LONGEST)
    row = 0
    try:
        reader = csv.reader(io.StringIO(text.rstrip("\n")), delimiter=delimiter, strict=True)
        for row, fields in enumerate(reader, start=1):
            if row == 1:
                columns = [field.strip() for field in fields]
                if doubled := [c for c in columns if columns.count(c) > 1]:
                    raise TableError(f"{name}: row 1: the column {doubled[0]!r} occurs twice")
            elif not any(field.strip() for field in fields):
                raise TableError(f"{name}: row {row} is empty: remove it")
            elif len(fields) != len(columns):
                raise TableError(
                    f"{name}: row {row} has {len(fields)} fields, but the header has "
                    f"{len(columns)} ({', '.join(map(repr, columns))}): quote a field that "
                    f"contains {delimiter!r}"
                )
            else:
                rows.append(dict(zip(columns, fields, strict=True)))
    except csv.Error as error:
        raise TableError(f"{name}: row {row + 1}: {error}: check its quotation marks") from None
    finally:
        csv.field_size_limit(limit)
    return columns, rows, list(range(2, len(rows) + 2))


def _json_rows(text: str, name: str) -> Rows:
    columns: dict[str, None] = {}
    rows = []
    for row, line in enumerate(lines(text.rstrip("\n")), start=1):
        if not line.strip():
            raise TableError(f"{name}: row {row} is empty: remove it")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            other = "nested too deeply" if isinstance(error, RecursionError) else "too many digits"
            why = getattr(error, "msg", other)
            raise TableError(
                f"{name}: row {row} is not JSON ({why}): expected an object in one line"
            ) from None
        if not isinstance(value, dict):
            raise TableError(
                f'{name}: row {row}: expected an object such as {{"text": ...}}, got '
                f"{_shown(value)}"
            )
        columns |= dict.fromkeys(value)
        rows.append(value)
    return list(columns), rows, list(range(1, len(rows) + 1))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
