"""The notebooks: scripts that jupytext reads without loss, and the pages that are made of them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs" / "notebooks.md"
SCRIPTS = sorted((ROOT / "notebooks").glob("*.py"))
lessons = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)

HEAD = """# %% [markdown]
# # A title
#
# See [another](2-b.py).

# %% A line that rises
import tinygrad_rnn as tg

print("one")
print("two")
tg.plot.curves({"line": [1, 2]})

# %% [markdown]
# ## Exercise


# %%
def check(answer):
    return "right" if answer else "not yet"


"""
CHECKED = 'check(False)\n\n# %% jupyter={"source_hidden": true}\ncheck(True)\n'


@pytest.fixture(scope="module")
def builder() -> Any:
    """The program that executes notebooks for the site."""
    pytest.importorskip("jupytext")
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    path = ROOT / "docs" / "site" / "notebooks.py"
    spec = importlib.util.spec_from_file_location("notebooks", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(script: Path) -> list[tuple[str, str]]:
    """The cells of a script: the line that begins each, and what follows it."""
    _, *parts = re.split(r"^(# %%.*)\n", script.read_text("utf-8"), flags=re.M)
    return [*zip(parts[::2], parts[1::2], strict=True)]


def test_the_index_lists_every_lesson_in_order() -> None:
    listed = re.findall(r"\]\(\.\./notebooks/([\w-]+)\.py\)", INDEX.read_text("utf-8"))
    assert listed == [script.stem for script in SCRIPTS]
    assert "(docs/notebooks.md)" in (ROOT / "README.md").read_text("utf-8")


@lessons
def test_a_lesson_ends_with_an_exercise_its_check_and_a_solution(script: Path) -> None:
    *_, (_, text), (stub, _), (_, check), (solution, solved) = cells(script)
    assert "# ## Exercise\n" in text
    assert stub == "# %%"
    assert "def check(" in check
    assert solution == '# %% jupyter={"source_hidden": true}'
    assert check.rstrip().split("\n")[-1] == solved.rstrip().split("\n")[-1]  # the call of check


@lessons
def test_the_links_of_a_lesson_lead_somewhere(script: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", script.read_text("utf-8")):
        assert (script.parent / link).exists(), link


@lessons
def test_jupytext_reads_a_lesson_without_loss(script: Path, builder: Any) -> None:
    settings = builder.jupytext.config.load_jupytext_configuration_file(
        str(ROOT / "notebooks" / "jupytext.toml")
    )
    notebook = builder.jupytext.read(script, config=settings)
    written = builder.jupytext.writes(notebook, fmt="py:percent", config=settings)
    assert written == script.read_text("utf-8")


def test_a_page_shows_what_the_cells_show(
    builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    (tmp_path / "site").mkdir()
    script = tmp_path / "1-a.py"
    script.write_text(HEAD + CHECKED, "utf-8")
    builder.execute(script, tmp_path / "site")
    page = (tmp_path / "site" / "1-a.md").read_text("utf-8")
    assert page.startswith("# A title\n\nDownload the {download}`notebook <1-a.ipynb>` or the")
    assert "[another](2-b.md)" in page
    assert "```text\none\ntwo\n```" in page
    assert "![A line that rises](1-a-1.png)\n\n*A line that rises.*" in page
    assert (tmp_path / "site" / "1-a-1.png").read_bytes().startswith(b"\x89PNG")
    shown, hidden = page.split("<details>")
    assert "'not yet'" in shown
    assert "'right'" in hidden
    assert (tmp_path / "site" / "1-a.ipynb").exists()


@pytest.mark.parametrize(
    ("written", "changed", "message"),
    [
        ("check(False)", "check(True)", "expected the check to say 'not yet'"),
        ("# %% A line that rises", "# %%", "a cell that draws needs a title"),
    ],
)
def test_what_ends_the_build(
    written: str,
    changed: str,
    message: str,
    builder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    script = tmp_path / "1-a.py"
    script.write_text((HEAD + CHECKED).replace(written, changed), "utf-8")
    (tmp_path / "site").mkdir()
    with pytest.raises(SystemExit, match=message):
        builder.execute(script, tmp_path / "site")
