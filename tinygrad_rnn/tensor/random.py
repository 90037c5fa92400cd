"""Random numbers from explicit generators: a seed fixes every bit, on every device.

Numbers are drawn on the host. Masks, which are as large as activations, are computed where they are
needed, from a counter: the state of a generator holds the key, and how many masks it has given.
"""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np

from .. import kernels
from ..errors import InvalidTypeError, InvalidValueError, public
from . import backend
from .shapes import integer

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
        seeds = np.random.SeedSequence(
            None if seed is None else integer(seed, "Generator: seed", 0)
        )
        self._numbers = np.random.Generator(np.random.PCG64(seeds))
        self._key, self._masks = int(seeds.spawn(1)[0].generate_state(1, np.uint64)[0]), 0

    @property
    def _source(self) -> np.random.Generator:
        draws.count += 1
        return self._numbers

    @property
    def state(self) -> dict[str, Any]:
        """The state of the generator: numbers and strings only, for JSON."""
        masks = {"key": self._key, "call": self._masks}
        return {**self._numbers.bit_generator.state, "masks": masks}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        key, call = state["masks"]["key"], state["masks"]["call"]
        if not all(type(n) is int and 0 <= n < 2**64 for n in (key, call)):
            raise InvalidValueError(
                f"Generator: state: masks: expected key and call of 64 bits, got {key!r}, {call!r}"
            )
        self._numbers.bit_generator.state = state
        self._key, self._masks = key, call

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

    def keep_mask(self, shape: Shape, p: float, device: str = "cpu") -> backend.Array:
        """Booleans, true with probability 1 - p, computed on a device: the same bits on each."""
        draws.count += 1
        call, self._masks = self._masks, self._masks + 1
        whole = (shape,) if isinstance(shape, int) else shape
        with backend.placed(device) as xp:
            return kernels.keep_mask(xp, whole, p, self._key, call)

    def fork(self, number: int) -> Generator:
        """Returns a generator for each number, with other bits after each fork.

        Of this generator only the count of masks advances, whatever its forks draw.

        **Arguments** number: from 0 to 2**32 - 1, such as a process's.

        >>> import tinygrad_rnn as tg
        >>> forks = [tg.Generator(0).fork(number) for number in (1, 1, 2)]
        >>> [int(fork.integers(0, 100)) for fork in forks]
        [34, 34, 92]
        """
        call, self._masks = self._masks, self._masks + 1
        return Generator((self._key << 96) + (call << 32) + number)

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
    default_generator().state = Generator(integer(seed, "manual_seed: seed", 0)).state


def orthonormal(generator: Generator, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    """A matrix whose shorter side is orthonormal, uniformly distributed."""
    rows, columns = shape
    q, r = np.linalg.qr(generator.normal((max(shape), min(shape))))
    q = q * np.sign(np.diag(r))  # removes the dependence on the signs that QR chooses
    return np.asarray(q if rows >= columns else q.T)
