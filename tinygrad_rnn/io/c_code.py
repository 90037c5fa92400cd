"""A recurrent model as a C99 header: weights, state, and a function that computes one step.

The code allocates nothing, includes `math.h` and `stdint.h` only, and calls `expf` and `tanhf`. All
sizes are constants; scratch memory is on the stack. A model is a chain of stages: an embedding,
layers, linear maps and activations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import nn
from ..errors import InvalidTypeError, InvalidValueError, public
from ..kernels.quantize import quantize_int8
from ..nn import Module
from .configuration import operation_name, option
from .weights import as_path, write

ACTIVATIONS = {"tanh": "tanhf({})", "sigmoid": "{p}_sigmoid({})", "relu": "({0} > 0 ? {0} : 0)"}
KEYWORDS = """auto break case char const continue default do double else enum extern float for goto
if inline int long register restrict return short signed sizeof static struct switch typedef union
unsigned void volatile while"""


@public
def export_c(model: Module, path: str | Path, *, name: str = "model", int8: bool = False) -> None:
    """Writes a model as a C99 header with a function for one step, for microcontrollers and audio.

        model_state state;
        model_reset(&state);
        model_step(&state, input, output);    /* for each step */

    **Arguments** model: RNN, GRU or LSTM; or a Sequential of these, `Linear`, an `Embedding` first,
    `Dropout`, and tanh, sigmoid, relu. Recurrent layers run forwards, and have all options except
    layer normalization, zoneout, and other activations. path: by custom it ends in `.h`. name:
    begins every name in the header. int8: matrices as 8-bit integers with a scale for each row: a
    quarter of the memory.

    **Raises** InvalidValueError naming a stage or an option that is not exported.
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
    write(at, _Header(name, int8).written(list(_stages(model))).encode())


def _stages(model: Any) -> Iterator[Any]:
    """The stages of a chain, without those that compute nothing in evaluation mode."""
    if isinstance(model, nn.Sequential):
        for stage in model:
            yield from _stages(stage)
    elif not isinstance(model, nn.Dropout):
        yield model


class _Header:
    """The text of a header."""

    def __init__(self, name: str, int8: bool) -> None:
        self.name, self.int8 = name, int8
        self.arrays: list[str] = []
        self.fields: list[str] = []
        self.resets: list[str] = []
        self.body: list[str] = []
        self.bytes = self.scratch = self.state = self.products = self.count = 0
        self.size = 0  # of the value that the next stage reads
        self.value = "x"

    def written(self, stages: list[Any]) -> str:
        """The whole header."""
        if not stages:
            raise InvalidValueError("export_c: model: expected layers, got an empty chain")
        first = stages[0]
        ids = isinstance(first, nn.Embedding)
        if ids:
            self.embedding(first)
        else:
            self.size = inputs = _inputs(first)
        for stage in stages[1:] if ids else stages:
            self.stage(stage)
        p, upper = self.name, self.name.upper()
        argument = "int id" if ids else f"const float x[{inputs}]"
        sizes = [f"#define {upper}_OUTPUTS {self.size}"]
        sizes += [f"#define {upper}_SYMBOLS {first.num_embeddings}" if ids else
                  f"#define {upper}_INPUTS {inputs}"]  # fmt: skip
        guard = f"{upper}_H"
        reset = self.resets or ["(void)state;"]
        fields = self.fields or ["float unused;"]
        lines = [
            f"/* {self.name}: one step of a recurrent network, by tinygrad_rnn.",
            f" * Weights {self.bytes:,} bytes, state {self.state:,} bytes, stack about "
            f"{4 * self.scratch:,} bytes;",
            f" * {self.products:,} multiplications a step. C99; needs expf and tanhf. */",
            f"#ifndef {guard}", f"#define {guard}", "", "#include <math.h>", "#include <stdint.h>",
            "", *sizes, "", *self.arrays, "typedef struct {", *_indented(fields),
            f"}} {p}_state;", "", *self.helpers(),
            "/* The state before the first step. */",
            f"static inline void {p}_reset({p}_state *state)", "{", *_indented(reset), "}", "",
            f"/* One step; y has {self.size} elements. */",
            f"static inline void {p}_step({p}_state *state, {argument}, float *y)", "{",
            *_indented(self.body),
            f"    for (int i = 0; i < {self.size}; i++) y[i] = {self.value}[i];",
            *(["    (void)state;"] if not self.fields else []), "}", "",
            f"#endif /* {guard} */", "",
        ]  # fmt: skip
        return "\n".join(lines)

    def helpers(self) -> list[str]:
        """Functions that the steps call, those that occur."""
        p, text = self.name, "\n".join(self.body)
        lines: list[str] = []
        if f"{p}_sigmoid" in text:
            lines += [f"static inline float {p}_sigmoid(float v)", "{",
                      "    return 1.0f / (1.0f + expf(-v));", "}", ""]  # fmt: skip
        if f"{p}_clip" in text:
            lines += [f"static inline float {p}_clip(float v, float most)", "{",
                      "    return v > most ? most : v < -most ? -most : v;", "}", ""]  # fmt: skip
        if f"{p}_product" in text:
            kind, scale = ("int8_t", "const float *scale, ") if self.int8 else ("float", "")
            times = " * scale[r]" if self.int8 else ""
            lines += [
                "/* y += w x */",
                f"static inline void {p}_product(const {kind} *w, {scale}const float *x, float *y,",
                "                                int rows, int columns)", "{",
                "    for (int r = 0; r < rows; r++) {", "        float sum = 0.0f;",
                "        for (int c = 0; c < columns; c++) sum += w[r * columns + c] * x[c];",
                f"        y[r] += sum{times};", "    }", "}", "",
            ]  # fmt: skip
        return lines

    # ------------------------------------------------------------ pieces

    def vector(self, array: Any, kind: str = "float") -> str:
        """A constant array, whose name is returned."""
        found = np.asarray(array).ravel()
        if not np.isfinite(found).all():
            raise InvalidValueError("export_c: model: a weight is infinite or NaN")
        self.count += 1
        name = f"{self.name}_a{self.count}"
        if kind == "float":
            words = [f"{v:.9e}f" for v in found.astype(np.float32)]
        else:
            words = [str(v) for v in found]
        per = 6 if kind == "float" else 20
        rows = [", ".join(words[i : i + per]) for i in range(0, len(words), per)]
        self.arrays += [f"static const {kind} {name}[{len(words)}] = {{"]
        self.arrays += [*_indented([row + "," for row in rows]), "};", ""]
        self.bytes += len(words) * (4 if kind == "float" else 1)
        return name

    def matrix(self, array: Any) -> tuple[str, str]:
        """A constant matrix. **Returns** its name and, of int8, that of its scales."""
        w = np.asarray(array, np.float32)
        if not self.int8:
            return self.vector(w), ""
        _, integers, scales = quantize_int8(np, w)
        columns = w.shape[1]
        signed = integers[:, :columns].astype(np.int16) - 128
        return self.vector(signed, "int8_t"), self.vector(scales)

    def product(
        self, w: tuple[str, str], x: str, y: str, rows: int, columns: int, first: int = 0
    ) -> str:
        """The line of y += w x, for so many rows of w from the first one on."""
        self.products += rows * columns
        data = f"{w[0]} + {first * columns}" if first else w[0]
        scale = f", {w[1]} + {first}" if first and w[1] else f", {w[1]}" if w[1] else ""
        return f"{self.name}_product({data}{scale}, {x}, {y}, {rows}, {columns});"

    def local(self, hint: str, size: int, value: str | None = None) -> str:
        """A local array, of the elements of another or of zeros."""
        self.count += 1
        name = f"{hint}{self.count}"
        self.scratch += size
        self.body.append(f"float {name}[{size}];")
        self.body.append(f"for (int i = 0; i < {size}; i++) {name}[i] = {value or '0.0f'};")
        return name

    def biased(self, hint: str, size: int, biases: list[Any]) -> str:
        """A local array that begins with the sum of biases."""
        known = [np.asarray(b, np.float32) for b in biases if b is not None]
        if not known:
            return self.local(hint, size)
        return self.local(hint, size, f"{self.vector(np.sum(known, axis=0))}[i]")

    # ------------------------------------------------------------ stages

    def stage(self, stage: Any) -> None:
        """Adds the code of a stage."""
        if type(stage) is nn.Linear:
            w, bias = self.matrix(stage.weight.numpy()), stage.bias
            y = self.biased("y", stage.out_features, [None if bias is None else bias.numpy()])
            self.expect(stage.in_features, "Linear")
            self.body.append(self.product(w, self.value, y, stage.out_features, self.size))
            self.value, self.size = y, stage.out_features
        elif type(stage) in (nn.RNN, nn.GRU, nn.LSTM):
            self.layer(stage)
        elif (name := operation_name(stage)) in ACTIVATIONS:
            y = self.local("y", self.size, self.act(name, f"{self.value}[i]"))
            self.value = y
        else:
            got = f"{stage!r}".split("\n")[0]
            raise InvalidValueError(
                f"export_c: {got} is not exported to C: expected Embedding (first), RNN, GRU, "
                "LSTM, Linear, Dropout, tg.tanh, tg.sigmoid and tg.relu, one after another"
            )

    def expect(self, size: int, name: str) -> None:
        """Refuses a stage that does not fit the one before."""
        if size != self.size:
            raise InvalidValueError(
                f"export_c: {name}: expected {self.size} inputs, as the stage before has outputs; "
                f"got {size}"
            )

    def embedding(self, stage: Any) -> None:
        """The row of an id."""
        w, scale = self.matrix(stage.weight.numpy())
        size = stage.embedding_dim
        times = f" * {scale}[id]" if scale else ""
        self.value, self.size = self.local("x", size, f"{w}[id * {size} + i]{times}"), size

    def act(self, name: str, value: str) -> str:
        """An activation's code."""
        return ACTIVATIONS[name].format(value, p=self.name)

    def layer(self, layer: Any) -> None:
        """All layers of an RNN, GRU or LSTM."""
        kind = type(layer).__name__
        names = ["nonlinearity"] if kind == "RNN" else ["activation", "recurrent_activation"]
        acts = [option(layer, n) for n in names]
        wrong = [f"{n}={a!r}" for n, a in zip(names, acts, strict=True) if a not in ACTIVATIONS]
        wrong += [f"{n}=True" for n in ("bidirectional", "reverse") if getattr(layer, n)]
        wrong += ["layer_norm=True"] if option(layer, "layer_norm") else []
        if np.any(np.atleast_1d(layer.zoneout) != 0):
            wrong.append(f"zoneout={layer.zoneout}")
        if wrong:
            raise InvalidValueError(f"export_c: {kind}: {', '.join(wrong)} is not exported to C")
        self.expect(layer.input_size, kind)
        for number in range(layer.num_layers):
            below, features = self.value, self.size
            w = {
                n: self.held(layer, n, number)
                for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ch")
            }
            getattr(self, kind.lower())(layer, w, acts, number)
            if layer.residual and number:
                self.body.append(
                    f"for (int i = 0; i < {features}; i++) {self.value}[i] += {below}[i];"
                )

    def held(self, layer: Any, name: str, number: int) -> Any:
        p = getattr(layer, f"{name}_l{number}", None)
        return None if p is None else p.numpy()

    def part(self, layer: Any, part: str, size: int, number: int) -> str:
        """A part of the state, whose name in the code is returned."""
        self.count += 1
        field = f"{part}{self.count}"
        self.fields.append(f"float {field}[{size}];")
        self.state += 4 * size
        begin = "0.0f"
        if option(layer, "learn_initial"):
            begin = f"{self.vector(self.held(layer, part + '0', number))}[i]"
        self.resets.append(f"for (int i = 0; i < {size}; i++) state->{field}[i] = {begin};")
        return f"state->{field}"

    def rnn(self, layer: Any, w: dict[str, Any], acts: list[str], number: int) -> None:
        """h = act(U x + W h + b)"""
        n = layer.hidden_size
        h, z = self.part(layer, "h", n, number), self.biased("z", n, [w["bias_ih"], w["bias_hh"]])
        self.inputs(w, h, z, n, n)
        self.loop(n, [f"{h}[i] = {self.act(acts[0], f'{z}[i]')};"])
        self.output(h, n)

    def gru(self, layer: Any, w: dict[str, Any], acts: list[str], number: int) -> None:
        """Both forms."""
        n, (act, gate) = layer.hidden_size, acts
        h, z = self.part(layer, "h", n, number), self.biased("z", 3 * n, [w["bias_ih"]])
        u_x, u_h = self.matrix(w["weight_ih"]), self.matrix(w["weight_hh"])
        self.body.append(self.product(u_x, self.value, z, 3 * n, self.size))
        r, keep = self.act(gate, f"{z}[i]"), self.act(gate, f"{z}[{n} + i]")
        if layer.reset_after:
            v = self.biased("v", 3 * n, [w["bias_hh"]])
            self.body.append(self.product(u_h, h, v, 3 * n, n))
            self.loop(2 * n, [f"{z}[i] += {v}[i];"])
            new = self.act(act, f"({z}[{2 * n} + i] + r * {v}[{2 * n} + i])")
            lines = [f"float r = {r};"]
        else:
            self.body.append(self.product(u_h, h, z, 2 * n, n))
            reset = self.local("r", n, f"{r} * {h}[i]")
            self.body.append(self.product(u_h, reset, f"{z} + {2 * n}", n, n, 2 * n))
            lines, new = [], self.act(act, f"{z}[{2 * n} + i]")
        self.loop(n, [*lines, f"float k = {keep}, m = {new};",
                      f"{h}[i] = k * {h}[i] + (1.0f - k) * m;"])  # fmt: skip
        self.output(h, n)

    def lstm(self, layer: Any, w: dict[str, Any], acts: list[str], number: int) -> None:
        """Peepholes, coupled gates, a clipped cell, a projection."""
        n, (act, gate) = layer.hidden_size, acts
        coupled, clip = option(layer, "coupled_gates"), option(layer, "cell_clip")
        gates = 3 if coupled else 4
        size = layer.proj_size or n
        h = self.part(layer, "h", size, number)
        c = self.part(layer, "c", n, number)
        z = self.biased("z", gates * n, [w["bias_ih"], w["bias_hh"]])
        self.inputs(w, h, z, gates * n, size)
        at = {"i": 0, "f": n, "g": (gates - 2) * n, "o": (gates - 1) * n}
        see = {}
        if w["weight_ch"] is not None:
            p = self.vector(w["weight_ch"])
            places = {"i": 0, "f": n, "o": (gates - 2) * n}
            see = {g: f" + {p}[{places[g]} + i] * {c}[i]" for g in places}
        i, f, o = (self.act(gate, f"({z}[{at[g]} + i]{see.get(g, '')})") for g in "ifo")
        new = f"f * {c}[i] + k * " + self.act(act, f"{z}[{at['g']} + i]")
        if clip is not None:
            new = f"{self.name}_clip({new}, {clip:.9e}f)"
        forget = "1.0f - k" if coupled else f
        lines = [f"float k = {i};", f"float f = {forget};", f"{c}[i] = {new};"]
        result = f"{o} * {self.act(act, f'{c}[i]')}"
        if not layer.proj_size:
            self.loop(n, [*lines, f"{h}[i] = {result};"])
            self.output(h, n)
            return
        full = self.local("m", n)
        self.loop(n, [*lines, f"{full}[i] = {result};"])
        self.loop(size, [f"{h}[i] = 0.0f;"])
        self.body.append(self.product(self.matrix(w["weight_hr"]), full, h, size, n))
        self.output(h, size)

    def inputs(self, w: dict[str, Any], h: str, z: str, rows: int, size: int) -> None:
        """z += U x + W h"""
        u, v = self.matrix(w["weight_ih"]), self.matrix(w["weight_hh"])
        self.body.append(self.product(u, self.value, z, rows, self.size))
        self.body.append(self.product(v, h, z, rows, size))

    def loop(self, count: int, lines: list[str]) -> None:
        """A loop over units."""
        self.body += [f"for (int i = 0; i < {count}; i++) {{", *_indented(lines), "}"]

    def output(self, h: str, size: int) -> None:
        """The layer's output: a copy, since the state stays as it is."""
        self.size = size
        self.value = self.local("y", size, f"{h}[i]")


def _inputs(first: Any) -> int:
    size = getattr(first, "input_size", getattr(first, "in_features", None))
    if not isinstance(size, int):
        got = f"{first!r}".split("\n")[0]
        raise InvalidValueError(
            f"export_c: model: expected it to begin with Embedding, RNN, GRU, LSTM or Linear, got "
            f"{got}"
        )
    return size


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
