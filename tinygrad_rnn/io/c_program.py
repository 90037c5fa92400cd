"""C code of arrays whose sizes are constants: loops over their elements.

A value is an array, with the index of each of its elements, or a formula of an element's position,
which is written where the value is used. So elementwise operations are fused, and operations that
only move elements (slices, gates, axes) cost nothing. The code of a product with weights adds to
the array that the result is added to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from ..errors import InvalidValueError
from ..kernels.quantize import quantize_int8

Array = np.ndarray[Any, Any]
Formula = Callable[[Array], str]  # the code of the elements at positions, of which i is the number


class Value:
    """A value that the code computes.

    **Attributes** at: the code of elements. array: the name of an array that holds all elements in
    order, if there is one. products: matrices, and the arrays that they multiply; the results are
    added to the elements. constant: the elements, if they do not change.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        at: Formula,
        array: str = "",
        products: Sequence[tuple[Array, str]] = (),
        constant: Array | None = None,
    ) -> None:
        self.shape, self.at, self.array, self.products = shape, at, array, list(products)
        self.constant = constant

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)


class Program:
    """The code of a step, and the constants that it reads. **Arguments** name: begins all names."""

    def __init__(self, name: str, int8: bool) -> None:
        self.name, self.int8 = name, int8
        self.constants: list[str] = []
        self.known: dict[bytes, tuple[str, str]] = {}
        self.body: list[str] = []
        self.helpers: dict[str, list[str]] = {}
        self.bytes = self.scratch = self.multiplications = self.count = 0

    # ------------------------------------------------------------ constants

    def vector(self, array: Array, kind: str = "float") -> str:
        """A constant array, whose name is returned; one array for equal ones."""
        found = np.ascontiguousarray(array).ravel()
        if not np.isfinite(found).all():
            raise InvalidValueError("export_c: model: a weight is infinite or NaN")
        key = kind.encode() + found.tobytes()
        if key not in self.known:
            self.count += 1
            name = f"{self.name}_a{self.count}"
            number = (lambda v: f"{v:.9e}f") if kind == "float" else str
            words = [number(v) for v in found]
            per = 6 if kind == "float" else 20
            rows = [", ".join(words[i : i + per]) for i in range(0, len(words), per)]
            self.constants += [f"static const {kind} {name}[{len(words)}] = {{"]
            self.constants += [f"    {row}," for row in rows] + ["};", ""]
            self.bytes += len(words) * {"float": 4, "int16_t": 2, "int8_t": 1}[kind]
            self.known[key] = name, ""
        return self.known[key][0]

    def matrix(self, w: Array) -> tuple[str, str]:
        """A constant matrix. **Returns** its name and, of int8, that of its scales."""
        w = np.ascontiguousarray(w, np.float32)
        if not self.int8:
            return self.vector(w), ""
        if not np.isfinite(w).all():
            raise InvalidValueError("export_c: model: a weight is infinite or NaN")
        _, integers, scales = quantize_int8(np, w)
        signed = integers[:, : w.shape[1]].astype(np.int16) - 128
        return self.vector(signed, "int8_t"), self.vector(scales)

    # ------------------------------------------------------------ values

    def array(self, name: str, shape: tuple[int, ...]) -> Value:
        """A value in an array of the code."""
        return Value(shape, lambda places: f"{name}[{self.index(places)}]", name)

    def index(self, places: Array) -> str:
        """The index of element i: a number, i with an offset, or from a table."""
        first = int(places[0])
        if (places == first).all():
            return str(first)
        if np.array_equal(places, first + np.arange(len(places))):
            return f"{first} + i" if first else "i"
        return f"{self.vector(places, 'int16_t')}[i]"

    def constant(self, array: Array) -> Value:
        """A value that does not change: a number, or an array of the file."""
        found = np.asarray(array)
        if found.size and np.isfinite(found).all() and (found == found.flat[0]).all():
            literal = f"{float(found.flat[0]):.9e}f"
            return Value(found.shape, lambda places: literal, constant=found)
        whole = np.asarray(found, np.float32).ravel()

        def at(places: Array) -> str:
            return f"{self.vector(whole)}[{self.index(places)}]"

        return Value(found.shape, at, constant=found)

    def held(self, value: Value, hint: str = "v") -> Value:
        """The value in an array."""
        if value.array:
            return value
        self.count += 1
        name, n = f"{hint}{self.count}", value.size
        self.scratch += n
        self.body.append(f"float {name}[{n}];")
        self.body.append(f"for (int i = 0; i < {n}; i++) {name}[i] = {value.at(np.arange(n))};")
        for w, x in value.products:
            data, scale = self.matrix(w)
            self.multiplications += w.size
            self.helpers["product"] = self.product()
            scales = f", {scale}" if scale else ""
            self.body.append(
                f"{self.name}_product({data}{scales}, {x}, {name}, {w.shape[0]}, {w.shape[1]});"
            )
        return self.array(name, value.shape)

    def product(self) -> list[str]:
        """A function that adds a matrix times a vector."""
        kind, scale = ("int8_t", "const float *scale, ") if self.int8 else ("float", "")
        times = " * scale[r]" if self.int8 else ""
        return [
            "/* y += w x */",
            f"static inline void {self.name}_product(const {kind} *w, {scale}const float *x,",
            "                                float *y, int rows, int columns)", "{",
            "    for (int r = 0; r < rows; r++) {", "        float sum = 0.0f;",
            "        for (int c = 0; c < columns; c++) sum += w[r * columns + c] * x[c];",
            f"        y[r] += sum{times};", "    }", "}", "",
        ]  # fmt: skip

    def function(self, name: str, code: str, arguments: str) -> str:
        """A function of numbers, which the code calls by the returned name."""
        parameters = ", ".join(f"float {a}" for a in arguments)
        self.helpers[name] = [f"static inline float {self.name}_{name}({parameters})", "{",
                              f"    return {code};", "}", ""]  # fmt: skip
        return f"{self.name}_{name}"

    def elementwise(self, template: str, parts: Sequence[Value]) -> Value:
        """An operation on broadcast parts. **Arguments** template: with {} for each."""
        parts = [self.held(p) if p.products else p for p in parts]
        shape = np.broadcast_shapes(*(p.shape for p in parts))
        places = [np.broadcast_to(np.arange(p.size).reshape(p.shape), shape).ravel() for p in parts]

        def at(positions: Array) -> str:
            codes = [p.at(of[positions]) for p, of in zip(parts, places, strict=True)]
            return template.format(*codes)

        return Value(shape, at)

    def moved(self, value: Value, places: Array) -> Value:
        """The elements of a value at places, in the shape of these."""
        source = self.held(value) if value.products else value
        flat, inner = places.ravel(), source.at
        array = source.array if np.array_equal(flat, np.arange(source.size)) else ""
        fixed = None if source.constant is None else source.constant.ravel()[places]
        return Value(places.shape, lambda positions: inner(flat[positions]), array, constant=fixed)

    def added(self, a: Value, b: Value) -> Value:
        """a + b; products are added to the rest, where the shapes allow it."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        if not (a.products or b.products) or any(p.products and p.shape != shape for p in (a, b)):
            return self.elementwise("({} + {})", [a, b])
        rests = [Value(p.shape, p.at, constant=p.constant) for p in (a, b)]
        rests = [r for r in rests if r.constant is None or r.constant.any()]
        fixed = [r.constant for r in rests if r.constant is not None]
        if len(fixed) == len(rests):
            rest = self.constant(np.broadcast_to(sum(fixed), shape))
        else:
            rest = self.elementwise("({} + {})" if len(rests) == 2 else "{}", rests)
            places = np.arange(rest.size).reshape(rest.shape)
            rest = self.moved(rest, np.broadcast_to(places, shape))
        return Value(shape, rest.at, "", [*a.products, *b.products], rest.constant)

    def reduced(self, kind: str, value: Value, axes: Sequence[int], keepdims: bool) -> Value:
        """The sums, means or maxima over axes."""
        ndim = len(value.shape)
        over = sorted(a % ndim for a in axes)
        order = [a for a in range(ndim) if a not in over] + over
        places = np.arange(value.size).reshape(value.shape).transpose(order)
        count = prod(value.shape[a] for a in over)
        source = self.held(self.moved(value, places)).array
        rows = value.size // count
        self.count += 1
        name = f"r{self.count}"
        self.scratch += rows
        step = f"{source}[i * {count} + k]"
        more = f"if ({step} > {name}[i]) {name}[i] = {step};" if kind == "max" else (
            f"{name}[i] += {step};"
        )  # fmt: skip
        first = f"{source}[i * {count}]" if kind == "max" else "0.0f"
        self.body += [
            f"float {name}[{rows}];", f"for (int i = 0; i < {rows}; i++) {{",
            f"    {name}[i] = {first};", f"    for (int k = 0; k < {count}; k++) {more}",
            *([f"    {name}[i] /= {count}.0f;"] if kind == "mean" else []), "}",
        ]  # fmt: skip
        shape = [1 if a in over else n for a, n in enumerate(value.shape)]
        kept = shape if keepdims else [n for a, n in enumerate(value.shape) if a not in over]
        return self.array(name, tuple(kept))

    def joined(self, parts: list[Any], axis: int) -> Value:
        """Arrays one after another, in the order of the concatenation."""
        self.count += 1
        name, start, n = f"j{self.count}", 0, sum(p.size for p in parts)
        self.scratch += n
        lines, places = [f"float {name}[{n}];"], []
        for part in parts:
            source = self.held(part) if part.products else part
            code = source.at(np.arange(part.size))
            lines.append(f"for (int i = 0; i < {part.size}; i++) {name}[{start} + i] = {code};")
            places.append(start + np.arange(part.size).reshape(part.shape))
            start += part.size
        self.body += lines
        return self.moved(self.array(name, (n,)), np.concatenate(places, axis=axis))
