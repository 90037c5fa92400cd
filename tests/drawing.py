"""The choices of a sample, made by hypothesis: what fails is searched for, then made small."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

T = TypeVar("T")


def share(part: int) -> settings:
    """The settings of a test that draws a part of the profile's cases, and at least three.

    For what hardly depends on the case, such as a rule of the engine, tried with every operation.
    """
    return settings(max_examples=max(3, settings().max_examples // part))


class HypothesisSampler:
    """A Sampler that asks hypothesis."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def integer(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def one_of(self, options: Sequence[T]) -> T:
        return options[self.data.draw(st.integers(0, len(options) - 1))]

    def reals(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        # One seed, not a number for each element: which values they are matters little.
        seed = self.data.draw(st.integers(0, 2**32 - 1))
        return np.clip(np.random.default_rng(seed).normal(size=shape), -3, 3)
