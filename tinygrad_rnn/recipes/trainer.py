"""The base of the recipes: training by Adam with a cosine schedule, and the figures of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar

from ..nn import Module
from ..optim import Adam, AdamW, CosineLR, Optimizer
from ..tensor.random import Generator
from .picture import draw_training
from .resumable import ResumableTrainer

EVALUATE_EVERY = 100  # steps
WARMUP = 100  # steps, or a tenth of a short training


class RecipeTrainer(ResumableTrainer):
    """Trains a recipe's model with Adam and a cosine schedule.

    A recipe defines the loss of a batch, and the evaluation.

    **Arguments** data: batches. config: the settings, with `steps` or `epochs`, `lr` and `clip`.
    generator: draws all that is random. device: of the weights; the default device, if None. worst:
    the largest figure of `evaluate` without divergence.
    """

    unit: ClassVar[str]  # the name of what is predicted
    figure: ClassVar[str]  # a format of the validation figure
    uses: ClassVar[tuple[str, ...]]  # the commands that take its runs
    quick: ClassVar[dict[str, Any]]  # settings of a training that ends in a minute on one core
    symbols: int  # to learn from: characters, words, steps
    batch_loss: Callable[[Any, Any], Any]  # of a model and a batch: the loss, and its symbols
    evaluate: Callable[..., float]  # bits per symbol on held-out data, or, if quick, on some of it

    def __init__(
        self,
        model: Module,
        data: Iterable[Any],
        config: Any,
        generator: Generator,
        device: str | None,
        worst: float,
    ) -> None:
        if device is not None:
            model.to(device)
        self.config, self.generator = config, generator
        optimizer = self.optimizer_of(model)
        in_steps = self.span == "steps"
        steps = config.steps if in_steps else config.epochs * len(data)  # type: ignore[arg-type]
        warmup = min(WARMUP, steps // 10)
        super().__init__(
            model, data, self.batch_loss, optimizer, steps=steps, clip=config.clip, worst=worst,
            schedule=CosineLR(optimizer, steps, warmup_steps=warmup),
            validation=lambda _: self.evaluate(quick=True),
            evaluate_every=EVALUATE_EVERY if in_steps else None,
        )  # fmt: skip

    @property
    def title(self) -> str:
        """The model in a word or two."""
        return str(self.config.cell)

    def optimizer_of(self, model: Module) -> Optimizer:
        """Creates Adam; or AdamW, if the settings have a weight decay."""
        config, weights = self.config, model.parameters()
        if hasattr(config, "weight_decay"):
            return AdamW(weights, lr=config.lr, weight_decay=config.weight_decay)
        return Adam(weights, lr=config.lr)

    @property
    def summary(self) -> str:
        """The figure on all held-out data, in words."""
        return f"held-out: {self.result:.3f} bits/{self.unit}"

    def sample(self) -> str:
        """Shows what the model can do so far; nothing, unless a recipe has something to show."""
        return ""

    def draw(self, path: Path, comparison: Any) -> None:
        """Draws the losses, the figures and the comparison, if there is one, as a PNG file."""
        draw_training(self, comparison, path)

    def finish(self) -> float:
        """Computes the bits per symbol on all held-out data, once after the last update."""
        if self.result is None or self.step < self.steps:
            self.result = self.evaluate()
            self.check_learnt(self.result)
        return self.result
