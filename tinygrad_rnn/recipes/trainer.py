"""The base of the recipes: a trainer whose checkpoint holds the settings and names the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from .. import train
from ..data.fingerprint import Data
from ..io.files import fitting
from ..nn import Module
from ..optim import Adam, AdamW, CosineLR, Optimizer
from ..tensor.random import Generator
from .picture import draw_training
from .saved import check_data, check_entries
from .settings import SettingError

EVALUATE_EVERY = 100  # steps
WARMUP = 100  # steps, or a tenth of a short training


class RecipeTrainer(train.Trainer):
    """Trains a recipe's model with Adam and a cosine schedule.

    A recipe defines the loss of a batch, and the evaluation. A checkpoint holds the state of the
    trainer, and of the recipe's predictor.

    **Arguments** data: batches. config: the settings, with `steps` or `epochs`, `lr` and `clip`.
    generator: draws all that is random. device: of the weights; the default device, if None. worst:
    the largest figure of `evaluate` without divergence.
    """

    recipe: ClassVar[str]  # its name in checkpoints
    unit: ClassVar[str]  # the name of what is predicted
    figure: ClassVar[str]  # a format of the validation figure
    kinds: ClassVar[dict[str, Any]] = {}  # of a checkpoint's entries besides the predictor's
    uses: ClassVar[tuple[str, ...]]  # the commands that take its runs
    predictor: ClassVar[Any]  # a class with settings, kinds, and from_state(state, device)
    quick: ClassVar[dict[str, Any]]  # settings of a training that ends in a minute on one core
    span: ClassVar[str] = "steps"  # the setting that says how long to train: or epochs
    current: Any  # the predictor, with the weights as they are
    fingerprint: dict[str, Any] | None = None  # of the training data
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
        self.result: float | None = None  # bits per symbol on all held-out data
        optimizer = self.optimizer_of(model)
        in_steps = self.span == "steps"
        steps = config.steps if in_steps else config.epochs * len(data)  # type: ignore[arg-type]
        warmup = min(WARMUP, steps // 10)
        super().__init__(
            model,
            data,
            self.batch_loss,
            optimizer,
            steps=steps,
            schedule=CosineLR(optimizer, steps, warmup_steps=warmup),
            clip=config.clip,
            validation=lambda _: self.evaluate(quick=True),
            evaluate_every=EVALUATE_EVERY if in_steps else None,
            worst=worst,
        )

    @property
    def title(self) -> str:
        """The model in a word or two."""
        return str(self.config.cell)

    @property
    def device(self) -> str:
        """The device of the weights."""
        return str(next(self.model.parameters()).device)

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

    # ------------------------------------------------------------ checkpoints

    def generators(self) -> list[Generator]:
        """Returns the recipe's generator: it draws everything."""
        return [self.generator]

    def common(self) -> dict[str, object]:
        """Returns what ranks have in common, the training data included."""
        return {**super().common(), "training data": self.fingerprint}

    def load_state(self, saved: dict[str, Any]) -> None:
        """Restores what a checkpoint holds besides the states of trainer and predictor."""

    @classmethod
    def check(cls, saved: dict[str, Any], folder: str | Path) -> dict[str, Any]:
        """Returns a checkpoint's state. **Raises** CheckpointError if it is of another recipe."""
        known = cls.predictor
        return check_entries(saved, folder, cls.recipe, known.settings, known.kinds | cls.kinds)

    @classmethod
    def arguments(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Returns the recipe's arguments in a checkpoint, `config` among them."""
        return {"config": cls.predictor.settings(**saved["config"])}

    def checkpoint(self) -> dict[str, Any]:
        """Returns the state of the training, as `io.save_checkpoint` takes it."""
        return {
            "recipe": self.recipe,
            "heldout": self.result,
            "config": asdict(self.config),
            **self.current.state(),
            "data": self.fingerprint,
            **self.state_dict(),
        }

    def whole_checkpoint(self) -> dict[str, Any]:
        """Returns the checkpoint of all ranks, which all call it."""
        return self.checkpoint()

    @classmethod
    def resume(
        cls,
        saved: dict[str, Any],
        data: Data,
        span: int | None = None,
        device: str | None = None,
        **more: Any,
    ) -> Self:
        """Restores a training from its checkpoint.

        **Arguments** saved: the state that `io.load_checkpoint` returned. data: the same training
        data. span: a new total number of updates, or of epochs; from here on the learning rate
        follows the cosine of that length. more: further arguments of the recipe.

        **Raises** TextError for other data, SettingError for fewer steps than the training has
        made, CheckpointError for entries that do not fit together.
        """
        check_data(data, saved["data"])
        known = cls.arguments(saved)
        if span is not None:
            known["config"] = replace(known["config"], **{cls.span: span})
        create: Callable[..., Self] = cls
        trainer = create(data, device=device, **known, **more)
        if trainer.steps < saved["step"]:
            raise SettingError(
                f"`{cls.span}` is {getattr(known['config'], cls.span)}, but the training has made "
                f"{saved['step']}{' updates' * (cls.span != 'steps')} already"
            )
        trainer.load_state_dict(saved)
        with fitting():
            trainer.result = saved["heldout"] if trainer.step == trainer.steps else None
            trainer.load_state(saved)
        return trainer
