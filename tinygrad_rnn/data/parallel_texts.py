"""Parallel texts as programs package them: catalogues of gettext, and modules of SWORD."""

from __future__ import annotations

import gettext
import html
import re
import struct
import zlib
from pathlib import Path

from .datasets import TextError, read_bytes

_KEY = re.compile(r"\s*\([_~]\w\)|[_~](?=\w)")  # the mark of the letter that chooses an entry
_ASIDE = re.compile(r"<(note|title)\b.*?</\1>", re.S)  # about the verse, not part of it
_MARK = re.compile(r"<[^>]*>")


def read_catalogue(file: Path) -> list[tuple[str, str]]:
    """Reads the English messages of a catalogue (.mo), with their translations.

    A key is a message after its context, with a byte of 4 between them. **Raises** TextError.
    """
    try:
        with file.open("rb") as opened:
            catalogue = vars(gettext.GNUTranslations(opened))["_catalog"]
    except (OSError, ValueError, LookupError, struct.error) as error:
        raise TextError(f"{file} is no catalogue of gettext: {error}") from None
    return [
        (key.rpartition("\x04")[2], text)
        for key, text in catalogue.items()
        if isinstance(key, str) and key  # else a plural, or the catalogue's header
    ]


def plain(message: str) -> str:
    """Removes the mark of a menu's key.

    >>> plain("Hori_zontal"), plain("水平方向(_Z)")
    ('Horizontal', '水平方向')
    """
    return _KEY.sub("", message).strip()


def read_module(folder: Path) -> list[str]:
    """Reads the verses of a module in their order; those that it lacks are empty.

    The text is compressed by book: `.bzs` holds the position of each book in `.bzz`, and `.bzv`
    that of each verse in its book. **Raises** TextError.
    """
    verses = []
    for testament in ("ot", "nt"):
        try:
            books, places, packed = (
                read_bytes(folder / f"{testament}.{end}") for end in ("bzs", "bzv", "bzz")
            )
            texts = [
                zlib.decompress(packed[at : at + size])
                for at, size, _ in struct.iter_unpack("<III", books)
            ]
            verses += [
                _text(texts[book][at : at + size]) if size else ""
                for book, at, size in struct.iter_unpack("<IIH", places)
            ]
        except FileNotFoundError:
            raise TextError(
                f"no SWORD module in {folder}: on Debian apt-get install sword-text-kjv "
                "sword-text-sparv; elsewhere name the modules' folder with --folder"
            ) from None
        except (OSError, struct.error, zlib.error, IndexError) as error:
            why = getattr(error, "strerror", None) or error
            raise TextError(f"{folder}: {testament}.bz* cannot be read: {why}") from None
    return verses


def _text(marked: bytes) -> str:
    """Removes a verse's markup."""
    plain = _MARK.sub("", _ASIDE.sub("", marked.decode("utf-8", "replace")))
    return " ".join(html.unescape(plain).split())
