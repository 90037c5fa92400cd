"""`tinygrad-rnn train charlm`: learn a text, go on after Ctrl-C, end with the held-out figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import default_text, read_text
from ..recipes import Config, Training, checked
from ..tensor.random import Generator
from . import loop
from .device import Device, on
from .loop import Resume

DEFAULTS = Config()


def _option(field: str, text: str) -> Any:
    return loop.option(DEFAULTS, field, text)


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
    device: Device = None,
    out: Annotated[Path, typer.Option(help=loop.OUT)] = Path("runs/charlm"),
    resume: Resume = False,
) -> None:
    """Train a language model of characters, and say how well it knows text that it has not seen."""
    given = loop.given(locals(), DEFAULTS)
    with on(device):
        saved = loop.opened(out, resume, checked)
        if saved is None:
            run, source = _started(text, given, device)
        else:
            run, source = _resumed(saved, text, given, device)

        def sample() -> str:
            return "".join(run.lm.sample(200, generator=Generator(run.step), temperature=0.8))

        loop.train(run, out, {"source": source}, loop.to_go_on("charlm", out, device), sample)


def _started(
    text: Path | None, given: dict[str, Any], device: str | None
) -> tuple[Training, str | None]:
    config = Config(**given)
    title, content = (str(text), read_text(text)) if text else default_text()
    run = Training(content, config, device)
    print(f"text: {title}, {len(content):,} characters, {len(run.lm.vocabulary)} symbols")
    loop.describe(run, config.cell)
    return run, str(text.resolve()) if text else None


def _resumed(
    saved: dict[str, Any], text: Path | None, given: dict[str, Any], device: str | None
) -> tuple[Training, str | None]:
    steps = loop.same_settings(given, saved)
    source = str(text.resolve()) if text else saved.get("source")
    content = read_text(source) if source else default_text()[1]
    run = Training.resume(saved, content, steps, device)
    loop.going_on(run)
    return run, source
