"""A clean install with an extra suffices: what a task imports is what pyproject.toml asks for."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from PIL import Image

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
IMPORTED_AS = {
    "Pillow": "PIL", "scikit-learn": "sklearn", "python-crfsuite": "pycrfsuite",
    "cupy-cuda12x": "cupy", "cupy-cuda13x": "cupy",
}  # fmt: skip
LATE = {"picture.py"}  # modules that are imported when their package is there
PROVIDED = {"IPython", "cupyx"}  # by a notebook, which alone imports it; by CuPy


def modules_of(requirements: list[str]) -> set[str]:
    names = [Requirement(one).name for one in requirements]
    return {IMPORTED_AS.get(name, name) for name in names}


BASE = modules_of(PROJECT["dependencies"])
OPTIONAL = {
    name: modules_of(asked) for name, asked in EXTRAS.items() if name not in ("bench", "test")
}


def imports(node: ast.AST, deferred: bool = False) -> Iterator[tuple[str, bool]]:
    """Yields the packages that a module imports, and whether a function does so when called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name.partition(".")[0], deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and not child.level:
            yield (child.module or "").partition(".")[0], deferred
        elif (
            isinstance(child, ast.Call)
            and ast.unparse(child.func).rpartition(".")[2] in ("find_spec", "import_module")
            and isinstance(child.args[0], ast.Constant)
        ):
            yield child.args[0].value.partition(".")[0], True
        inside = deferred or isinstance(child, ast.FunctionDef | ast.Lambda)
        yield from imports(child, inside)


@pytest.fixture(scope="module")
def imported() -> dict[Path, set[tuple[str, bool]]]:
    """Lists the packages that each module imports and that an extra has to install."""
    known = {*sys.stdlib_module_names, "tinygrad_rnn", *BASE}
    return {
        file: {one for one in imports(ast.parse(file.read_text("utf-8"))) if one[0] not in known}
        for file in (ROOT / "tinygrad_rnn").rglob("*.py")
    }


def test_what_is_not_asked_for_is_not_imported(imported: dict[Path, set[tuple[str, bool]]]) -> None:
    optional = set().union(*OPTIONAL.values())
    for file, found in imported.items():
        for name, deferred in found:
            assert name in optional | PROVIDED, f"{file} imports {name}, which no extra installs"
            assert deferred or file.name in LATE, f"{file} imports {name} too early"


def test_errors_name_the_extras(imported: dict[Path, set[tuple[str, bool]]]) -> None:
    said = "".join(file.read_text("utf-8") for file in imported)
    names = {name for found in imported.values() for name, _ in found}
    extras = [extra for extra, modules in OPTIONAL.items() if modules & names]
    assert {"plot", "images", "translate", "baselines", "phones", "demo"} <= {*extras}
    for extra in extras:
        assert f"[{extra}]" in said, f"no error says to install the extra {extra}"


# Runs commands in a process that finds only what an extra installs.
CLEAN = """
import importlib.machinery, importlib.metadata as metadata, sys
from packaging.requirements import Requirement

_, requirements, *commands = sys.argv
allowed, due = set(), [Requirement(one) for one in requirements.split(";")]
while due:
    one = due.pop()
    name = one.name.lower().replace("_", "-")
    extras = one.extras or {""}
    if name in allowed or one.marker and not one.marker.evaluate({"extra": ""}):
        continue
    allowed.add(name)
    try:
        asked = metadata.requires(one.name) or []
    except metadata.PackageNotFoundError:  # a package of data, which is not imported
        continue
    for below in map(Requirement, asked):
        if not below.marker or any(below.marker.evaluate({"extra": e}) for e in extras):
            below.marker = None
            due.append(below)
names = {*sys.stdlib_module_names, "tinygrad_rnn"}
for module, distributions in metadata.packages_distributions().items():
    if any(name.lower().replace("_", "-") in allowed for name in distributions):
        names.add(module)

def known(name):
    return name in names or name.startswith("_sysconfigdata")

class Clean(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return super().find_spec(name, path, target) if path or known(name) else None

sys.meta_path = [*sys.meta_path[:2], Clean]
for name in [name for name in sys.modules if not known(name.partition(".")[0])]:
    del sys.modules[name]
from tinygrad_rnn.cli import main
for command in commands:
    sys.argv = ["tinygrad-rnn", *command.split()]
    try:
        main()
    except SystemExit as left:
        assert left.code == 0, (command, left.code)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's files."""
    folder = tmp_path_factory.mktemp("own")
    pairs = [(a, b) for a in range(5) for b in range(5)]
    rows = [f"the {a} of {b},{'up' if a < b else 'down'}" for a, b in pairs]
    (folder / "rows.csv").write_text("\n".join(["text,label", *rows]))
    tagged = [f"{a} X\n{b} {'Y' if a < b else 'Z'}\n" for a, b in pairs]
    (folder / "rows.conll").write_text("\n".join(tagged))
    waves = [f"{a},{b},{a}:{'up' if a < b else 'down'}" for a, b in pairs]
    (folder / "waves.ts").write_text("\n".join(["@classLabel true up down", "@data", *waves]))
    days = [f"{y}-{m:02}-01,{1 + (7 * y + m * m) % 11}" for y in range(2010, 2019)
            for m in range(1, 13)]  # fmt: skip
    (folder / "series.csv").write_text("\n".join(["date,value", *days]))
    (folder / "text").write_text("the cat sat on the mat\n" * 40)
    (folder / "shown").mkdir()
    for i in range(12):
        Image.new("RGB", (16, 16), (20 * i,) * 3).save(folder / "shown" / f"{i}.png")
    captions = [f"{i}.png,{'light' if i > 5 else 'dark'}" for i in range(12)]
    (folder / "shown" / "captions.csv").write_text("\n".join(["file,caption", *captions]))
    (folder / "line").write_text("the cat\n")
    return folder


BRIEF = "--hidden-size 4 --quick --out"
COMMANDS = {
    "": [
        f"train classify --data rows.csv --embedding-dim 4 --epochs 1 {BRIEF} classify",
        "predict classify rows.csv",
        f"train tag --data rows.conll --letter-dim 4 --epochs 1 {BRIEF} tag",
        "predict tag rows.conll",
        f"train speech --data waves.ts --epochs 1 {BRIEF} speech",
        "predict speech waves.ts",
        f"train forecast --data series.csv --window 20 --horizon 2 --epochs 1 {BRIEF} forecast",
        "predict forecast series.csv",
        f"train wordlm --data text --batch-size 2 --bptt 4 --steps 1 {BRIEF} wordlm",
        "predict wordlm text",
    ],
    "images": [
        f"train caption --data shown --channels 4 --image-size 16 --epochs 1 {BRIEF} caption",
        "predict caption shown/1.png",
    ],
    "translate": [
        "train translate --source text --target text --source-symbols bpe --target-symbols bpe "
        "--hidden-size 4 --embedding-dim 4 --batch-size 4 --steps 1 --out pairs",
        "translate pairs line --reference line --max-length 3",
    ],
}


@pytest.mark.parametrize("extra", COMMANDS)
def test_an_install_with_an_extra_runs_its_tasks(own: Path, extra: str) -> None:
    if extra == "translate":
        pytest.importorskip("tokenizers")
        pytest.importorskip("sacrebleu")
    asked = ";".join([*PROJECT["dependencies"], *EXTRAS.get(extra, [])])
    done = subprocess.run(
        [sys.executable, "-c", CLEAN, asked, *COMMANDS[extra]], cwd=own, text=True,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "a picture needs pip install 'tinygrad_rnn[plot]'" in done.stdout
