"""The documentation: its code runs, and what it refers to exists."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import tinygrad_rnn as tg
from tinygrad_rnn.cli.app import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str = "python") -> list[str]:
    """The blocks of code of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)


def running_engine() -> dict[str, Any]:
    page = ROOT / "docs" / "engine.md"
    names: dict[str, Any] = {}
    exec(compile("\n".join(blocks(page)), str(page), "exec"), names)
    return names


def test_the_engine_on_one_page_agrees_with_finite_differences() -> None:
    page = running_engine()
    values = [page[name].array for name in "UWb"]

    def loss_at(moved: int, place: tuple[int, ...], by: float) -> float:
        arrays = [array.copy() for array in values]
        arrays[moved][place] += by
        return page["loss"](*map(page["Tensor"], arrays)).array

    for moved, name in enumerate("UWb"):
        for place in np.ndindex(values[moved].shape):
            ahead, behind = (loss_at(moved, place, by) for by in (1e-6, -1e-6))
            assert page[name].grad[place] == pytest.approx((ahead - behind) / 2e-6, rel=1e-6)


def test_the_engine_on_one_page_agrees_with_the_engine_to_second_order() -> None:
    page = running_engine()
    x = tg.tensor(page["xs"])
    U, W, b = (tg.tensor(page[name].array, requires_grad=True) for name in "UWb")
    h = tg.zeros((4, 3), dtype="float64")
    for step in x:
        h = tg.tanh(step @ U + h @ W + b)
    slopes = tg.grad((h * h).sum(), [U, W, b], create_graph=True)
    for name, slope in zip("UWb", slopes, strict=True):
        np.testing.assert_allclose(page[name].grad, slope.numpy(), rtol=1e-12)
    (curvature,) = tg.grad((slopes[1] * tg.tensor(page["direction"])).sum(), [W])
    np.testing.assert_allclose(page["curvature"], curvature.numpy(), rtol=1e-12)


def test_the_engine_on_one_page_stays_on_one_page() -> None:
    before_the_example = (ROOT / "docs" / "engine.md").read_text("utf-8").split("## A recurrent")[0]
    code = re.findall(r"^```python\n(.*?)^```", before_the_example, re.S | re.M)
    assert len([line for line in "".join(code).splitlines() if line.strip()]) <= 85


def places(page: Path) -> list[tuple[str, str]]:
    """The names that a page says are in a file: "`tensor/graph.py`, `Node` and `Op.vjp`"."""
    text = " ".join(page.read_text("utf-8").split())
    found = re.findall(r"`([\w/]+\.py)`((?:(?:,| and|, and) `[\w.]+`)+)", text)
    return [(file, name) for file, names in found for name in re.findall(r"`([\w.]+)`", names)]


@pytest.mark.parametrize(("file", "name"), [place for page in PAGES for place in places(page)])
def test_the_places_that_pages_name_exist(file: str, name: str) -> None:
    module = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    found = importlib.import_module(f"tinygrad_rnn.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    if inspect.isclass(found) or inspect.isfunction(found):  # and are not only imported there
        assert found.__module__ == f"tinygrad_rnn.{module}"


@pages
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link.split("#")[0]).exists(), link


def equivalents() -> list[tuple[str, str]]:
    """Reads the right columns of the pages for PyTorch, Keras and JAX: (page, code)."""
    found = []
    for name in ("pytorch", "keras", "jax"):
        page = (ROOT / "docs" / "howto" / f"{name}.md").read_text("utf-8")
        rows = re.findall(r"^\| .+ \| (.+) \|$", page, re.M)
        spans = [code for row in rows for code in re.findall(r"`([^`]+)`", row)]
        found += [(name, code) for code in spans if "(" in code or "=" in code or code[:3] == "tg."]
    return [(name, code) for name, code in found if not re.fullmatch(r"\w+=\S+", code)]


@pytest.mark.parametrize(("page", "code"), equivalents())
def test_the_tables_of_equivalents_run(page: str, code: str, tmp_path: Path) -> None:
    if "onnx" in code:
        pytest.importorskip("onnx")
    nn, generator = tg.nn, tg.Generator(0)
    x = tg.randn(5, 2, 3, generator=generator, requires_grad=True)
    lstm, path = nn.LSTM(3, 4), str(tmp_path / "model.safetensors")
    y, state = lstm(x)
    w = lstm.weight_ih_l0
    tg.io.save_model(path, lstm)
    names = {
        "tg": tg, "nn": nn, "np": np, "x": x, "w": w, "lstm": lstm, "model": lstm, "path": path,
        "state": state, "h": y.detach(), "head": nn.Linear(4, 6), "generator": generator,
        "rows": [np.ones((n, 3), "float32") for n in (5, 2)], "series": np.arange(50.0),
        "ids": np.ones((5, 2), "int64"), "embedding": nn.Embedding(10, 3), "loss": y.sum(),
        "table": np.zeros((10, 3), "float32"), "queries": tg.randn(3, 2, 4),
        "memory": tg.randn(5, 2, 4), "logits": tg.randn(5, 2, 6), "p": tg.full((2, 4), 0.25),
        "targets": np.ones((5, 2), "int64")[: 2 if "ctc" in code else 5], "texts": ["a text"],
        "optimizer": tg.optim.Adam(lstm.parameters()), "f": lambda x: tg.sum(x * x),
        "step": lambda h, x: (h + x.sum(), h),
    }  # fmt: skip
    if ".scan(" in code:
        names["h"] = tg.zeros(())
    exec(code, names)


def test_the_drawings_of_the_lecture_are_those_of_their_script(tmp_path: Path) -> None:
    folder = ROOT / "docs" / "lecture"
    shutil.copy(folder / "figures.py", tmp_path)
    subprocess.run([sys.executable, "figures.py"], cwd=tmp_path, check=True)
    drawn = {file.name: file.read_bytes() for file in tmp_path.glob("*.svg")}
    assert drawn == {file.name: file.read_bytes() for file in folder.glob("*.svg")}
    shown = "".join(page.read_text("utf-8") for page in folder.glob("*.md"))
    assert all(f"]({name})" in shown for name in drawn)


def options(command: Any) -> set[str]:
    """The options of a command and of those below it."""
    own = {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    return own.union(*(options(below) for below in getattr(command, "commands", {}).values()))


OF_OTHERS = {  # of tests.gpu_check, bench, pip and mpiexec
    "--architecture", "--kernels", "--save-kernels", "--only", "--threads", "--no-binary",
    "--oversubscribe", "--editable",
}  # fmt: skip


@pages
def test_the_options_that_pages_name_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    named = re.findall(r"^.*tinygrad-rnn .*|`[^`\n]*--[^`\n]*`", text, re.M)
    said = {option for part in named for option in re.findall(r"--[a-z][\w-]*", part)}
    assert said <= options(get_command(app)) | {"--help"} | OF_OTHERS


@pytest.mark.parametrize(
    ("chapter", "cell"),
    [
        ("03-vanilla-rnn", "LeakyCell"),
        ("10-gru", "MinimalGatedCell"),
        ("11-lstm", "MyLSTMCell"),
    ],
)
def test_the_cells_of_the_exercises_pass_gradcheck(chapter: str, cell: str, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "lecture" / f"{chapter}.md").read_text("utf-8")
    solution = re.search(rf"^>>> class {cell}.*?\n\n", page, re.S | re.M)
    assert solution is not None
    lines = [line[4:] for line in solution[0].splitlines()]
    file = tmp_path / "cell.py"
    file.write_text("\n".join(["import tinygrad_rnn as tg", *lines]), "utf-8")
    result = CliRunner().invoke(app, ["gradcheck", str(file)])
    assert "1 of 1 pass on cpu with seed 0" in result.output


# ---------------------------------------------------------------- CONTRIBUTING.md, step by step


def steps() -> list[tuple[str, str, str]]:
    """Yields the steps of CONTRIBUTING.md in order: (what, where, text)."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    text = text[text.index("## Add an operation") : text.index("## Add a layer")]
    found = []
    for place in re.finditer(
        r"In\s`(?P<file>\S+)`(?:,\sin\s`(?P<table>\w+)`)?:\n\n```(?:python)?\n(?P<code>.*?)^```"
        r"|^```\n(?P<commands>.*?)^```"
        r"|[Ee]xport\s(?P<names>`\w+`(?:\sand\s`\w+`)?)(?:\sfrom\s`(?P<module>\S+)`)?\sin\s+`(?P<init>\S+)`",
        text,
        re.S | re.M,
    ):
        file, table, code, commands, names, module, init = place.groups()
        if code:
            found.append((f"insert {table}" if table else "append", file, code))
        elif commands:
            found += [("run", "", command) for command in commands.splitlines()]
        else:
            found += [(f"export {module or ''}", init, n) for n in re.findall(r"`(\w+)`", names)]
    return found


def follow(what: str, file: Path, text: str) -> None:
    """Does one step of writing, as a person would."""
    source = file.read_text("utf-8")
    verb, _, where = what.partition(" ")
    if verb == "append":
        source += f"\n\n{text}"
    elif verb == "insert":
        start = re.compile(rf"^{where}\b.* = [\[{{]\n", re.M)
        assert len(start.findall(source)) == 1
        source = start.sub(lambda found: found[0] + text, source)
    else:
        assert source.count("__all__ = [") == 1
        source = source.replace("__all__ = [", f'__all__ = [\n    "{text}",')
        if where:
            assert source.count(f"from {where} import ") == 1
            source = source.replace(f"from {where} import ", f"from {where} import {text}, ")
    file.write_text(source, "utf-8")


def test_an_operation_and_a_cell_are_added_as_contributing_says(tmp_path: Path) -> None:
    unwanted = shutil.ignore_patterns("__pycache__", "*.cpp", "*.hpp")
    for folder in ("tinygrad_rnn", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=unwanted)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    # Without `site`, since an editable install would find the package of the checkout instead.
    path = os.pathsep.join([str(tmp_path), *(p for p in sys.path if p.endswith("-packages"))])
    environment = {**os.environ, "PYTHONPATH": path, "HYPOTHESIS_PROFILE": "quick"}
    python = [sys.executable, "-S"]
    programs = {"pytest": [*python, "-m", "pytest", "-n", "0"], "python": python}
    ran = 0
    for what, file, text in steps():
        if what != "run":
            follow(what, tmp_path / file, text)
            continue
        program, *arguments = shlex.split(text)
        done = subprocess.run(
            [*programs[program], *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, (text, done.stdout, done.stderr)
        ran += 1
    assert ran == 4
    assert "def sech(" in (tmp_path / "tinygrad_rnn/tensor/ops/__init__.pyi").read_text("utf-8")


def test_the_targets_that_contributing_lists_are_those_of_the_makefile() -> None:
    listed = re.findall(r"^make ([\w-]+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M)
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", "")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert phony is not None
    assert {*listed} == {*phony[1].split()} - {"demo", "style", "clean"}
