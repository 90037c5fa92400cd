"""What may come next: rules that take tokens out of the running before any is chosen."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf

from ...errors import InvalidValueError, public
from ...tensor import creation, ops
from ...tensor.tensor import Tensor
from .steps import Path

Word = Sequence[int]  # tokens in a row


@dataclass(frozen=True)
class Constraints:
    """Which tokens may follow: the others get log-probability -inf, and these keep theirs.

    **Arguments** min_length: how many tokens must stand before the end. no_repeat_ngram: no
    sequence of so many tokens twice; 0 for no such rule. forbidden: sequences of tokens that must
    not appear. prefix: for each row of the batch the tokens that it begins with; these are given,
    and no other rule is asked about them. allowed: `(row, tokens so far) -> tokens that may
    follow`, None for all. **Raises** ValueError.

    >>> Constraints(no_repeat_ngram=2).barred(Path(0, (1, 2, 1)), None)
    {2}
    """

    min_length: int = 0
    no_repeat_ngram: int = 0
    forbidden: Sequence[Word] = ()
    prefix: Sequence[Word] = ()
    allowed: Callable[[int, tuple[int, ...]], Collection[int] | None] | None = None

    @public
    def __post_init__(self) -> None:
        for name in ("min_length", "no_repeat_ngram"):
            if not operator.index(getattr(self, name)) >= 0:
                raise InvalidValueError(
                    f"Constraints: {name}: expected 0 or more, got {getattr(self, name)}"
                )
        if any(len(word) == 0 for word in self.forbidden):
            raise InvalidValueError("Constraints: forbidden: a sequence of no tokens is everywhere")

    def check(self, name: str, batch: int, max_length: int) -> None:
        """Refuses what cannot be met by a batch of so many rows."""
        if max_length < 1:
            raise InvalidValueError(f"{name}: max_length must be at least 1, not {max_length}")
        if self.min_length > max_length:
            raise InvalidValueError(
                f"{name}: min_length {self.min_length} is above max_length {max_length}"
            )
        if len(self.prefix) not in (0, batch):
            raise InvalidValueError(
                f"{name}: prefix: expected {batch} sequences, one a row (an empty one for none); "
                f"got {len(self.prefix)}"
            )

    def only(self, path: Path) -> Collection[int] | None:
        """The tokens that may follow, None for all."""
        at = len(path.tokens)
        if self._given(path):
            return (self.prefix[path.row][at],)
        return self.allowed(path.row, path.tokens) if self.allowed else None

    def barred(self, path: Path, end: int | None) -> set[int]:
        """Tokens that must not follow."""
        if self._given(path):
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

    def _given(self, path: Path) -> bool:
        return len(self.prefix) > 0 and len(path.tokens) < len(self.prefix[path.row])

    def apply(self, log_probs: Tensor, paths: Sequence[Path], end: int | None) -> Tensor:
        """**Arguments** log_probs: (N, V), of N paths. **Returns** them, -inf where barred."""
        if end is not None and not 0 <= end < log_probs.shape[1]:
            raise InvalidValueError(
                f"end: token {end} is outside the {log_probs.shape[1]} of the model"
            )
        closed: list[int] = []
        opened: list[tuple[int, int]] = []
        out: list[tuple[int, int]] = []
        for i, path in enumerate(paths):
            only = self.only(path)
            if only is not None:
                closed.append(i)
                opened += [(i, token) for token in only]
            out += [(i, token) for token in self.barred(path, end)]
        if closed:
            shut = creation.zeros(log_probs.shape, dtype="bool", device=log_probs.device)
            shut = _put(ops.index_update(shut, True, index=closed), opened, False)
            log_probs = ops.where(shut, -inf, log_probs)
        return _put(log_probs, out, -inf)


def _put(log_probs: Tensor, places: list[tuple[int, int]], value: float) -> Tensor:
    if not places:
        return log_probs
    rows, tokens = map(list, zip(*places, strict=True))
    if not 0 <= min(tokens) <= max(tokens) < log_probs.shape[1]:
        raise InvalidValueError(
            f"Constraints: tokens {min(tokens)} to {max(tokens)} are not all among the "
            f"{log_probs.shape[1]} of the model"
        )
    return ops.index_update(log_probs, value, index=(rows, tokens))
