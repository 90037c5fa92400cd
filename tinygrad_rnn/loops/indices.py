"""Indexing by computed tensors: makes the tensors of an index inputs of the operation.

A parameter is constant in a trace; an input may change at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from inspect import Parameter, Signature
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import GraphError
from ..tensor.graph import Traced
from ..tensor.operation import Op, names
from ..tensor.ops import indexing
from ..tensor.ops.indexing import getitem
from ..tensor.tree import is_leaf

INDEXED = frozenset({getitem, indexing.index_update, indexing.index_add, indexing.place})
PLAIN = frozenset({int, float, bool, str, type(None), type(...), type})  # contains no tensors


class Hole(NamedTuple):
    """The position of a tensor in an index."""

    number: int


class Cut(NamedTuple):
    """A slice that can be compared and hashed."""

    start: Any
    stop: Any
    step: Any


class Fixed(NamedTuple):
    """Any other part of an index; the class distinguishes True from 1."""

    kind: type
    value: Any


def is_plain(value: object) -> bool:
    """Whether a parameter holds only numbers, slices and strings, as nearly all do."""
    if type(value) is slice:
        return {type(value.start), type(value.stop), type(value.step)} <= PLAIN
    return type(value) in PLAIN or (type(value) is tuple and all(map(is_plain, value)))


def tensors_in(value: object) -> Iterator[Traced]:
    """The tensors in a parameter, also inside lists, tuples, slices and dicts."""
    if type(value) in PLAIN:
        return
    if isinstance(value, Traced):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, slice):
        yield from tensors_in((value.start, value.stop, value.step))
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))


def snapshot(value: object) -> Any:
    """A parameter with copies of its lists and dicts, which the function may change later."""
    if type(value) is list:
        return [snapshot(part) for part in value]
    if type(value) is dict:
        return {key: snapshot(part) for key, part in value.items()}
    return tuple(map(snapshot, value)) if type(value) is tuple else value


def with_inputs(op: Op, index: Any) -> tuple[Op, tuple[Any, ...]]:
    """An operation that takes the arrays of its index as further inputs, and these arrays."""
    found: list[Any] = []

    def part(value: object) -> Any:
        if is_leaf(value):
            found.append(value)
            return Hole(len(found) - 1)
        if isinstance(value, slice):
            return Cut(value.start, value.stop, value.step)
        if isinstance(value, list):
            if any(tensors_in(value)):
                raise GraphError(
                    f"{op.name}: expected a list of numbers in an index, got one of tensors: "
                    "join them with tg.stack"
                )
            return Fixed(list, _frozen(value))
        return Fixed(type(value), value)

    form = tuple(map(part, index)) if isinstance(index, tuple) else part(index)
    return _with_index_inputs(op, form, len(found)), tuple(found)


@lru_cache(256)
def _with_index_inputs(op: Op, form: Any, count: int) -> Op:
    """The operation with `count` tensors in an index of this form."""
    added = tuple([f"index_{i}" for i in range(count)])
    width = len(op.inputs)

    def forward(xp: ModuleType, *values: Any, **params: Any) -> Any:
        return op.forward(xp, *values[:width], index=_index(form, values[width:]), **params)

    settings = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default)
        for name, default in op.parameters.items()
        if name != "index"
    ]
    forward.__signature__ = _signature(("xp", *op.inputs, *added), settings)  # type: ignore[attr-defined]
    rules = {name: _rule(rule, form, added) for name, rule in op.rules.items()}
    return Op(op.name, forward, expects=op.expects).vjp(**rules)


def _rule(rule: Callable[..., Any], form: Any, added: tuple[str, ...]) -> Callable[..., Any]:
    """Turns a rule that reads the index into one that reads its tensors."""
    reads = tuple([name for name in names(rule) if name != "index"])

    def with_index(*values: Any) -> Any:
        known = dict(zip(reads, values, strict=False))
        return rule(**known, index=_index(form, values[len(reads) :]))

    if len(reads) == len(names(rule)):
        return rule
    with_index.__signature__ = _signature((*reads, *added))  # type: ignore[attr-defined]
    return with_index


def _signature(positional: Sequence[str], settings: Sequence[Parameter] = ()) -> Signature:
    given = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in positional]
    return Signature([*given, *settings])


def _index(form: Any, values: Sequence[Any]) -> Any:
    """Builds an index from its form and the tensors."""
    if isinstance(form, Hole):
        return values[form.number]
    if isinstance(form, Cut):
        return slice(*form)
    if isinstance(form, Fixed):
        return _thawed(form.value) if form.kind is list else form.value
    return tuple([_index(part, values) for part in form])


def _frozen(value: object) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _thawed(value: object) -> Any:
    return [*map(_thawed, value)] if isinstance(value, tuple) else value


look_up = _with_index_inputs(
    getitem, Hole(0), 1
)  # indexing by one tensor of integers, as in an embedding
