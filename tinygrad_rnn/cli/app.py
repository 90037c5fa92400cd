"""The commands train, generate, score, translate, gradcheck and info, and how they fail.

What a user can get wrong ends in one line on stderr and exit status 2. Anything else that goes
wrong is a bug, and shows its traceback.
"""

from __future__ import annotations

import io
import os
import sys
from typing import NoReturn

import typer

from ..data import TextError, VocabularyError
from ..errors import DeviceError
from ..io import CheckpointError
from ..nn import StateDictError
from ..recipes import DivergedError, SettingError
from .adding import adding
from .checks import gradcheck, info
from .train import charlm
from .train_pairs import phones, task, verses
from .train_pairs import translate as train_translate
from .translate import translate
from .use import generate, score

app = typer.Typer(
    help="Recurrent networks on plain arrays: train, sample and score them; check gradients.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
train = typer.Typer(help="Train a model.")
app.add_typer(train, name="train")
train.command("charlm")(charlm)
train.command("translate")(train_translate)
train.command("phones")(phones)
train.command("verses")(verses)
train.command("task")(task)
train.command("adding")(adding)
for command in (generate, score, translate, gradcheck, info):
    app.command()(command)

_MISTAKES = (
    TextError,
    VocabularyError,
    CheckpointError,
    StateDictError,
    SettingError,
    DeviceError,
)


def main() -> NoReturn:
    """Runs the command line and exits with its status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows "?"
    try:
        sys.exit(app(prog_name="tinygrad-rnn", standalone_mode=False))
    except typer.TyperException as error:  # an unknown option, a value that is no number, ...
        _fail(f"{error.format_message()} (see --help)", 2)
    except _MISTAKES as error:
        _fail(str(error), 2)
    except DivergedError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # The reader has gone, as `head` does. Nothing is left to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _fail(message: str, status: int) -> NoReturn:
    print("error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(status)
