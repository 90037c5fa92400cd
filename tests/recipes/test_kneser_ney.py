"""Kneser-Ney: sums to 1, and equals the equations in dictionaries."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np
import pytest

from tinygrad_rnn.errors import InvalidValueError
from tinygrad_rnn.recipes.kneser_ney import KneserNey

Gram = tuple[int, ...]


def by_dictionaries(ids: list[int], order: int, size: int) -> Callable[[int, Gram], float]:
    """The equations of Chen and Goodman (1999), one n-gram at a time."""
    grams = [
        Counter(tuple(ids[i : i + k]) for i in range(len(ids) - k + 1)) for k in range(order + 1)
    ]
    adjusted: list[dict[Gram, int]] = [{}] * (order + 1)
    adjusted[order] = dict(grams[order])
    for k in range(1, order):
        before: dict[Gram, set[int]] = defaultdict(set)
        for gram in grams[k + 1]:
            before[gram[1:]].add(gram[0])
        adjusted[k] = {gram: max(len(before[gram]), 1) for gram in grams[k]}
    discounts = [[0.0] * 4]
    for k in range(1, order + 1):
        counts = Counter(adjusted[k].values())
        n = [max(1, counts[i]) for i in range(1, 5)]
        y = n[0] / (n[0] + 2 * n[1])
        each = [min(max(i - (i + 1) * y * n[i] / n[i - 1], 0), i) for i in (1, 2, 3)]
        discounts.append([0.0, *each])

    def p(symbol: int, context: Gram, lowest: bool = False) -> float:
        if lowest:
            return 1 / size
        k = len(context) + 1
        lower = p(symbol, context[1:], lowest=not context)
        rows = [a for gram, a in adjusted[k].items() if gram[:-1] == context]
        if not rows:
            return lower
        free = sum(discounts[k][min(a, 3)] for a in rows)
        own = adjusted[k].get((*context, symbol), 0)
        return (own - discounts[k][min(own, 3)] + free * lower) / sum(rows)

    return p


@pytest.mark.parametrize(
    ("size", "length", "order"), [(3, 40, 3), (5, 120, 4), (6, 90, 2), (4, 9, 1)]
)
def test_it_is_the_equations(size: int, length: int, order: int) -> None:
    rng = np.random.default_rng(size)
    ids = rng.choice(size, length, p=rng.dirichlet(np.ones(size)))
    new = rng.choice(size, 50)
    p = by_dictionaries(ids.tolist(), order, size)
    expected = [p(new[t], tuple(new[max(0, t - order + 1) : t].tolist())) for t in range(len(new))]
    np.testing.assert_allclose(KneserNey(ids, order, size).score(new), np.log(expected), rtol=1e-12)


def test_probabilities_sum_to_one_after_every_context() -> None:
    rng = np.random.default_rng(0)
    model = KneserNey(rng.choice(4, 60, p=[0.6, 0.3, 0.1, 0]), 3, 4)  # one symbol never occurs
    for context in itertools.product(range(4), repeat=3):
        each = [model.score(np.array([*context, w]))[-1] for w in range(4)]
        assert np.exp(each).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", [0, 6])
def test_orders_that_are_refused(order: int) -> None:
    with pytest.raises(InvalidValueError, match="order: expected 1 to 5"):
        KneserNey(np.zeros(5, np.int64), order, 2)
