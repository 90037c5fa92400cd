"""The base of what a task trains: a model with its words or labels, which predicts for items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from ..errors import InvalidTypeError
from ..nn import Module
from ..tensor.random import Generator
from ..train import check_weights
from .settings import Settings

AT_A_TIME = 64  # items


class Predictor:
    """The model of a task: predicts for items, and is restored from a checkpoint.

    **Arguments** config: the settings. generator: draws the initial weights and the masks. entries:
    those of `kinds`, in their order, which are also attributes.
    """

    settings: ClassVar[type[Settings]]
    kinds: ClassVar[dict[str, Any]]  # the types of its own entries of a checkpoint
    config: Any
    model: Any

    def __init__(self, config: Any, generator: Generator, *entries: Any) -> None:
        self.config = config
        vars(self).update(zip(self.kinds, entries, strict=True))
        self.model = self.build(generator)

    def build(self, generator: Generator) -> Module:
        """Builds the model."""
        raise InvalidTypeError(f"{type(self).__name__} defines no build(generator)")

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Self:
        """Restores the predictor from a checkpoint's state, with the chosen weights."""
        config: Any = cls.settings(**state["config"])
        found = cls(config, Generator(config.seed), *(state[name] for name in cls.kinds))
        found.model.load_state_dict(state["chosen"] or state["model"])
        check_weights(found.model)
        if device is not None:
            found.model.to(device)
        return found

    def state(self) -> dict[str, Any]:
        """Returns its own entries of a checkpoint."""
        return {name: getattr(self, name) for name in self.kinds}

    @property
    def device(self) -> str:
        """The device of the weights."""
        return str(next(self.model.parameters()).device)

    def read(self, path: str | Path) -> list[Any]:
        """Reads the items of a file, or of the standard input, if it is `-`."""
        raise InvalidTypeError(f"{type(self).__name__} defines no read(path)")

    def predict(self, items: Sequence[Any]) -> Iterable[dict[str, Any]]:
        """Returns a record for each item, which JSON can express."""
        raise InvalidTypeError(f"{type(self).__name__} defines no predict(items)")

    def show(self, record: dict[str, Any]) -> Any:
        """Returns what a terminal shows of a record: a string, or a `rich` Text."""
        raise InvalidTypeError(f"{type(self).__name__} defines no show(record)")


def by_length(sequences: Sequence[Any]) -> Iterator[list[int]]:
    """Yields the places of sequences, the shortest first, as many as a batch has.

    >>> list(by_length(["abc", "", "ab"]))
    [[1, 2, 0]]
    """
    order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
    for start in range(0, len(order), AT_A_TIME):
        yield order[start : start + AT_A_TIME]
