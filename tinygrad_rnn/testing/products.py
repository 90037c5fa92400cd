"""OpInfos of products and of `tg.linalg`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .builders import applied, op_info
from .op_info import (
    Array,
    Sample,
    Sampler,
    an_axis,
    away_from_zero,
    broadcastable,
    laid_out,
    real,
    shape,
)


def _matmul(d: Sampler) -> Sample:
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
    return applied(real(d, left), real(d, right))


def _einsum(d: Sampler) -> Sample:
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
    return Sample(inputs, lambda f, *xs: f(expression, *xs))


def _tensordot(d: Sampler) -> Sample:
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
    return Sample([real(d, a), real(d, b)], lambda f, a, b: f(a, b, axes))


def _outer(d: Sampler) -> Sample:
    return applied(real(d, shape(d, most=2)), real(d, shape(d, most=2)))


def _vecdot(d: Sampler) -> Sample:
    whole = (*shape(d, most=2), d.integer(0, 3))
    other = (*broadcastable(d, whole[:-1]), whole[-1])
    return applied(real(d, whole), real(d, other))


def _linear(d: Sampler) -> Sample:
    n, m = d.integer(0, 3), d.integer(0, 3)
    inputs = [real(d, (*shape(d, most=2), n)), real(d, (m, n)), real(d, (m,))]
    return applied(*inputs[: d.integer(2, 3)])


# ---------------------------------------------------------------- tg.linalg


def _regular(d: Sampler, stack: tuple[int, ...], n: int) -> Array:
    """Matrices far from singular."""
    signs = np.where(d.reals((*stack, n)) > 0, 1, -1)
    return laid_out(d, d.reals((*stack, n, n)) * 0.2 + np.eye(n) * 2 * signs[..., None])


def _square(d: Sampler) -> Sample:
    x = _regular(d, shape(d, most=2), d.integer(0, 3))
    return applied(x)


def _cholesky(d: Sampler) -> Sample:
    n = d.integer(0, 3)
    x = _regular(d, shape(d, most=1), n)
    return Sample([x], lambda f, x: f(x @ x.mT))


def _solve(d: Sampler) -> Sample:
    stack, n = shape(d, most=2), d.integer(0, 3)
    b = d.one_of([(n,), (n, d.integer(0, 2)), (*broadcastable(d, stack), n, d.integer(0, 2))])
    return applied(_regular(d, stack, n), real(d, b))


def _apart(d: Sampler, stack: tuple[int, ...], m: int, n: int) -> Array:
    """Matrices whose singular values differ: near 1, 2, 3."""
    signs = np.where(d.reals((*stack, n)) > 0, 1, -1)
    x = d.reals((*stack, m, n)) * 0.1 + np.eye(m, n) * np.arange(1, n + 1) * signs[..., None, :]
    return laid_out(d, x)


def _svdvals(d: Sampler) -> Sample:
    return applied(_apart(d, shape(d, most=1), d.integer(0, 3), d.integer(1, 3)))


def _norm(d: Sampler) -> Sample:
    keepdims = d.one_of([False, True])
    if d.one_of([False, True]):  # of matrices, by their singular values
        x = _apart(d, shape(d, most=1), d.integer(1, 3), d.integer(1, 3))
        first = d.integer(0, x.ndim - 1)
        pair = (first, (first + d.integer(1, x.ndim - 1)) % x.ndim)
        x, order = np.moveaxis(x, (-2, -1), pair), d.one_of([2, -2, "nuc"])
        return Sample([x], lambda f, x: f(x, order, pair, keepdims=keepdims))
    x = away_from_zero(d, shape(d, least=1, smallest=1))
    orders, axis = [None, 1, 2, 3, 0.5, -1, 0, math.inf, -math.inf], an_axis(d, x)
    samples: list[tuple[Any, Any]] = [(None, None), (d.one_of(orders), axis)]
    if x.ndim > 1:
        other = (axis + d.integer(1, x.ndim - 1)) % x.ndim
        samples.append((d.one_of([None, "fro", 1, -1, math.inf, -math.inf]), (axis, other)))
    ord, axes = d.one_of(samples)
    return Sample([x], lambda f, x: f(x, ord, axes, keepdims=keepdims))


PRODUCTS = [
    op_info("matmul", _matmul),
    op_info("linear", _linear),
    op_info("einsum", _einsum),
    op_info("tensordot", _tensordot),
    op_info("outer", _outer),
    op_info("vecdot", _vecdot),
    op_info("linalg.solve", _solve),
    op_info("linalg.inv", _square),
    op_info("linalg.det", _square),
    op_info("linalg.slogdet", _square),
    op_info("linalg.cholesky", _cholesky),
    op_info("linalg.svdvals", _svdvals),
    op_info("linalg.norm", _norm),
]
