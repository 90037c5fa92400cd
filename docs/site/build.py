"""Builds the site: `python docs/site/build.py FOLDER` writes it to FOLDER/html.

The pages are those of the repository, which read well on a plain Git host. They are copied to
FOLDER/source, where the reference is written from the docstrings, figures are drawn, and notebooks
are executed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import reference

ROOT = Path(__file__).parents[2]
GUIDE = [
    "engine", "operations", "errors", "training", "scaling", "translation", "decoding", "porting",
    "interop", "g2p", "silero", "plots", "gpu", "performance",
]  # fmt: skip
DEVELOPMENT = ["architecture", "../CONTRIBUTING", "../tests/cuda_on_cpu/README", "../CHANGELOG"]
SECTIONS = [
    "lecture/index", "notebooks", "howto/index", "guide", "reference/index", "gallery",
    "development",
]  # fmt: skip


def tight(page: str) -> str:
    """A page without the empty lines that end a doctest before its fence."""
    lines: list[str] = []
    inside = False
    for line in page.split("\n"):
        if line.startswith("```"):
            if inside and not lines[-1]:
                lines.pop()
            inside = not inside
        lines.append(line)
    return "\n".join(lines)


def titled(page: str) -> str:
    """A page whose links that are named by a file show the title of what they lead to."""
    return re.sub(r"\[(?:docs/[\w/.-]+|[\w-]+\.md)\]\(", "[](", page)


def contents(pages: list[str], hidden: bool = False) -> str:
    """A toctree in MyST's Markdown."""
    option = ":hidden:" if hidden else ":maxdepth: 1"
    return "\n".join(["\n```{toctree}", option, "", *pages, "```\n"])


def stage(source: Path) -> None:
    """Copies the pages; README.md becomes the first page, with the navigation."""
    shutil.copytree(ROOT / "docs", source / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "tests" / "cuda_on_cpu").mkdir(parents=True)
    for name in (
        "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "CITATION.cff", "tests/cuda_on_cpu/README.md",
    ):  # fmt: skip
        shutil.copy(ROOT / name, source / name)
    for page in source.rglob("*.md"):
        text = titled(tight(page.read_text("utf-8")))
        page.write_text(text.replace("../README.md", "../index.md"), "utf-8")
    index = source / "docs" / "notebooks.md"  # its links lead to scripts, which become pages
    text = re.sub(r"(\.\./notebooks/[\w-]+)\.py", r"\1.md", index.read_text("utf-8"))
    lessons = re.findall(r"\]\((\.\./notebooks/[\w-]+)\.md\)", text)
    index.write_text(text + contents(lessons, hidden=True), "utf-8")
    (source / "_static").mkdir()
    shutil.move(source / "docs" / "site" / "conf.py", source)
    shutil.move(source / "docs" / "site" / "site.css", source / "_static" / "site.css")
    shutil.rmtree(source / "docs" / "site")
    reference.write(source / "docs" / "reference")
    docs = source / "docs"
    for index in (docs / "howto" / "index.md", docs / "lecture" / "index.md"):  # in their order
        text = index.read_text("utf-8")
        listed = re.findall(r"\]\((\w[\w-]*)\.md\)", text)
        index.write_text(text + contents([*dict.fromkeys(listed)], hidden=True), "utf-8")
    (docs / "guide.md").write_text(f"# Guide\n{contents(GUIDE)}", "utf-8")
    (docs / "development.md").write_text(f"# Development\n{contents(DEVELOPMENT)}", "utf-8")
    shown = [f"docs/{page}" for page in SECTIONS]
    readme = titled(tight((ROOT / "README.md").read_text("utf-8")))
    (source / "index.md").write_text(readme + contents(shown, hidden=True), "utf-8")


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {""}
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        self.links += [link for name in ("href", "src") if (link := given.get(name))]


def broken(html: Path) -> list[str]:
    """The links within the site that lead nowhere."""
    pages = {
        page.resolve(): Links(page) for page in html.rglob("*.html") if "_static" not in page.parts
    }
    lost = []
    for page, found in pages.items():
        for link in found.links:
            path, _, anchor = unquote(link).partition("#")
            target = (page.parent / path.partition("?")[0]).resolve() if path else page
            if re.match(r"[a-z]+:|//", link) or link in ("#", "#main-content"):
                continue
            anchors = pages[target].anchors if target in pages else {anchor}
            if not target.exists() or anchor not in anchors:
                lost.append(f"{page.relative_to(html.resolve())}: {link}")
    return lost


def main(folder: Path) -> int:
    """Stages, draws, executes, and runs Sphinx, for which each warning is an error."""
    shutil.rmtree(folder, ignore_errors=True)  # nothing of an earlier build
    source = folder / "source"
    stage(source)
    html = folder / "html"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    figures = source / "docs" / "lecture" / "figures.py"
    subprocess.run([sys.executable, str(figures)], env=environment, check=True)
    notebooks = [sys.executable, str(Path(__file__).with_name("notebooks.py")), str(source)]
    subprocess.run(notebooks, env={**environment, "OMP_NUM_THREADS": "1"}, check=True)
    command = f"-m sphinx -W --keep-going -q -b html -d {folder / 'doctrees'}".split(" ")
    failed = subprocess.call([sys.executable, *command, str(source), str(html)], env=environment)
    lost = broken(html)
    for link in lost:
        print(f"a link leads nowhere: {link}", file=sys.stderr)
    return failed or bool(lost)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
