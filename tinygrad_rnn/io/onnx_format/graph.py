"""An ONNX graph in the making: nodes, weights, and sizes that are known at run time only.

A size is an integer, or a `Size`: a multiple of one or two input axes, or an input axis with an
offset. A model is traced twice, with inputs of different sizes, and each size solved for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations, combinations_with_replacement
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ...errors import InvalidValueError
from ...tensor.conversion import DType
from ..extras import package

OPSET, IR = 18, 9

Array = np.ndarray[Any, Any]


class Size(NamedTuple):
    """A size that depends on input axes: factor * axis * axis ... + offset."""

    axes: tuple[str, ...]
    factor: int = 1
    offset: int = 0


class Axis(NamedTuple):
    """An axis of an input: its lengths in the two traces, and where to read it."""

    lengths: tuple[int, int]
    source: str  # the graph's input
    position: int


class Graph:
    """A graph or, with an `outer` one, the body of a loop, which sees the outer one's values."""

    def __init__(self, outer: Graph | None = None) -> None:
        self.outer = outer
        self.root: Graph = self if outer is None else outer.root
        self.nodes: list[Any] = []
        if outer is None:
            self.onnx = package("onnx", "export_onnx", "pip install 'tinygrad_rnn[onnx]'")
            self.count = 0
            self.initializers: dict[str, Array] = {}
            self.by_value: dict[Any, str] = {}
            self.axes: dict[str, Axis] = {}
            self.sizes: dict[Size, str] = {}

    # ------------------------------------------------------------ nodes

    def name(self, hint: str) -> str:
        """A name that no other value has."""
        self.root.count += 1
        return f"{hint}_{self.root.count}"

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output, whose name is returned."""
        return self.several(kind, inputs, 1, **attributes)[0]

    def several(
        self, kind: str, inputs: Sequence[str], outputs: int | Sequence[bool], **attributes: Any
    ) -> list[str]:
        """A node with several outputs; a false one of a list is left out."""
        wanted = [True] * outputs if isinstance(outputs, int) else outputs
        names = [self.name(kind.lower()) if want else "" for want in wanted]
        node = self.root.onnx.helper.make_node(kind, list(inputs), names, **attributes)
        self.nodes.append(node)
        return names

    def constant(self, value: ArrayLike, dtype: DType = None, name: str = "constant") -> str:
        """An array of the file."""
        array = np.asarray(value, dtype)
        root = self.root
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= 64 else None
        if key in root.by_value:
            return root.by_value[key]
        found = name if name != "constant" else self.name(name)
        root.initializers[found] = array
        if key is not None and name == "constant":
            root.by_value[key] = found
        return found

    def ints(self, *numbers: int) -> str:
        """Integers."""
        return self.constant(np.array(numbers, np.int64))

    def cast(self, value: str, dtype: DType) -> str:
        """A value in another dtype."""
        return self.add("Cast", value, to=self.element(dtype))

    def element(self, dtype: DType) -> int:
        """The number of a dtype in the format."""
        return int(self.root.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    # ------------------------------------------------------------ the usual nodes

    def axes_off(self, value: str, *axes: int) -> str:
        """Without axes of length 1."""
        return self.add("Squeeze", value, self.ints(*axes))

    def axes_on(self, value: str, *axes: int) -> str:
        """With axes of length 1."""
        return self.add("Unsqueeze", value, self.ints(*axes))

    def sliced(self, value: str, start: Any, end: Any, axis: int, step: int = 1) -> str:
        """A part along an axis; bounds may be sizes."""
        return self.add(
            "Slice", value, self.shape([start]), self.shape([end]), self.ints(axis), self.ints(step)
        )

    def shape(self, sizes: Iterable[Any]) -> str:
        """A vector of sizes."""
        listed = list(sizes)
        if all(isinstance(n, int) for n in listed):
            return self.ints(*listed)
        parts = [self.size(n) for n in listed]
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0)

    def size(self, wanted: Any) -> str:
        """A size, as a vector of one; of the root, before any loop."""
        root = self.root
        if isinstance(wanted, int):
            return self.ints(wanted)
        if wanted not in root.sizes:
            parts = []
            for name in wanted.axes:
                axis = root.axes[name]
                parts.append(
                    root.add("Shape", axis.source, start=axis.position, end=axis.position + 1)
                )
            found = parts[0]
            for other in parts[1:]:
                found = root.add("Mul", found, other)
            if wanted.factor != 1:
                found = root.add("Mul", found, root.ints(wanted.factor))
            if wanted.offset:
                found = root.add("Add", found, root.ints(wanted.offset))
            root.sizes[wanted] = found
        return root.sizes[wanted]

    def solve(self, first: int, second: int, what: str) -> Any:
        """The size that two traces show."""
        if first == second:
            return first
        axes = self.root.axes
        for names in (*combinations(axes, 1), *combinations_with_replacement(sorted(axes), 2)):
            a, b = (prod(axes[name].lengths[trace] for name in names) for trace in range(2))
            if first * b == second * a and first % a == 0:
                return Size(names, first // a)
        for name, axis in axes.items():
            a, b = axis.lengths
            if first - a == second - b and abs(first - a) < 100:
                return Size((name,), 1, first - a)
        raise InvalidValueError(
            f"export_onnx: {what}: its size depends on the inputs' in a way that is not exported "
            f"({first} and {second} for axes of {self._lengths()})"
        )

    def _lengths(self) -> str:
        return ", ".join(
            f"{n} {a.lengths[0]} and {a.lengths[1]}" for n, a in self.root.axes.items()
        )

    def solved(self, first: Sequence[int], second: Sequence[int], what: str) -> list[Any]:
        """The shape that two traces show."""
        if len(first) != len(second):
            raise InvalidValueError(
                f"export_onnx: {what}: its number of axes depends on the inputs"
            )
        return [self.solve(a, b, what) for a, b in zip(first, second, strict=True)]
