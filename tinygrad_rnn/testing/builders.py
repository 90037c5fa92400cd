"""Builds OpInfos: the shapes, the axes and the options that each kind of operation has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import tinygrad_rnn as tg

from ..nn import Module
from ..tensor.random import Generator, default_generator
from .op_info import (
    Array,
    Domain,
    OpInfo,
    Sample,
    Sampler,
    an_axis,
    axis_or_none,
    broadcastable,
    real,
    shape,
    some_axes,
)


def op_info(name: str, draw: Callable[[Sampler], Sample], kind: str = "operation") -> OpInfo:
    """An OpInfo for the operation of a name."""
    return OpInfo(name, kind, attrgetter(name)(tg), draw)


def module_info(
    name: str, build: Callable[..., Sample], *args: Any, kind: str = "layer", **options: Any
) -> OpInfo:
    """An OpInfo for a cell, a layer or a loss; `build(draw, ...)` returns a sample with the module.

    The weights of the module come from a drawn seed, so the same draws give the same sample.
    """

    def draw(d: Sampler) -> Sample:
        generator, seed = default_generator(), d.integer(0, 2**32 - 1)
        before = generator.state
        generator.state = Generator(seed).state
        try:
            return build(d, *args, **options)
        finally:
            generator.state = before

    return OpInfo(name, kind, lambda: None, draw)


def applied(*inputs: Array, **parameters: Any) -> Sample:
    """A sample of an operation."""
    return Sample([*inputs], lambda f, *xs: f(*xs, **parameters))


def called(module: Module, *inputs: Array) -> Sample:
    """A sample of a module."""
    return Sample([*inputs], lambda _, *xs: module(*xs), module)


def chosen(d: Sampler, options: dict[str, Sequence[Any]]) -> dict[str, Any]:
    """One of the values of each option, by its name."""
    return {name: d.one_of(values) for name, values in options.items()}


def elementwise(
    name: str, *domains: Domain, kind: str = "operation", **options: Sequence[Any]
) -> OpInfo:
    """An OpInfo for an operation that broadcasts; a domain for each input."""

    def draw(d: Sampler) -> Sample:
        whole, given = shape(d), chosen(d, options)
        shapes = [whole, *(broadcastable(d, whole) for _ in domains[1:])]
        return applied(*(one(d, s) for one, s in zip(domains, shapes, strict=True)), **given)

    return op_info(name, draw, kind)


def constant(name: str, *domains: Domain, **options: Sequence[Any]) -> OpInfo:
    """An OpInfo for an elementwise operation that has no gradient, or none but zero."""
    return elementwise(name, *domains, kind="constant", **options)


def reduction(
    name: str,
    domain: Domain = real,
    smallest: int = 0,
    kind: str = "operation",
    **options: Sequence[Any],
) -> OpInfo:
    """An OpInfo for an operation with `axis` and `keepdims`."""

    def draw(d: Sampler) -> Sample:
        x, given = domain(d, shape(d, smallest=smallest)), chosen(d, options)
        return applied(x, axis=some_axes(d, x), keepdims=d.one_of([True, False]), **given)

    return op_info(name, draw, kind)


def along_axis(
    name: str,
    domain: Domain = real,
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
        return applied(x, axis=axes(d, x), **given)

    return op_info(name, draw, kind)


FLATTENED: dict[str, Any] = {"axes": axis_or_none, "least": 0, "smallest": 0}  # without an axis
