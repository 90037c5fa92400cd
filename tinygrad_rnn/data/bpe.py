"""The vocabulary of byte-level byte-pair encoding, through `tokenizers`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import needs, public
from .vocabulary import MARKS, Vocabulary, VocabularyError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Merges stay within these parts, as in GPT-2 (Radford et al. 2019), except that combining marks
# (\p{M}) and joiners (U+200C and U+200D) belong to the letter before them.
_WITH = r"[\p{M}\x{200C}\x{200D}]*"
_PARTS = (
    rf"'(?:s|t|re|ve|m|ll|d)| ?(?:\p{{L}}{_WITH})+| ?(?:\p{{N}}{_WITH})+"
    r"| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


class BPEVocabulary(Vocabulary):
    """Byte-pair encoding: merges frequent pairs of symbols repeatedly (Sennrich et al. 2016).

    The first symbols are the 256 bytes, so it can encode every text.

    **Arguments** symbols: the attribute `symbols` of another vocabulary: the pieces by id, and the
    merges in order. It always has marks. **Raises** VocabularyError if they do not fit together, or
    if the package `tokenizers` is missing.

    >>> import tinygrad_rnn as tg
    >>> vocabulary = tg.data.BPEVocabulary.of(["low lower lowest"] * 9, vocab_size=270)
    >>> vocabulary.decode(vocabulary.encode("lower and slower"))
    'lower and slower'
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
            raise VocabularyError("these symbols are not a byte-pair encoding: pieces are missing")
        self._tokenizer = _tokenizer(pieces, merges)
        if not pieces.keys() >= set(_alphabet()):  # encoding would skip a byte without a piece
            raise VocabularyError("these symbols are not a byte-pair encoding: bytes are missing")

    @classmethod
    @public
    def of(cls, texts: Iterable[str], vocab_size: int | None = None) -> Self:
        """Learns the merges of texts.

        **Arguments** vocab_size: the maximal number of pieces; 8000, if None; at least the bytes.
        """
        from_scratch = _tokenizer({}, [])
        from tokenizers import trainers

        trainer = trainers.BpeTrainer(
            vocab_size=max(256, 8000 if vocab_size is None else vocab_size),
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
    remedy = "pip install 'tinygrad_rnn[translate]'; or choose chars or words"
    with needs("tokenizers", "byte-pair encoding", remedy, VocabularyError):
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PARTS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _alphabet() -> list[str]:
    """Returns the characters that represent the 256 bytes."""
    from tokenizers import pre_tokenizers

    return list(pre_tokenizers.ByteLevel.alphabet())


def _whole(text: str) -> str:
    for at, character in enumerate(text):
        if "\ud800" <= character <= "\udfff":
            raise VocabularyError(
                f"a lone surrogate, U+{ord(character):04X} at position {at}, is not a character"
            )
    return text
