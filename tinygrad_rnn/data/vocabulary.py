"""Vocabularies, which turn texts into integers and back: the base class, and characters."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidTypeError, InvalidValueError, TinygradRnnError, public

SHOWN = 10  # unknown symbols that a message lists
PAD, START, END, UNKNOWN = range(MARKS := 4)  # the special symbols, which have the first ids


class VocabularyError(TinygradRnnError, ValueError):
    """A symbol or an id that a vocabulary does not hold."""


class Vocabulary:
    """The base of vocabularies: symbols with an id each, optionally after four special symbols.

    The special symbols (marks) are padding, the start and the end of a sequence, and the
    replacement for an unknown symbol. Without marks an unknown symbol is an error. `symbols` holds
    all but the marks, in the order of their ids, and suffices to restore the vocabulary.

    **Arguments** marks: whether ids 0 to 3 are PAD, START, END and UNKNOWN.

    >>> import tinygrad_rnn as tg
    >>> vocabulary = tg.data.WordVocabulary.of(["the cat", "the mat"])
    >>> vocabulary.decode(vocabulary.encode("the cat"))
    'the cat'
    >>> vocabulary.encode("dog").tolist() == [tg.data.UNKNOWN]
    True
    """

    kind: ClassVar[str]  # its name in settings
    unknown: ClassVar[str] = "\ufffd"  # the text of an UNKNOWN
    symbols: Any

    @public
    def __init__(self, marks: bool) -> None:
        self.marks = marks
        self._first = MARKS if marks else 0

    @classmethod
    @public
    def of(cls, texts: Iterable[str], vocab_size: int | None = None) -> Self:
        """Collects the symbols of texts, the most frequent first, into a vocabulary with marks.

        **Arguments** vocab_size: the maximal number of symbols; all, if None.
        """
        raise InvalidTypeError(f"{cls.__name__} defines no of(texts, vocab_size)")

    @classmethod
    @public
    def restored(cls, symbols: Any) -> Self:
        """Restores a vocabulary with marks from its symbols."""
        return cls(symbols)

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
        """Returns the text of each id, for labels; marks have names such as `</s>`."""
        names = ["<pad>", "<s>", "</s>", "<?>"][: self._first]
        return [
            names[i] if i < self._first else self._join([i - self._first])
            for i in self._checked(ids).tolist()
        ]

    @public
    def encode(self, text: str) -> NDArray[np.int64]:
        """Turns a text into ids.

        **Arguments** text: n symbols. **Returns** (n,) integers in [0, len(self)). **Raises**
        VocabularyError that names the first unknown symbol and its position, if there are no marks.
        """
        places = self._places(text)
        known = places >= 0
        if self.marks:
            return np.where(known, places + self._first, UNKNOWN)
        if not known.all():
            raise VocabularyError(self._unknown(text, np.flatnonzero(~known).tolist()))
        return places

    def unknown_in(self, text: str) -> list[str]:
        """Returns the unknown symbols of a text, in their order."""
        return [
            piece
            for piece, place in zip(self._pieces(text), self._places(text), strict=True)
            if place < 0
        ]

    @public
    def decode(self, ids: ArrayLike) -> str:
        """Turns ids into a text; of the marks only UNKNOWN has one.

        **Arguments** ids: (n,) integers in [0, len(self)). **Raises** VocabularyError for an id
        outside the range.
        """
        checked = self._checked(ids)
        if self.marks:
            checked = checked[(checked >= MARKS) | (checked == UNKNOWN)]
        return self._join(np.where(checked < self._first, -1, checked - self._first).tolist())

    def _checked(self, ids: ArrayLike) -> NDArray[np.int64]:
        checked: NDArray[np.int64] = np.asarray(ids, dtype=np.int64).reshape(-1)
        outside = checked[(checked < 0) | (checked >= len(self))]
        if outside.size:
            raise VocabularyError(f"id {outside[0]} is outside [0, {len(self)})")
        return checked

    # ------------------------------------------------------------ for subclasses to define

    def _pieces(self, text: str) -> list[str]:
        """Splits a text into symbols, known or not."""
        raise InvalidTypeError(f"{type(self).__name__} defines no _pieces(text)")

    def _places(self, text: str) -> NDArray[np.int64]:
        """Returns the symbols' positions in `symbols`, -1 for unknown ones."""
        raise InvalidTypeError(f"{type(self).__name__} defines no _places(text)")

    def _join(self, places: list[int]) -> str:
        """Joins the symbols at positions to a text, with `unknown` for -1."""
        raise InvalidTypeError(f"{type(self).__name__} defines no _join(places)")

    def _unknown(self, text: str, places: list[int]) -> str:
        """Describes the unknown symbols at these positions of a text."""
        raise InvalidTypeError(f"{type(self).__name__} defines no _unknown(text, places)")


class CharVocabulary(Vocabulary):
    r"""A vocabulary of the distinct characters of a text, in the order of their code points.

    A character is a Unicode code point, whatever its script or plane. `symbols` holds all of them
    as one string, so `CharVocabulary(vocabulary.symbols)` is the same vocabulary.

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
    def of(cls, texts: Iterable[str], vocab_size: int | None = None) -> Self:
        """Collects the characters of texts."""
        return cls("".join(most_frequent(Counter("".join(texts)), vocab_size)), marks=True)

    @classmethod
    @public
    def restored(cls, symbols: str) -> Self:
        """Restores a vocabulary from its characters."""
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
            f"not among the vocabulary's {len(self)} characters"
            + f"; nor {'are' if others[1:] else 'is'} {shown}"
            * bool(others)
        )


def most_frequent(counts: Counter[str], vocab_size: int | None) -> list[str]:
    """Returns the most frequent symbols; of equally frequent ones those that sort first."""
    if vocab_size is not None and not operator.index(vocab_size) >= 1:
        raise InvalidValueError(f"vocab_size: expected 1 or more symbols, got {vocab_size}")
    return sorted(counts, key=lambda symbol: (-counts[symbol], symbol))[:vocab_size]


def _code_points(text: str) -> NDArray[Any]:
    # Lone surrogates pass here, so that the error can name them and their positions.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _text(code_points: NDArray[Any]) -> str:
    return code_points.tobytes().decode("utf-32-le")
