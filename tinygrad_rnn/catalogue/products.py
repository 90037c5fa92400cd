"""Rows of products and of `tg.linalg`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .build import row
from .case import Array, Case, Draw, an_axis, away_from_zero, broadcastable, laid_out, real, shape


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


def _einsum(d: Draw) -> Case:
    """Indices of drawn lengths, among them one that an operand may have with length 1."""
    n = {letter: d.integer(0, 3) for letter in "ijklm"}
    expression = d.one_of(
        [
            "ij,jk->ik", "ij,jk", "ij,kj->", "ba", "ii", "ii->i", "iij->j", "iijji->ij", "i,i,i",
            "i,j->ij", "i,j,k->kij", "ij,jk,kl->il", "ij,ij->ij", "ji , i", "...ij,...jk",
            "...i->...", "i...,i...->...", "...,i->i...", "ij...->j...i", "...ii->...i",
            "ijk->k", ",i->i", "->",
        ]
    )  # fmt: skip
    more = shape(d, most=1)
    terms = expression.replace(" ", "").split("->")[0].split(",")
    if "a" in expression:
        n |= {"a": n["i"], "b": n["j"]}
    inputs = []
    for term in terms:
        before, dots, after = term.partition("...")
        rest = broadcastable(d, more) if dots else ()
        whole = (*(n[c] for c in before), *rest, *(n[c] for c in after))
        if len(terms) > 1 and len(set(term)) == len(term) and d.integer(0, 5) == 0:
            whole = (1,) * len(whole)  # broadcasts, as NumPy has it
        inputs.append(real(d, whole))
    return Case(inputs, lambda f, *xs: f(expression, *xs))


def _tensordot(d: Draw) -> Case:
    m, n, k = (d.integer(0, 3) for _ in range(3))
    a, b, axes = d.one_of(
        [
            ((m, n), (n, k), 1),
            ((m, n), (m, n, k), 2),
            ((m,), (k,), 0),
            ((n, m, k), (k, n), ((0, 2), (1, 0))),
            ((n, m), (k, n), (0, -1)),
        ]
    )
    return Case([real(d, a), real(d, b)], lambda f, a, b: f(a, b, axes))


def _outer(d: Draw) -> Case:
    return Case([real(d, shape(d, most=2)), real(d, shape(d, most=2))], lambda f, a, b: f(a, b))


def _vecdot(d: Draw) -> Case:
    whole = (*shape(d, most=2), d.integer(0, 3))
    other = (*broadcastable(d, whole[:-1]), whole[-1])
    return Case([real(d, whole), real(d, other)], lambda f, a, b: f(a, b))


def _linear(d: Draw) -> Case:
    n, m = d.integer(0, 3), d.integer(0, 3)
    inputs = [real(d, (*shape(d, most=2), n)), real(d, (m, n)), real(d, (m,))]
    return Case(inputs[: d.integer(2, 3)], lambda f, *xs: f(*xs))


def _affine(x: Array, w: Array, b: Array | float = 0.0) -> Array:
    return np.asarray(x @ w.T + b)


# ---------------------------------------------------------------- tg.linalg


def _regular(d: Draw, stack: tuple[int, ...], n: int) -> Array:
    """Matrices far from singular."""
    signs = np.where(d.reals((*stack, n)) > 0, 1, -1)
    return laid_out(d, d.reals((*stack, n, n)) * 0.2 + np.eye(n) * 2 * signs[..., None])


def _square(d: Draw) -> Case:
    x = _regular(d, shape(d, most=2), d.integer(0, 3))
    return Case([x], lambda f, x: f(x))


def _cholesky(d: Draw) -> Case:
    n = d.integer(0, 3)
    x = _regular(d, shape(d, most=1), n)
    return Case([x], lambda f, x: f(x @ x.mT))


def _solve(d: Draw) -> Case:
    stack, n = shape(d, most=2), d.integer(0, 3)
    b = d.one_of([(n,), (n, d.integer(0, 2)), (*broadcastable(d, stack), n, d.integer(0, 2))])
    return Case([_regular(d, stack, n), real(d, b)], lambda f, a, b: f(a, b))


def _apart(d: Draw, stack: tuple[int, ...], m: int, n: int) -> Array:
    """Matrices whose singular values differ: near 1, 2, 3."""
    signs = np.where(d.reals((*stack, n)) > 0, 1, -1)
    x = d.reals((*stack, m, n)) * 0.1 + np.eye(m, n) * np.arange(1, n + 1) * signs[..., None, :]
    return laid_out(d, x)


def _svdvals(d: Draw) -> Case:
    return Case([_apart(d, shape(d, most=1), d.integer(0, 3), d.integer(1, 3))], lambda f, x: f(x))


def _norm(d: Draw) -> Case:
    keepdims = d.one_of([False, True])
    if d.one_of([False, True]):  # of matrices, by their singular values
        x = _apart(d, shape(d, most=1), d.integer(1, 3), d.integer(1, 3))
        first = d.integer(0, x.ndim - 1)
        pair = (first, (first + d.integer(1, x.ndim - 1)) % x.ndim)
        x, order = np.moveaxis(x, (-2, -1), pair), d.one_of([2, -2, "nuc"])
        return Case([x], lambda f, x: f(x, order, pair, keepdims=keepdims))
    x = away_from_zero(d, shape(d, least=1, smallest=1))
    orders, axis = [None, 1, 2, 3, 0.5, -1, 0, math.inf, -math.inf], an_axis(d, x)
    cases: list[tuple[Any, Any]] = [(None, None), (d.one_of(orders), axis)]
    if x.ndim > 1:
        other = (axis + d.integer(1, x.ndim - 1)) % x.ndim
        cases.append((d.one_of([None, "fro", 1, -1, math.inf, -math.inf]), (axis, other)))
    ord, axes = d.one_of(cases)
    return Case([x], lambda f, x: f(x, ord, axes, keepdims=keepdims))


PRODUCTS = [
    row("matmul", _matmul),
    row("linear", _linear, _affine),
    row("einsum", _einsum),
    row("tensordot", _tensordot),
    row("outer", _outer),
    row("vecdot", _vecdot),
    row("linalg.solve", _solve),
    row("linalg.inv", _square),
    row("linalg.det", _square),
    row("linalg.slogdet", _square),
    row("linalg.cholesky", _cholesky),
    row("linalg.svdvals", _svdvals),
    row("linalg.norm", _norm),
]
