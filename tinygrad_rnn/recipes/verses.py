"""Two translations of the Bible, verse for verse: the parallel text that every language has.

They are read from modules of the SWORD project, which Debian packages for many languages:

    apt-get install sword-text-kjv sword-text-sparv

Translations of one numbering of verses agree in the verses' places in their files. A module's text
is compressed book by book: `.bzs` says where each book lies in `.bzz`, and `.bzv` where each verse
lies in its book.
"""

from __future__ import annotations

import hashlib
import html
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

from ..data import TextError
from ..data.datasets import read_bytes
from .translate import TranslateConfig
from .translation_training import Texts

MODULES = Path("/usr/share/sword/modules/texts/ztext")
ENGLISH, SPANISH = "engKJV2006eb", "spaRV1909eb"
TEST, WATCH = 1_000, 500  # verses

CONFIG = TranslateConfig(
    cell="lstm", hidden=256, layers=1, embedding=256, dropout=0.3, attention="general",
    source_symbols="bpe", target_symbols="bpe", most=2000, longest=80, tied=True,
    batch=64, steps=6_000, lr=2e-3,
)  # fmt: skip

_ASIDE = re.compile(r"<(note|title)\b.*?</\1>", re.S)  # said about the verse, not in it
_MARK = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Verses:
    """Verses of two languages, parted: to learn from, to watch, to test with."""

    learn: list[Texts]
    watch: list[Texts]
    test: list[Texts]


def verses(
    source: str = ENGLISH,
    target: str = SPANISH,
    folder: str | Path = MODULES,
    *,
    test: int = TEST,
    watch: int = WATCH,
) -> Verses:
    """The verses that two modules have both.

    **Arguments** source, target: the modules' names. folder: where they are installed. test, watch:
    how many verses; a hash of the source's text says which. **Raises** TextError for a module that
    is missing or damaged, or of another numbering than the other.
    """
    sides = [read_module(Path(folder) / name) for name in (source, target)]
    if len(sides[0]) != len(sides[1]):
        raise TextError(
            f"{source} has places for {len(sides[0]):,} verses and {target} for "
            f"{len(sides[1]):,}: they number verses differently and cannot be aligned"
        )
    pairs = [pair for pair in zip(*sides, strict=True) if all(pair)]
    parts = parted(pairs, test, watch)
    if not parts.learn:
        raise TextError(
            f"{source} and {target} have only {len(pairs):,} verses together: more than "
            f"{test + watch:,} are needed, for those are held back"
        )
    return parts


def parted(pairs: list[Texts], test: int, watch: int) -> Verses:
    """Pairs parted by a hash of their sources, so that no source is in two parts.

    >>> parts = parted([("God", "Dios"), ("day", "dia"), ("God", "Dios"), ("sea", "mar")], 1, 1)
    >>> [len(part) for part in (parts.learn, parts.watch, parts.test)]
    [1, 1, 1]
    """
    once = dict(reversed(pairs))  # of equal sources the first counts
    order = sorted(once.items(), key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
    return Verses(learn=order[test + watch :], watch=order[test : test + watch], test=order[:test])


def read_module(folder: Path) -> list[str]:
    """The verses of a module in their order, those that it leaves out empty."""
    found = []
    for testament in ("ot", "nt"):
        try:
            books, places, packed = (
                read_bytes(folder / f"{testament}.{end}") for end in ("bzs", "bzv", "bzz")
            )
            texts = [
                zlib.decompress(packed[at : at + size])
                for at, size, _ in struct.iter_unpack("<III", books)
            ]
            found += [
                _text(texts[book][at : at + size]) if size else ""
                for book, at, size in struct.iter_unpack("<IIH", places)
            ]
        except FileNotFoundError:
            raise TextError(
                f"no SWORD module in {folder}: on Debian apt-get install sword-text-kjv "
                "sword-text-sparv; elsewhere say with --folder where modules are"
            ) from None
        except (OSError, struct.error, zlib.error, IndexError) as error:
            raise TextError(f"{folder}: {testament}.bz* cannot be read: {error}") from None
    return found


def _text(marked: bytes) -> str:
    """A verse without its markup."""
    plain = _MARK.sub("", _ASIDE.sub("", marked.decode("utf-8", "replace")))
    return " ".join(html.unescape(plain).split())
