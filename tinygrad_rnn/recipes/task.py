"""The base of the recipes that compare a model with baselines, and predict for users' files.

A task splits its items into training, validation and test. It keeps the weights of the best
validation figure (`chosen`), which `predict` uses and which the comparison shows; the training
itself resumes from its last weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..data import TextError
from ..errors import InvalidTypeError
from ..tensor.random import Generator
from ..train import Progress
from .charlm import CELLS
from .comparison import Comparison
from .predictor import Predictor
from .saved import check_entries
from .settings import Settings, setting
from .trainer import Data, RecipeTrainer, fingerprint

HELD_OUT = 0.1  # of the items for validation, and as many for the test


@dataclass(frozen=True)
class TaskSettings(Settings):
    """The settings that tasks share, with other defaults in each."""

    cell: str = setting("lstm", "Recurrent cell.", one_of=CELLS)
    hidden_size: int = setting(128, "Units in a layer, in a direction.", at_least=1)
    num_layers: int = setting(1, "Recurrent layers.", at_least=1)
    dropout: float = setting(0.5, "Dropout probability.", at_least=0, below=1)
    batch_size: int = setting(16, "Items in an update.", at_least=1)
    epochs: int = setting(40, "Passes over the items.", at_least=1)
    lr: float = setting(3e-3, "Peak learning rate of Adam.", above=0)
    clip: float = setting(1.0, "Clip the gradient's norm at this value.", above=0)
    limit: int = setting(0, "Items to use at most; all, if 0.", at_least=0)
    seed: int = setting(0, "Seed of all random numbers.", at_least=0)


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
                f"{' and '.join(str(len(items)) for items in files)} items are too few to learn "
                "from, to validate and to test with: expected three at least"
            )
        return cls(*drawn)

    def __iter__(self) -> Iterator[list[Any]]:
        return iter((self.training, self.validation, self.test))

    def sizes(self, items: str) -> str:
        """Says how many items each part has.

        >>> Parts([1, 2], [3], [4]).sizes("texts")
        'texts: 2 to learn from, 1 for validation, 1 for the test'
        """
        first, second, third = (f"{len(part):,}" for part in self)
        return f"{items}: {first} to learn from, {second} for validation, {third} for the test"


class Task(RecipeTrainer):
    """Trains a model on items, evaluates it on others, and compares it with baselines.

    A task defines `read`, `batch_loss`, `evaluate` (lower is better), `compare`, and the class of
    its predictor, which names its settings and its entries of a checkpoint.

    **Arguments** data: as `read` returns it. current: the predictor to train. batches: of the
    training items. worst: the largest figure of `evaluate` without divergence.
    """

    settings: ClassVar[type[Settings]]  # the predictor's
    current: Any  # the predictor, with the weights as they are
    kinds: ClassVar[dict[str, Any]] = {}  # of further entries of a checkpoint
    data_help: ClassVar[str]  # what --data takes, for `--help`
    default: ClassVar[str]  # the data without --data
    shown: ClassVar[str]  # a format of the validation figure
    uses: ClassVar[tuple[str, ...]] = ("predict",)
    span: ClassVar[str] = "epochs"

    def __init__(
        self,
        data: Data,
        current: Predictor,
        batches: Any,
        generator: Generator,
        device: str | None,
        worst: float = math.inf,
    ) -> None:
        super().__init__(current.model, batches, current.config, generator, device, worst)
        self.current = current
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
        return str(self.current.device)

    # ------------------------------------------------------------ checkpoints

    def checkpoint(self) -> dict[str, Any]:
        """Returns the state of the training, with the chosen weights."""
        return {**super().checkpoint(), "chosen": self.chosen}

    def state(self) -> dict[str, Any]:
        """Returns the predictor's entries."""
        return dict(self.current.state())

    def load_state(self, saved: dict[str, Any]) -> None:
        """Restores the chosen weights."""
        self.chosen = saved["chosen"]

    @classmethod
    def check(cls, saved: dict[str, Any], folder: Any) -> dict[str, Any]:
        """Returns a checkpoint's state. **Raises** CheckpointError if it is of another recipe."""
        kinds = {"chosen": (dict, type(None)), **cls.predictor.kinds, **cls.kinds}
        return check_entries(saved, folder, cls.recipe, cls.settings, kinds)

    @classmethod
    def arguments(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Returns the settings in a checkpoint."""
        return {"config": cls.settings(**saved["config"])}
