"""Builds OpInfos: the shapes, the axes and the options that each kind of operation has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import tinygrad_rnn as tg

from ..tensor.random import Generator, default_generator
from .op_info import (
    Array,
    Domain,
    OpInfo,
    Sample,
    Sampler,
    an_axis,
    broadcastable,
    real,
    shape,
    some_axes,
)

Options = dict[str, Sequence[Any]]  # a parameter's name, and the values to draw it from


def op_info(
    name: str, draw: Callable[[Sampler], Sample], reference: Any = None, kind: str = "operation"
) -> OpInfo:
    """An OpInfo for the operation of a name."""
    return OpInfo(name, kind, attrgetter(name)(tg), draw, reference)


def module_info(kind: str, build: Callable[[Sampler], Sample], name: str) -> OpInfo:
    """An OpInfo for a cell or a layer, which the sample holds: there is no function to hand over.

    Its weights are drawn from a seed: the same draws, the same sample.
    """

    def draw(d: Sampler) -> Sample:
        generator, seed = default_generator(), d.integer(0, 2**32 - 1)
        before = generator.state
        generator.state = Generator(seed).state
        try:
            return build(d)
        finally:
            generator.state = before

    return OpInfo(name, kind, lambda: None, draw)


def chosen(d: Sampler, options: Options) -> dict[str, Any]:
    """One of the values of each option."""
    return {name: d.one_of(values) for name, values in options.items()}


def elementwise(
    name: str,
    *domains: Domain,
    reference: Any = None,
    kind: str = "operation",
    **options: Sequence[Any],
) -> OpInfo:
    """An OpInfo for an operation that broadcasts; a domain for each input."""

    def draw(d: Sampler) -> Sample:
        whole, given = shape(d), chosen(d, options)
        shapes = [whole, *(broadcastable(d, whole) for _ in domains[1:])]
        inputs = [domain(d, s) for domain, s in zip(domains, shapes, strict=True)]
        return Sample(inputs, lambda f, *xs: f(*xs, **given))

    return op_info(name, draw, reference, kind)


def constant(
    name: str, *domains: Domain, reference: Any = None, **options: Sequence[Any]
) -> OpInfo:
    """An OpInfo for an elementwise operation that has no gradient, or none but zero."""
    return elementwise(name, *domains, reference=reference, kind="constant", **options)


def reduction(
    name: str,
    domain: Domain = real,
    reference: Any = None,
    smallest: int = 0,
    kind: str = "operation",
    **options: Sequence[Any],
) -> OpInfo:
    """An OpInfo for an operation with `axis` and `keepdims`."""

    def draw(d: Sampler) -> Sample:
        x, given = domain(d, shape(d, smallest=smallest)), chosen(d, options)
        axis, keepdims = some_axes(d, x), d.one_of([True, False])
        return Sample([x], lambda f, x: f(x, axis=axis, keepdims=keepdims, **given))

    return op_info(name, draw, reference, kind)


def along_axis(
    name: str,
    domain: Domain = real,
    reference: Any = None,
    *,
    axes: Callable[[Sampler, Array], Any] = an_axis,
    least: int = 1,
    smallest: int = 1,
    kind: str = "operation",
    **options: Sequence[Any],
) -> OpInfo:
    """An OpInfo for an operation along an axis."""

    def draw(d: Sampler) -> Sample:
        x, given = domain(d, shape(d, least, smallest=smallest)), chosen(d, options)
        axis = axes(d, x)
        return Sample([x], lambda f, x: f(x, axis=axis, **given))

    return op_info(name, draw, reference, kind)
