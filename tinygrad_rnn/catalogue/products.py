"""Rows of products."""

from __future__ import annotations

from .build import row
from .case import Case, Draw, broadcastable, real, shape


def _matmul(d: Draw) -> Case:
    n, k, m = (d.integer(1, 3) for _ in range(3))
    stack = shape(d, most=2, smallest=1)
    left, right = d.one_of(
        [
            ((k,), (k,)),
            ((n, k), (k,)),
            ((k,), (k, m)),
            ((k,), (*stack, k, m)),
            ((*stack, n, k), (k,)),
            ((*stack, n, k), (k, m)),
            ((n, k), (*stack, k, m)),
            ((*stack, n, k), (*broadcastable(d, stack), k, m)),
        ]
    )
    return Case([real(d, left), real(d, right)], lambda f, a, b: f(a, b))


PRODUCTS = [
    row("matmul", _matmul),
]
