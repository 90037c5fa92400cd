"""Tests of every `train` command: table, picture and log; the same bits; whose run it is."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tinygrad_rnn import train
from tinygrad_rnn.io import CheckpointError, load_checkpoint
from tinygrad_rnn.recipes.runs import RECIPES

from .commands import run
from .small_runs import RUNS, STUDIES, small_sets, train_all
from .test_cli import SOURCES

pytest.importorskip("tokenizers")  # of verses and messages
COMMANDS = ("generate", "score", "translate", "predict", "look")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A finished run of each recipe, and what the commands printed."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("recipes")
    yield folder, train_all(folder, draw=True)
    os.chdir(before)


@pytest.fixture
def said(whole: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(whole[0])
    return whole[1]


def out(name: str) -> str:
    return name.replace(" ", "-").replace(",", "")


def bits(state: Any) -> Any:
    """A state with arrays as bytes."""
    if isinstance(state, dict):
        return {name: bits(value) for name, value in state.items()}
    if isinstance(state, list):
        return [bits(value) for value in state]
    return state.tobytes() if hasattr(state, "tobytes") else state


@pytest.mark.parametrize("name", [*RUNS, *STUDIES])
def test_a_run_has_a_picture_and_a_log_and_prints_its_table_again(
    said: dict[str, str], name: str
) -> None:
    folder, log = Path(out(name)), (Path(out(name)) / "log.csv").read_text()
    picture = folder / f"{name.split()[0]}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"picture in {picture}, log in {folder / 'log.csv'}" in said[name]
    if name in RUNS:
        steps = load_checkpoint(folder)["step"]
        assert [int(row.split(",")[0]) for row in log.splitlines()[1:]] == [*range(1, steps + 1)]
    picture.unlink()
    more = STUDIES.get(name, [])
    with small_sets(draw=True):
        again = run("train", *name.split(), *more, "--out", out(name), "--resume")
    assert picture.exists()
    assert (folder / "log.csv").read_text() == log
    tables = [re.findall(r"^(?:[│┃]|exact).*", text, re.M) for text in (said[name], again)]
    assert tables[0] == tables[1]
    assert (len(tables[0]) > 1) == (name != "charlm")


def test_a_finished_run_is_compared_later(said: dict[str, str]) -> None:
    later = run("train", "charlm", "--out", "charlm", "--resume", "--compare")
    assert "Kneser-Ney, order 8" in later
    assert later.splitlines()[-1] == "tinygrad-rnn generate charlm"


@pytest.mark.parametrize(
    "line", ["score charlm --summary --file", "score wordlm --file", "translate translate"]
)
def test_a_dash_is_the_standard_input(said: dict[str, str], line: str) -> None:
    text = Path("few").read_text()
    assert run(*line.split(), "-", typed=text) == run(*line.split(), "few")


def test_looking_at_the_standard_input(said: dict[str, str]) -> None:
    run("look", "charlm", "--file", "few", "--out", "a.html")
    run("look", "charlm", "--file", "-", "--out", "b.html", typed=Path("few").read_text())
    assert Path("a.html").read_text() == Path("b.html").read_text()


@pytest.mark.parametrize(
    ("recipe", "entry", "value"),
    [
        ("classify", "words", [["a"]]), ("classify", "labels", [0, 1]), ("tag", "tags", {"O": 1}),
        ("tag", "letters", [None]), ("wordlm", "words", ["a", {}]), ("speech", "scales", [1.5]),
        ("speech", "scales", [["a", "b"]]), ("forecast", "known", 1), ("caption", "words", [1]),
        ("forecast", "fits", {"series": 1}), ("forecast", "fits", {"series": [0, 1, "a"]}),
    ],
)  # fmt: skip
def test_entries_of_another_kind_are_refused(
    said: dict[str, str], recipe: str, entry: str, value: Any
) -> None:
    state = load_checkpoint(recipe)
    assert RECIPES[recipe].check(state, "run") is state
    with pytest.raises(
        CheckpointError, match=rf"the checkpoint in run is not one of train {recipe}"
    ):
        RECIPES[recipe].check({**state, entry: value}, "run")


REGULARISED = [
    *("--cell", "gru", "--num-layers", "2", "--dropout", "0.2", "--weight-dropout", "0.2"),
    *("--ar", "1", "--tar", "1", "--average", "0.8", "--optimizer", "sgd", "--lr", "1"),
]
VARIANTS = {
    "wordlm, regularised": ("wordlm", REGULARISED),
    "wordlm, not tied": ("wordlm", ["--no-tied"]),
    "tag, without a CRF": ("tag", ["--no-crf"]),
}


@pytest.mark.parametrize("name", [*RUNS, *VARIANTS])
def test_a_run_that_stops_twice_has_the_same_bits(
    said: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops in an epoch, before and after an evaluation."""
    update = train.Trainer.__next__

    def stopping(self: Any) -> Any:
        progress = update(self)
        if self.step in (2, 4):
            self.requests.append(signal.SIGINT)
        return progress

    recipe, more = VARIANTS.get(name, (name, []))
    command, part, whole = ["train", *recipe.split()], f"part {name}", out(name)
    with small_sets():
        if more:
            run(*command, *RUNS[recipe], *more, "--out", whole)
        with monkeypatch.context() as patch:
            patch.setattr(train.Trainer, "__next__", stopping)
            run(*command, *RUNS[recipe], *more, "--out", part, status=130)
            run(*command, "--out", part, "--resume", status=130)
        assert load_checkpoint(part)["step"] == 4
        run(*command, "--out", part, "--resume")
    assert bits(load_checkpoint(part)) == bits(load_checkpoint(whole))
    assert Path(part, "log.csv").read_text() == Path(whole, "log.csv").read_text()


def test_another_process_gets_the_same_bits(said: dict[str, str], tmp_path: Path) -> None:
    """Sets of strings have another order there."""
    seed = "1" if sys.flags.hash_randomization else "0"
    environment = {**os.environ, "PYTHONPATH": SOURCES, "PYTHONHASHSEED": seed}
    command = [sys.executable, "-m", "tests.small_runs", str(tmp_path)]
    subprocess.run(command, cwd=SOURCES, env=environment, check=True, timeout=120)
    for name in RUNS:
        states = [bits(load_checkpoint(folder / out(name))) for folder in (Path(), tmp_path)]
        for state in states:
            state["sources"] = None  # they are in other folders
        assert states[0] == states[1], name


@pytest.mark.parametrize("name", [*RUNS, *STUDIES])
def test_a_command_that_does_not_take_a_run_says_which_does(
    said: dict[str, str], name: str
) -> None:
    uses = RECIPES[load_checkpoint(out(name))["recipe"]].uses if name in RUNS else ()
    of, again = f"the run in {out(name)} is of train {name}", f"train {name} --out {out(name)}"
    for command in COMMANDS:
        if command in uses:
            continue
        more = ["some text"] if command in ("score", "look") else []
        refused = run(command, out(name), *more, status=2)
        assert refused.startswith(f"error: {of}")
        typed = f"tinygrad-rnn {uses[0]} {out(name)}" if uses else f"tinygrad-rnn {again} --resume"
        assert typed in refused
    with small_sets():
        for other in {*RUNS, *STUDIES} - {name}:
            arguments = STUDIES.get(other, [])
            refused = run(
                "train", *other.split(), *arguments, "--out", out(name), "--resume", status=2
            )
            assert refused.startswith(f"error: {of}")
            assert f"tinygrad-rnn {again} --resume" in refused
    if name not in ("charlm", "translate"):
        refused = run("export", out(name), "model.h", status=2)
        assert refused.startswith(f"error: {of}")
        assert "tinygrad-rnn" in refused


def test_the_commands_that_an_error_names_take_the_run(said: dict[str, str]) -> None:
    files = {"classify": "texts.csv", "tag": "words.conll", "caption": "images",
             "forecast": "series.csv", "speech": "waves.ts"}  # fmt: skip
    for name, command in itertools.product(RUNS, COMMANDS):
        if command in RECIPES[load_checkpoint(out(name))["recipe"]].uses:
            file = files.get(name, "few") if command != "look" else "few"
            more = {"generate": ["--length", "3"], "score": ["one two"]}.get(command, [file])
            run(command, out(name), *more)
