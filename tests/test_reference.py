"""The reference: every public name is described, has an example, and is on a page of the guide."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tinygrad_rnn as tg

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "site" / "reference.py")
assert spec is not None
assert spec.loader is not None
reference: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reference)

DESCRIBED = {  # what a docstring can describe: no constants, no types of arrays
    name: thing
    for entries in reference.public().values()
    for name, thing in entries.items()
    if callable(thing) or isinstance(thing, ModuleType)
}
# One-line operations and errors have their examples on these pages, which run as tests.
SHARED = {
    page: (ROOT / "docs" / page).read_text("utf-8") for page in ("operations.md", "errors.md")
}
GUIDE = {
    word
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    for word in re.findall(r"\w+", page.read_text("utf-8"))
}


def test_the_reference_has_every_name_of_the_package() -> None:
    named = {f"tg.{name}" for name in tg.__all__}
    modules = {name for name in named if isinstance(getattr(tg, name[3:]), ModuleType)}
    everything = {name for entries in reference.public().values() for name in entries}
    assert named - modules <= everything
    for module in modules - {"tg.tensor"}:
        assert any(name.startswith(f"{module}.") for name in everything), module


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_public_name_is_described_with_an_example(name: str) -> None:
    thing = DESCRIBED[name]
    doc = inspect.cleandoc(thing.__doc__ or "")
    assert doc.split("\n")[0], "no docstring"
    short = name.rpartition(".")[2]
    if isinstance(thing, type) and issubclass(thing, Exception):
        assert re.search(rf"^{short}: ", SHARED["errors.md"], re.M) or short in {
            "TinygradRnnError", "OutOfMemoryError",  # the base; what only a GPU raises
        }  # fmt: skip
    elif ">>> " not in doc:
        assert doc.startswith("As `numpy."), "no example"
        examples = "\n".join(re.findall(r"^(?:>>>|\.\.\.) .*", SHARED["operations.md"], re.M))
        assert re.search(rf"\btg\.{short}\b", examples), "no example in operations.md"


@pytest.mark.parametrize("name", [n for e in reference.public().values() for n in e])
def test_a_page_of_the_guide_mentions_every_public_name(name: str) -> None:
    assert name.rpartition(".")[2] in GUIDE


def test_a_docstring_becomes_markdown() -> None:
    text = reference.markdown("""Adds one.

    **Arguments** x: a number. **Returns**
    x + 1.

        y = x + 1

    >>> add(1)
    2

    It is exact.
    """)
    assert text == (
        "Adds one.\n\n**Arguments** x: a number.\n\n**Returns**\nx + 1.\n\n    y = x + 1\n\n\n"
        "```pycon\n>>> add(1)\n2\n```\n\nIt is exact."
    )
