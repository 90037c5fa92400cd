"""How rows of operations are made: the shapes, the axes and the options that a kind of them has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

import tinygrad_rnn as tg

from ..tensor.random import Generator, default_generator
from .case import Array, Case, Domain, Draw, Row, an_axis, broadcastable, real, shape, some_axes

Options = dict[str, Sequence[Any]]  # a parameter's name, and the values to draw it from


def row(
    name: str, draw: Callable[[Draw], Case], reference: Any = None, kind: str = "operation"
) -> Row:
    """A row for the operation of a name; compared with NumPy's function of that name, if any."""
    find = attrgetter(name)
    return Row(name, kind, find(tg), draw, reference or find(np))


def module_row(kind: str, build: Callable[[Draw], Case], name: str) -> Row:
    """A row for a cell or a layer, which the case holds: there is no function to hand over.

    Its weights are drawn from a seed: the same draws, the same case.
    """

    def draw(d: Draw) -> Case:
        generator, seed = default_generator(), d.integer(0, 2**32 - 1)
        before = generator.state
        generator.state = Generator(seed).state
        try:
            return build(d)
        finally:
            generator.state = before

    return Row(name, kind, lambda: None, draw)


def chosen(d: Draw, options: Options) -> dict[str, Any]:
    """One of the values of each option."""
    return {name: d.one_of(values) for name, values in options.items()}


def elementwise(
    name: str,
    *domains: Domain,
    reference: Any = None,
    kind: str = "operation",
    **options: Sequence[Any],
) -> Row:
    """A row for an operation that broadcasts; a domain for each input."""

    def draw(d: Draw) -> Case:
        whole, given = shape(d), chosen(d, options)
        shapes = [whole, *(broadcastable(d, whole) for _ in domains[1:])]
        inputs = [domain(d, s) for domain, s in zip(domains, shapes, strict=True)]
        return Case(inputs, lambda f, *xs: f(*xs, **given))

    return row(name, draw, reference, kind)


def constant(name: str, *domains: Domain, reference: Any = None, **options: Sequence[Any]) -> Row:
    """A row for an elementwise operation that has no gradient, or none but zero."""
    return elementwise(name, *domains, reference=reference, kind="constant", **options)


def reduction(
    name: str,
    domain: Domain = real,
    reference: Any = None,
    smallest: int = 0,
    kind: str = "operation",
    **options: Sequence[Any],
) -> Row:
    """A row for an operation with `axis` and `keepdims`."""

    def draw(d: Draw) -> Case:
        x, given = domain(d, shape(d, smallest=smallest)), chosen(d, options)
        axis, keepdims = some_axes(d, x), d.one_of([True, False])
        return Case([x], lambda f, x: f(x, axis=axis, keepdims=keepdims, **given))

    return row(name, draw, reference, kind)


def along_axis(
    name: str,
    domain: Domain = real,
    reference: Any = None,
    *,
    axes: Callable[[Draw, Array], Any] = an_axis,
    least: int = 1,
    smallest: int = 1,
    kind: str = "operation",
    **options: Sequence[Any],
) -> Row:
    """A row for an operation along an axis."""

    def draw(d: Draw) -> Case:
        x, given = domain(d, shape(d, least, smallest=smallest)), chosen(d, options)
        axis = axes(d, x)
        return Case([x], lambda f, x: f(x, axis=axis, **given))

    return row(name, draw, reference, kind)
