"""Random numbers from explicit generators, drawn on the host: a seed fixes every bit."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, public
from .shapes import size

Shape = int | tuple[int, ...]


class _Draws(threading.local):
    count = 0


draws = _Draws()  # the number of draws in this thread, for tracers


class Generator:
    """A random number generator whose state can be saved and restored.

    **Arguments** seed: determines all numbers; None for a seed from the operating system.

    >>> import tinygrad_rnn as tg
    >>> generator = tg.Generator(0)
    >>> before = generator.state
    >>> first = generator.random((2,))
    >>> generator.state = before
    >>> bool((generator.random((2,)) == first).all())
    True
    """

    @public
    def __init__(self, seed: int | None = None) -> None:
        seed = None if seed is None else size(seed, "Generator: seed")
        self._numbers = np.random.Generator(np.random.PCG64(seed))

    @property
    def _source(self) -> np.random.Generator:
        draws.count += 1
        return self._numbers

    @property
    def state(self) -> dict[str, Any]:
        """The state of the generator: numbers and strings only, for JSON."""
        return dict(self._numbers.bit_generator.state)

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self._numbers.bit_generator.state = state

    def __repr__(self) -> str:
        """The position in the sequence of numbers: equal ones draw the same."""
        return f"Generator(state=0x{self.state['state']['state']:032x})"

    def random(self, shape: Shape = ()) -> np.ndarray[Any, Any]:
        """Reals in [0, 1)."""
        return np.asarray(self._source.random(shape))

    def uniform(self, low: float, high: float, shape: Shape = ()) -> np.ndarray[Any, Any]:
        """Reals in [low, high)."""
        return np.asarray(self._source.uniform(low, high, shape))

    def normal(self, shape: Shape = ()) -> np.ndarray[Any, Any]:
        """Reals of the standard normal distribution."""
        return np.asarray(self._source.standard_normal(shape))

    def integers(self, low: int, high: int, shape: Shape = ()) -> np.ndarray[Any, Any]:
        """Integers in [low, high)."""
        return np.asarray(self._source.integers(low, high, shape))

    def permutation(self, n: int) -> np.ndarray[Any, Any]:
        """The integers below n, shuffled."""
        return self._source.permutation(n)


@functools.cache
def default_generator() -> Generator:
    """The default generator."""
    return Generator()


def given_or_default(generator: Generator | None, what: str) -> Generator:
    """Checks a generator; None stands for the default one."""
    if generator is None:
        return default_generator()
    if not isinstance(generator, Generator):
        raise InvalidTypeError(
            f"{what}: generator: expected a tg.Generator, got {generator!r}: tg.Generator(seed) "
            "makes one"
        )
    return generator


@public
def manual_seed(seed: int) -> None:
    """Seeds the default generator.

    >>> import tinygrad_rnn as tg
    >>> tg.manual_seed(0)
    """
    default_generator().state = Generator(seed).state


def orthonormal(generator: Generator, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """A matrix whose shorter side is orthonormal, uniformly distributed."""
    rows, columns = shape
    q, r = np.linalg.qr(generator.normal((max(shape), min(shape))))
    q = q * np.sign(np.diag(r))  # removes the dependence on the signs that QR chooses
    return np.asarray(q if rows >= columns else q.T)
