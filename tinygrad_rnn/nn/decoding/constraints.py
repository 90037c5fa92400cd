"""Constraints on decoding: banned and allowed tokens, prefixes, and required words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf

from ...annotations import misfit
from ...errors import InvalidTypeError, InvalidValueError, public
from ...tensor import creation, ops
from ...tensor.shapes import integer
from ...tensor.tensor import Tensor
from ..checks import instance
from .steps import Decoding, Path

Word = Sequence[int]  # consecutive tokens


@dataclass(frozen=True)
class Constraints:
    """Constraints on the next token: a banned token gets log-probability -inf.

    The log-probabilities of the other tokens do not change.

    **Arguments** min_length: the least number of tokens before the end token. no_repeat_ngram: bans
    the repetition of an n-gram of this size; 0 for no such rule. forbidden: sequences of tokens
    that must not occur. prefix: for each batch row, the tokens that its result starts with; no
    other rule applies to them. allowed: `(row, tokens so far) -> allowed next tokens`, None for
    all. **Raises** ValueError.

    >>> Constraints(no_repeat_ngram=2).banned_tokens(Path(0, (1, 2, 1)), None)
    {2}
    """

    min_length: int = 0
    no_repeat_ngram: int = 0
    forbidden: Sequence[Word] = ()
    prefix: Sequence[Word] = ()
    allowed: Callable[[int, tuple[int, ...]], Collection[int] | None] | None = None

    @public
    def __post_init__(self) -> None:
        if wrong := misfit(vars(self), Constraints):
            raise InvalidTypeError(f"Constraints: {wrong}")
        for name in ("min_length", "no_repeat_ngram"):
            if getattr(self, name) < 0:
                raise InvalidValueError(
                    f"Constraints: {name}: expected 0 or more, got {getattr(self, name)}"
                )
        if any(len(word) == 0 for word in self.forbidden):
            raise InvalidValueError("Constraints: forbidden: expected no empty sequence, got one")

    @staticmethod
    def checked(given: Constraints | None, decoding: Decoding, end: int | None) -> Constraints:
        """Returns the constraints of a decoding, and refuses what is none, or no end token."""
        if given is not None:
            instance(decoding.name, "constraints", given, Constraints)
        if end is not None:
            integer(end, f"{decoding.name}: end")
        rules = Constraints() if given is None else given
        rules.check(decoding.name, decoding.max_lengths)
        return rules

    def check(self, name: str, max_lengths: Sequence[int]) -> None:
        """Refuses constraints that a batch with these maximal lengths cannot satisfy."""
        shortest = min(max_lengths, default=self.min_length)
        if self.min_length > shortest:
            raise InvalidValueError(
                f"{name}: constraints: expected a min_length up to max_length {shortest}, got "
                f"{self.min_length}"
            )
        batch = len(max_lengths)
        if len(self.prefix) not in (0, batch):
            raise InvalidValueError(
                f"{name}: constraints: expected a prefix of {batch} sequences, one per batch row "
                f"(empty for none); got {len(self.prefix)}"
            )

    def allowed_tokens(self, path: Path) -> Collection[int] | None:
        """The allowed next tokens of a path; None for all."""
        at = len(path.tokens)
        if self._in_prefix(path):
            return (self.prefix[path.row][at],)
        return self.allowed(path.row, path.tokens) if self.allowed else None

    def banned_tokens(self, path: Path, end: int | None) -> set[int]:
        """The banned next tokens of a path."""
        if self._in_prefix(path):
            return set()
        tokens = path.tokens
        found = {end} if end is not None and len(tokens) < self.min_length else set()
        if n := self.no_repeat_ngram:
            last = tokens[len(tokens) - n + 1 :] if n > 1 else ()
            starts = range(len(tokens) - n + 1)
            found.update(tokens[i + n - 1] for i in starts if tokens[i : i + n - 1] == last)
        for word in self.forbidden:
            before = tuple(word[:-1])
            if len(before) <= len(tokens) and tokens[len(tokens) - len(before) :] == before:
                found.add(word[-1])
        return found

    def _in_prefix(self, path: Path) -> bool:
        """Whether the next token of a path is part of its prefix."""
        return len(self.prefix) > 0 and len(path.tokens) < len(self.prefix[path.row])

    def apply(self, log_probs: Tensor, paths: Sequence[Path], end: int | None) -> Tensor:
        """**Arguments** log_probs: (N, V), of N paths. **Returns** them, -inf at banned tokens."""
        if end is not None and not 0 <= end < log_probs.shape[1]:
            raise InvalidValueError(
                f"end: token {end} is outside the vocabulary of {log_probs.shape[1]} tokens"
            )
        restricted: list[int] = []
        allowed_at: list[tuple[int, int]] = []
        banned_at: list[tuple[int, int]] = []
        for i, path in enumerate(paths):
            allowed = self.allowed_tokens(path)
            if allowed is not None:
                restricted.append(i)
                allowed_at += [(i, token) for token in allowed]
            banned_at += [(i, token) for token in self.banned_tokens(path, end)]
        if restricted:
            masked = creation.zeros(log_probs.shape, dtype="bool", device=log_probs.device)
            masked = _put(ops.index_update(masked, True, index=restricted), allowed_at, False)
            log_probs = ops.where(masked, -inf, log_probs)
        return _put(log_probs, banned_at, -inf)


def _put(log_probs: Tensor, places: list[tuple[int, int]], value: float) -> Tensor:
    if not places:
        return log_probs
    rows, tokens = map(list, zip(*places, strict=True))
    if not 0 <= min(tokens) <= max(tokens) < log_probs.shape[1]:
        raise InvalidValueError(
            f"constraints: tokens {min(tokens)} to {max(tokens)} are not all in the "
            f"vocabulary of {log_probs.shape[1]} tokens"
        )
    return ops.index_update(log_probs, value, index=(rows, tokens))


class Required:
    """Lexical constraints of a batch: words that every result must contain.

    Hokamp and Liu (2017); Post and Vilar (2018).
    """

    def __init__(self, words: Sequence[Sequence[Word]], batch: int) -> None:
        if len(words) not in (0, batch):
            raise InvalidValueError(
                f"beam_search: required: expected {batch} lists of sequences, one per batch row; "
                f"got {len(words)}"
            )
        self.words = [[tuple(word) for word in row] for row in words]
        if any(not word for row in self.words for word in row):
            raise InvalidValueError("beam_search: required contains an empty sequence")

    def satisfied(self, path: Path) -> bool:
        """Whether a path contains all words of its row."""
        return all(_matched(path.tokens, word) == len(word) for word in self._of(path))

    def progress(self, path: Path) -> int:
        """The number of tokens that a path has of its row's words, complete or partial."""
        return sum(_matched(path.tokens, word) for word in self._of(path))

    def continuations(self, path: Path) -> set[int]:
        """The tokens that start or continue a word that a path does not contain yet."""
        matched = ((word, _matched(path.tokens, word)) for word in self._of(path))
        return {word[n] for word, n in matched if n < len(word)}

    def _of(self, path: Path) -> list[tuple[int, ...]]:
        return self.words[path.row] if self.words else []


def _matched(tokens: tuple[int, ...], word: tuple[int, ...]) -> int:
    """The length of a word that a sequence contains, else of its prefix that ends the sequence."""
    n = len(word)
    if any(tokens[i : i + n] == word for i in range(len(tokens) - n + 1)):
        return n
    return max(k for k in range(n) if k == 0 or tokens[-k:] == word[:k])
