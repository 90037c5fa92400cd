"""Figures of sums of statistics over items, and the bootstrap interval of their differences.

A figure is a function of the sums of statistics over items: accuracy, of right answers and items;
F1, of entities found, given and common; perplexity, of log-probabilities and words. The interval
is that of the paired bootstrap (Efron and Tibshirani 1993, section 16): it draws items with
replacement, the same ones for both systems.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidValueError
from ..tensor.random import Generator

SAMPLES = 2000  # of the bootstrap
AT_A_TIME = 100  # of them in memory

Figure = Callable[[NDArray[np.float64]], Any]  # sums (..., k) -> figures (...)


def share(sums: NDArray[np.float64]) -> Any:
    """The first sum divided by the second, such as right answers by items; 0 if both are 0."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1e-300)


def f1(sums: NDArray[np.float64]) -> Any:
    """F1, of the numbers of right, found and true entities."""
    return 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1e-300)


def perplexity(sums: NDArray[np.float64]) -> Any:
    """exp(-log P / n), of log-probabilities in nats and numbers of symbols."""
    return np.exp(-share(sums))


def bits(sums: NDArray[np.float64]) -> Any:
    """-log2 P / n, of log-probabilities in nats and numbers of symbols."""
    return -share(sums) / np.log(2)


def block_sums(size: int, *statistics: ArrayLike) -> NDArray[np.float64]:
    """Adds up statistics of neighbouring symbols, (N,) each, over blocks of a size.

    >>> block_sums(2, [0.5, 0.25, 1.0], [1, 1, 1]).tolist()
    [[0.75, 2.0], [1.0, 1.0]]
    """
    columns = [np.asarray(x, np.float64) for x in statistics]
    starts = np.arange(0, len(columns[0]), size)
    return np.stack([np.add.reduceat(x, starts) for x in columns], axis=1)


def paired_bootstrap(a: ArrayLike, b: ArrayLike, figure: Figure = share) -> tuple[float, float]:
    """Estimates the 95 % interval of figure(a) - figure(b), over items drawn with replacement.

    **Arguments** a, b: (N, k) statistics of the same N items, of two systems. figure: of sums.

    >>> right = np.ones((400, 2))
    >>> wrong = right * [[0, 1]]
    >>> paired_bootstrap(right, wrong)
    (1.0, 1.0)
    >>> half = np.stack([np.arange(400) % 2, np.ones(400)], axis=1)
    >>> low, high = paired_bootstrap(half, wrong)
    >>> 0.44 < low < 0.46 and 0.54 < high < 0.56
    True
    """
    one, two = (np.asarray(x, np.float64) for x in (a, b))
    if one.ndim != 2 or one.shape != two.shape or not len(one):
        raise InvalidValueError(
            "paired_bootstrap: expected statistics (N, k) of the same items, got shapes "
            f"{list(one.shape)} and {list(two.shape)}"
        )
    generator, items, differences = Generator(0), len(one), []
    for _ in range(0, SAMPLES, AT_A_TIME):
        drawn = generator.integers(0, items, (AT_A_TIME, items))
        drawn += items * np.arange(AT_A_TIME)[:, None]  # a range of its own for each sample
        counts = np.bincount(drawn.ravel(), minlength=AT_A_TIME * items).reshape(AT_A_TIME, items)
        differences.append(figure(counts @ one) - figure(counts @ two))
    low, high = np.quantile(np.concatenate(differences), [0.025, 0.975])
    return float(low), float(high)
