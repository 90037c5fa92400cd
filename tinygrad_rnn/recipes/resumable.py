"""A trainer whose checkpoint holds the settings and names the data, and which resumes from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from .. import train
from ..data.fingerprint import Data
from ..io.files import fitting
from ..tensor.random import Generator
from .saved import check_data, check_entries
from .settings import SettingError


class ResumableTrainer(train.Trainer):
    """Trains a predictor by settings.

    A checkpoint holds the state of the trainer, the settings, the entries of the predictor, and the
    fingerprint of the training data.
    """

    recipe: ClassVar[str]  # its name in checkpoints
    predictor: ClassVar[Any]  # a class with settings, kinds, and from_state(state, device)
    kinds: ClassVar[dict[str, Any]] = {}  # of a checkpoint's entries besides the predictor's
    span: ClassVar[str] = "steps"  # the setting that says how long to train: or epochs
    current: Any  # the predictor, with the weights as they are
    config: Any  # the settings
    generator: Generator  # draws all that is random
    fingerprint: dict[str, Any] | None = None
    result: float | None = None  # the figure on all held-out data

    @property
    def device(self) -> str:
        """The device of the weights."""
        return str(next(self.model.parameters()).device)

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
