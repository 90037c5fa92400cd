"""The parallel prefix scan of an associative function (Blelloch 1990)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import ShapeError
from ..tensor import tree
from ..tensor.ops.movement import concat, flip, moveaxis, stack
from ..tensor.shapes import flag
from .scan import sequences_in

__all__ = ["associative_scan"]


def associative_scan(
    fn: Callable[[Any, Any], Any], xs: Any, axis: int = 0, reverse: bool = False
) -> Any:
    """Prefix scan x_1, fn(x_1, x_2), fn(fn(x_1, x_2), x_3), ... with an associative function.

    Combines neighbouring pairs, scans the results recursively, and combines these with the
    elements between: about 2 n applications in 2 log2(n) vectorised calls (Blelloch 1990).

    **Arguments** fn: of two values like xs, any number of elements along the axis, gives a third;
    fn(fn(a, b), c) = fn(a, fn(b, c)). xs: (..., n, ...), or a tree of such: tuples, lists, dicts.
    reverse: from the last element to the first. **Returns** the results, in the shapes of xs.
    **Raises** ShapeError if those of a tree differ in length, or if fn gives other shapes.

    >>> import tinygrad_rnn as tg
    >>> def then(f, g):  # of maps h -> a h + b: first f, then g
    ...     return f[0] * g[0], g[0] * f[1] + g[1]
    >>> a, b = tg.full((4,), 0.5), tg.ones((4,))
    >>> tg.associative_scan(then, (a, b))[1]  # h_t = h_{t-1} / 2 + 1, from 0
    tensor([1.   , 1.5  , 1.75 , 1.875])
    """
    flag(reverse, "associative_scan: reverse")
    parts = [moveaxis(x, axis, 0) for x in sequences_in("associative_scan", xs)]
    lengths = {len(x) for x in parts}
    if len(lengths) != 1:
        raise ShapeError(f"associative_scan: expected xs of one length, got {sorted(lengths)}")
    if reverse:
        parts = [flip(x, axis=0) for x in parts]

    def combine(a: list[Any], b: list[Any]) -> list[Any]:
        y = fn(tree.filled(xs, a), tree.filled(xs, b))
        differs = tree.difference(xs, y)
        found = [] if differs else tree.leaves(y, xs)
        shapes = [[list(v.shape) for v in values] for values in (b, found)]
        if differs or shapes[0] != shapes[1]:
            raise ShapeError(
                "associative_scan: expected fn to give as many elements of the same shapes as it "
                f"was given; got {differs or f'{shapes[1]} of {shapes[0]}'}"
            )
        return found

    parts = _prefixes(combine, parts)
    if reverse:
        parts = [flip(x, axis=0) for x in parts]
    return tree.filled(xs, [moveaxis(x, 0, axis) for x in parts])


def _prefixes(combine: Callable[[list[Any], list[Any]], list[Any]], xs: list[Any]) -> list[Any]:
    n = len(xs[0])
    if n < 2:
        return xs
    pairs = combine([x[: n - 1 : 2] for x in xs], [x[1::2] for x in xs])
    second = _prefixes(combine, pairs)  # the results at 1, 3, 5, ...
    if n > 2:
        others = combine([y[: (n - 1) // 2] for y in second], [x[2::2] for x in xs])
        first = [concat([x[:1], y]) for x, y in zip(xs, others, strict=True)]
    else:
        first = [x[:1] for x in xs]
    return [_interleave(a, b) for a, b in zip(first, second, strict=True)]


def _interleave(a: Any, b: Any) -> Any:
    """Interleaves two sequences: a_1, b_1, a_2, ...; a may have one element more."""
    n = len(b)
    turns = stack([a[:n], b], axis=1).reshape((2 * n, *b.shape[1:]))
    return turns if len(a) == n else concat([turns, a[n:]])
