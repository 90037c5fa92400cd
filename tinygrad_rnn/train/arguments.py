"""Checks of the Trainer's arguments, before the training: it must be able to train something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..annotations import described
from ..data import DataLoader, Subset, TensorDataset, Windows
from ..errors import InvalidTypeError, InvalidValueError
from ..nn import Module
from ..optim import Optimizer, ReduceLROnPlateau
from ..optim.checks import above_zero
from ..tensor.shapes import integer
from ..tensor.tensor import Tensor
from ..tensor.tree import is_leaf
from .recovery import POLICIES

LOADER = "tg.data.DataLoader(tg.data.TensorDataset(x, y), 32)"


def check_parts(model: Any, loss: Any, optimizer: Any, schedule: Any, callbacks: Any) -> None:
    """Refuses parts of a training that do not belong together."""
    if not isinstance(model, Module) or not isinstance(optimizer, Optimizer):
        wrong = model if not isinstance(model, Module) else optimizer
        raise InvalidTypeError(
            "Trainer: expected a model, which is a Module, and an optimizer of its parameters, "
            f"got {type(wrong).__name__}"
        )
    owned = {id(p) for p in model.parameters()}
    if not any(id(p) in owned for group in optimizer.param_groups for p in group["params"]):
        raise InvalidValueError(
            "Trainer: optimizer: it has no parameter of the model, which would never change: "
            f"tg.optim.{type(optimizer).__name__}(model.parameters())"
        )
    of = type(loss) if isinstance(loss, Module) else loss
    if not callable(loss) or str(getattr(of, "__module__", "")).startswith("tinygrad_rnn.nn"):
        raise InvalidTypeError(
            "Trainer: loss: expected a function of the model and a batch, such as lambda model, "
            f"batch: tg.nn.cross_entropy(model(batch[0]), batch[1]); got {described(loss)}"
        )
    if schedule is not None:
        if not hasattr(schedule, "step") or not hasattr(schedule, "state_dict"):
            raise InvalidTypeError(
                "Trainer: schedule: expected one of tg.optim, such as tg.optim.StepLR(optimizer, "
                f"100), got {described(schedule)}"
            )
        if getattr(schedule, "optimizer", optimizer) is not optimizer:
            raise InvalidValueError(
                "Trainer: schedule: it sets the learning rate of another optimizer: pass this one "
                "to both"
            )
    if not isinstance(callbacks, Iterable) or not all(callable(call) for call in callbacks):
        raise InvalidTypeError(
            "Trainer: callbacks: expected a list of functions of the trainer and the Progress, got "
            f"{described(callbacks)}"
        )


def check_data(name: str, data: Any) -> None:
    """Refuses data that are not an iterable of batches."""
    samples = isinstance(data, TensorDataset | Subset | Windows) or is_leaf(data)
    arrays = isinstance(data, tuple) and len(data) > 0 and all(map(is_leaf, data))
    if samples or arrays or isinstance(data, Mapping | str) or not isinstance(data, Iterable):
        got = "a tuple of arrays" if arrays else described(data)
        raise InvalidTypeError(f"Trainer: {name}: expected batches, as {LOADER}, got {got}")


def epoch_length(data: Iterable[Any]) -> int | None:
    """Returns the number of batches in an epoch; None for data without a length."""
    try:
        length = len(data)  # type: ignore[arg-type]
    except TypeError:
        return None
    if length == 0:
        raise InvalidValueError("Trainer: data: expected batches in each epoch, got none")
    return length


def check_settings(
    steps: Any,
    epochs: Any,
    accumulate: Any,
    evaluate_every: Any,
    patience: Any,
    clip: Any,
    explosion: Any,
    on_nan: Any,
) -> None:
    """Refuses settings with which the Trainer would make no update, or accept none."""
    if (steps is None) is (epochs is None):
        raise InvalidValueError("Trainer: expected either steps or epochs")
    integer(accumulate, "Trainer: accumulate", 1)
    for name, value in (
        ("steps", steps), ("epochs", epochs), ("evaluate_every", evaluate_every),
        ("patience", patience),
    ):  # fmt: skip
        if value is not None:
            integer(value, f"Trainer: {name}", 1)
    if clip is not None:
        above_zero(clip, "Trainer: clip")
    if not isinstance(explosion, int | float) or not explosion > 1:
        raise InvalidValueError(f"Trainer: explosion: expected more than 1, got {explosion}")
    if on_nan not in POLICIES:
        raise InvalidValueError(
            f"Trainer: on_nan: expected one of {', '.join(POLICIES)}, got {on_nan!r}"
        )


def check_figures(schedule: Any, validation: Any, patience: Any) -> None:
    """Refuses settings that need a validation figure, if the Trainer will compute none."""
    waits = "schedule: ReduceLROnPlateau" if isinstance(schedule, ReduceLROnPlateau) else "patience"
    if validation is None and (patience is not None or waits != "patience"):
        raise InvalidValueError(
            f"Trainer: {waits} waits for a validation figure: pass validation=, batches or a "
            "function of the model"
        )


def check_alike(ranks: Sequence[Mapping[str, object]]) -> None:
    """Refuses trainings of several ranks that differ, of which `Trainer.common` is given."""
    for rank, theirs in enumerate(ranks):
        for name in {**ranks[0], **theirs}:
            ours, other = (one.get(name, "nothing") for one in (ranks[0], theirs))
            if ours != other:
                raise InvalidValueError(
                    f"Trainer: {name}: {ours} on rank 0, and {other} on rank {rank}: create the "
                    "same training on all ranks"
                )


def kind(value: Any) -> object:
    """Describes a part of a training, in the same words for parts of the same kind."""
    if isinstance(value, Tensor):
        return f"{described(value)}{'' if value.requires_grad else ' without a gradient'}"
    if value is None or isinstance(value, DataLoader):
        return repr(value)
    if callable(value):
        return "a function"
    length = f" of length {len(value)}" if hasattr(value, "__len__") else ""
    return f"{type(value).__name__}{length}"


def loss_and_count(result: Any) -> tuple[Tensor, Any]:
    """The loss of a batch, and how many samples it averages over."""
    pair = isinstance(result, tuple) and len(result) == 2
    loss, count = result if pair else (result, 1)
    if not isinstance(loss, Tensor) or loss.size != 1:
        raise InvalidTypeError(
            "Trainer: loss: expected a scalar Tensor, or a pair of one and a count, got "
            f"{described(loss)}"
        )
    if type(count) is int and count >= 0:
        return loss, count
    try:
        number: Any = getattr(count, "item", lambda: count)()
    except (TypeError, ValueError):
        number = count
    if isinstance(number, bool | str) or not isinstance(number, int | float) or not number >= 0:
        raise InvalidTypeError(
            f"Trainer: loss: expected a count of samples, from 0 up, got {described(count)}"
        )
    return loss, number


def figures_of(found: Any) -> dict[str, float]:
    """The figures that a validation function returned, by name."""
    named = found if isinstance(found, Mapping) else {"validation": found}
    try:
        if isinstance(found, str) or any(isinstance(value, str) for value in named.values()):
            raise TypeError
        return {str(name): float(value) for name, value in named.items()}
    except (TypeError, ValueError):
        raise InvalidTypeError(
            "Trainer: validation: expected that the function returns a number, or numbers by name, "
            f"got {described(found)}"
        ) from None


def nothing_counted() -> InvalidValueError:
    """The error for batches whose counts are all 0."""
    return InvalidValueError("Trainer: loss: expected a count above 0 of some batch, got 0 of all")
