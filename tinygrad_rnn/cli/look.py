"""`tinygrad-rnn look`: a page that shows what a model does with a text."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from ..data import TextError
from ..data.tables import read_input
from ..recipes import SettingError
from ..recipes.look import look as content_of
from .options import Checkpoint, Device, on

DATA, TITLE = "/*DATA*/", "TITLE"  # in the template


def look(
    checkpoint: Checkpoint,
    text: Annotated[
        str | None, typer.Argument(help="The text to read, or the name of a UTF-8 file.")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A UTF-8 file to read instead.")] = None,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("look.html"),
    device: Device = None,
) -> None:
    """Write a page that shows what a model does with a text: surprise, units, attention.

    Symbols are coloured by their surprise, by a unit of a layer, or by a gate. The page needs no
    server and no network.
    """
    if (text is None) is (file is None):
        raise TextError("expected a text to read: type it, or name a file")
    if text is not None and os.path.isfile(text):
        file = Path(text)
    if (out.exists() and not out.is_file()) or not out.parent.is_dir():
        why = "it is not a regular file" if out.exists() else f"there is no folder {out.parent}"
        raise SettingError(f"cannot write {out}: {why}")
    read = read_input(file) if file is not None else str(text)
    with on(device):
        content = content_of(checkpoint, read.split("\n"), device)
    out.write_text(page(content, f"{checkpoint.name}: {_beginning(read)}"), "utf-8")
    print(f"page in {out}")


def _beginning(text: str, most: int = 40) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def page(content: dict[str, Any], title: str) -> str:
    """Writes a page, with its content in it."""
    template = files(__package__).joinpath("look.html").read_text("utf-8")
    # In a script only "<" could end the data, or begin a comment.
    data = json.dumps(content, ensure_ascii=False).replace("<", "\\u003c")
    escaped = title.replace("&", "&amp;").replace("<", "&lt;")
    before, after = template.split(DATA)
    return before.replace(TITLE, escaped) + data + after
