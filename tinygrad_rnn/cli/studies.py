"""Shared by the commands that compare trainings of their own: results, tables, logs."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..io import CheckpointError, has_checkpoint, load_checkpoint
from ..recipes.comparison import Comparison
from ..recipes.runs import RESULTS, made_by, read_results, refuse_changes, refuse_other
from ..recipes.saved import restored_settings
from ..recipes.settings import SettingError, Settings, check

S = TypeVar("S", bound=Settings)


class Results(Generic[S]):
    """The results of a study's trainings, in a folder: a study that resumes skips those.

    Each training is a function of its settings and its seed, so that one that was interrupted, and
    starts again, ends as if it had not been.

    **Arguments** config: all settings; a study that resumes has those of its first run instead.
    typed: those that the user typed. **Raises** SettingError for one that contradicts the results.
    """

    def __init__(
        self, out: Path, command: str, config: S, typed: dict[str, Any], resume: bool
    ) -> None:
        self.path, self.command, self.config = out / RESULTS, command, config
        self.found: dict[str, Any] = {}
        if not resume and (self.path.exists() or has_checkpoint(out)):
            raise CheckpointError(
                f"{out} holds results already: add --resume to continue, or choose another --out"
            )
        if has_checkpoint(out):
            refuse_other(out, made_by(load_checkpoint(out)), command)
        if self.path.exists():
            saved = read_results(out)
            refuse_other(out, saved["command"], command)
            where = f"the table in {self.path}"
            self.config = restored_settings(saved["settings"], type(config), where, command)
            refuse_changes(typed, saved["settings"], "results")
            self.found = saved["results"]
        out.mkdir(parents=True, exist_ok=True)

    def of(self, key: str, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns the result of a training: one that was saved, or that of running it now."""
        if key not in self.found:
            self.found[key] = run()
            settings = asdict(self.config)
            state = {"command": self.command, "settings": settings, "results": self.found}
            pending = self.path.with_suffix(".new")
            pending.write_text(json.dumps(state), "utf-8")
            os.replace(pending, self.path)
        result: dict[str, Any] = self.found[key]
        return result


def listed(name: str, typed: str, known: Collection[str]) -> list[str]:
    """Splits names at commas. **Raises** SettingError for an unknown one, or one twice."""
    names = [one.strip() for one in typed.split(",")]
    for one in names:
        check(name, one, str, one_of=known)
        if names.count(one) > 1:
            raise SettingError(f"`{name}` names {one} twice")
    return names


def show_table(title: str, header: list[str], rows: list[list[str]], left: int = 2) -> None:
    """Prints a table. **Arguments** left: the first columns, which are words."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i < left else "right")
    for row in rows:
        table.add_row(*row)
    _print(table)


def show_comparison(comparison: Comparison) -> None:
    """Prints the figures of systems, with the intervals of their differences, and notes."""
    header = ["system"]
    for measure in comparison.measures:
        header += [measure.name, "last minus this"]
    title = f"on {comparison.count():,} held-out {comparison.items}"
    show_table(title, header, comparison.rows(), left=1)
    _print("last minus this: 95 % interval of the paired bootstrap", *comparison.notes)


def _print(*shown: Any) -> None:
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    for one in shown:
        console.print(one)


def write_log(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def can_draw() -> bool:
    """Whether matplotlib is there."""
    return importlib.util.find_spec("matplotlib") is not None


def report(out: Path, name: str, draw: Callable[[Path], None]) -> None:
    """Draws a picture, if that is possible, and says where it and the log are."""
    picture = out / f"{name}.png"
    if can_draw():
        draw(picture)
        print(f"picture in {picture}, log in {out / 'log.csv'}")
    else:
        print(f"log in {out / 'log.csv'}; a picture needs pip install 'tinygrad_rnn[plot]'")
