"""Every option of every command, with any value, succeeds or ends in one line.

The commands and their options are read from the program itself: a new command without a line in
`COMMANDS` fails, and a new option is drawn for as soon as there is one.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.main import get_command

from tinygrad_rnn import data, testing
from tinygrad_rnn.cli import main
from tinygrad_rnn.cli import train as commands
from tinygrad_rnn.cli.app import app
from tinygrad_rnn.io import load_checkpoint
from tinygrad_rnn.recipes import CharLMConfig, CharLMTraining
from tinygrad_rnn.recipes.explosion import explosion
from tinygrad_rnn.recipes.phones import split

from .drawing import share
from .recipes.test_messages import write_catalogue
from .recipes.test_verses import write_module

SIZES = "--hidden-size 4 --steps 1"
PAIRS = f"{SIZES} --batch-size 4 --out out"
TASK = "--hidden-size 4 --epochs 1 --out out"
COMMANDS = {
    "train charlm": f"--text text --embedding-dim 2 --bptt 4 {PAIRS}",
    "train translate": f"--source a --target b --embedding-dim 2 {PAIRS}",
    "train phones": f"--num-layers 1 {PAIRS}",
    "train verses": f"--source en --target xx --folder . {PAIRS}",
    "train messages": f"--folder . {PAIRS}",
    "train task": f"copy {SIZES} --out out",
    "train classify": f"--data rows.csv --embedding-dim 2 {TASK}",
    "train caption": f"--data shown.csv --embedding-dim 2 --channels 2 --image-size 16 {TASK}",
    "train wordlm": f"--data text --batch-size 2 --bptt 4 {SIZES} --out out",
    "train cells": f"--text text --embedding-dim 2 --bptt 4 --layers 1 --batch-size 4 {SIZES}",
    "train tag": f"--data rows.conll --embedding-dim 2 --letter-dim 2 {TASK}",
    "train forecast": f"--data series.csv --window 20 --horizon 2 --paths 2 {TASK}",
    "train speech": f"--data waves.ts --embedding-dim 2 {TASK}",
    "train memory": f"--length 4 --problems adding --cells rnn --trials 1 {SIZES}",
    "train gates": f"{SIZES} --restarts 1",
    "train parallel": f"--lengths 10 --batch-size 2 {SIZES}",
    "generate": "charlm --length 3 --seed 0",
    "score": "charlm the",
    "predict": "classified line",
    "look": "charlm the",
    "data": "",
    "translate": "pairs line --beams 2 --max-length 4",
    "export": "charlm out.safetensors",
    "import": "weights.safetensors --out out.safetensors",
    "inspect": "weights.safetensors",
    "gradcheck": "",
    "info": "",
}

MODELS = [
    ("train charlm", "charlm"), ("train translate", "pairs"), ("train classify", "classified"),
]  # fmt: skip

# What someone, or a script with a variable that was empty, may type; none asks for long work.
NUMBERS = [
    "", " ", "x", "-1", "0", "-0", "1e3", "0x10", "1.5", "1,5", "1_0", "٣", "²", "nan", "-nan",
    "inf", "-inf", "1e400", "1e-400", "1e38", "1e308", "-1e308", "1000000000", str(2**31),
    str(10**12), str(2**63), "9" * 20, "-" + "9" * 20, "9" * 400, "9" * 5000,
]  # fmt: skip
TEXTS = [
    "", " ", "x", "ä", "हि", "👩‍👩‍👧", "\udcff", "a" * 300, "../x", ".", "nan", "linear:",
    "linear:nan", "linear:-inf", "constant:2", "exponential:nan", "inverse-sigmoid:inf", ":1",
    "cuda", "cuda:", "cuda:x", "cuda:-1", "cuda:²", "cuda:" + "9" * 30, "gpu", "CPU", "cpu:0",
    "rnn,,gru", "words",
]  # fmt: skip
PATHS = [
    "", "nowhere", "nowhere/x.png", "a" * 300, "a" * 300 + ".png", "a/" * 3000, ".", "folder",
    "folder.png", "a/b.png", "pipe", "pipe.png", "\udcff", "x.jpg", "zeros", "latin", "wide",
    "empty", "blank", "one", "twice", "charlm", "pairs", "/dev/null", "/dev/zero", "/dev/full",
    "/proc/self/mem", "/dev/full/x.png",
]  # fmt: skip


PLACE = {
    *("text", "a", "b", "line", "zeros", "latin", "wide", "empty", "blank", "one", "twice"),
    *("folder", "folder.png", "pipe", "pipe.png", "en", "xx", "charlm", "pairs"),
    "weights.safetensors", "rows.csv", "rows.conll", "series.csv", "waves.ts", "classified",
    "shown.csv", "shown", "zh_CN",
}  # fmt: skip


class Option(NamedTuple):
    """An option or an argument of a command."""

    command: str
    flag: str  # "" for an argument
    place: int  # among the arguments
    kind: type


def options(group: typer.Typer, path: str = "") -> Iterator[Option]:
    """Yields the options and arguments of all commands that take a value."""
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from options(below.typer_instance, f"{path}{below.name} ")
    for command in group.registered_commands:
        assert command.callback is not None
        place = 0
        name = f"{path}{command.name or command.callback.__name__}"
        for parameter, hint in get_type_hints(command.callback, include_extras=True).items():
            kinds = (
                {int, float, str, Path} & {hint.__origin__, *types(hint.__origin__)}
                if (get_origin(hint) is Annotated)
                else set()
            )
            for kind in kinds:
                is_argument = isinstance(hint.__metadata__[0], typer.models.ArgumentInfo)
                flag = "" if is_argument else "--" + parameter.replace("_", "-")
                yield Option(name, flag, place, kind)
                place += is_argument


def types(hint: Any) -> Iterator[Any]:
    """Yields the types in a hint, such as Path in `list[Path] | None`."""
    for one in get_args(hint):
        yield from types(one) if get_args(one) else [one]


OPTIONS = list(options(app))
VALUES: dict[type, list[str]] = {int: NUMBERS, float: NUMBERS, str: TEXTS, Path: PATHS}


def values(option: Option) -> list[str]:
    """Returns the values to try for an option, except counts that would take too long."""
    counts_work = option.flag in ("--steps", "--epochs") or option[:2] == ("generate", "--length")
    return [v for v in VALUES[option.kind] if not (counts_work and v == "1000000000")]


def typed(option: Option, value: str) -> list[str]:
    """Builds a valid command, except for the value of one option."""
    name, given = option.command.split(), COMMANDS[option.command].split()
    if option.flag:
        return [*name, *given, f"{option.flag}={value}"]
    first = next((i for i, word in enumerate(given) if word.startswith("-")), len(given))
    arguments = [value if i == option.place else given[i] for i in range(first)]
    return [*name, *given[first:], "--", *arguments]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Creates a folder with texts, models and other files."""
    folder = tmp_path_factory.mktemp("place")
    lines = [f"{a} and {b}" for a in "abcd" for b in "abcd"]
    (folder / "text").write_text("the cat sat on the mat\n" * 9)
    for name in "ab":
        (folder / name).write_text("\n".join(lines))
    (folder / "line").write_text("a and b\n")
    rows = [f"{a} and {b},{'same' if a == b else 'other'}" for a in "abcd" for b in "abcd"]
    tagged = [f"{a} X\n{b} {'Y' if a < b else 'Z'}\n" for a in "abc" for b in "abc"]
    (folder / "rows.conll").write_text("\n".join(tagged))
    days = [
        f"20{y}-{m:02}-01,{1 + (7 * y + m * m) % 11}" for y in range(10, 19) for m in range(1, 13)
    ]
    waves = [f"{a},{b},{a}:{'up' if a < b else 'down'}" for a in range(5) for b in range(5)]
    (folder / "waves.ts").write_text("\n".join(["@classLabel true up down", "@data", *waves]))
    (folder / "series.csv").write_text("\n".join(["date,value", *days]))
    (folder / "rows.csv").write_text("\n".join(["text,label", *rows]))
    (folder / "shown").mkdir()
    shades = {f"shown/{i}.png": np.full((16, 16, 3), 20 * i, np.uint8) for i in range(12)}
    for name, pixels in shades.items():
        Image.fromarray(pixels).save(folder / name)
    shown = [
        f"{name},{'light' if pixels.mean() > 99 else 'dark'}" for name, pixels in shades.items()
    ]
    (folder / "shown.csv").write_text("\n".join(["file,caption", *shown]))
    (folder / "zeros").write_bytes(bytes(99))
    (folder / "latin").write_bytes("été\n".encode("latin-1"))
    (folder / "wide").write_text("text\n" * 9, "utf-16")
    (folder / "empty").write_text("")
    (folder / "blank").write_text("\n" * 99)
    (folder / "one").write_text("a")
    (folder / "twice").write_text("a" * 99)
    for name in ("folder", "folder.png"):
        (folder / name).mkdir()
    for name in ("pipe", "pipe.png"):
        os.mkfifo(folder / name)
    for name in ("en", "xx"):
        write_module(folder / name, [lines], [["7"]])
    catalogue = {f"{a} b": f"{a} c" for a in "defghijk"}
    write_catalogue(folder / "zh_CN" / "LC_MESSAGES" / "sw.mo", catalogue)
    few = split("".join(f"{word} K AE1 T\n" for word in "abcde"), 3, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(commands, "EXAMPLES", 20)
        patch.setattr(commands, "TESTED", 2)
        patch.setattr(commands.dictionary, "phones", lambda: few)
        verses = functools.partial(commands.bibles.verses, test=2, validation=2)
        patch.setattr(commands.bibles, "verses", verses)
        patch.setattr(data.memory, "memory", lambda: 2**33)
        messages = functools.partial(commands.programs.messages, test=2, validation=2)
        patch.setattr(commands.programs, "messages", messages)
        rows = [info for info in testing.op_infos() if info.name == "tanh"]
        patch.setattr(testing, "op_infos", lambda: rows)
        patch.setattr("tinygrad_rnn.cli.studies.can_draw", lambda: False)
        patch.setattr("tinygrad_rnn.cli.memory.explosion", lambda **_: explosion(steps=1))
        for name, out in MODELS:
            assert run([*name.split(), *COMMANDS[name].split(), "--out", out]) == (0, "")
        assert run(["export", "charlm", "weights.safetensors"]) == (0, "")
        yield folder


def run(arguments: list[str]) -> tuple[Any, str]:
    """Runs the command line. **Returns** its exit status, and its stderr."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()):
        patch.setattr(sys, "argv", ["tinygrad-rnn", *arguments])
        with redirect_stderr(said), pytest.raises(SystemExit) as left:
            main()
    return left.value.code, said.getvalue()


def ends_well_or_in_a_line(arguments: list[str]) -> None:
    """Asserts that a command succeeds, or fails with one line."""
    status, said = run(arguments)
    if status == 0:
        assert not said or said.startswith(("BLEU ", "unknown to the model"))
    else:
        assert status in (1, 2)
        assert said.startswith("error: "), said
        assert said.count("\n") == 1, said
        assert len(said) > len("error: x\n")


def test_every_command_is_tried() -> None:
    assert {option.command for option in OPTIONS} == set(COMMANDS) - {"info", "data"}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_works(name: str, place: Path) -> None:
    quick = ["--quick"] * name.startswith("train ")  # where what is typed counts more
    assert run([*name.split(), *COMMANDS[name].split(), *quick]) == (0, "")
    clean(place)


def test_quick_sets_what_is_not_typed(place: Path) -> None:
    charlm = ["train", "charlm", "--quick", "--out", "out"]
    assert run([*charlm, "--text", "text", "--batch-size=4", "--bptt=4", "--steps=2"]) == (0, "")
    config = load_checkpoint("out")["config"]
    assert config["hidden_size"] == CharLMTraining.quick["hidden_size"] != CharLMConfig.hidden_size
    assert (config["batch_size"], config["steps"]) == (4, 2)
    # A run that resumes keeps its settings, with --quick and without.
    assert run([*charlm, "--resume", "--steps=3"]) == (0, "")
    assert load_checkpoint("out")["config"] == config | {"steps": 3}
    clean(place)


def test_a_help_text_names_options_that_its_command_has() -> None:
    commands = dict(click_commands(get_command(app)))
    assert len(commands) == len(COMMANDS)
    for name, command in commands.items():
        texts = [command.help or "", *(getattr(p, "help", None) or "" for p in command.params)]
        for text in texts:
            for option in re.findall(r"--[a-z][a-z-]+", text):
                named = [command, *(commands[n] for n in commands if f"`{n}`" in text)]
                known = {o for one in named for p in one.params for o in p.opts}
                assert option in known, f"{name}: {text}"


def click_commands(group: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the names and the commands of a group."""
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from click_commands(one, f"{path}{name} ")
        else:
            yield f"{path}{name}", one


@pytest.mark.parametrize("option", OPTIONS, ids=lambda o: f"{o.command} {o.flag or o.place}")
@given(drawn=st.data())
@share(20)
def test_every_option(option: Option, place: Path, drawn: st.DataObject) -> None:
    value = drawn.draw(st.sampled_from(values(option)))
    try:
        ends_well_or_in_a_line(typed(option, value))
    finally:
        clean(place)


SAVING = [option for option in OPTIONS if option.flag == "--out" and "train" in option.command]


@pytest.mark.parametrize("option", SAVING, ids=lambda option: option.command)
@pytest.mark.parametrize(
    ("value", "why"),
    [("", "the name is empty"), ("text", "text is not"), ("text/run", "text is not")],
)
def test_out_names_a_folder(option: Option, value: str, why: str, place: Path) -> None:
    """An empty name would be the working folder, and a file is not replaced."""
    before = sorted(place.iterdir())
    status, said = run(typed(option, value))
    assert (status, sorted(place.iterdir())) == (2, before)
    assert re.search(rf"^error: .*'--out': {why}.* expected .*, such as runs/first", said)


def clean(place: Path) -> None:
    """Removes the files that a command has written."""
    for path in place.iterdir():
        if path.name in ("folder", "folder.png") or path.name not in PLACE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("folder", "folder.png"):
        (place / name).mkdir()
