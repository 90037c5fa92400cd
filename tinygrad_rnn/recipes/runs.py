"""Runs: the folders that `tinygrad-rnn train` writes, and the commands that take them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..io import CheckpointError, has_checkpoint, load_checkpoint
from . import TASKS_BY_NAME
from .charlm_training import CharLMTraining
from .settings import SettingError
from .trainer import RecipeTrainer
from .translation_training import TranslationTraining

TRAINERS: list[type[RecipeTrainer]] = [CharLMTraining, TranslationTraining, *TASKS_BY_NAME.values()]
RECIPES = {one.recipe: one for one in TRAINERS}
RESULTS = "results.json"  # of the commands that compare trainings of their own


def load_run(
    folder: str | Path, command: str, device: str | None = None
) -> tuple[type[RecipeTrainer], Any]:
    """Loads a run for a command, such as `predict`.

    **Returns** the recipe that made it, and its predictor. **Raises** CheckpointError for a run
    that the command does not take; the error names a command that does.
    """
    refuse_results(folder, command)
    state = load_checkpoint(folder)
    made = made_by(state)
    recipe = RECIPES.get(str(state.get("recipe")))
    if recipe is None:
        known = ", ".join(name for name, one in RECIPES.items() if command in one.uses)
        raise CheckpointError(
            f"the checkpoint in {folder} is of no recipe: {command} takes those of train {known}"
        )
    if command not in recipe.uses:
        first, *others = recipe.uses
        more = f" (or {', '.join(others)})" if others else ""
        raise CheckpointError(
            f"the run in {folder} is of train {made}, which {command} does not take: type "
            f"tinygrad-rnn {first} {folder}{more}"
        )
    return recipe, recipe.predictor.from_state(recipe.check(state, folder), device)


def made_by(state: dict[str, Any]) -> str:
    """Returns the `train` command of a checkpoint, such as `task copy`, or else its recipe."""
    return str(state.get("command") or state.get("recipe"))


def refuse_other(folder: str | Path, made: str, command: str) -> None:
    """Refuses to resume a run of another `train` command. **Raises** CheckpointError."""
    if made != command:
        raise CheckpointError(
            f"the run in {folder} is of train {made}, not of train {command}: type tinygrad-rnn "
            f"train {made} --out {folder} --resume"
        )


def refuse_changes(typed: dict[str, Any], saved: dict[str, Any], where: str) -> None:
    """Refuses settings other than those of a run to resume. **Raises** SettingError.

    **Arguments** where: the saved ones are.
    """
    for name, value in typed.items():
        if value != saved[name]:
            raise SettingError(
                f"`{name}` is {value}, but {saved[name]} in the {where}: leave it out to resume, "
                "or start a new training in another --out"
            )


def read_results(folder: str | Path) -> dict[str, Any]:
    """Reads a table of results. **Raises** CheckpointError for a damaged one."""
    path = Path(folder) / RESULTS
    try:
        found = json.loads(path.read_text("utf-8"))
        kinds = [type(found[name]) for name in ("command", "settings", "results")]
    except (ValueError, TypeError, LookupError):
        kinds = []
    if kinds != [str, dict, dict]:
        raise CheckpointError(f"{path} is damaged: delete it, or choose another --out")
    return dict(found)


def refuse_results(folder: str | Path, command: str) -> None:
    """Refuses a folder with a table of results in place of a model. **Raises** CheckpointError."""
    if (Path(folder) / RESULTS).exists() and not has_checkpoint(folder):
        made = read_results(folder)["command"]
        raise CheckpointError(
            f"the run in {folder} is of train {made}, which keeps no model for {command}: type "
            f"tinygrad-rnn train {made} --out {folder} --resume to see its table"
        )
