"""A recurrent model as a C99 header: weights, state, and a function that computes one step.

The code allocates nothing and includes `math.h` and `stdint.h` only. All sizes are constants;
scratch memory is on the stack. A model is a chain of stages: an embedding, recurrent layers, and
modules or operations of vectors. The step of each is traced (`c_operations.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from ..errors import InvalidTypeError, InvalidValueError, TinygradRnnError, public
from ..nn import Module
from ..nn.recurrent.layer import RecurrentLayer
from ..tensor import tree
from ..tensor.autodiff import no_grad
from ..tensor.creation import zeros
from .c_operations import run
from .c_program import Program, Value
from .steps import evaluated, step_of
from .weights import as_path, write

KEYWORDS = """auto break case char const continue default do double else enum extern float for goto
if inline int long register restrict return short signed sizeof static struct switch typedef union
unsigned void volatile while"""


@public
def export_c(model: Module, path: str | Path, *, name: str = "model", int8: bool = False) -> None:
    """Writes a model as a C99 header with a function for one step, for microcontrollers and audio.

        model_state state;
        model_reset(&state);
        model_step(&state, input, output);    /* for each step */

    **Arguments** model: a recurrent layer with any cell and all options, which runs forwards; or a
    Sequential of these, an `Embedding` first, and modules and operations of vectors, such as
    `Linear`, `LayerNorm`, `tg.tanh` (docs/interop.md lists them). path: by custom it ends in `.h`.
    name: begins every name in the header. int8: matrices as 8-bit integers with a scale for each
    row: a quarter of the memory.

    **Raises** InvalidValueError naming a stage, an option or an operation that is not exported.

    >>> import tempfile, tinygrad_rnn as tg
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tg.io.export_c(tg.nn.GRU(2, 3), f"{folder}/gru.h")
    ...     "model_step(" in Path(folder, "gru.h").read_text()
    True
    """
    at = as_path("export_c", path)
    if not isinstance(model, Module):
        raise InvalidTypeError(f"export_c: model: expected a module, got {model!r}")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w{0,30}", name, re.ASCII) or (
        name in KEYWORDS.split()
    ):  # fmt: skip
        raise InvalidValueError(
            f"export_c: name: expected a name in C of at most 31 letters, got {name!r}"
        )
    if not isinstance(int8, bool):
        raise InvalidTypeError(f"export_c: int8: expected True or False, got {int8!r}")
    stages = list(_stages(model))
    if not stages:
        raise InvalidValueError(f"export_c: model: expected layers, got {model!r}, an empty chain")
    with evaluated(model, "export_c"):
        text = _Header(name, int8).written(stages)
    write(at, text.encode())


def _stages(model: Module) -> Iterator[Any]:
    """The stages of a chain, without those that compute nothing in evaluation mode."""
    if isinstance(model, nn.Sequential):
        for stage in model:
            yield from _stages(stage)
    elif not isinstance(model, nn.Dropout):
        yield model


class _Header:
    """The text of a header."""

    def __init__(self, name: str, int8: bool) -> None:
        self.name, self.program = name, Program(name, int8)
        self.fields: list[str] = []
        self.resets: list[str] = []
        self.state = 0  # bytes

    def written(self, stages: list[Any]) -> str:
        """The whole header."""
        first, program = stages[0], self.program
        ids = isinstance(first, nn.Embedding)
        if ids:
            value = self.embedding(first)
        else:
            inputs = _inputs(first)
            value = program.array("x", (1, inputs))
        for stage in stages[1:] if ids else stages:
            value = self.stage(stage, value)
        value = program.held(value) if value.products else value
        assert value.at is not None
        result = value.at(np.arange(value.size))
        p, upper = self.name, self.name.upper()
        argument = "int id" if ids else f"const float x[{inputs}]"
        sizes = [f"#define {upper}_OUTPUTS {value.size}"]
        sizes += [f"#define {upper}_SYMBOLS {first.num_embeddings}" if ids else
                  f"#define {upper}_INPUTS {inputs}"]  # fmt: skip
        guard = f"{upper}_H"
        reset = self.resets or ["(void)state;"]
        fields = self.fields or ["float unused;"]
        helpers = [line for lines in program.helpers.values() for line in lines]
        calls = sorted({*re.findall(r"\b(\w+f)\(", "\n".join([*helpers, *program.body, result]))})
        lines = [
            f"/* {self.name}: one step of a recurrent network, by tinygrad_rnn.",
            f" * Weights {program.bytes:,} bytes, state {self.state:,} bytes, stack about "
            f"{4 * program.scratch:,} bytes;",
            f" * {program.multiplications:,} multiplications a step. C99; calls "
            f"{', '.join(calls) or 'nothing'}. */",
            f"#ifndef {guard}", f"#define {guard}", "", "#include <math.h>", "#include <stdint.h>",
            "", *sizes, "", *program.constants, "typedef struct {", *_indented(fields),
            f"}} {p}_state;", "", *helpers,
            "/* The state before the first step. */",
            f"static inline void {p}_reset({p}_state *state)", "{", *_indented(reset), "}", "",
            f"/* One step; y has {value.size} elements. */",
            f"static inline void {p}_step({p}_state *state, {argument}, float *y)", "{",
            *_indented(program.body),
            f"    for (int i = 0; i < {value.size}; i++) y[i] = {result};",
            *(["    (void)state;"] if not self.fields else []), "}", "",
            f"#endif /* {guard} */", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def embedding(self, stage: Any) -> Value:
        """The row of an id."""
        w, scale = self.program.matrix(stage.weight.numpy())
        size = stage.embedding_dim
        times = f" * {scale}[id]" if scale else ""

        def row(places: Any) -> str:
            return f"{w}[id * {size} + {self.program.index(places)}]{times}"

        return Value((1, size), row)

    def stage(self, stage: Module, value: Value) -> Value:
        """Adds the code of a stage. **Returns** its output."""
        what = f"{stage!r}".split("\n")[0]
        size = getattr(stage, "input_size", getattr(stage, "in_features", value.size))
        if size not in (None, value.size):
            raise InvalidValueError(
                f"export_c: {type(stage).__name__}: expected {value.size} inputs, as the stage "
                f"before has outputs; got {size}"
            )
        x = self.program.held(value, "x")
        if isinstance(stage, RecurrentLayer | nn.MinGRU | nn.MinLSTM):
            return self.layer(stage, x)
        if isinstance(stage, nn.Cell | nn.Embedding) or not callable(stage):
            raise InvalidValueError(
                f"export_c: {what} is not exported to C: expected an Embedding (first), recurrent "
                "layers (tg.nn.Recurrent runs a cell), and modules and operations of one vector"
            )
        with named(what):
            (result,) = run(self.program, stage, [x], what)
        return result

    def layer(self, layer: Any, value: Value) -> Value:
        """All layers of a recurrent layer."""
        kind = type(layer).__name__
        for option in ("bidirectional", "reverse"):
            if getattr(layer, option, False):
                raise InvalidValueError(
                    f"export_c: {kind}: {option}=True is not exported to C: it begins at the last "
                    "step, and the code gets one step after another"
                )
        if not isinstance(layer, RecurrentLayer):  # a parallel layer is its own cell
            return self.one(layer.step, layer.initial, value, kind)
        for row in range(layer.num_layers):
            below, (step, initial) = value, step_of(layer, row)
            value = self.one(step, initial, value, f"{kind}: {type(layer.cells[row]).__name__}")
            if layer.residual and row:
                value = self.program.held(self.program.added(value, below))
        return value

    def one(self, step: Any, initial: Any, x: Value, what: str) -> Value:
        """A cell: its state, and the code of its step."""
        with named(what), no_grad():
            begin = initial(zeros(x.shape, device="cpu"))
        parts = []
        for leaf in tree.leaves(begin):
            if leaf.dtype.kind != "f":
                raise InvalidValueError(f"export_c: {what}: its state has {leaf.dtype}, not reals")
            self.program.count += 1
            field, n = f"h{self.program.count}", int(np.prod(leaf.shape))
            self.fields.append(f"float {field}[{n}];")
            self.state += 4 * n
            array = leaf.numpy().ravel()
            first = f"{self.program.vector(array)}[i]" if array.any() else "0.0f"
            self.resets.append(f"for (int i = 0; i < {n}; i++) state->{field}[i] = {first};")
            parts.append(self.program.array(f"state->{field}", leaf.shape))
        with named(what):
            found = run(self.program, step, [x, *parts], what, begin)
        y, *new = (self.copied(value) for value in found)
        for part, value in zip(parts, new, strict=True):
            self.program.body.append(
                f"for (int i = 0; i < {part.size}; i++) {part.array}[i] = {value.array}[i];"
            )
        return y

    def copied(self, value: Value) -> Value:
        """The value in an array that does not change with the state."""
        if value.array.startswith("state->"):
            value = Value(value.shape, value.at)
        return self.program.held(value, "y")


@contextmanager
def named(what: str) -> Iterator[None]:
    """Names the stage in errors of a model's code."""
    try:
        yield
    except TinygradRnnError as error:
        if str(error).startswith("export_c"):
            raise
        raise InvalidValueError(f"export_c: {what}: {error}") from error


def _inputs(first: Module) -> int:
    sizes = ("input_size", "in_features", "features", "num_features")
    size = next((getattr(first, name) for name in sizes if hasattr(first, name)), None)
    if not isinstance(size, int):
        got = f"{first!r}".split("\n")[0]
        raise InvalidValueError(
            "export_c: model: expected it to begin with an Embedding, a recurrent layer, Linear or "
            f"LayerNorm, which says how many inputs there are; got {got}"
        )
    return size


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
