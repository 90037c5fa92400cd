"""Sequences of tokens that the results of a beam search must contain."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import InvalidValueError
from .constraints import Word
from .steps import Path


class Forced:
    """For each row of a batch its forced words, and how far a path has come with them."""

    def __init__(self, words: Sequence[Sequence[Word]], batch: int) -> None:
        if len(words) not in (0, batch):
            raise InvalidValueError(
                f"beam_search: forced: expected {batch} lists of sequences, one a row; got "
                f"{len(words)}"
            )
        self.words = [[tuple(word) for word in row] for row in words]
        if any(not word for row in self.words for word in row):
            raise InvalidValueError("beam_search: forced: a sequence of no tokens is everywhere")

    def met(self, path: Path) -> bool:
        """Whether a path contains all of its row's words."""
        return all(_reached(path.tokens, word) == len(word) for word in self._of(path))

    def progress(self, path: Path) -> int:
        """How many tokens of its row's words a path has, in words that are whole or begun."""
        return sum(_reached(path.tokens, word) for word in self._of(path))

    def next_tokens(self, path: Path) -> set[int]:
        """The tokens that begin or continue words that a path does not have yet."""
        reached = ((word, _reached(path.tokens, word)) for word in self._of(path))
        return {word[n] for word, n in reached if n < len(word)}

    def _of(self, path: Path) -> list[tuple[int, ...]]:
        return self.words[path.row] if self.words else []


def _reached(tokens: tuple[int, ...], word: tuple[int, ...]) -> int:
    """How much of a word a sequence has: all of it anywhere, else what its end begins."""
    n = len(word)
    if any(tokens[i : i + n] == word for i in range(len(tokens) - n + 1)):
        return n
    return max(k for k in range(n) if k == 0 or tokens[-k:] == word[:k])
