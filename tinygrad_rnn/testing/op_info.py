"""OpInfo, the checks of one name: samples of its inputs, and the choices that make a sample."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from ..nn import Module
from ..tensor import backend
from ..tensor.gradcheck import gradient_errors
from ..tensor.random import Generator

T = TypeVar("T")
Array = np.ndarray[Any, Any]

ORDER = 3  # of the derivatives that are checked


class Sampler(Protocol):
    """Where a sample's choices come from: a seed, or hypothesis."""

    def integer(self, low: int, high: int) -> int:
        """An integer from low to high, both included."""

    def one_of(self, options: Sequence[T]) -> T:
        """One of several."""

    def reals(self, shape: tuple[int, ...]) -> Array:
        """An array of reals of either sign, none beyond 3."""


class SeededSampler:
    """Draws from a generator: the same seed, the same samples."""

    def __init__(self, seed: int) -> None:
        self.generator = Generator(seed)

    def integer(self, low: int, high: int) -> int:
        return int(self.generator.integers(low, high + 1))

    def one_of(self, options: Sequence[T]) -> T:
        return options[self.integer(0, len(options) - 1)]

    def reals(self, shape: tuple[int, ...]) -> Array:
        return np.asarray(np.clip(self.generator.normal(shape), -3, 3))


@dataclass(frozen=True)
class Sample:
    """Inputs to differentiate in, and a call of the function on them."""

    inputs: list[Array]
    call: Callable[..., Any]  # (function, *inputs)
    module: Module | None = None  # whose parameters are differentiated in as well

    def errors(self, function: Callable[..., Any], device: str = "cpu") -> list[float]:
        """The worst errors of the derivatives of each order. **Raises** GradcheckError."""
        inputs: list[Any] = [backend.to_device(x, device) for x in self.inputs]
        if self.module is not None:
            inputs += self.module.to(device).parameters()
        if not any(x.size for x in inputs):
            return [0.0] * ORDER

        @functools.wraps(self.call)  # errors name it
        def call(*xs: Any) -> Any:
            return self.call(function, *xs[: len(self.inputs)])

        with backend.device(device):
            return gradient_errors(call, inputs, order=ORDER)


@dataclass(frozen=True)
class OpInfo:
    """An operation, cell, layer or loss with its checks; `draw` makes a sample."""

    name: str
    kind: str
    function: Callable[..., Any]
    draw: Callable[[Sampler], Sample]

    def check(self, seed: int = 0, device: str = "cpu", samples: int = 5) -> list[float]:
        """Checks drawn samples to third order.

        **Returns** the worst error of the derivatives of each order. **Raises** GradcheckError.
        """
        drawn = [self.draw(SeededSampler(seed + i)) for i in range(samples)]
        return [*map(max, *(sample.errors(self.function, device) for sample in drawn))]


# ---------------------------------------------------------------- how to draw arrays


def shape(draw: Sampler, least: int = 0, most: int = 3, smallest: int = 0) -> tuple[int, ...]:
    """A shape of some axes; lengths of 0 and 1 among them."""
    return tuple(draw.integer(smallest, 3) for _ in range(draw.integer(least, most)))


def broadcastable(draw: Sampler, whole: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to a whole one: axes missing in front, or of length 1."""
    rest = whole[draw.integer(0, len(whole)) :]
    return tuple(draw.one_of([n, 1]) for n in rest)


def laid_out(draw: Sampler, x: Array) -> Array:
    """The same values, perhaps not contiguous, or with strides that run backwards."""
    x = np.asarray(x)  # without axes, arithmetic gives NumPy's scalars
    layout = draw.one_of(["plain", "reversed", "transposed"])
    if layout == "reversed" and x.ndim:
        return x[::-1].copy()[::-1]
    return x.T.copy().T if layout == "transposed" else x


def real(draw: Sampler, shape: tuple[int, ...]) -> Array:
    """Any reals."""
    return laid_out(draw, draw.reals(shape))


def positive(draw: Sampler, shape: tuple[int, ...]) -> Array:
    """Reals from 0.2 up."""
    return laid_out(draw, np.abs(draw.reals(shape)) + 0.2)


def away_from_zero(draw: Sampler, shape: tuple[int, ...]) -> Array:
    """Reals of either sign, at least 0.2 from the kink or pole at 0."""
    x = draw.reals(shape)
    return laid_out(draw, x + np.where(x < 0, -0.2, 0.2))


def away_from_integers(draw: Sampler, shape: tuple[int, ...]) -> Array:
    """Reals away from integers, and from the middle between two."""
    x = draw.reals(shape)
    return laid_out(draw, np.floor(x) + 0.1 + (x - np.floor(x)) * 0.3)


def distinct(draw: Sampler, shape: tuple[int, ...]) -> Array:
    """Reals at least 0.2 from each other, in drawn order: which is largest stays clear."""
    order = np.argsort(draw.reals((int(np.prod(shape)),)), kind="stable")
    return laid_out(draw, (order * 0.2 - 1).reshape(shape))


def with_zeros(draw: Sampler, shape: tuple[int, ...]) -> Array:
    """Reals, many of them 0."""
    x = draw.reals(shape)
    return laid_out(draw, np.where(np.abs(x) < 0.5, 0, x))


def an_axis(draw: Sampler, x: Array) -> int:
    """One of the axes, from either end."""
    return draw.integer(-x.ndim, x.ndim - 1)


def axis_or_none(draw: Sampler, x: Array) -> int | None:
    """One of the axes, if there are any, or None for all of x flattened."""
    return an_axis(draw, x) if x.ndim and draw.one_of([True, False]) else None


def some_axes(draw: Sampler, x: Array) -> Any:
    """All axes (None), one, or several."""
    options: list[Any] = [None]
    if x.ndim:
        options += [an_axis(draw, x), tuple(range(draw.integer(0, x.ndim - 1), x.ndim))]
    return draw.one_of(options)


Domain = Callable[[Sampler, tuple[int, ...]], Array]
