"""Writes the pages of the reference from docstrings, as Markdown for MyST.

Our docstrings are Markdown already: an indented equation is a block of code, and `**Arguments**`
opens a paragraph. All that is changed is a doctest, which gets a fence.
"""

from __future__ import annotations

import importlib
import inspect
import re
import types
from pathlib import Path
from typing import Any

import tinygrad_rnn as tg

PAGES = {  # page: (title, modules whose `__all__` is public)
    "engine": ("The engine: `tg`", ["tinygrad_rnn"]),
    "operations": ("Operations: `tg` and `tg.linalg`", ["tinygrad_rnn", "tinygrad_rnn.linalg"]),
    "cells": ("Steps and loops: `tg`", ["tinygrad_rnn"]),
    "nn": ("Layers and losses: `tg.nn`", ["tinygrad_rnn.nn"]),
    "nn_utils": ("Diagnostics and truncation: `tg.nn.utils`", ["tinygrad_rnn.nn.utils"]),
    "nn_init": ("Initial weights: `tg.nn.init`", ["tinygrad_rnn.nn.init"]),
    "decoding": ("Decoding: `tg.nn.decoding`", ["tinygrad_rnn.nn.decoding"]),
    "optim": ("Optimizers: `tg.optim`", ["tinygrad_rnn.optim"]),
    "data": ("Data: `tg.data`", ["tinygrad_rnn.data"]),
    "train": ("The Trainer: `tg.train`", ["tinygrad_rnn.train"]),
    "distributed": ("Several processes: `tg.distributed`", ["tinygrad_rnn.distributed"]),
    "io": ("Files: `tg.io`", ["tinygrad_rnn.io"]),
    "plot": ("Figures: `tg.plot`", ["tinygrad_rnn.plot"]),
    "cuda": ("GPUs: `tg.cuda`", ["tinygrad_rnn.cuda"]),
    "errors": ("Errors", ["tinygrad_rnn"]),
}  # fmt: skip

# A name of `tg` is on the page of the package that defines it.
HOMES = {"tensor.ops": "operations", "cells": "cells", "loops": "cells", "errors": "errors"}


def found(path: str) -> Any:
    """The module of a name such as "tinygrad_rnn.linalg", which need not be a file."""
    first, *rest = path.split(".")
    thing = importlib.import_module(first)
    for name in rest:
        thing = getattr(thing, name, None) or importlib.import_module(f"{thing.__name__}.{name}")
    return thing


def home(thing: Any) -> str:
    """The module that defines a thing; an operation's is its forward function's."""
    thing = thing.forward if isinstance(thing, tg.Op) else thing
    return getattr(thing, "__module__", None) or ""


def page_of(module: str, thing: Any) -> str:
    """The page for a name of `tg`."""
    defined = home(thing).removeprefix("tinygrad_rnn.")
    if isinstance(thing, tg.Op) and not defined.startswith(("cells", "loops")):
        return "operations"
    return next((page for start, page in HOMES.items() if defined.startswith(start)), "engine")


def public() -> dict[str, dict[str, Any]]:
    """Everything public: {page: {full name: thing}}, where a full name is "tg.nn.LSTM"."""
    pages: dict[str, dict[str, Any]] = {}
    for page, (_, modules) in PAGES.items():
        entries = pages[page] = {}
        for path in modules:
            module = found(path)
            for name in module.__all__:
                thing = getattr(module, name)
                if isinstance(thing, types.ModuleType) and name != "tensor":
                    continue
                if path != "tinygrad_rnn" or page_of(path, thing) == page:
                    entries[f"{path.replace('tinygrad_rnn', 'tg')}.{name}"] = thing
    return pages


def signature(thing: Any) -> str:
    """A call's parameters as they are typed, without the types of arrays, which docstrings give."""
    try:
        shown = inspect.signature(thing)
    except (TypeError, ValueError):
        return "()"
    if isinstance(thing, tg.Op):
        parameters = [p.replace(annotation=p.empty) for p in shown.parameters.values()]
        shown = shown.replace(parameters=parameters, return_annotation=shown.empty)
    if isinstance(thing, type):
        shown = shown.replace(return_annotation=shown.empty)
    text = re.sub(r" at 0x\w+", "", str(shown))
    text = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", text)
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)


def markdown(doc: str) -> str:
    """A docstring with a fence around each doctest, and its indented blocks verbatim."""
    lines: list[str] = []
    fenced = False
    for line in inspect.cleandoc(doc).splitlines():
        if not fenced and line.startswith(">>> "):
            lines += ["", "```pycon"]
            fenced = True
        elif fenced and not line.strip():
            lines.append("```")
            fenced = False
        lines.append(line)
    text = "\n".join([*lines, "```"] if fenced else lines)
    paragraph = re.compile(r"(?<=\S)\s+(?=\*\*(?:Arguments|Returns|Raises)\*\*)")
    return paragraph.sub("\n\n", text)


def members(thing: type) -> dict[str, Any]:
    """The public methods and properties that a class itself describes."""
    return {
        name: member
        for name, member in vars(thing).items()
        if not name.startswith("_")
        and (
            inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))
        )
        and (getattr(member, "__func__", member).__doc__ or "").strip()
    }


def entry(kind: str, name: str, call: str, doc: str, inner: str = "") -> str:
    """One directive; its fence is longer than those inside."""
    fence = ":::::" if inner else "::::"
    return f"{fence}{{py:{kind}}} {name}{call}\n\n{markdown(doc)}\n\n{inner}{fence}\n"


def described(name: str, thing: Any) -> str:
    """The entry of one public name."""
    doc = thing.__doc__ or ""
    if doc.startswith("As `numpy."):
        doc = f"{doc} [Operations](../operations.md) has an example."
    if isinstance(thing, types.ModuleType):
        return entry(
            "function", name, "(data, dtype=None, device=None, *, requires_grad=False)", doc
        )
    if isinstance(thing, type):
        inner = ""
        for member, value in members(thing).items():
            if isinstance(value, property):
                inner += entry("property", member, "", value.__doc__ or "")
            else:
                function = getattr(value, "__func__", value)
                call = signature(function).replace("(self, ", "(", 1).replace("(self)", "()", 1)
                inner += entry("method", member, call, function.__doc__ or "")
        kind = "exception" if issubclass(thing, Exception) else "class"
        return entry(kind, name, "" if kind == "exception" else signature(thing), doc, inner)
    if callable(thing):
        return entry("function", name, signature(thing), doc)
    return entry("data", name, "", f"`{shortened(thing)}`")


def shortened(thing: Any) -> str:
    """The text of a constant, at most a line of it."""
    text = repr(thing)
    return text if len(text) < 60 else f"{text[:56]} ..."


def write(folder: Path) -> None:
    """Writes a page for each package, with a heading for each file that defines names of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for page, entries in public().items():
        title, modules = PAGES[page]
        text = [f"# {title}\n"]
        sections: dict[str, list[str]] = {}
        for name, thing in entries.items():
            sections.setdefault(home(thing) or modules[-1], []).append(described(name, thing))
        for module, parts in sections.items():
            if len(sections) > 1:
                heading = (found(module).__doc__ or module).strip().splitlines()[0].rstrip(".")
                text.append(f"## {heading}\n")
            text += parts
        (folder / f"{page}.md").write_text("\n".join(text), "utf-8")
    listed = "\n".join(f"{page}" for page in PAGES)
    index = (
        "# Reference\n\nEvery public name, from its docstring. `tg` is `tinygrad_rnn`; the "
        f"examples run as tests.\n\n```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )
    (folder / "index.md").write_text(index, "utf-8")
