"""A small run of each `train` command that keeps a checkpoint, on files that are made for it.

`python -m tests.small_runs FOLDER` trains all of them in another process.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.cli import train as commands
from tinygrad_rnn.recipes.phones import split

from .commands import run

SIZES = ["--hidden-size", "6", "--embedding-dim", "4", "--batch-size", "4"]
PAIRS = ["--hidden-size", "6", "--batch-size", "4", "--steps", "8"]
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
RUNS: dict[str, list[str]] = {
    "charlm": ["--text", "text.txt", *SIZES, "--bptt", "6", "--dropout", "0.2", "--steps", "8"],
    "wordlm": ["--data", "text.txt", "--hidden-size", "6", "--batch-size", "2", "--bptt", "6",
               "--steps", "8"],
    "translate": ["--source", "en", "--target", "xx", *SIZES, "--steps", "8"],
    "verses": ["--source", "kjv", "--target", "other", "--folder", ".", *PAIRS],
    "messages": ["--folder", ".", *PAIRS],
    "phones": [*PAIRS, "--num-layers", "1"],
    "task copy": ["--hidden-size", "6", "--steps", "8"],
    "classify": ["--data", "texts.csv", *SIZES, "--epochs", "2"],
    "tag": ["--data", "words.conll", *SIZES, "--letter-dim", "3", "--epochs", "2"],
    "caption": ["--data", "images", *SIZES, "--channels", "4", "--image-size", "16",
                "--beams", "2", "--epochs", "2"],
    "forecast": ["--data", "series.csv", "--period", "7", "--hidden-size", "4", "--epochs", "8",
                 "--paths", "20", "--horizon", "3"],
    "speech": ["--data", "waves.ts", *SIZES, "--epochs", "2"],
}  # fmt: skip
STUDIES = {"gates": ["--steps", "3", "--restarts", "1"]}


def write_files() -> None:
    """Writes the data of all runs into the current folder."""
    from PIL import Image

    from .recipes.test_messages import write_catalogue
    from .recipes.test_verses import write_module

    rng = np.random.default_rng(0)
    lines = [" ".join(WORDS[i] for i in rng.integers(0, 10, 4)) for _ in range(60)]
    other = [line.upper()[::-1] for line in lines]
    Path("text.txt").write_text("\n".join(lines) + "\n")
    Path("en").write_text("\n".join(lines) + "\n")
    Path("few").write_text("\n".join(lines[:3]) + "\n")
    Path("xx").write_text("\n".join(other) + "\n")
    write_module(Path("kjv"), [lines], [["amen"]])
    write_module(Path("other"), [other], [["Amen"]])
    write_catalogue(Path("zh_CN/LC_MESSAGES/a.mo"), dict(zip(lines, other, strict=True)))
    rows = [f'"{line}",{"yes" if "one" in line else "no"}' for line in lines]
    Path("texts.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    tags = ["\n".join(f"{w} {'B-ODD' if len(w) == 3 else 'O'}" for w in x.split()) for x in lines]
    Path("words.conll").write_text("\n\n".join(tags) + "\n")
    Path("images").mkdir()
    captions = []
    for i in range(24):
        color = ("red", "green", "blue")[i % 3]
        image = Image.new("RGB", (16, 16), color)
        image.putpixel((i % 16, i // 16), (0, 0, 0))
        image.save(f"images/{i}.png")
        captions.append(f"{i}.png,a {color} square")
    Path("images/captions.csv").write_text("\n".join(["file,caption", *captions]))
    waves = 10 + np.sin(np.arange(160) * 2 * np.pi / 7) + rng.normal(0, 0.2, 160)
    days = [(date(2020, 1, 1) + timedelta(i)).isoformat() for i in range(160)]
    values = [f"{day},{x:.4f}" for day, x in zip(days, waves, strict=True)]
    Path("series.csv").write_text("\n".join(["date,value", *values]) + "\n")
    cases = []
    for i in range(40):
        steps = np.arange(rng.integers(5, 12))
        channels = [np.sin(steps * (1 + i % 2) + rng.normal()) for _ in range(2)]
        cases.append(":".join([*(",".join(f"{x:.4f}" for x in c) for c in channels), "ab"[i % 2]]))
    Path("waves.ts").write_text("\n".join(["@classLabel true a b", "@data", *cases]) + "\n")


@contextmanager
def small_sets(draw: bool = False) -> Iterator[None]:
    """Makes the sets of recipes that read no files small, and evaluates every third update.

    **Arguments** draw: whether runs have pictures, which take longer than such a training.
    """
    entries = "".join(f"{w} {' '.join(w.upper())}\n" for w in WORDS)
    few = functools.partial(split, entries, 3, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commands, "EXAMPLES", 40)
        patch.setattr(commands, "TESTED", 6)
        patch.setattr(commands.dictionary, "phones", few)
        for module, name in ((commands.bibles, "verses"), (commands.programs, "messages")):
            small = functools.partial(getattr(module, name), test=6, validation=4)
            patch.setattr(module, name, small)
        patch.setattr("tinygrad_rnn.recipes.trainer.EVALUATE_EVERY", 3)
        if not draw:
            patch.setattr("tinygrad_rnn.cli.studies.can_draw", lambda: False)
        yield


def train_all(folder: Path, draw: bool = False) -> dict[str, str]:
    """Trains all recipes in a folder. **Returns** what the commands print."""
    os.chdir(folder)
    write_files()
    with small_sets(draw):
        return {
            name: run("train", *name.split(), *arguments, "--out", name.replace(" ", "-"))
            for name, arguments in {**RUNS, **STUDIES}.items()
        }


if __name__ == "__main__":
    train_all(Path(sys.argv[1]))
