"""Products: of matrices, and by whichever axes their indices say."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import prod
from string import ascii_lowercase, ascii_uppercase
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import InvalidTypeError, ShapeError
from ...kernels.products import product
from ..backend import Array
from ..inputs import operand
from ..operation import Op
from ..shapes import Axis, Shapes
from .elementwise import astype, multiply
from .matrices import diagonal
from .movement import permute_dims, reshape
from .reductions import sum

__all__ = ["einsum", "matmul", "outer", "tensordot", "vecdot"]


def _flat(a: Any) -> Any:
    """A stack of matrices as one: all rows below each other."""
    return a if a.ndim == 2 else a.reshape((prod(a.shape[:-1]), a.shape[-1]))


def _matmul(xp: ModuleType, a: Array, b: Array) -> Array:
    """The matrix product a @ b: of vectors, matrices, and stacks of matrices that broadcast.

    >>> import tinygrad_rnn as tg
    >>> tg.matmul(tg.ones((5, 2, 3)), tg.ones((3, 4))).shape
    (5, 2, 4)
    """
    if b.ndim == 2 and a.ndim > 2:  # one large product beats a stack of small ones
        return product(_flat(a), b).reshape(*a.shape[:-1], b.shape[-1])
    return product(a, b)


def _in_a(g: Any, b: Any, shapes: Shapes) -> Any:
    if len(shapes[1]) == 1:
        return g.reshape((*g.shape, 1)) * b
    if len(shapes[0]) == 1:
        return (b @ g.reshape((*g.shape, 1))).reshape((*g.shape[:-1], shapes[0][0]))
    return product(g, b.mT)


def _in_b(g: Any, a: Any, shapes: Shapes) -> Any:
    if len(shapes[0]) == 1:
        if len(shapes[1]) == 1:
            return g * a
        return a.reshape((-1, 1)) * g.reshape((*g.shape[:-1], 1, g.shape[-1]))
    if len(shapes[1]) == 1:
        return (a.mT @ g.reshape((*g.shape, 1))).reshape((*a.shape[:-2], a.shape[-1]))
    if len(shapes[1]) == 2:
        # One b for the whole stack: one product sums over the stack as it goes.
        return product(_flat(a).mT, _flat(g))
    return product(a.mT, g)


matmul = Op(
    "matmul",
    _matmul,
    expects="a's last axis to be as long as b's last but one (b's only one, if b is a vector)",
).vjp(a=_in_a, b=_in_b)

# ---------------------------------------------------------------- by their indices

LETTERS = ascii_uppercase + ascii_lowercase  # in the order in which an implicit output has them


def _traded(
    xp: ModuleType, g: Any, other: Any, terms: tuple[str, str, str], shape: tuple[int, ...]
) -> Any:
    """The other operand with the cotangent: the output's indices trade places with the input's."""
    back = _einsum(g, other, terms=terms)
    whole = np.broadcast_shapes(back.shape, shape)  # where the other has length 1
    return back if back.shape == whole else xp.broadcast_to(back, whole)


_einsum = Op(
    "einsum",
    lambda xp, a, b, *, terms: xp.einsum("{},{}->{}".format(*terms), a, b, optimize=True),
    expects="axes of equal length, or of length 1, where they bear one letter",
).vjp(
    a=lambda xp, g, b, shapes, terms: _traded(xp, g, b, (terms[2], terms[1], terms[0]), shapes[0]),
    b=lambda xp, g, a, shapes, terms: _traded(xp, g, a, (terms[2], terms[0], terms[1]), shapes[1]),
)


def einsum(subscripts: str, *operands: Array) -> Array:
    """The sum of products that an expression of indices names (Einstein's convention).

    **Arguments** subscripts, operands: as `numpy.einsum` takes them: a letter for each axis, `...`
    for all others; or operands and lists of integers in turns. A letter that an operand repeats
    reads its diagonal; without `->` the output has those that occur once, in alphabetical order.
    **Raises** ShapeError if axes and indices do not fit.

    >>> import tinygrad_rnn as tg
    >>> a = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> tg.einsum("ij,kj->ik", a, a).tolist()
    [[5.0, 11.0], [11.0, 25.0]]
    >>> tg.einsum("ii", a).item()
    5.0
    """
    if not isinstance(subscripts, str):
        if len(operands) < 1 or not all(isinstance(i, (list, tuple)) for i in operands[::2]):
            raise InvalidTypeError(
                "einsum: expected an expression such as 'ij,jk->ik' and operands, or operands and "
                "lists of integers in turns"
            )
        return einsum(*_in_letters([subscripts, *operands]))
    xs = [*map(operand, operands)]
    terms, output = _explicit(subscripts.replace(" ", ""), [len(x.shape) for x in xs])
    for i, term in enumerate(terms):
        elsewhere = "".join([output, *terms[:i], *terms[i + 1 :]])
        xs[i], terms[i] = _simplified(xs[i], term, elsewhere, operands)
    x, term = _contracted(xs, terms, output)
    return x if term == output else permute_dims(x, axes=tuple(term.index(c) for c in output))


def _in_letters(args: list[Any]) -> tuple[Any, ...]:
    """Operands and lists of integers in turns, as an expression and operands."""

    def term(indices: Sequence[Any]) -> str:
        return "".join("..." if i is ... else LETTERS[i] for i in indices)

    output = "->" + term(args.pop()) if len(args) % 2 else ""
    return ",".join(term(indices) for indices in args[1::2]) + output, *args[::2]


def _explicit(subscripts: str, axes: list[int]) -> tuple[list[str], str]:
    """The operands' and the output's indices, with letters for `...` and for what is implicit."""
    inputs, arrow, output = subscripts.partition("->")
    terms = inputs.split(",")
    free = "".join(letter for letter in LETTERS if letter not in subscripts)
    if len(terms) != len(axes):
        raise ShapeError(f"einsum: {subscripts!r} has {len(terms)} operands; got {len(axes)}")
    hidden = ""  # the letters for `...`
    for i, (term, ndim) in enumerate(zip(terms, axes, strict=True)):
        extra = ndim - len(term.replace("...", ""))
        if extra < 0 or (extra and "..." not in term):
            raise ShapeError(f"einsum: {term!r} does not name the {ndim} axes of operand {i}")
        terms[i] = term.replace("...", free[len(free) - extra :])
        hidden = max(hidden, free[len(free) - extra :], key=len)
    if not arrow:
        letters = inputs.replace(",", "").replace("...", "")
        output = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    elif hidden and "..." not in output:
        raise ShapeError(f"einsum: {subscripts!r}: the output has no '...' for what broadcasts")
    output = output.replace("...", hidden)
    if len(set(output)) < len(output) or not set(output) <= set("".join(terms)):
        raise ShapeError(f"einsum: {subscripts!r}: the output takes each index once, of the inputs")
    return terms, output


def _simplified(x: Any, term: str, elsewhere: str, operands: Sequence[Any]) -> tuple[Any, str]:
    """An operand without what concerns it alone: diagonals are read, what is free is summed."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            one = term.index(letter)
            other = term.index(letter, one + 1)
            if x.shape[one] != x.shape[other]:
                raise ShapeError(f"einsum: {letter!r} is {x.shape[one]} and {x.shape[other]} long")
            x = diagonal(x, 0, one, other)
            term = term[:one] + term[one + 1 : other] + term[other + 1 :] + letter
    alone = tuple([i for i, letter in enumerate(term) if letter not in elsewhere])
    if alone:
        dtypes = [operand.dtype for operand in operands]  # the product has that of the reals
        dtype = np.result_type(*[d for d in dtypes if d.kind == "f"] or dtypes)
        x = _summed(x if x.dtype == dtype else astype(x, dtype), alone)
    return x, "".join(letter for letter in term if letter in elsewhere)


def _summed(x: Any, axis: Axis) -> Any:
    """The sum over axes in x's own dtype, as products have it: of small integers it may wrap."""
    y = sum(x, axis=axis)
    return y if y.dtype == x.dtype else astype(y, x.dtype)


def _contracted(xs: list[Any], terms: list[str], output: str) -> tuple[Any, str]:
    """The operands multiplied two at a time: next those whose product makes least of them."""
    lengths = {
        c: n
        for x, term in zip(xs, terms, strict=True)
        for c, n in zip(term, x.shape, strict=True)
        if n != 1
    }

    def product(i: int, k: int) -> str:
        rest = "".join([output, *terms[:i], *terms[i + 1 : k], *terms[k + 1 :]])
        return "".join(c for c in dict.fromkeys(terms[i] + terms[k]) if c in rest)

    def size(term: str) -> int:
        return prod(lengths.get(c, 1) for c in term)

    while len(xs) > 1:
        i, k = min(
            combinations(range(len(xs)), 2),
            key=lambda pair: size(product(*pair)) - size(terms[pair[0]]) - size(terms[pair[1]]),
        )
        term = product(i, k)
        xs[i] = _einsum(xs[i], xs[k], terms=(terms[i], terms[k], term))
        terms[i] = term
        del xs[k], terms[k]
    return xs[0], terms[0]


def tensordot(
    a: Array, b: Array, axes: int | tuple[int | Sequence[int], int | Sequence[int]] = 2
) -> Array:
    """The sum of products over axes of a and b.

    **Arguments** axes: how many of a's last and b's first; or a's, and b's in the same order.

    >>> import tinygrad_rnn as tg
    >>> tg.tensordot(tg.ones((2, 3, 4)), tg.ones((3, 4, 5))).shape
    (2, 5)
    """
    a, b = operand(a), operand(b)
    m, n = len(a.shape), len(b.shape)
    if isinstance(axes, int):
        axes = (range(m - axes, m), range(axes))
    pairs = [[i] if isinstance(i, int) else list(i) for i in axes]
    of_a, of_b = list(range(m)), list(range(m, m + n))
    for i, j in zip(*pairs, strict=True):
        of_b[j] = of_a[i]
    free = [i for i in of_a if i not in of_b] + [j for j in of_b if j >= m]
    return einsum(a, of_a, b, of_b, free)


def outer(a: Array, b: Array) -> Array:
    """The outer product: each element of a times each of b, both flattened.

    >>> import tinygrad_rnn as tg
    >>> tg.outer(tg.tensor([1, 2]), tg.tensor([3, 4, 5])).tolist()
    [[3, 4, 5], [6, 8, 10]]
    """
    a, b = operand(a), operand(b)
    return reshape(a, shape=(a.size, 1)) * reshape(b, shape=(1, b.size))


def vecdot(a: Array, b: Array, axis: int = -1) -> Array:
    """The sum of products along an axis of arrays that broadcast.

    >>> import tinygrad_rnn as tg
    >>> tg.vecdot(tg.tensor([[1.0, 2.0], [3.0, 4.0]]), tg.tensor([1.0, 10.0])).tolist()
    [21.0, 43.0]
    """
    return _summed(multiply(a, b), axis)
