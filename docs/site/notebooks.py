"""Executes the notebooks: `python docs/site/notebooks.py FOLDER` writes their pages to FOLDER.

Each script of notebooks/ becomes FOLDER/notebooks/NAME.md with its outputs and pictures, beside
NAME.ipynb and NAME.py, which the page offers to download. A cell that raises ends the build.
"""

from __future__ import annotations

import base64
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SOLUTION = "<details><summary>A solution</summary>\n\n{}\n</details>\n"


def block(text: str, language: str) -> str:
    """A fenced block."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def shown(output: Any, folder: Path, name: str, caption: str) -> str:
    """An output in Markdown; a picture becomes a file."""
    if output.output_type == "stream":
        return block(output.text, "text")
    if "image/png" not in output.data:
        return block(output.data["text/plain"], "text")
    if not caption:
        raise SystemExit(
            f"{name}: a cell that draws needs a title, as in '# %% What is to be seen'"
        )
    (folder / f"{name}.png").write_bytes(base64.b64decode(output.data["image/png"]))
    return f"![{caption}]({name}.png)\n\n*{caption}.*\n"


def written(cell: Any, folder: Path, name: str) -> str:
    """A cell in Markdown: its text, or its code with its outputs; a solution is folded away."""
    if cell.cell_type == "markdown":
        return re.sub(r"(\]\([\w-]+)\.py\)", r"\1.md)", f"{cell.source}\n")  # another lesson
    caption = cell.metadata.get("title", "")
    outputs = [shown(output, folder, name, caption) for output in cell.outputs]
    page = "\n".join([block(cell.source, "python"), *outputs])
    return SOLUTION.format(page) if "jupyter" in cell.metadata else page


def execute(script: Path, folder: Path) -> None:
    """Executes a script as a notebook, and writes the notebook and its page to a folder."""
    notebook = jupytext.read(script)
    quiet = ["--log-level=ERROR"]  # no remark on unencrypted sockets
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=300, resources=place, extra_arguments=quiet)
    client.coalesce_streams = True
    client.execute()
    verdicts = [cell.outputs[-1].data["text/plain"] for cell in notebook.cells[-2:]]
    if not (verdicts[0].startswith("'not yet") and verdicts[1].startswith("'right")):
        raise SystemExit(
            f"{script}: expected the check to say 'not yet' before the solution and 'right' after "
            f"it, got {verdicts}"
        )
    nbformat.write(notebook, folder / f"{script.stem}.ipynb")
    shutil.copy(script, folder)
    title, *cells = "\n".join(
        written(cell, folder, f"{script.stem}-{number}")
        for number, cell in enumerate(notebook.cells)
    ).split("\n")
    offer = f"Download the {{download}}`notebook <{script.stem}.ipynb>` or the "
    offer += f"{{download}}`script <{script.name}>`."
    (folder / f"{script.stem}.md").write_text("\n".join([title, "", offer, *cells]), "utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]) / "notebooks"
    target.mkdir()
    for lesson in sorted((ROOT / "notebooks").glob("*.py")):
        execute(lesson, target)
