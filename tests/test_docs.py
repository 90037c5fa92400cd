"""The documentation: its code runs, and what it refers to exists."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

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


@pages
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if not link.startswith("http"):
            assert (page.parent / link.split("#")[0]).exists(), link
