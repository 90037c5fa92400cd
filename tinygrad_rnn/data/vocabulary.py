"""Texts to integers and back: what vocabularies have in common, and the one of characters."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidTypeError, InvalidValueError, TinygradRnnError, public

SHOWN = 10  # unknown symbols that a message names
PAD, START, END, UNKNOWN = range(MARKS := 4)  # the first ids of a vocabulary with marks


class VocabularyError(TinygradRnnError, ValueError):
    """A symbol or an id that a vocabulary does not hold."""


class Vocabulary:
    """The base of vocabularies: symbols with an id each, and perhaps marks before them.

    Marks stand for what is no text: padding, a sequence's start and end, and a symbol that the
    vocabulary does not have. Without marks such a symbol is an error. `symbols` holds all but the
    marks, in the order of their ids, and is all that a checkpoint has to keep.

    **Arguments** marks: whether ids 0 to 3 are PAD, START, END and UNKNOWN.
    """

    kind: ClassVar[str]  # its name where a user chooses one
    unknown: ClassVar[str] = "\ufffd"  # what an UNKNOWN is decoded to
    symbols: Any

    @public
    def __init__(self, marks: bool) -> None:
        self.marks = marks
        self._first = MARKS if marks else 0

    @classmethod
    @public
    def of(cls, texts: Iterable[str], most: int | None = None) -> Self:
        """A vocabulary with marks of texts, of at most so many symbols, the frequent ones first."""
        raise InvalidTypeError(f"{cls.__name__} defines no of(texts, most)")

    @classmethod
    @public
    def restored(cls, symbols: Any) -> Self:
        """The vocabulary with marks that has these symbols."""
        raise InvalidTypeError(f"{cls.__name__} defines no restored(symbols)")

    def __len__(self) -> int:
        return len(self.symbols) + self._first

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, type(self))
            and self.symbols == other.symbols
            and self.marks == other.marks
        )

    def __hash__(self) -> int:
        return hash((self.kind, len(self)))

    def tokens(self, ids: ArrayLike) -> list[str]:
        """Each id's own text, as a picture of them labels it; marks have names."""
        names = ["<pad>", "<s>", "</s>", "<?>"][: self._first]
        return [
            names[i] if i < self._first else self._join([i - self._first])
            for i in self._checked(ids).tolist()
        ]

    @public
    def encode(self, text: str) -> NDArray[np.int64]:
        """Turns a text into ids.

        **Arguments** text: n symbols. **Returns** (n,) integers in [0, len(self)). **Raises**
        VocabularyError, without marks, that names the first unknown symbol and where it stands.
        """
        places = self._places(text)
        known = places >= 0
        if self.marks:
            return np.where(known, places + self._first, UNKNOWN)
        if not known.all():
            raise VocabularyError(self._unknown(text, np.flatnonzero(~known).tolist()))
        return places

    def unknown_in(self, text: str) -> list[str]:
        """A text's symbols that the vocabulary does not have, in their order."""
        return [
            piece
            for piece, place in zip(self._pieces(text), self._places(text), strict=True)
            if place < 0
        ]

    @public
    def decode(self, ids: ArrayLike) -> str:
        """Turns ids into the text that they stand for; of marks only UNKNOWN stands for anything.

        **Arguments** ids: (n,) integers in [0, len(self)). **Raises** VocabularyError for an id
        outside the range.
        """
        found = self._checked(ids)
        if self.marks:
            found = found[(found >= MARKS) | (found == UNKNOWN)]
        return self._join(np.where(found < self._first, -1, found - self._first).tolist())

    def _checked(self, ids: ArrayLike) -> NDArray[np.int64]:
        found: NDArray[np.int64] = np.asarray(ids, dtype=np.int64).reshape(-1)
        outside = found[(found < 0) | (found >= len(self))]
        if outside.size:
            raise VocabularyError(f"id {outside[0]} is outside [0, {len(self)})")
        return found

    # ------------------------------------------------------------ what a kind of vocabulary says

    def _pieces(self, text: str) -> list[str]:
        """The text's symbols, known or not."""
        raise InvalidTypeError(f"{type(self).__name__} defines no _pieces(text)")

    def _places(self, text: str) -> NDArray[np.int64]:
        """The symbols' places among `symbols`, -1 for the unknown."""
        raise InvalidTypeError(f"{type(self).__name__} defines no _places(text)")

    def _join(self, places: list[int]) -> str:
        """The text of symbols, -1 for the unknown."""
        raise InvalidTypeError(f"{type(self).__name__} defines no _join(places)")

    def _unknown(self, text: str, places: list[int]) -> str:
        """What to say of the symbols at these places, which are unknown."""
        raise InvalidTypeError(f"{type(self).__name__} defines no _unknown(text, places)")


class CharVocabulary(Vocabulary):
    r"""The distinct characters of a text, in the order of their code points.

    A character is a Unicode code point, whatever its script or plane. `symbols` holds all of them
    as one string, so `CharVocabulary(vocabulary.symbols)` is the same vocabulary again.

    **Arguments** text: any text; its distinct characters become the symbols. marks: as
    `Vocabulary`.

    **Raises** VocabularyError for an empty text, and for a lone surrogate, which is half a
    character.

    >>> vocabulary = CharVocabulary("to be, or not to be")
    >>> vocabulary.symbols
    ' ,benort'
    >>> vocabulary.encode("beet")
    array([2, 3, 3, 7])
    >>> vocabulary.decode([2, 3, 3, 7])
    'beet'
    >>> CharVocabulary("abc", marks=True).encode("ax")
    array([4, 3])
    """

    kind = "chars"

    @public
    def __init__(self, text: str, marks: bool = False) -> None:
        super().__init__(marks)
        codes = np.unique(_code_points(text))
        if codes.size == 0:
            raise VocabularyError("a vocabulary needs at least one character; the text is empty")
        surrogates = codes[(codes >= 0xD800) & (codes <= 0xDFFF)]
        if surrogates.size:
            raise VocabularyError(f"a lone surrogate, U+{surrogates[0]:04X}, is not a character")
        self._codes = codes
        self.symbols: str = _text(codes)

    @classmethod
    @public
    def of(cls, texts: Iterable[str], most: int | None = None) -> Self:
        """Of the characters of texts."""
        return cls("".join(most_frequent(Counter("".join(texts)), most)), marks=True)

    @classmethod
    @public
    def restored(cls, symbols: str) -> Self:
        """Of these characters."""
        return cls(symbols, marks=True)

    def __contains__(self, symbol: str) -> bool:
        return len(symbol) == 1 and symbol in self.symbols

    def __repr__(self) -> str:
        return f"CharVocabulary({self.symbols!r}{', marks=True' if self.marks else ''})"

    def _pieces(self, text: str) -> list[str]:
        return list(text)

    def _places(self, text: str) -> NDArray[np.int64]:
        codes = _code_points(text)
        places = np.searchsorted(self._codes, codes)
        known = self._codes.take(places, mode="clip") == codes
        return np.where(known, places, -1).astype(np.int64, copy=False)

    def _join(self, places: list[int]) -> str:
        return "".join(self.symbols[i] if i >= 0 else self.unknown for i in places)

    def _unknown(self, text: str, places: list[int]) -> str:
        at = places[0]
        others = sorted({text[i] for i in places} - {text[at]})
        shown = ", ".join(map(repr, others[:SHOWN])) + ", ..." * (len(others) > SHOWN)
        return (
            f"unknown character {text[at]!r} (U+{ord(text[at]):04X}) at position {at}: "
            f"the vocabulary has {len(self)} symbols, and this is none of them"
            + f"; nor {'are' if others[1:] else 'is'} {shown}"
            * bool(others)
        )


def most_frequent(counts: Counter[str], most: int | None) -> list[str]:
    """The symbols that occur most; of equally frequent ones those that sort first."""
    if most is not None and not operator.index(most) >= 1:
        raise InvalidValueError(f"most: expected 1 or more symbols, got {most}")
    return sorted(counts, key=lambda symbol: (-counts[symbol], symbol))[:most]


def _code_points(text: str) -> NDArray[Any]:
    # Lone surrogates pass here, so that the error about them can name what and where.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _text(code_points: NDArray[Any]) -> str:
    return code_points.tobytes().decode("utf-32-le")
