"""From logits to a draw: temperature, top-k and top-p, on plain arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..tensor.random import Generator


class SettingError(ValueError):
    """A setting of a recipe outside its range."""


def probabilities(
    logits: NDArray[Any],
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> NDArray[np.float64]:
    """The distribution to sample from: tempered, and cut to its most probable symbols.

    **Arguments** logits: (C,) reals. temperature: divides the logits; below 1 favours the probable
    symbols, 0 leaves only the most probable one. top_k: keeps that many symbols. top_p: keeps the
    fewest symbols that hold at least this probability together. With both, the smaller set stays.
    Among equals, the lower id goes first.

    **Returns** (C,) probabilities that sum to 1. **Raises** SettingError outside the ranges.

    >>> logits = np.log([0.5, 0.3, 0.2])
    >>> probabilities(logits, top_k=2)
    array([0.625, 0.375, 0.   ])
    >>> probabilities(logits, temperature=0)
    array([1., 0., 0.])
    """
    check_sampling(temperature, top_k, top_p)
    if temperature == 0:
        temperature, top_k = 1.0, 1
    with np.errstate(over="ignore"):  # a tiny temperature: exp(-inf) is the 0 that is wanted
        p: NDArray[np.float64] = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    p /= p.sum()
    order = np.argsort(-logits, kind="stable")  # not of p: there, near equals round to a tie
    kept = p.size if top_k is None else min(top_k, p.size)
    if top_p is not None:
        kept = min(kept, int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1)
    p[order[kept:]] = 0
    p /= p.sum()
    return p


def draw(p: NDArray[np.float64], generator: Generator) -> int:
    """Draws an id from a distribution by its cumulative sums; never one of probability 0.

    **Arguments** p: (C,) probabilities.

    >>> draw(np.array([0.0, 1.0, 0.0]), Generator(0))
    1
    """
    cumulative = np.cumsum(p)
    # Divided by its last entry it ends in exactly 1, and the random number lies below 1.
    return int(np.searchsorted(cumulative / cumulative[-1], generator.random(), side="right"))


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises SettingError for the first setting outside its range."""
    if not 0 <= temperature < np.inf:
        raise SettingError(f"temperature must be 0 or more, not {temperature}")
    if top_k is not None and top_k < 1:
        raise SettingError(f"top-k must be at least 1, not {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise SettingError(f"top-p must lie above 0 and at most at 1, not {top_p}")
