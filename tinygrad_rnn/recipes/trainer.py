"""The base of the recipes: a trainer whose checkpoint holds the settings and names the data."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from .. import plot, train
from ..data import TextError
from ..distributed import Communicator
from ..errors import InvalidTypeError
from ..io import CheckpointError
from ..io.files import fitting
from ..nn import Module
from ..optim import Adam, CosineLR, Optimizer
from ..tensor import tree
from ..tensor.creation import as_tensor
from ..tensor.random import Generator
from .settings import SettingError

Data = Any  # a text, pairs of texts; or a tree of strings, numbers and arrays

EVALUATE_EVERY = 100  # steps
WARMUP = 100  # steps, or a tenth of a short training


class RecipeTrainer(train.Trainer):
    """Trains a recipe's model with Adam and a cosine schedule.

    A recipe defines the loss of a batch, the evaluation, a sample, and the state that a checkpoint
    holds besides that of the trainer.

    **Arguments** data: batches. config: the settings, with `steps` or `epochs`, `lr` and `clip`.
    generator: draws all that is random. device: of the weights; the default device, if None. worst:
    the largest figure of `evaluate` without divergence.
    """

    recipe: ClassVar[str]  # its name in checkpoints
    unit: ClassVar[str]  # the name of a symbol
    check: ClassVar[staticmethod[[dict[str, Any], Any], dict[str, Any]]]  # of a checkpoint's state
    fingerprint: dict[str, Any]  # of the training data
    symbols: int  # to learn from
    uses: ClassVar[tuple[str, ...]]  # the commands that take its runs
    predictor: ClassVar[Any]  # a class with from_state(state, device)
    quick: ClassVar[dict[str, Any]]  # settings of a training that ends in a minute on one core
    span: ClassVar[str] = "steps"  # the setting that says how long to train: or epochs

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
        self.figure = f"held-out {{:.3f}} bits/{self.unit}"
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

    def optimizer_of(self, model: Module) -> Optimizer:
        """Creates the optimizer."""
        return Adam(model.parameters(), lr=self.config.lr)

    @property
    def summary(self) -> str:
        """The figure on all held-out data, in words."""
        return f"held-out: {self.result:.3f} bits/{self.unit}"

    def batch_loss(self, model: Any, batch: Any) -> Any:
        """Computes the loss of a batch, and the number of symbols that it averages."""
        raise InvalidTypeError(f"{type(self).__name__} defines no batch_loss(model, batch)")

    def evaluate(self, quick: bool = False) -> float:
        """Computes the bits per symbol on the held-out data, or, if quick, on part of it."""
        raise InvalidTypeError(f"{type(self).__name__} defines no evaluate(quick)")

    def sample(self) -> str:
        """Shows what the model can do so far."""
        raise InvalidTypeError(f"{type(self).__name__} defines no sample()")

    def draw(self, path: Path, comparison: Any) -> None:
        """Draws the losses, the figures and the comparison, if there is one, as a PNG file."""
        figure, panels = plot.panels(1, 3 if comparison else 2, 14 if comparison else 10, 4)
        self.draw_history(*panels[:2])
        if comparison is not None:
            comparison.draw(panels[2])
        plot.save(figure, path)

    def draw_history(self, losses: Any, figures: Any) -> None:
        """Draws the loss, and the validation figure, by update."""
        name = re.sub(r" \{.*?\}", "", self.figure)
        loss = "training loss (nats)"
        for axes, key, label in ((losses, "loss", loss), (figures, "validation", name)):
            known = [(one["step"], one[key]) for one in self.history if key in one]
            plot.curves(
                {label: tuple(zip(*known, strict=True))}, xlabel="updates", ylabel=label, ax=axes
            )

    def finish(self) -> float:
        """Computes the bits per symbol on all held-out data, once after the last update."""
        if self.result is None or self.step < self.steps:
            self.result = self.evaluate()
            self.check_learnt(self.result)
        return self.result

    # ------------------------------------------------------------ truncated back-propagation

    def carry(self, state: Any, ended: bool) -> None:
        """Keeps a window's last state, detached, for the next window; none at the text's end."""
        self.carried = None if ended else tree.mapped(lambda h: h.detach(), state)

    def carried_arrays(self) -> list[Any] | None:
        """Returns the carried state for a checkpoint."""
        return None if self.carried is None else tree.leaves(self.carried)

    def restore_carried(self, arrays: list[Any] | None, device: str) -> None:
        """Restores the carried state. **Raises** CheckpointError for other shapes."""
        if arrays is None:
            return
        config = self.config
        shape = (config.num_layers, config.batch_size, config.hidden_size)
        expected = [shape] * (2 if config.cell == "lstm" else 1)
        if [array.shape for array in arrays] != expected:
            raise CheckpointError(f"the checkpoint's hidden states are not {expected}")
        state = tuple(as_tensor(array, device=device) for array in arrays)
        self.carried = state if len(state) > 1 else state[0]

    # ------------------------------------------------------------ several ranks

    def distribute(self, communicator: Communicator) -> None:
        """Divides each batch, and the states carried from batch to batch (L, B, H), among ranks."""
        super().distribute(communicator)
        self._map_carried(communicator.part)

    def whole_checkpoint(self) -> dict[str, Any]:
        """Returns the checkpoint, with the carried states of all ranks, which all call it."""
        own = self.carried
        self._map_carried(self.communicator.join)
        try:
            return self.checkpoint()
        finally:
            self.carried = own

    def _map_carried(self, change: Callable[[Any, int], Any]) -> None:
        if self.carried is not None:
            self.carried = tree.mapped(lambda h: as_tensor(change(h.data, 1)), self.carried)

    # ------------------------------------------------------------ checkpoints

    def generators(self) -> list[Generator]:
        """Returns the recipe's generator: it draws everything."""
        return [self.generator]

    def common(self) -> dict[str, object]:
        """Returns what ranks have in common, the training data included."""
        return {**super().common(), "training data": getattr(self, "fingerprint", None)}

    def state(self) -> dict[str, Any]:
        """Returns the recipe's own part of a checkpoint."""
        raise InvalidTypeError(f"{type(self).__name__} defines no state()")

    def load_state(self, saved: dict[str, Any]) -> None:
        """Restores the recipe's own part of a checkpoint."""

    @classmethod
    def arguments(cls, saved: dict[str, Any]) -> dict[str, Any]:
        """Returns the recipe's arguments in a checkpoint, `config` among them."""
        raise InvalidTypeError(f"{cls.__name__} defines no arguments(saved)")

    def checkpoint(self) -> dict[str, Any]:
        """Returns the state of the training, as `io.save_checkpoint` takes it."""
        return {
            "recipe": self.recipe,
            "heldout": self.result,
            "config": asdict(self.config),
            **self.state(),
            "data": self.fingerprint,
            **self.state_dict(),
        }

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
        now, then = fingerprint(data), saved["data"]
        if now != then:
            raise TextError(
                f"the training data differ from the checkpoint's: {now['characters']} characters "
                f"now, {then.get('characters')} then"
            )
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


def fingerprint(data: Data) -> dict[str, Any]:
    """Identifies training data by their length and their SHA-256 digest.

    **Arguments** data: a text, pairs of texts, or a tree of strings, numbers and arrays.
    """
    pairs = isinstance(data, Sequence) and all(
        isinstance(one, tuple) and all(isinstance(text, str) for text in one) for one in data
    )
    text = "\n".join(map("\t".join, data)) if pairs and not isinstance(data, str) else _text(data)
    raw = text.encode("utf-8", "surrogatepass")
    return {"characters": len(text), "sha256": hashlib.sha256(raw).hexdigest()}


def _text(data: Any) -> str:
    """Writes a tree so that different data have different texts."""
    if isinstance(data, str):
        return data
    if isinstance(data, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()
        return f"{data.dtype.str} {data.shape} {digest}"
    if is_dataclass(data):
        data = vars(data)
    if isinstance(data, Mapping):
        return _text([list(data), list(data.values())])
    if isinstance(data, Sequence):
        parts = [_text(one) for one in data]
        return "".join(f"{len(part)}:{part}" for part in parts)
    return repr(data)
