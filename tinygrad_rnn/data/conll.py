"""Sentences with a tag for each word: the CoNLL format, and CoNLL-U.

Each line has a word, with its tag in the last column; CoNLL-U names its columns, and that of the
universal part of speech is the default. A blank line ends a sentence.
"""

from __future__ import annotations

from .datasets import lines
from .tables import TableError

Sentence = list[tuple[str, str]]  # words and tags
COLUMNS = ("lemma", "upos", "xpos", "feats", "head", "deprel")  # of CoNLL-U, from the third on


def parse_conll(text: str, name: str, column: str = "", tagged: bool = True) -> list[Sentence]:
    """Parses the text of a file: CoNLL-U if its name ends in `.conllu`, else columns and blanks.

    **Arguments** column: of the tags: a name of CoNLL-U (upos, if empty), or a number from 1 (the
    last, if empty). tagged: whether there are tags; without, each is empty. **Raises** TableError
    that names the row, and the column that it lacks.

    >>> parse_conll("EU NNP B-ORG\\nrejects VBZ O\\n\\nPeter NNP B-PER\\n", "x.txt")
    [[('EU', 'B-ORG'), ('rejects', 'O')], [('Peter', 'B-PER')]]
    """
    universal = name.lower().endswith(".conllu")
    at = _column(column, universal) if tagged else 0
    word_at = 1 if universal else 0
    sentences: list[Sentence] = [[]]
    width = 0
    for row, line in enumerate(lines(text), start=1):
        if not line.strip():
            sentences.append([])
            continue
        if line.startswith("-DOCSTART-") or (universal and line.startswith("#")):
            continue
        fields = line.split("\t") if universal else line.split()
        if universal and len(fields) != 10:
            raise TableError(
                f"{name}: row {row} has {_count(fields)}; CoNLL-U has 10, with tabs between them"
            )
        if universal and not fields[0].isdigit():  # several words in one, or an empty node
            continue
        width = width or len(fields)
        if len(fields) != width or (tagged and not universal and width < 2):
            raise TableError(
                f"{name}: row {row} has {_count(fields)}; expected "
                + (
                    f"{width}, as the first row has"
                    if width > 1 or not tagged
                    else "a word and a tag"
                )
            )
        if tagged and not -width <= at < width:
            raise TableError(f"{name}: row {row} has no column {column}: it has {width}")
        tag = fields[at] if tagged else ""
        if tagged and tag in ("", "_"):
            raise TableError(f"{name}: row {row}, column {column or 'upos'}: missing tag")
        if not fields[word_at].strip():
            raise TableError(f"{name}: row {row}, column form: missing word")
        sentences[-1].append((fields[word_at], tag))
    found = [sentence for sentence in sentences if sentence]
    if not found:
        raise TableError(f"{name} has no sentences")
    return found


def _count(fields: list[str]) -> str:
    return f"{len(fields)} column{'s'[: len(fields) != 1]}"


def _column(column: str, universal: bool) -> int:
    """Returns the index of a column."""
    if universal and column.lower() in ("", *COLUMNS):
        return 2 + COLUMNS.index(column.lower() or "upos")
    if not universal and not column:
        return -1
    if column.isascii() and column.isdigit() and 1 <= int(column[:4]) <= 100:
        return int(column) - 1
    names = f"one of {', '.join(COLUMNS)}, or " * universal
    raise TableError(f"`column`: expected {names}a number from 1 on, not {column!r}")
