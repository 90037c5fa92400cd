"""Two traces of a function as a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from ...errors import InvalidValueError
from ...nn import Module
from ...tensor import tree
from ...tensor.autodiff import no_grad
from ...tensor.conversion import DType
from ..tracing import Event, Layer, Loop, Recorder, Ref, layers_whole, recording
from .graph import Graph, Size
from .operations import Call, emit

SIZED = frozenset({"shape", "index", "num_classes"})  # parameters that may vary with the sizes


class Exporter:
    """Gives values of two traces names in a graph.

    **Arguments** parameters: of the model, by name: the arrays of the file.
    """

    def __init__(self, graph: Graph, parameters: dict[str, Any]) -> None:
        self.graph, self.parameters = graph, parameters
        self.recorders = Recorder(loops=True), Recorder(loops=True)
        self.names: dict[int, str] = {}
        self.weights: dict[int, str] = {}
        for name, p in parameters.items():
            if id(p.array) not in self.recorders[0].numbers:
                for recorder in self.recorders:
                    self.weights[recorder.number(p.array)] = name

    def inside(self, graph: Graph) -> Exporter:
        """An exporter of a loop's body, which sees the values outside."""
        inner = Exporter(graph, self.parameters)
        for number, name in self.names.items():
            if number not in self.weights:
                for outside, recorder in zip(self.recorders, inner.recorders, strict=True):
                    inside = recorder.number(outside.alive[number])
                inner.names[inside] = name
        return inner

    # ------------------------------------------------------------ tracing

    def inputs(self, names: Sequence[str], pairs: Sequence[tuple[Any, Any]]) -> None:
        """Numbers the arrays of the inputs."""
        for name, pair in zip(names, pairs, strict=True):
            for recorder, value in zip(self.recorders, pair, strict=True):
                number = recorder.number(value.array)
            self.names[number] = name

    def run(self, function: Callable[[int], Any], model: Module | None) -> list[tuple[Any, Any]]:
        """Traces a function twice, and adds its operators. **Arguments** function: of the trace.

        **Returns** its results' leaves, as they are in both traces.
        """
        found = []
        for k, recorder in enumerate(self.recorders):
            layers = nullcontext() if model is None else layers_whole(model, recorder)
            with no_grad(), layers, recording(recorder):
                found.append(function(k))
        self._emit()
        return list(zip(tree.leaves(found[0]), tree.leaves(found[1]), strict=True))

    def _emit(self) -> None:
        first, second = (recorder.events for recorder in self.recorders)
        for a, b in zip(first, second, strict=False):
            if not _alike(a.what, b.what) or _structure(a.args) != _structure(b.args):
                raise InvalidValueError(
                    f"export_onnx: {_described(a)}: the model calls other operations for other "
                    "inputs: what depends on values cannot be exported"
                )
            if len(a.outs) != len(b.outs):
                self._refuse_loop(a)
            self._one(a, b)
        if len(first) != len(second):
            longer = max(first, second, key=len)
            self._refuse_loop(longer[min(len(first), len(second))])

    def _refuse_loop(self, event: Event) -> None:
        raise InvalidValueError(
            f"export_onnx: {_described(event)}: the model loops over steps in Python, so that the "
            "number of steps would be fixed: run a cell by tg.nn.Recurrent"
        )

    def _one(self, first: Event, second: Event) -> None:
        what = _described(first)
        if isinstance(first.what, Layer):
            from .recurrent import emit_layer

            names = emit_layer(self, first, second)
        elif isinstance(first.what, Loop):
            from .scans import emit_loop

            names = emit_loop(self, first, second)
        else:
            for key, value in first.params.items():
                if key not in SIZED and not _same(value, second.params[key]):
                    raise InvalidValueError(
                        f"export_onnx: {what}: {key} is {value!r} for one input and "
                        f"{second.params[key]!r} for another"
                    )
            ids = ": " in first.what.name  # a check of ids, named by its layer
            name = "alias" if ids else first.what.name
            names = emit(Call(self.graph, what, self.value, (first, second), self.recorders), name)
        self.names |= dict(zip(first.outs, names, strict=True))

    # ------------------------------------------------------------ values

    def value(self, first: Any, second: Any, what: str, dtype: DType = None) -> str:
        """The name of a value, in a dtype if one is asked for."""
        if isinstance(first, Ref):
            name = self.named(first.number)
            array = self.recorders[0].alive[first.number]
            same = dtype is None or dtype == array.dtype  # float64 == None, for NumPy
            return name if same else self.graph.cast(name, dtype)
        if isinstance(first, np.ndarray | list | np.generic):
            a, b = np.asarray(first, dtype), np.asarray(second, dtype)
            return self.constant(a, b, what)
        if isinstance(first, bool | float) or first == second:
            if first != second:
                raise InvalidValueError(
                    f"export_onnx: {what}: {first} and {second} for other inputs"
                )
            return self.graph.constant(first, dtype)
        size = self.graph.axes_off(self.graph.shape([self.graph.solve(first, second, what)]), 0)
        whole = dtype is None or dtype == np.int64
        return size if whole else self.graph.cast(size, dtype)

    def named(self, number: int) -> str:
        """The name of a numbered value."""
        if number in self.weights and number not in self.names:
            self.names[number] = self.weight(self.weights[number])
        return self.names[number]

    def weight(self, name: str) -> str:
        """A parameter as it is."""
        if name not in self.graph.root.initializers:
            self.graph.constant(self.parameters[name].numpy(), name=name)
        return name

    def constant(self, a: Any, b: Any, what: str) -> str:
        """A constant: equal in both traces, or all of one value, or a range along an axis."""
        if a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            return self.graph.constant(a)
        g, shape = self.graph, self.graph.solved(a.shape, b.shape, what)
        if a.size and b.size and (a == a.flat[0]).all() and (b == a.flat[0]).all():
            return g.add("Expand", g.constant(a.flat[0], a.dtype), g.shape(shape))
        long = [i for i, n in enumerate(shape) if isinstance(n, Size)]
        if len(long) == 1 and max(a.size, b.size) == max(a.shape[long[0]], b.shape[long[0]]):
            start, step = a.flat[0], a.flat[1] - a.flat[0]
            whole = [np.array_equal(c.ravel(), start + step * np.arange(c.size)) for c in (a, b)]
            if all(whole) and a.dtype.kind in "iuf":
                zero, one = g.constant(0, np.int64), g.constant(1, np.int64)
                y = g.cast(
                    g.add("Range", zero, g.axes_off(g.shape([shape[long[0]]]), 0), one), a.dtype
                )
                y = g.add(
                    "Add", g.add("Mul", y, g.constant(step, a.dtype)), g.constant(start, a.dtype)
                )
                return g.add("Reshape", y, g.shape(shape))
        raise InvalidValueError(
            f"export_onnx: {what}: an array {list(a.shape)} of the model depends on its inputs in "
            "a way that is not traced: compute it by operations of tg from the inputs"
        )


def _described(event: Event) -> str:
    if isinstance(event.what, Layer):
        return f"{type(event.what.module).__name__}.{event.what.method}"
    if isinstance(event.what, Loop):
        return "tg.scan"
    shapes = ", ".join(f"{list(a.shape)}" for a in event.inputs if hasattr(a, "shape"))
    return f"{event.what.name}({shapes})"


def _alike(a: Any, b: Any) -> bool:
    if isinstance(a, Layer) and isinstance(b, Layer):
        return a.module is b.module and a.method == b.method
    whole = isinstance(a, Layer | Loop), isinstance(b, Layer | Loop)
    return type(a) is type(b) if any(whole) else a is b or a.name == b.name


def _structure(args: object) -> Any:
    """The references among arguments."""
    if isinstance(args, tuple | list):
        return [_structure(a) for a in args]
    return args if isinstance(args, Ref | str | bool | type(None)) else type(args).__name__


def _same(a: Any, b: Any) -> bool:
    return bool(np.all(a == b)) if np.shape(a) == np.shape(b) else False
