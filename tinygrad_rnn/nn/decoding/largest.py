"""The few best of many: a whole vocabulary is looked through, not sorted."""

from __future__ import annotations

from math import inf
from typing import Any

from ...tensor.graph import operation


@operation
def largest_first(xp: Any, x: Any, *, k: int) -> Any:
    """The indices of the k largest along the last axis; of equals the lower first.

    Where fewer than k are above -inf, an index may come twice.
    """
    if 8 * k > x.shape[-1]:
        order = xp.argsort(-x, axis=-1, kind="stable")
        return order[..., :k]
    rest = x.reshape(
        -1, x.shape[-1]
    ).copy()  # k passes: sorting a vocabulary takes 100 times longer
    rows = xp.arange(len(rest))
    found = []
    for _ in range(k):
        found.append(rest.argmax(axis=-1))
        rest[rows, found[-1]] = -inf
    return xp.stack(found, axis=-1).reshape(*x.shape[:-1], k)
