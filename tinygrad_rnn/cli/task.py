"""`tinygrad-rnn train` for the recipes with baselines, `predict` for their models, and `data`."""

# Annotations are evaluated here, not later: those of a command name the recipe that it is for.
import filecmp
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import TextError
from ..data.sets import SETS, cache_folder
from ..recipes.runs import load_run
from ..recipes.task import Task
from .loop import opened
from .options import Checkpoint, Device, Run, absolute, on, options

AT_A_TIME = 256  # items of a prediction


def train_command(task: type[Task]) -> Callable[..., None]:
    """Returns the `train` command of a task, whose docstring is its help text."""

    def command(
        *,
        data: Annotated[
            list[Path] | None, typer.Option(help=task.data_help, show_default=task.default)
        ] = None,
        settings: dict[str, Any],
        run: Run,
    ) -> None:
        with opened(task, task.recipe, settings, run) as session:
            saved = session.saved or {"config": {}, "sources": []}
            session.sources = [absolute(path) for path in data or ()] or saved["sources"]
            _refuse_copies([path.resolve() for path in data or ()])
            config = replace(task.settings(**saved["config"]), **session.settings)
            content = task.read(session.sources, config)
            training = session.start(content, task.settings())
            print(training.describe())
            session.train(training, training.compare)

    command.__name__ = command.__qualname__ = task.recipe
    command.__doc__ = (task.__doc__ or "").split("\n\n")[0]
    return options(task.settings(), quick=task.quick)(command)


def _refuse_copies(files: Sequence[Path]) -> None:
    """Refuses files of the same content. **Raises** TextError."""
    for a, b in combinations(files, 2):
        if a == b or (a.is_file() and b.is_file() and filecmp.cmp(a, b, shallow=False)):
            which = f"{a} twice" if a == b else f"{a} and {b}, which are the same"
            raise TextError(
                f"`data` names {which}: the model would be tested with what it has learnt from"
            )


def predict(
    checkpoint: Checkpoint,
    file: Annotated[
        Path, typer.Argument(help="The file to predict for; - is the standard input.")
    ] = Path("-"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Write one line of JSON per item.")
    ] = False,
    device: Device = None,
) -> None:
    """Predict with a model of `train` classify, tag, caption, forecast, speech or wordlm."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    with on(device):
        _, predictor = load_run(checkpoint, "predict")
        items = predictor.read(file)
        if predictor.header and not as_json:
            print(predictor.header)
        for start in range(0, len(items), AT_A_TIME):
            for record in predictor.predict(items[start : start + AT_A_TIME]):
                if as_json:
                    print(json.dumps(record, ensure_ascii=False), flush=True)
                else:
                    console.print(predictor.show(record))


def data() -> None:
    """List the data sets: licences, what is installed, and how to install the others."""
    for one in SETS.values():
        root = one.root
        print(f"{one.name} ({one.used_by}): {one.content}; licence: {one.licence}")
        print(f"  installed: {root}" if root else f"  not installed: {one.command}")
    print(f"downloaded archives belong into {cache_folder()}, or where TINYGRAD_RNN_DATA says")
