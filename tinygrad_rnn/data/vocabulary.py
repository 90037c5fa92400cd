"""Characters to integers and back: the sorted code points of a text are its alphabet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


class VocabularyError(ValueError):
    """A character or an id that a vocabulary does not hold."""


class CharVocabulary:
    r"""The distinct characters of a text, in the order of their code points.

    A character is a Unicode code point, whatever its script or plane. `symbols` holds all of them
    as one string, so `CharVocabulary(vocabulary.symbols)` is the same vocabulary again: the string
    is all that a checkpoint has to keep.

    **Arguments** text: any text; its distinct characters become the symbols.

    **Raises** VocabularyError for an empty text, and for a lone surrogate, which is half a
    character.

    >>> vocabulary = CharVocabulary("to be, or not to be")
    >>> vocabulary.symbols
    ' ,benort'
    >>> vocabulary.encode("beet")
    array([2, 3, 3, 7])
    >>> vocabulary.decode([2, 3, 3, 7])
    'beet'
    """

    def __init__(self, text: str) -> None:
        codes = np.unique(_code_points(text))
        if codes.size == 0:
            raise VocabularyError("a vocabulary needs at least one character; the text is empty")
        surrogates = codes[(codes >= 0xD800) & (codes <= 0xDFFF)]
        if surrogates.size:
            raise VocabularyError(f"a lone surrogate, U+{surrogates[0]:04X}, is not a character")
        self._codes = codes
        self.symbols = _text(codes)

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: str) -> bool:
        return len(symbol) == 1 and symbol in self.symbols

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CharVocabulary) and self.symbols == other.symbols

    def __hash__(self) -> int:
        return hash(self.symbols)

    def __repr__(self) -> str:
        return f"CharVocabulary({self.symbols!r})"

    def encode(self, text: str) -> NDArray[np.int64]:
        """Turns a text into ids.

        **Arguments** text: n characters. **Returns** (n,) integers in [0, len(self)).
        **Raises** VocabularyError that names the first unknown character and its position,
        counted from 0.

        >>> CharVocabulary("abc").encode("cab")
        array([2, 0, 1])
        """
        codes = _code_points(text)
        ids = np.searchsorted(self._codes, codes)
        known = self._codes.take(ids, mode="clip") == codes
        if not known.all():
            at = int(known.argmin())
            raise VocabularyError(
                f"unknown character {text[at]!r} (U+{ord(text[at]):04X}) at position {at}: "
                f"the vocabulary has {len(self)} symbols, and this is none of them"
            )
        return ids.astype(np.int64, copy=False)

    def decode(self, ids: ArrayLike) -> str:
        """Turns ids into the text that they stand for.

        **Arguments** ids: (n,) integers in [0, len(self)). **Returns** n characters.
        **Raises** VocabularyError for an id outside the range.

        >>> CharVocabulary("abc").decode([2, 0, 1])
        'cab'
        """
        indices: NDArray[Any] = np.asarray(ids, dtype=np.int64)
        outside = indices[(indices < 0) | (indices >= len(self))]
        if outside.size:
            raise VocabularyError(f"id {outside.flat[0]} is outside [0, {len(self)})")
        return _text(self._codes[indices])


def _code_points(text: str) -> NDArray[Any]:
    # Lone surrogates pass here, so that the error about them can name what and where.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _text(code_points: NDArray[Any]) -> str:
    return code_points.tobytes().decode("utf-32-le")
