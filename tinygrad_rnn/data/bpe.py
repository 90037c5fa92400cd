"""Pieces of words to integers and back: byte-level byte-pair encoding, through `tokenizers`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import public
from .vocabulary import MARKS, Vocabulary, VocabularyError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What pairs are merged within, as in GPT-2 (Radford et al. 2019), but that a letter keeps its marks
# and a joiner joins: \p{M}, and U+200C and U+200D, are part of what they follow.
_WITH = r"[\p{M}\x{200C}\x{200D}]*"
_PARTS = (
    rf"'(?:s|t|re|ve|m|ll|d)| ?(?:\p{{L}}{_WITH})+| ?(?:\p{{N}}{_WITH})+"
    r"| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


class BPEVocabulary(Vocabulary):
    """Neighbours that are frequent become one symbol, again and again (Sennrich et al. 2016).

    It begins with the 256 bytes, so that it knows every text.

    **Arguments** symbols: what another one has under that name: pieces by id, and which of them are
    merged, in order. It always has marks. **Raises** VocabularyError if they do not fit together,
    or if the package `tokenizers` is missing.
    """

    kind = "bpe"

    @public
    def __init__(self, symbols: dict[str, Any]) -> None:
        super().__init__(marks=True)
        self.symbols = symbols
        try:
            pieces = {piece: i for i, piece in enumerate(symbols["pieces"])}
            merges = [(first, second) for first, second in symbols["merges"]]
            whole = len(pieces) == len(symbols["pieces"])
            whole &= all(part in pieces for a, b in merges for part in (a, b, a + b))
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            raise VocabularyError("these symbols are no byte-pair encoding: pieces are missing")
        self._tokenizer = _tokenizer(pieces, merges)
        if not pieces.keys() >= set(_alphabet()):  # a byte without a piece would be left out
            raise VocabularyError("these symbols are no byte-pair encoding: bytes are missing")

    @classmethod
    @public
    def restored(cls, symbols: Any) -> Self:
        """Of these symbols."""
        return cls(symbols)

    @classmethod
    @public
    def of(cls, texts: Iterable[str], most: int | None = None) -> Self:
        """Of the pieces of texts: at most so many, 8000 if None, and no fewer than the bytes."""
        from_scratch = _tokenizer({}, [])
        from tokenizers import trainers

        trainer = trainers.BpeTrainer(
            vocab_size=max(256, 8000 if most is None else most),
            show_progress=False,
            initial_alphabet=_alphabet(),
        )
        from_scratch.train_from_iterator(map(_whole, texts), trainer)
        model = json.loads(from_scratch.to_str())["model"]
        pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
        return cls({"pieces": pieces, "merges": model["merges"]})

    def __len__(self) -> int:
        return len(self.symbols["pieces"]) + MARKS

    def __repr__(self) -> str:
        return f"<BPEVocabulary of {len(self) - MARKS} pieces>"

    def _pieces(self, text: str) -> list[str]:
        return list(self._tokenizer.encode(_whole(text)).tokens)

    def _places(self, text: str) -> NDArray[np.int64]:
        return np.array(self._tokenizer.encode(_whole(text)).ids, dtype=np.int64)

    def _join(self, places: list[int]) -> str:
        parts, run = [], []
        for place in [*places, -1]:
            if place >= 0:
                run.append(place)
                continue
            parts.append(str(self._tokenizer.decode(run, skip_special_tokens=False)))
            run = []
        return self.unknown.join(parts)


def _tokenizer(pieces: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    except ImportError:
        raise VocabularyError(
            "byte-pair encoding needs the package tokenizers: "
            "pip install 'tinygrad_rnn[translate]'; or choose chars or words"
        ) from None
    made = Tokenizer(models.BPE(vocab=pieces, merges=merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PARTS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    return made


def _alphabet() -> list[str]:
    """What stands for each of the 256 bytes."""
    from tokenizers import pre_tokenizers

    return list(pre_tokenizers.ByteLevel.alphabet())


def _whole(text: str) -> str:
    for at, character in enumerate(text):
        if "\ud800" <= character <= "\udfff":
            raise VocabularyError(
                f"a lone surrogate, U+{ord(character):04X} at position {at}, is not a character"
            )
    return text
