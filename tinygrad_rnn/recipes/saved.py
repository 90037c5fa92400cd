"""Checks a checkpoint's state against a recipe and its data, before anything is built from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from ..data import TextError
from ..data.fingerprint import Data, fingerprint
from ..io import CheckpointError, load_checkpoint
from ..nn import Module
from ..train import check_weights
from .settings import SettingError, Settings

S = TypeVar("S", bound=Settings)
Kinds = Mapping[str, Any]

ENTRIES: Kinds = {  # of all recipes
    "data": dict, "model": dict, "step": int, "heldout": (float, type(None)),
}  # fmt: skip


class Restored:
    """The base of models that a checkpoint gives back with what belongs to them."""

    recipe: ClassVar[str]
    settings: ClassVar[type[Settings]]
    kinds: ClassVar[Kinds]  # of its own entries of a checkpoint, for `check_entries`
    from_state: Callable[[dict[str, Any], str | None], Self]  # and a device

    @classmethod
    def load(cls, folder: str | Path, device: str | None = None) -> Self:
        """Loads the model from the checkpoint of a training.

        **Raises** CheckpointError if there is none, or it is damaged or of another recipe,
        DivergedError if weights are not finite.
        """
        state = check_entries(load_checkpoint(folder), folder, cls.recipe, cls.settings, cls.kinds)
        return cls.from_state(state, device)


def check_entries(
    state: dict[str, Any], folder: str | Path, recipe: str, config: type[Settings], kinds: Kinds
) -> dict[str, Any]:
    """Refuses a state whose entries or settings are not a recipe's, and returns it otherwise.

    **Arguments** recipe: its name. config: the class of its settings. kinds: the types of its own
    entries. **Raises** CheckpointError.
    """
    other = CheckpointError(f"the checkpoint in {folder} is not one of train {recipe}")
    settings = state.get("config")
    if state.get("recipe") != recipe or not isinstance(settings, dict):
        raise other
    restored_settings(settings, config, f"the checkpoint in {folder}", recipe)
    if not all(_is_of(state.get(n, ...), kind) for n, kind in {**ENTRIES, **kinds}.items()):
        raise other
    return state


def _is_of(value: Any, kind: Any) -> bool:
    """Tests whether a value is of a kind: a type, or types; `[kind]`, a list; `{str: kind}`."""
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(_is_of(one, kind[str]) for one in value.values())
    if isinstance(kind, list):
        return isinstance(value, (list, tuple)) and all(_is_of(one, kind[0]) for one in value)
    return isinstance(value, kind)


def restored_settings(saved: dict[str, Any], config: type[S], where: str, recipe: str) -> S:
    """Creates the configuration of saved settings.

    **Arguments** where: they are, in words. recipe: that made them. **Raises** CheckpointError.
    """
    if differing := sorted({field.name for field in fields(config)} ^ saved.keys()):
        raise CheckpointError(
            f"{where} is of another version of train {recipe}, with other settings "
            f"({', '.join(differing)}): train the model again"
        )
    try:
        return config(**saved)
    except SettingError as error:
        raise CheckpointError(f"{where}: {error}") from None


def check_sizes(arrays: Mapping[str, Any], expected: Mapping[str, tuple[int | None, ...]]) -> None:
    """Refuses settings that need more memory than the arrays that were saved with them.

    **Arguments** expected: the shapes that follow from the settings, by name, None for any length;
    every size of the model must occur. **Raises** CheckpointError.
    """
    for name, shape in expected.items():
        actual = getattr(arrays.get(name), "shape", ())
        if len(actual) != len(shape) or any(
            n not in (None, m) for n, m in zip(shape, actual, strict=True)
        ):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise CheckpointError(
                f"the checkpoint's settings do not fit its arrays: {name}: expected shape "
                f"[{wanted}], got {list(actual) if name in arrays else 'none'}"
            )


def restore_weights(model: Module, weights: dict[str, Any], device: str | None) -> None:
    """Gives a model saved weights, and moves it to a device, unless that is None.

    **Raises** DivergedError for weights that are not finite.
    """
    model.load_state_dict(weights)
    check_weights(model)
    if device is not None:
        model.to(device)


def check_data(data: Data, then: dict[str, Any]) -> None:
    """Refuses training data other than a checkpoint's. **Raises** TextError.

    **Arguments** then: the `fingerprint` in the checkpoint.
    """
    now = fingerprint(data)
    if now != then:
        raise TextError(
            f"the training data differ from the checkpoint's: {now['characters']} characters "
            f"now, {then.get('characters')} then"
        )
