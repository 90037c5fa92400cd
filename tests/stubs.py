"""Writes the type stubs of the operations: `python -m tests.stubs`.

An operation is an `Op`, which a type checker sees as something that is called with anything. A stub
declares it as a function, with the inputs and the parameters of its forward function, so that an
editor completes a call and a type checker refuses a wrong one. What is annotated as an array there
is a Tensor to the user.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import tinygrad_rnn
from tinygrad_rnn import Op

ROOT = Path(tinygrad_rnn.__file__).parent
MODULES = {  # the module, and what its stub imports besides its own names
    "tensor.ops": ["from . import linalg as linalg"],
    "tensor.ops.linalg": [],
}
HEADER = '''\
"""The operations, as a type checker sees them. Written by `python -m tests.stubs`.

Of arrays alone, without a Tensor among them, an operation gives an array.
"""

from collections.abc import Callable, Sequence
from typing import Any

from {up}conversion import DType
from {up}ops.indexing import Index
from {up}shapes import Axis
from {up}tensor import Tensor, TensorLike
'''


def annotation(parameter: inspect.Parameter, is_input: bool) -> str:
    """The type of a parameter: what is annotated as an array may be anything like a Tensor."""
    given = parameter.annotation
    if given is parameter.empty:
        default = parameter.default
        inferred = type(default).__name__ if isinstance(default, (bool, int, float)) else "Any"
        return "TensorLike" if is_input else inferred
    return re.sub(r"\bArray\b", "TensorLike", str(given))


def returned(signature: inspect.Signature, fused: bool) -> str:
    """The type of the result; a fused forward function also returns what it saves."""
    given = signature.return_annotation
    text = "Array" if given is signature.empty else str(given)
    if fused:
        text = re.fullmatch(r"tuple\[(.*), Any\]", text)[1]  # type: ignore[index]
    return re.sub(r"\bArray\b", "Tensor", text)


def declaration(name: str, function: Any) -> str:
    """One function of a stub."""
    is_op = isinstance(function, Op)
    signature = inspect.signature(function.forward if is_op else function)
    parameters = list(signature.parameters.values())
    if is_op:
        parameters = [p for p in parameters[1:] if p.name != "keep"]
    written = []
    for p in parameters:
        is_input = not is_op or p.name in function.inputs
        text = f"{p.name}: {annotation(p, is_input)}"
        if p.kind is p.VAR_POSITIONAL:
            text = f"*{text}"
        elif p.kind is p.KEYWORD_ONLY and not is_op and "*" not in "".join(written):
            written.append("*")  # an operation takes its parameters by position as well
        written.append(text if p.default is p.empty else f"{text} = {p.default!r}")
    result = returned(signature, is_op and function.decomposition is not None)
    return f"def {name}({', '.join(written)}) -> {result}: ..."


def stub(module: str) -> str:
    """The text of a module's stub."""
    loaded = importlib.import_module(f"tinygrad_rnn.{module}")
    up = "." * (1 + module.count("tensor.ops"))
    names = sorted(loaded.__all__)
    declared = [declaration(name, getattr(loaded, name)) for name in names]
    exported = f"__all__ = {names!r}".replace("'", '"')
    return "\n".join([HEADER.format(up=up), *MODULES[module], exported, "", *declared, ""])


def path(module: str) -> Path:
    """Returns the path of a module's stub."""
    place = ROOT / module.replace(".", "/")
    return place / "__init__.pyi" if place.is_dir() else place.with_suffix(".pyi")


def main() -> None:
    """Writes the stubs."""
    for module in MODULES:
        path(module).write_text(stub(module), "utf-8")


if __name__ == "__main__":
    main()
