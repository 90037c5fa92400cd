"""The base of what a task trains: a model with its words or labels, which predicts for items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..data.vocabulary import most_frequent
from ..nn import Module
from ..tensor import ops
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from .saved import restore_weights
from .settings import Settings

AT_A_TIME = 64  # items


class Predictor:
    """The model of a task: predicts for items, and is restored from a checkpoint.

    **Arguments** config: the settings. generator: draws the initial weights and the masks. entries:
    those of `kinds`, in their order, which are also attributes.
    """

    settings: ClassVar[type[Settings]]
    kinds: ClassVar[dict[str, Any]]  # of its own entries of a checkpoint, for `check_entries`
    header: ClassVar[str] = ""  # the line before the predictions, such as the names of columns
    config: Any
    model: Any
    build: Callable[[Generator], Module]
    read: Callable[[str | Path], list[Any]]  # the items of a file; `-` is the standard input
    predict: Callable[[Any], Iterable[dict[str, Any]]]  # a record for each item, for JSON
    show: Callable[[dict[str, Any]], Any]  # what a terminal shows of a record: str, or rich's Text

    def __init__(self, config: Any, generator: Generator, *entries: Any) -> None:
        self.config = config
        vars(self).update(zip(self.kinds, entries, strict=True))
        self.model = self.build(generator)

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Self:
        """Restores the predictor from a checkpoint's state, with the chosen weights."""
        config: Any = cls.settings(**state["config"])
        found = cls(config, Generator(config.seed), *(state[name] for name in cls.kinds))
        restore_weights(found.model, state["chosen"] or state["model"], device)
        return found

    def state(self) -> dict[str, Any]:
        """Returns its own entries of a checkpoint."""
        return {name: getattr(self, name) for name in self.kinds}

    @property
    def device(self) -> str:
        """The device of the weights."""
        return str(next(self.model.parameters()).device)


def by_length(sequences: Sequence[Any]) -> Iterator[list[int]]:
    """Yields the places of sequences, the shortest first, as many as a batch has.

    >>> list(by_length(["abc", "", "ab"]))
    [[1, 2, 0]]
    """
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for start in range(0, len(order), AT_A_TIME):
        yield order[start : start + AT_A_TIME]


def log_odds(scores: Tensor, which: Any) -> Tensor:
    """Computes log P / (1 - P) of a label for each row. **Arguments** scores: (N, labels)."""
    rows = np.arange(len(scores))
    others = ops.where(np.eye(scores.shape[-1], dtype=bool)[which], -1e9, scores)
    return scores[rows, which] - ops.logsumexp(others, axis=-1)


class Index:
    """Tokens with an id each: 0 for an unknown one, then the most frequent first.

    >>> index = Index.of([["a", "rose", "is", "a", "rose"]], most=2)
    >>> index.tokens, index.ids(["a", "tulip"]).tolist(), len(index)
    (['a', 'rose'], [1, 0], 3)
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        self.tokens = list(tokens)
        self.places = {token: i for i, token in enumerate(tokens, start=1)}

    @classmethod
    def of(cls, texts: Iterable[Iterable[str]], most: int) -> Index:
        """Collects the most frequent tokens."""
        return cls(most_frequent(Counter(token for text in texts for token in text), most))

    def __len__(self) -> int:
        return len(self.tokens) + 1

    def ids(self, text: Sequence[str]) -> NDArray[np.int64]:
        """Returns the ids of tokens."""
        return np.array([self.places.get(token, 0) for token in text], np.int64)
