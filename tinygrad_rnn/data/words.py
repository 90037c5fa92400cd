"""Words to integers and back, with nothing lost between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .vocabulary import Vocabulary, VocabularyError, most_frequent

_WORDS = re.compile(r" ?\w+| ?[^\w\s]|\s")  # every character is in one of them


class WordVocabulary(Vocabulary):
    """Words, and what stands between them, each with the blank before it.

    A text is read as if a blank stood before it, so a word is the same symbol wherever it stands,
    and joined symbols are the text again, blanks and all.

    **Arguments** symbols: the words. It always has marks. **Raises** VocabularyError if there are
    none, or one comes twice.

    >>> vocabulary = WordVocabulary.of(["the cat, the dog"])
    >>> vocabulary.symbols
    (' the', ' cat', ' dog', ',')
    >>> vocabulary.encode("the dog, the bird")
    array([4, 6, 7, 4, 3])
    >>> vocabulary.decode([4, 6, 7, 4, 5])
    'the dog, the cat'
    """

    kind = "words"

    def __init__(self, symbols: Sequence[str]) -> None:
        super().__init__(marks=True)
        self.symbols: tuple[str, ...] = tuple(symbols)
        self._place = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(self._place) < max(1, len(self.symbols)):
            raise VocabularyError("a vocabulary needs at least one word, and each of them once")

    @classmethod
    def restored(cls, symbols: Any) -> Self:
        """Of these symbols."""
        return cls(symbols)

    @classmethod
    def of(cls, texts: Iterable[str], most: int | None = None) -> Self:
        """Of the words of texts."""
        counts = Counter(word for text in texts for word in words(text))
        return cls(most_frequent(counts, most))

    def __repr__(self) -> str:
        return f"<WordVocabulary of {len(self.symbols)} words>"

    def _places(self, text: str) -> NDArray[np.int64]:
        return np.array([self._place.get(word, -1) for word in words(text)], dtype=np.int64)

    def _join(self, places: list[int]) -> str:
        joined = "".join(self.symbols[i] if i >= 0 else " " + self.unknown for i in places)
        return joined.removeprefix(" ")


def words(text: str) -> list[str]:
    """A text's words; joined they are the text with a blank before it, or nothing for none."""
    return _WORDS.findall(" " + text) if text else []
