"""Traces of a model: the operations that a call applies, and the layers that it runs whole.

A trace records a call of a recurrent layer or a convolution whole, since it becomes an operator.
Each model is traced twice, with inputs of different sizes and values: a value that is equal in both
is a constant of the model, and a size that differs is that of an input axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any, NamedTuple

from ..errors import InvalidValueError
from ..nn import Conv1d, Conv2d, MinGRU, MinLSTM, Module
from ..nn.recurrent.layer import RecurrentLayer
from ..tensor import tree
from ..tensor.backend import is_array
from ..tensor.graph import Traced
from ..tensor.observers import tracers
from ..tensor.operation import Op
from ..tensor.tensor import Tensor


@dataclass(frozen=True)
class Ref:
    """A numbered value: a leaf of the trees that arguments are."""

    number: int


def values(tree_of_arguments: object) -> list[Any]:
    """The numbered values and the arrays among arguments."""
    return tree.leaves(
        tree_of_arguments, leaf=lambda value: isinstance(value, Ref) or is_array(value)
    )


class Event(NamedTuple):
    """A call of an operation, or of a layer's method."""

    what: Any  # an Op, a Layer or a Loop
    args: tuple[Any, ...]  # Refs, arrays, numbers
    params: dict[str, Any]
    outs: tuple[int, ...]
    arrays: tuple[Any, ...]  # the results
    inputs: tuple[Any, ...]  # the arrays of args


class Layer(NamedTuple):
    """A method of a layer that is exported whole."""

    module: Any
    method: str  # "forward" or "step"


class Loop(NamedTuple):
    """A call of `tg.scan` that is exported whole."""

    step: Callable[[Any, Any], tuple[Any, Any]]
    carry: Any
    xs: Any


class Recorder:
    """A Tracer that records; Python may read values, since the traces are compared.

    **Arguments** loops: whether calls of `tg.scan` are recorded whole.
    """

    def __init__(self, loops: bool = False) -> None:
        self.loops = loops
        self.events: list[Event] = []
        self.numbers: dict[int, int] = {}
        self.alive: list[Any] = []

    def number(self, array: Any) -> int:
        """Numbers a new array."""
        self.numbers[id(array)] = len(self.alive)
        self.alive.append(array)
        return len(self.alive) - 1

    def ref(self, value: object) -> Any:
        """The number of a value; others as they are, containers item by item."""
        return tree.mapped(self._ref_of_leaf, value)

    def _ref_of_leaf(self, leaf: object) -> Any:
        array = leaf.array if isinstance(leaf, Traced) else leaf
        number = self.numbers.get(id(array))
        return array if number is None else Ref(number)

    def array(self, value: object) -> Any:
        """The array of a numbered value; others as they are."""
        return self.alive[value.number] if isinstance(value, Ref) else value

    def add(self, what: Any, args: tuple[Any, ...], params: Any, results: Sequence[Any]) -> None:
        """Records a call."""
        refs, settings = tuple(self.ref(a) for a in args), self.ref(params)
        for y in results:
            if id(y.array) in self.numbers or not y.array.flags.owndata:
                y.array = y.array[...]  # an operation may return its input's array
        outs = tuple(self.number(y.array) for y in results)
        arrays = tuple(y.array for y in results)
        given = tuple(a.array if isinstance(a, Traced) else a for a in args)
        self.events.append(Event(what, refs, settings, outs, arrays, given))

    # ------------------------------------------------------------ the Tracer protocol

    def replayed(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Applies every operation."""
        return None

    def record(self, op: Op, args: tuple[Any, ...], params: dict[str, Any], result: Any) -> None:
        """Records an operation on Tensors."""
        results = result if type(result) is tuple else (result,)
        if all(isinstance(y, Traced) for y in results):
            self.add(op, args, {**op.parameters, **params}, results)

    def concretize(self, value: Traced) -> None:
        """Lets Python read a value."""

    def overwritten(self, value: Traced) -> None:
        """Refuses to overwrite a numbered value: the graph would lose the write."""
        if id(value.array) in self.numbers:
            self.refuse("overwriting a value in place", "compute a new one")

    def loop(self, scan: Callable[..., Any], args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Records a call of `tg.scan` whole."""
        if not self.loops:
            return None
        return self.whole(Loop(*args), lambda: scan(*args, **params), args[1:], params)

    def whole(
        self, what: Any, call: Callable[[], Any], args: tuple[Any, ...], params: dict[str, Any]
    ) -> Any:
        """Records a call in place of its operations."""
        before = tracers.pop(get_ident())
        try:
            result = call()
        finally:
            tracers[get_ident()] = before
        result = tree.mapped(lambda y: Tensor(y.array, device="cpu"), result)
        self.add(what, args, params, tree.leaves(result))
        return result

    def refuse(self, what: str, remedy: str) -> None:
        """Refuses a call for which ONNX has no operator."""
        raise InvalidValueError(f"export_onnx: the model cannot be exported: {what}: {remedy}")


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Traces the operations of this thread."""
    before = tracers.get(get_ident())
    tracers[get_ident()] = recorder
    try:
        yield
    finally:
        if before is None:
            tracers.pop(get_ident(), None)
        else:
            tracers[get_ident()] = before


def whole(module: Module) -> bool:
    """Tells whether a module is exported whole."""
    return isinstance(module, RecurrentLayer | MinGRU | MinLSTM | Conv1d | Conv2d)


@contextmanager
def layers_whole(model: Module, recorder: Recorder) -> Iterator[None]:
    """Records calls of the recurrent layers of a model, in place of their operations."""
    changed: list[tuple[Any, str]] = []

    def recorded(module: Module, method: str) -> Callable[..., Any]:
        original = getattr(module, method)

        def call(*args: Any, **params: Any) -> Any:
            if get_ident() not in tracers:  # within another layer
                return original(*args, **params)
            what = Layer(module, method)
            return recorder.whole(what, lambda: original(*args, **params), args, params)

        return call

    try:
        for _, module in model.named_modules():
            if whole(module):  # the step of a parallel layer is that of its cell, and traced
                for method in ("forward", "step")[: 1 + isinstance(module, RecurrentLayer)]:
                    vars(module)[method] = recorded(module, method)
                    changed.append((module, method))
        yield
    finally:
        for module, method in changed:
            del vars(module)[method]
