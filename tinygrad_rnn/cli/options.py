"""Command-line options: those that commands share, and those derived from a recipe's settings."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ..data import TextError
from ..data.tables import STANDARD_INPUT
from ..distributed import communicator
from ..recipes.settings import SettingError, Settings, bounds
from ..tensor import backend
from ..train.recovery import OnNaN


def folder_to_save_in(typed: str | Path) -> Path:
    """Returns the folder that --out names. **Raises** BadParameter for an empty name, or a file."""
    path = Path(typed)
    if typed == "":  # which would be the working folder
        raise typer.BadParameter("the name is empty; expected a folder, such as runs/first")
    existing = next((one for one in (path, *path.parents) if os.path.exists(one)), Path())
    if not existing.is_dir():
        raise typer.BadParameter(f"{existing} is not a folder; expected one, such as runs/first")
    return path


Checkpoint = Annotated[Path, typer.Argument(help="The checkpoint folder that training wrote.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="cpu")]
FOLDER: dict[str, Any] = {
    "help": "The checkpoint folder.", "parser": folder_to_save_in, "metavar": "<path>",
}  # fmt: skip
Out = Annotated[Path, typer.Option(**FOLDER)]
Resume = Annotated[bool, typer.Option("--resume", help="Resume from the checkpoint in --out.")]


@dataclass(frozen=True)
class Run:
    """Options of `train` commands: the device, checkpoints, and losses that are not finite."""

    device: Device = None
    out: Path | None = None  # runs/NAME, if None
    resume: Resume = False
    keep_last: Annotated[int, typer.Option(help="Checkpoints to keep in --out.", min=1)] = 1
    best: Annotated[
        bool, typer.Option("--best", help="Save the best model so far in the folder best of --out.")
    ] = False
    verify: Annotated[
        bool, typer.Option("--verify", help="Read back each checkpoint that is written.")
    ] = False
    on_nan: Annotated[
        OnNaN,
        typer.Option(help="Remedy for a loss or gradient that is not finite, or that explodes."),
    ] = "stop"
    explosion: Annotated[
        float,
        typer.Option(help="A loss above this multiple of the largest so far explodes; inf: off."),
    ] = 10.0

    def __post_init__(self) -> None:
        if not self.explosion > 1:
            raise SettingError(f"`explosion` must be above 1, not {self.explosion}")


Command = Callable[..., None]
SPANS = ("steps", "epochs")  # the settings that say how long to train


def _run_parameters(folder: str) -> list[inspect.Parameter]:
    """The fields of `Run` as parameters. **Arguments** folder: the default of --out, for --help."""
    shown = typer.Option(show_default=f"runs/{folder}", **FOLDER)
    annotations = {"out": Annotated[Path | None, shown]}
    return [
        one.replace(kind=one.KEYWORD_ONLY, annotation=annotations.get(one.name, one.annotation))
        for one in inspect.signature(Run, eval_str=True).parameters.values()
    ]


QUICK = inspect.Parameter(
    "quick",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool, typer.Option("--quick", help="A small training that ends in a minute.")
    ],
)


def as_utf8(typed: str | None) -> str | None:
    """Decodes a typed text that the locale, such as C, could not decode."""
    if typed is None or typed.isprintable():
        return typed
    try:
        return typed.encode("ascii", "surrogateescape").decode()
    except UnicodeError:
        return typed  # with other letters, or not of UTF-8


def absolute(path: Path | None) -> str | None:
    """Returns the absolute name of a file of training data, for checkpoints to remember."""
    if str(path) == STANDARD_INPUT:
        raise TextError(
            "- is the standard input, which a run that resumes cannot read again: save it as a "
            "file, and name that"
        )
    return str(path.resolve()) if path else None


def on(device: str | None) -> AbstractContextManager[None]:
    """Sets the device of a `with` block; None leaves the default device."""
    return backend.device(backend.default_device() if device is None else device)


def options(
    config: Settings, *names: str, quick: Mapping[str, Any]
) -> Callable[[Command], Command]:
    """Replaces a command's parameters `settings` and `run` by one option for each field.

    The command receives the settings that the user typed, as a dictionary: the others come from a
    configuration, or from the checkpoint that it resumes. With `--quick`, which every command has,
    those of `quick` count as typed, unless the user types others or resumes a run.

    **Arguments** config: its fields carry the help texts and ranges, its values are the defaults
    that `--help` shows. names: the settings that become options; all of them, if there are none.
    quick: the settings of a training that ends in a minute on one core, and values for options of
    the command's own that are None.
    """
    types = get_type_hints(type(config))

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        folder = "NAME" if "name" in own.parameters else command.__name__
        places = _run_parameters(folder) if "run" in own.parameters else []
        derived = [
            inspect.Parameter(
                one.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    types[one.name] | None,
                    _option(one, getattr(config, one.name), bool(places) and one.name in SPANS),
                ],
            )
            for one in fields(config)
            if not names or one.name in names
        ]

        @functools.wraps(command)
        def typed(**arguments: Any) -> None:
            values = {one.name: arguments.pop(one.name) for one in derived}
            settings = {name: value for name, value in values.items() if value is not None}
            if arguments.pop("quick"):
                for name, value in quick.items():
                    if name not in own.parameters:
                        if not arguments.get("resume"):
                            settings.setdefault(name, value)
                    elif arguments[name] is None:
                        arguments[name] = value
            if places:
                arguments["run"] = Run(**{one.name: arguments.pop(one.name) for one in places})
            elif communicator().size > 1:
                raise SettingError(
                    f"train {command.__name__} makes several trainings, which ranks do not divide: "
                    "start it without mpiexec"
                )
            command(settings=settings, **arguments)

        parts = {"settings": [*derived, QUICK], "run": places}
        parameters = [
            parameter for one in own.parameters.values() for parameter in parts.get(one.name, [one])
        ]
        typed.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        typed.__annotations__ = {one.name: one.annotation for one in parameters}
        return typed

    return decorate


def _option(field: Field[Any], default: Any, raised: bool) -> Any:
    """Describes a setting to typer: choices follow the help text, a range follows the default.

    **Arguments** raised: whether a run that resumes may have a larger value.
    """
    text, limits = field.metadata["help"], dict(field.metadata["limits"])
    if choices := list(limits.pop("one_of", ())):
        text = f"{text.removesuffix('.')}: {', '.join(choices[:-1])} or {choices[-1]}."
    if raised:
        text = f"{text.removesuffix('.')}; --resume may raise it."
    shown = f"{default}; {bounds(limits)}" if limits else str(default)
    return typer.Option(help=text, show_default=shown)
