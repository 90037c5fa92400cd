"""The base of the recipes that compare a model with baselines, and predict for users' files.

A task splits its items into training, validation and test. It keeps the weights of the best
validation figure (`chosen`), which `predict` uses and which the comparison shows; the training
itself resumes from its last weights.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .. import plot
from ..data import TextError
from ..errors import InvalidTypeError
from ..nn import Module
from ..tensor import ops
from ..tensor.creation import arange, as_tensor
from ..tensor.random import Generator
from ..tensor.tensor import Tensor
from ..train import Progress
from .comparison import Comparison
from .saved import check_entries
from .settings import Settings
from .trainer import Data, RecipeTrainer, fingerprint

HELD_OUT = 0.1  # of the items for validation, and as many for the test


def pooled(y: Tensor, lengths: Any) -> tuple[Tensor, Tensor]:
    """Pools a layer's outputs over the steps of each row: the largest value, and the mean.

    **Arguments** y: (T, B, H), zero past a row's length. lengths: (B,), each at least 1.
    **Returns** (B, H) twice.

    >>> y = as_tensor(np.array([[[-1.0], [-2.0]], [[-3.0], [0.0]]], np.float32))
    >>> [x.tolist() for x in pooled(y, [2, 1])]
    [[[-1.0], [-2.0]], [[-2.0], [-2.0]]]
    """
    steps = as_tensor(np.asarray(lengths), device=y.device)
    inside = (arange(len(y), device=y.device)[:, None] < steps)[:, :, None]
    mean = y.sum(axis=0) / steps[:, None].astype(y.dtype)
    return ops.where(inside, y, -math.inf).max(axis=0), mean


class Predictor(Protocol):
    """The trained model of a task: predicts for items."""

    @classmethod
    def from_state(cls, state: dict[str, Any], device: str | None = None) -> Self:
        """Builds the predictor from a checkpoint's state."""

    def read(self, path: str | Path) -> list[Any]:
        """Reads the items of a file, or of the standard input, if it is `-`."""

    def predict(self, items: Sequence[Any]) -> Iterable[dict[str, Any]]:
        """Returns a record for each item, which JSON can express."""

    def show(self, record: dict[str, Any]) -> Any:
        """Returns what a terminal shows of a record: a string, or a `rich` Text."""


@dataclass(frozen=True)
class Parts:
    """Items, split."""

    training: list[Any]
    validation: list[Any]
    test: list[Any]

    @classmethod
    def of(cls, files: Sequence[Sequence[Any]], seed: int, limit: int = 0) -> Parts:
        """Splits one file at random; of two the second is the test, of three the third.

        **Arguments** files: the items of each. limit: the most items of a file to use, drawn at
        random; all, if 0. **Raises** TextError for too few items, or too many files.

        >>> parts = Parts.of([range(20)], seed=0)
        >>> len(parts.training), len(parts.validation), len(parts.test)
        (16, 2, 2)
        """
        if len(files) > 3:
            raise TextError(
                f"got {len(files)} files; expected one to split, two (training and test), or three "
                "(training, validation and test)"
            )
        generator = Generator(seed)
        drawn = [[items[i] for i in generator.permutation(len(items)).tolist()] for items in files]
        drawn = [items[: limit or None] for items in drawn]
        for missing in range(3 - len(drawn)):  # the test first, then validation
            first = drawn[0]
            count = max(1, round(HELD_OUT * len(first) / (1 - HELD_OUT * missing)))
            drawn.insert(1, first[:count])
            drawn[0] = first[count:]
        if not all(drawn):
            raise TextError(
                f"{sum(map(len, files))} items are too few to learn from and to test with"
            )
        return cls(*drawn)

    def __iter__(self) -> Iterator[list[Any]]:
        return iter((self.training, self.validation, self.test))


class Task(RecipeTrainer):
    """Trains a model on items, evaluates it on others, and compares it with baselines.

    A task defines `read`, `batch_loss`, `evaluate` (lower is better), `state`, `compare`, and the
    classes of its settings and of its predictor.
    """

    settings: ClassVar[type[Settings]]
    quick: ClassVar[dict[str, Any]]  # settings with which a training ends in a minute
    predictor: ClassVar[type[Predictor]]
    kinds: ClassVar[dict[str, Any]] = {}  # the types of its own entries of a checkpoint
    data_help: ClassVar[str]  # what --data takes, for `--help`
    default: ClassVar[str]  # the data without --data
    header: ClassVar[str] = ""  # the line before the predictions, such as the names of columns
    shown: ClassVar[str]  # a format of the validation figure
    use: ClassVar[str] = "predict"
    span: ClassVar[str] = "epochs"

    def __init__(
        self,
        data: Data,
        model: Module,
        batches: Any,
        config: Any,
        generator: Generator,
        device: str | None,
        worst: float = math.inf,
    ) -> None:
        super().__init__(model, batches, config, generator, device, worst)
        self.figure, self.fingerprint = self.shown, fingerprint(data)

    @classmethod
    def read(cls, files: Sequence[str], config: Any) -> Data:
        """Reads the data: those of users' files, or, if there are none, the default ones."""
        raise InvalidTypeError(f"{cls.__name__} defines no read(files, config)")

    def compare(self) -> Comparison:
        """Compares the predictor with the baselines on the test items."""
        raise InvalidTypeError(f"{type(self).__name__} defines no compare()")

    def describe(self) -> str:
        """The data in a line."""
        raise InvalidTypeError(f"{type(self).__name__} defines no describe()")

    def draw(self, path: Path, comparison: Comparison) -> None:
        """Draws the losses, the validation figures and the comparison, as a PNG file."""
        figure, (*left, right) = plot.panels(1, 3, 14, 4)
        self.draw_history(*left)
        comparison.draw(right)
        plot.save(figure, path)

    def draw_history(self, losses: Any, figures: Any) -> None:
        """Draws the loss, and the validation figure, by update."""
        steps = [record["step"] for record in self.history]
        name = self.shown.split(" {")[0]
        for axes, key, label in ((losses, "loss", "training loss"), (figures, "validation", name)):
            values = [record[key] for record in self.history]
            plot.curves({label: (steps, values)}, xlabel="updates", ylabel=label, ax=axes)

    def sample(self) -> str:
        """Shows nothing."""
        return ""

    # ------------------------------------------------------------ the chosen weights

    chosen: dict[str, Any] | None = None

    def __next__(self) -> Progress:
        progress = super().__next__()
        if progress.figures is not None and self.improved:
            self.chosen = self.weights()
        return progress

    def weights(self) -> dict[str, Any]:
        """Returns a copy of the weights to use."""
        return {name: weight.numpy().copy() for name, weight in self.model.state_dict().items()}

    def finish(self) -> float:
        """Returns the best figure on the validation items."""
        if self.result is None:
            assert self.best is not None
            self.result = self.best
        return self.result

    @property
    def summary(self) -> str:
        """The best figure, in words."""
        return f"best {self.figure.format(self.result)}"

    def predicting(self) -> Any:
        """Returns the predictor that the checkpoint gives."""
        return self.predictor.from_state(self.checkpoint(), self.device)

    @property
    def device(self) -> str:
        """The device of the weights."""
        return str(next(self.model.parameters()).device)

    # ------------------------------------------------------------ checkpoints

    def checkpoint(self) -> dict[str, Any]:
        """Returns the state of the training, with the chosen weights."""
        return {**super().checkpoint(), "chosen": self.chosen}

    def load_state(self, saved: dict[str, Any]) -> None:
        """Restores the chosen weights."""
        self.chosen = saved["chosen"]

    @classmethod
    def check(cls, saved: dict[str, Any], folder: Any) -> dict[str, Any]:
        """Returns a checkpoint's state. **Raises** CheckpointError if it is of another recipe."""
        kinds = {"chosen": (dict, type(None)), **cls.kinds}
        return check_entries(saved, folder, cls.recipe, cls.settings, kinds)

    @classmethod
    def arguments(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Returns the settings in a checkpoint."""
        return {"config": cls.settings(**saved["config"])}


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
    def of(cls, texts: Iterable[Iterable[str]], most: int, least: int = 1) -> Index:
        """Collects the most frequent tokens that occur at least so often."""
        counts = Counter(token for text in texts for token in text)
        frequent = sorted((t for t in counts if counts[t] >= least), key=lambda t: (-counts[t], t))
        return cls(frequent[:most])

    def __len__(self) -> int:
        return len(self.tokens) + 1

    def ids(self, text: Sequence[str]) -> NDArray[np.int64]:
        """Returns the ids of tokens."""
        return np.array([self.places.get(token, 0) for token in text], np.int64)
