"""The commands (train, generate, score, export, import, inspect, ...), and how they fail.

A user's mistake ends in one line on stderr and exit status 2; a failure while a command runs
(training diverges, memory or the disk is full) in one line and exit status 1. Any other exception
is a bug, and shows its traceback.
"""

from __future__ import annotations

import codecs
import inspect
import io
import os
import re
import signal
import sys
import warnings
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import numpy as np
import typer

from .. import __version__, kernels
from ..distributed import communication
from ..errors import TinygradRnnError, words_of
from ..recipes import TASKS_BY_NAME
from ..train import DivergedError
from .checks import gradcheck, info
from .files import export, import_
from .files import inspect as inspect_file
from .gates import gates, parallel
from .look import look
from .memory import memory
from .task import data, predict, train_command
from .train import cells, charlm, messages, phones, task, verses
from .train import translate as train_translate
from .translate import translate
from .use import generate, score

app = typer.Typer(
    help="Train recurrent networks; generate, predict and translate with them; check gradients.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
train = typer.Typer(help="Train a model.")
app.add_typer(train, name="train")
COMMANDS = (generate, score, translate, predict, look, export, data, gradcheck, info)
TRAIN_COMMANDS = (
    *(charlm, cells, train_translate, phones, verses, messages, task, memory, gates, parallel),
    *(train_command(one) for one in TASKS_BY_NAME.values()),
)
for command in COMMANDS:
    app.command()(command)
app.command("import")(import_)
app.command("inspect")(inspect_file)
for command in TRAIN_COMMANDS:
    train.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"tinygrad-rnn {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version, and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """The options before a command."""


ESCAPE = "tinygrad_rnn_escape"  # a handler of letters that an encoding lacks
lacking: set[str] = set()  # the encodings of terminals that lacked letters
SHOWN = 400  # letters of a long message's beginning and of its end
OPTIONS = {
    n for command in COMMANDS + TRAIN_COMMANDS for n in inspect.signature(command).parameters
}


def main() -> NoReturn:
    """Runs the command line, and exits with its status."""
    _open_streams()
    warnings.showwarning = _show_warning
    try:
        kernels.describe()  # raises if the environment names kernels that do not exist
        with np.errstate(all="ignore"):  # the trainer finds overflows in its results
            status = app(prog_name="tinygrad-rnn", standalone_mode=False) or 0
        sys.stdout.flush()
    except typer.TyperException as error:  # an unknown option, a value that is no number, ...
        _fail(f"{error.format_message()}{_options_of_files(error)} (see --help)", 2)
    except DivergedError as error:
        _fail(words_of(error), 1)
    except TinygradRnnError as error:
        _fail(words_of(error), 2)
    except MemoryError as error:
        why = f" ({error})" if str(error) else ""
        _fail(f"there is not enough memory{why}: smaller sizes or batches need less", 1)
    except (KeyboardInterrupt, typer.Abort):
        _leave(128 + signal.SIGINT)
    except BrokenPipeError:  # the reader has closed the pipe, as `head` does
        _leave(1)
    except UnicodeError as error:  # in a file's name, which a checkpoint stores as text
        _fail(f"not UTF-8: {error}", 2)
    except OSError as error:
        _fail(_reason(error), 1 if error.filename is None else 2)
    _leave(status, failed=False)


def _options_of_files(error: Any) -> str:
    """The options that take files, if one was given without its option."""
    context = getattr(error, "ctx", None)
    callback = getattr(getattr(context, "command", None), "callback", None)
    if callback is None or "unexpected extra argument" not in error.format_message():
        return ""
    known = inspect.signature(callback).parameters
    words = {n: str(p.annotation) for n, p in known.items() if n != "out"}
    names = [n for n, of in words.items() if "Path" in of and "Option" in of]
    return f": files follow --{', --'.join(names)}".replace("_", "-") * bool(names)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Prints a warning in one line."""
    print("warning:", " ".join(str(message).split()), file=sys.stderr, flush=True)


def _open_streams() -> None:
    """Replaces closed streams by the null device; writes UTF-8 to files and pipes.

    A terminal keeps its own encoding, and shows letters that it lacks as \\u1234; `_leave` says how
    to show them.
    """
    codecs.register_error(ESCAPE, _escaped)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(nowhere, mode, closefd=False))  # noqa: SIM115 until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors=ESCAPE)


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """Escapes letters that an output's encoding lacks, and notes the encoding."""
    if isinstance(error, UnicodeEncodeError) and not error.encoding.startswith("utf"):
        lacking.add(error.encoding)  # UTF-8 lacks only halves of letters
    return codecs.backslashreplace_errors(error)


def _reason(error: OSError) -> str:
    why = error.strerror or str(error)
    try:
        os.getcwd()
    except OSError:
        return f"the working folder no longer exists ({why})"
    return (
        f"cannot write the output: {why}" if error.filename is None else f"{error.filename}: {why}"
    )


def _fail(message: str, status: int) -> NoReturn:
    """Prints one line on stderr, with settings as the user types them, and exits."""
    communication.give_way()  # all ranks may have the same mistake to report
    line = re.sub(r"`(\w+)`", _as_typed, " ".join(message.split()))
    if len(line) > 2 * SHOWN:  # it quotes something long
        line = f"{line[:SHOWN]} ... {line[-SHOWN:]}"
    with suppress(OSError):  # stderr is closed
        print("error:", line, file=sys.stderr, flush=True)
    _leave(status)


def _as_typed(quoted: re.Match[str]) -> str:
    """Spells the name of a setting, which recipes put in backquotes, as an option."""
    return "--" + quoted[1].replace("_", "-") if quoted[1] in OPTIONS else quoted[0]


def _leave(status: int, failed: bool = True) -> NoReturn:
    """Exits without a second attempt to write to a broken output."""
    try:
        sys.stdout.flush()
        if lacking:
            print(
                f"hint: the terminal is {', '.join(lacking)}, which lacks the letters shown as "
                "\\u1234: PYTHONIOENCODING=utf-8 before the command shows them",
                file=sys.stderr,
            )
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if failed:
        communication.leave(status)  # the other ranks would wait for this one
    sys.exit(status)
