"""Dynamic time warping: the distance of two sequences, whichever of them is the slower one.

    D(i, j) = |a_i - b_j|^2 + min(D(i - 1, j), D(i - 1, j - 1), D(i, j - 1))

The distance is D at the two ends (Sakoe and Chiba 1978), without a limit on the warping.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AT_A_TIME = 2**22  # costs in memory


def dtw(a: Sequence[NDArray[np.float32]], b: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Computes the distances of all pairs, (A, B). **Arguments** a, b: sequences (T, channels).

    >>> slow, fast, other = (np.array([x]).T for x in ([0, 0, 1, 1, 1], [0, 1], [1, 0]))
    >>> dtw([slow], [fast, other]).tolist()
    [[0.0, 3.0]]
    """
    if not len(a):
        return np.empty((0, len(b)))
    columns, ends = _padded(b)
    step = max(1, AT_A_TIME // columns[..., 0].size)
    return np.concatenate(
        [_distances(*_padded(a[i : i + step]), columns, ends) for i in range(0, len(a), step)]
    )


def _padded(sequences: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float64], list[int]]:
    lengths = [len(one) for one in sequences]
    table = np.zeros((len(sequences), max(lengths), sequences[0].shape[1]))
    for row, one in zip(table, sequences, strict=True):
        row[: len(one)] = one
    return table, lengths


def _distances(
    a: NDArray[np.float64], a_ends: list[int], b: NDArray[np.float64], b_ends: list[int]
) -> NDArray[np.float64]:
    """Computes D of all pairs at once, cell by cell."""
    pairs = (len(a), len(b))
    squares = np.square(b).sum(axis=2)
    last = np.array(a_ends)[:, None], np.array(b_ends)[None]
    result = np.empty(pairs)
    above = [np.full(pairs, np.inf)] * b.shape[1]
    for i in range(a.shape[1]):
        products = np.tensordot(a[:, i], b, axes=(1, 2))
        costs = np.square(a[:, i]).sum(axis=1)[:, None, None] + squares - 2 * products
        costs = np.ascontiguousarray(np.maximum(costs, 0).transpose(2, 0, 1))
        left, corner, row = np.full(pairs, np.inf), np.full(pairs, np.inf if i else 0.0), []
        for j in range(b.shape[1]):
            left = costs[j] + np.minimum(np.minimum(left, above[j]), corner)
            corner = above[j]
            row.append(left)
            here = (last[0] == i + 1) & (last[1] == j + 1)
            if here.any():
                result[here] = left[here]
        above = row
    return result
