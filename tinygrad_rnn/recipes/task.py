"""The base of the recipes that compare a model with baselines, and predict for users' files.

A task splits its items into training, validation and test. It keeps the weights of the best
validation figure (`chosen`), which `predict` uses and which the comparison shows; the training
itself resumes from its last weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from ..data.fingerprint import Data, fingerprint
from ..tensor.random import Generator
from ..train import Progress
from .cells import CELLS
from .comparison import Comparison
from .predictor import Predictor
from .settings import Settings, setting
from .trainer import RecipeTrainer


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


class Task(RecipeTrainer):
    """Trains a model on items, evaluates it on others, and compares it with baselines.

    A task defines `read`, `batch_loss`, `evaluate` (lower is better), `compare`, `describe`, and
    the class of its predictor, which names its settings and its entries of a checkpoint.

    **Arguments** data: as `read` returns it. current: the predictor to train. batches: of the
    training items. worst: the largest figure of `evaluate` without divergence.
    """

    settings: ClassVar[type[Settings]]  # the predictor's
    data_help: ClassVar[str]  # what --data takes, for `--help`
    default: ClassVar[str]  # the data without --data
    kinds: ClassVar[dict[str, Any]] = {"chosen": (dict, type(None))}
    uses: ClassVar[tuple[str, ...]] = ("predict",)
    span: ClassVar[str] = "epochs"
    chosen: dict[str, Any] | None = None  # the weights of the best figure
    # Reads the data: those of users' files, or, if there are none, the default ones.
    read: Callable[[Sequence[str], Any], Data]
    compare: Callable[[], Comparison]  # of the predictor with the baselines, on the test items
    describe: Callable[[], str]  # the data in a line

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
        self.current, self.fingerprint = current, fingerprint(data)

    # ------------------------------------------------------------ the chosen weights

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

    def checkpoint(self) -> dict[str, Any]:
        """Returns the state of the training, with the chosen weights."""
        return {**super().checkpoint(), "chosen": self.chosen}

    def load_state(self, saved: dict[str, Any]) -> None:
        """Restores the chosen weights."""
        self.chosen = saved["chosen"]
