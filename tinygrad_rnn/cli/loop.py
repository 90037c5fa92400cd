"""What every `train` command does: refuse to overwrite, go on, stop at a signal, save, report."""

from __future__ import annotations

import atexit
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import io
from ..recipes import Run, SettingError
from .display import show

Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")]
OUT = "The folder of the checkpoint."


def option(config: Any, field: str, text: str) -> Any:
    """An option without a value of its own: what is not given, the configuration decides."""
    return typer.Option(help=text, show_default=str(getattr(config, field)))


def given(arguments: dict[str, Any], config: Any) -> dict[str, Any]:
    """The settings of a configuration that were given among a command's arguments."""
    return {k: v for k, v in arguments.items() if k in vars(config) and v is not None}


_until_exit = ExitStack()
atexit.register(_until_exit.close)


def opened(
    out: Path, resume: bool, checked: Callable[[dict[str, Any], Path], dict[str, Any]]
) -> dict[str, Any] | None:
    """The state to resume from, or None for a new run, which never overwrites another one.

    From here until the command ends no other process saves in the folder.

    **Arguments** checked: gives a state back, if it is one of the recipe.
    """
    if not resume or io.has_checkpoint(out):  # else there is nothing to guard
        _until_exit.enter_context(io.lock_checkpoint(out))
    if resume:
        return checked(io.load_checkpoint(out), out)
    if io.has_checkpoint(out):
        raise io.CheckpointError(
            f"{out} holds a checkpoint already: add --resume to go on with it, or choose another "
            "--out"
        )
    return None


def same_settings(given: dict[str, Any], saved: dict[str, Any]) -> int | None:
    """Refuses settings that contradict a checkpoint's. **Returns** the steps asked for, if any."""
    for name, value in given.items():
        if name != "steps" and value != saved["config"][name]:
            flag = name.replace("_", "-")
            raise SettingError(
                f"--{flag} {value} is not the checkpoint's {saved['config'][name]}: --resume goes "
                f"on with what it has; leave --{flag} away, or start anew in another --out"
            )
    return given.get("steps")


def describe(run: Run, kind: str) -> None:
    """Says how large a new model is, and where."""
    parameters = list(run.model.parameters())
    weights = sum(parameter.size for parameter in parameters)
    print(f"model: {kind} with {weights:,} weights on {parameters[0].device}")


def going_on(run: Run) -> None:
    """Says where a resumed run stands."""
    print(f"going on after step {run.step} of {run.config.steps}")


def train(
    run: Run, out: Path, extra: dict[str, Any], command: list[str], sample: Callable[[], str]
) -> None:
    """Makes the updates that are left, saving at each evaluation, and reports the result.

    **Arguments** extra: what the checkpoint keeps besides. command: what to type to go on, less
    `--resume`. sample: shows what the model can do so far.
    """

    def save() -> None:
        io.save_checkpoint(out, run.checkpoint() | extra)

    with io.lock_checkpoint(out), _signals() as asked_to_stop:
        save()  # before the first step: a folder that cannot be written is found out now
        try:
            with show(run) as display:
                for progress in run:
                    if progress.heldout is not None:
                        save()
                    display.update(progress)
                    if progress.heldout is not None:
                        display.sample(sample())
                    if asked_to_stop:
                        break
        except OSError:  # the output: its reader or its terminal has gone, or its disk is full
            save()
            raise
        if run.step == run.config.steps:
            run.finish()
        save()
        if run.result is None:
            again = shlex.join(["tinygrad-rnn", "train", *command, "--resume"])
            print(f"stopped after step {run.step} of {run.config.steps} and saved; to go on:")
            print(again)
        else:
            print(f"saved in {out}")
            print(f"held-out: {run.result:.3f} bits/{run.unit}")
    if asked_to_stop:
        raise typer.Exit(128 + asked_to_stop[0])


def to_go_on(name: str, out: Path, device: str | None) -> list[str]:
    """The words of the command that goes on with a run, less `--resume`."""
    return [name, "--out", str(out), *(["--device", device] if device else [])]


@contextmanager
def _signals() -> Iterator[list[int]]:
    """A list that is empty until a signal asks to stop, so that the step in hand can end.

    SIGINT (Ctrl-C), SIGTERM (batch systems, `kill`) and SIGHUP (a terminal that is closed) ask. A
    second Ctrl-C interrupts at once, and what was saved last stays whole; the others often come in
    pairs, and are not heard twice.
    """
    asked: list[int] = []

    def stop(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)  # nohup has it ignored
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not Python's
