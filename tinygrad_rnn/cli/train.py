"""`tinygrad-rnn train charlm`: learn a text, go on after Ctrl-C, end with the held-out figure."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import io
from ..data import default_text, read_text
from ..recipes import CharLM, Config, SettingError, Training, checked
from ..tensor.backend import default_device
from ..tensor.backend import device as use_device
from ..tensor.random import Generator
from .display import show

Out = Path("runs/charlm")


def _option(field: str, text: str) -> Any:
    """An option without a value of its own: what is not given, the configuration decides."""
    return typer.Option(help=text, show_default=str(getattr(Config, field)))


def charlm(
    text: Annotated[
        Path | None,
        typer.Option(help="A UTF-8 text in any script.", show_default="Shakespeare's plays"),
    ] = None,
    cell: Annotated[str | None, _option("cell", "rnn, gru or lstm.")] = None,
    hidden: Annotated[int | None, _option("hidden", "Units in a layer.")] = None,
    layers: Annotated[int | None, _option("layers", "Recurrent layers.")] = None,
    embedding: Annotated[
        int | None, _option("embedding", "Entries of a character's vector.")
    ] = None,
    dropout: Annotated[float | None, _option("dropout", "Probability, in [0, 1).")] = None,
    batch: Annotated[int | None, _option("batch", "Streams of text read in parallel.")] = None,
    bptt: Annotated[int | None, _option("bptt", "Steps that a gradient reaches back.")] = None,
    steps: Annotated[
        int | None, _option("steps", "Updates; more may be asked of --resume.")
    ] = None,
    lr: Annotated[float | None, _option("lr", "Adam's learning rate at its peak.")] = None,
    clip: Annotated[float | None, _option("clip", "The longest gradient (2-norm).")] = None,
    seed: Annotated[int | None, _option("seed", "Fixes initial weights and dropout.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda or cuda:N.", show_default="cpu")
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the checkpoint.")] = Out,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out.")
    ] = False,
) -> None:
    """Train a language model of characters, and say how well it knows text that it has not seen."""
    settings = {name: value for name, value in locals().items() if name in vars(Config())}
    given = {name: value for name, value in settings.items() if value is not None}
    with use_device(device or default_device()):
        if resume:
            run, source = _resumed(out, text, given, device)
        else:
            run, source = _started(out, text, given, device)
        _train(run, out, source, _again(out, device))


def _started(
    out: Path, text: Path | None, given: dict[str, Any], device: str | None
) -> tuple[Training, str | None]:
    config = Config(**given)
    if io.has_checkpoint(out):
        raise io.CheckpointError(
            f"{out} holds a checkpoint already: add --resume to go on with it, or choose another "
            "--out"
        )
    title, content = (str(text), read_text(text)) if text else default_text()
    run = Training(content, config, device)
    weights = sum(parameter.size for parameter in run.lm.model.parameters())
    print(f"text: {title}, {len(content):,} characters, {len(run.lm.vocabulary)} symbols")
    print(f"model: {config.cell} with {weights:,} weights on {run.lm.model.device}")
    return run, str(text.resolve()) if text else None


def _resumed(
    out: Path, text: Path | None, given: dict[str, Any], device: str | None
) -> tuple[Training, str | None]:
    saved = checked(io.load_checkpoint(out), out)
    steps = given.pop("steps", None)
    for name, value in given.items():
        if value != saved["config"][name]:
            raise SettingError(
                f"--{name} {value} is not the checkpoint's {saved['config'][name]}: --resume goes "
                f"on with what it has; leave --{name} away, or start anew in another --out"
            )
    source = str(text.resolve()) if text else saved["source"]
    content = read_text(source) if source else default_text()[1]
    run = Training.resume(saved, content, steps, device)
    print(f"going on after step {run.step} of {run.config.steps}")
    return run, source


def _train(run: Training, out: Path, source: str | None, again: str) -> None:
    def save() -> None:
        io.save_checkpoint(out, run.checkpoint() | {"source": source})

    save()  # before the first step: a folder that cannot be written is found out now
    with _ctrl_c() as asked_to_stop, show(run) as display:
        for progress in run:
            display.update(progress)
            if progress.heldout is not None:
                save()
                display.sample("".join(_sample(run.lm, progress.step)))
            if asked_to_stop:
                break
        else:
            run.finish()
            save()
    if run.result is None:
        save()
        print(f"stopped after step {run.step} of {run.config.steps} and saved; to go on:\n{again}")
        raise typer.Exit(130)
    print(f"saved in {out}")
    print(f"held-out: {run.result:.3f} bits/char")


def _sample(lm: CharLM, seed: int) -> Iterator[str]:
    return lm.sample(200, generator=Generator(seed), temperature=0.8)


def _again(out: Path, device: str | None) -> str:
    command = ["tinygrad-rnn", "train", "charlm", "--out", str(out), "--resume"]
    return shlex.join(command + (["--device", device] if device else []))


@contextmanager
def _ctrl_c() -> Iterator[list[int]]:
    """A list that is empty until Ctrl-C is pressed, so that the step in hand can end.

    A second Ctrl-C interrupts at once; what was saved last stays whole.
    """
    asked: list[int] = []

    def stop(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
