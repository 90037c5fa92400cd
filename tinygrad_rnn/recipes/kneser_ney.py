"""Interpolated modified Kneser-Ney: the strongest model of n-grams (Chen and Goodman 1999).

    p(w | c) = (a(cw) - D(a(cw))) / a(c.) + gamma(c) p(w | c')

c' is the context c without its first symbol. The adjusted count a is the number of occurrences at
the highest order, and the number of different symbols before the n-gram at lower orders. The
discount D is one of three, for counts of 1, 2, and more; gamma(c) is the mass that they free. The
last order mixes with 1 / V.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidValueError

Ids = NDArray[np.int64]
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order. A context is an n-gram of the order below, by its place there."""

    keys: Ids  # sorted: context * V + symbol
    discounted: Reals  # a - D(a), of each n-gram
    totals: Reals  # a(c.), of each context
    freed: Reals  # the sum of the discounts, of each context


class KneserNey:
    """A model of n-grams over symbols from 0 to V - 1, learnt from one sequence.

    **Arguments** ids: (T,) the sequence. order: n. vocab_size: V. **Raises** ValueError for a
    sequence that is shorter than n.

    >>> model = KneserNey(np.array([0, 1, 2] * 9), order=3, vocab_size=3)
    >>> np.exp(model.score(np.array([0, 1, 2, 0, 1, 2])))[3:].round(1)
    array([0.9, 0.9, 0.9])
    """

    def __init__(self, ids: Ids, order: int, vocab_size: int) -> None:
        if not 1 <= order <= len(ids):
            raise InvalidValueError(
                f"KneserNey: order: expected 1 to {len(ids)}, the symbols to learn from; "
                f"got {order}"
            )
        self.order, self.vocab_size = order, vocab_size
        self.orders: list[_Order] = []
        contexts = np.zeros(len(ids), np.int64)  # of the order below, before each symbol
        count, found = 1, []
        for k in range(order):  # the n-gram of order k + 1 that ends at t is places[t - k]
            keys, places, occurrences = np.unique(
                contexts * vocab_size + ids[k:], return_inverse=True, return_counts=True
            )
            found.append((keys, places, occurrences, count))
            contexts, count = places[:-1], len(keys)
        for k, (keys, places, occurrences, count) in enumerate(found):
            adjusted = occurrences
            if k + 1 < order:  # the different symbols before: an n-gram of the order above for each
                longer, above = found[k + 1][:2]
                last = np.empty(len(longer), np.int64)
                last[above] = places[1:]  # the n-gram without its first symbol
                adjusted = np.bincount(last, minlength=len(keys))
                adjusted[places[0]] = max(1, adjusted[places[0]])  # nothing precedes the first
            self.orders.append(_discounted(keys, adjusted, count, vocab_size))

    def score(self, ids: Ids) -> Reals:
        """Computes log P of each symbol of a sequence, given all before it; the first, given none.

        **Arguments** ids: (T,). **Returns** (T,) natural logarithms.
        """
        p = np.full(len(ids), 1 / self.vocab_size)
        contexts = np.zeros(len(ids), np.int64)  # -1 where it is unknown
        for k, order in enumerate(self.orders):
            at = np.flatnonzero(contexts >= 0)
            context = contexts[at]
            totals = order.totals[context]
            at, context = at[totals > 0], context[totals > 0]
            if not len(at):
                break
            keys = context * self.vocab_size + ids[at]
            places = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
            known = order.keys[places] == keys
            own = np.where(known, order.discounted[places], 0)
            p[at] = (own + order.freed[context] * p[at]) / order.totals[context]
            ends = np.full(len(ids), -1, np.int64)  # the n-gram that ends at each symbol
            ends[at[known]] = places[known]
            contexts = np.concatenate([[-1], ends[:-1]])
            contexts[: k + 1] = -1
        scores: Reals = np.log(p)
        return scores


def _discounted(keys: Ids, adjusted: Ids, count: int, vocab_size: int) -> _Order:
    """Discounts the counts of an order. **Arguments** count: of contexts."""
    n1, n2, n3, n4 = (max(1, int((adjusted == c).sum())) for c in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    each = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    each = np.clip(each, 0, [0, 1, 2, 3])  # few n-grams may estimate what is no discount
    discounts = each[np.minimum(adjusted, 3)]
    contexts = keys // vocab_size
    return _Order(
        keys,
        adjusted - discounts,
        np.bincount(contexts, adjusted, minlength=count).astype(np.float64),
        np.bincount(contexts, discounts, minlength=count).astype(np.float64),
    )
