"""Whether a checkpoint's state is one of a recipe, found out before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import TinygradRnnError
from ..io import CheckpointError

Kinds = Mapping[str, type | tuple[type, ...]]


def check_entries(
    state: dict[str, Any], folder: str | Path, recipe: str, config: type, kinds: Kinds
) -> None:
    """Refuses a state whose entries or settings are not a recipe's.

    **Arguments** recipe: its name. config: the class of its settings, of which some may be missing.
    kinds: the types of the entries. **Raises** CheckpointError.
    """
    defaults = {field.name: field.default for field in fields(config)}
    settings = state.get("config")
    if (
        not all(isinstance(state.get(name, ...), kind) for name, kind in kinds.items())
        or not isinstance(settings, dict)
        or not all(name in defaults for name in settings)
        or not all(_alike(value, defaults[name]) for name, value in settings.items())
    ):
        raise CheckpointError(f"the checkpoint in {folder} is not one of train {recipe}")


def _alike(value: Any, default: Any) -> bool:
    """Whether a setting is of its default's type; an integer is a real."""
    return type(value) is type(default) or (type(value) is int and type(default) is float)


def check_sizes(arrays: Mapping[str, Any], expected: Mapping[str, tuple[int | None, ...]]) -> None:
    """Refuses settings that ask for more memory than the arrays that were saved with them.

    **Arguments** expected: by name the shapes that follow from the settings, None for any length;
    all sizes of a model must occur. **Raises** CheckpointError.
    """
    for name, shape in expected.items():
        found = getattr(arrays.get(name), "shape", ())
        if len(found) != len(shape) or any(
            n not in (None, f) for n, f in zip(shape, found, strict=True)
        ):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise CheckpointError(
                f"the checkpoint's settings do not fit its arrays: {name}: expected shape "
                f"[{wanted}], got {list(found) if name in arrays else 'none'}"
            )


@contextmanager
def fitting() -> Iterator[None]:
    """Turns what goes wrong with a state that does not fit together into a CheckpointError."""
    try:
        yield
    except TinygradRnnError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, OverflowError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"the checkpoint's entries do not fit together: {what}") from None
