"""The vocabulary of words, which keeps the text between words as well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Self

import numpy as np
import regex
from numpy.typing import NDArray

from ..errors import public
from .vocabulary import Vocabulary, VocabularyError, most_frequent

# Up to the next word boundary of Unicode (UAX #29), which never separates a combining mark or
# splits an emoji; every character is in one of the matches.
_WORDS = regex.compile(r" ?\S.*?\b|.", regex.WORD | regex.DOTALL)
# Scripts without blanks between words: without a dictionary their letters are words.
_WITHOUT_BLANKS = {
    name: regex.compile(rf"\p{{Script={name}}}")
    for name in ("Han", "Hiragana", "Thai", "Lao", "Khmer", "Myanmar", "Tai_Le", "Tai_Tham")
}


class WordVocabulary(Vocabulary):
    """A vocabulary of words and punctuation marks, each with the blank before it.

    Unicode defines where a word ends (UAX #29), in every script with blanks between words. In one
    without, such as Chinese and Thai, a word is a letter: characters or byte pairs serve better.

    Encoding puts a blank before the text, so that a word is the same symbol at any position;
    decoding joins the symbols to the same text, with all its blanks.

    **Arguments** symbols: the words. It always has marks. **Raises** VocabularyError if there are
    none, or one occurs twice.

    >>> vocabulary = WordVocabulary.of(["the cat, the dog"])
    >>> vocabulary.symbols
    (' the', ' cat', ' dog', ',')
    >>> vocabulary.encode("the dog, the bird")
    array([4, 6, 7, 4, 3])
    >>> vocabulary.decode([4, 6, 7, 4, 5])
    'the dog, the cat'
    """

    kind = "words"

    @public
    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__(marks=True)
        self.symbols: tuple[str, ...] = tuple(symbols)
        self._place = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(self._place) < max(1, len(self.symbols)):
            raise VocabularyError("a vocabulary needs at least one word, and each of them once")

    @classmethod
    @public
    def of(cls, texts: Iterable[str], vocab_size: int | None = None) -> Self:
        """Collects the words of texts."""
        counts = Counter(word for text in texts for word in words(text))
        return cls(most_frequent(counts, vocab_size))

    def __repr__(self) -> str:
        return f"<WordVocabulary of {len(self.symbols)} words>"

    def _pieces(self, text: str) -> list[str]:
        return words(text)

    def _places(self, text: str) -> NDArray[np.int64]:
        return np.array([self._place.get(word, -1) for word in words(text)], dtype=np.int64)

    def _join(self, places: list[int]) -> str:
        joined = "".join(self.symbols[i] if i >= 0 else " " + self.unknown for i in places)
        return joined.removeprefix(" ")


def words(text: str) -> list[str]:
    """Splits a text into words; joined they are the text after a blank. An empty text has none."""
    matches: list[str] = _WORDS.findall(" " + text) if text else []
    return matches


def without_blanks(texts: Iterable[str]) -> str:
    """Names the script without blanks between words that most of the texts use, as Unicode does.

    **Returns** "" if no such script occurs in more than half of the texts.

    >>> without_blanks(["สวัสดีชาวโลก", "ขอบคุณ"]), without_blanks(["hello world"])
    ('Thai', '')
    """
    some = list(islice(texts, 1000))
    for name, letters in _WITHOUT_BLANKS.items():
        if 2 * sum(letters.search(text) is not None for text in some) > len(some):
            return name
    return ""
