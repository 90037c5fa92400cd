"""`tg.linalg`: equations, inverses and norms, of stacks of matrices (..., n, n).

A rule's `xp.linalg` is NumPy's, CuPy's, or this module.
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import InvalidValueError, ShapeError
from ..backend import Array, raising_linalg
from ..inputs import operand, reals
from ..operation import Op, operation
from ..shapes import Axis, axes_of, keep_dims
from .elementwise import abs, flat, reciprocal, where
from .matrices import tril
from .movement import expand_dims, moveaxis
from .reductions import max, min, sum

__all__ = ["cholesky", "det", "inv", "norm", "slogdet", "solve", "svdvals"]


def _solution(xp: ModuleType, a: Array, b: Array) -> Array:
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = xp.broadcast_to(a, (*stack, *a.shape[-2:]))
    b = xp.broadcast_to(b, (*stack, *b.shape[-2:]))
    if xp is not np and not b.size:
        if a.shape[-1] != a.shape[-2] or a.shape[-1] != b.shape[-2]:
            raise ValueError(f"expected a (..., n, n) and b (..., n, k), got {a.shape}, {b.shape}")
        return xp.zeros(b.shape, xp.result_type(a, b))  # CuPy divides by the number of columns
    with raising_linalg(xp):
        return xp.linalg.solve(a, b)


def _in_solve(g: Any, y: Any, a: Any) -> tuple[Any, Any]:
    in_b = _solve(a.mT, g)
    return -in_b @ y.mT, in_b


_solve = Op("solve", _solution, expects="a (..., n, n), not singular, and b (n,) or (..., n, k)")
_solve.vjp(_in_solve)


def solve(a: Array, b: Array) -> Array:
    """Solves a @ x = b for x.

    **Arguments** a: (..., n, n), not singular; b: (n,) or (..., n, k). **Returns** (..., n) if b is
    a vector, (..., n, k) else. **Raises** ValueError if a is singular.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.solve(tg.tensor([[2.0, 0.0], [0.0, 4.0]]), tg.tensor([1.0, 1.0])).tolist()
    [0.5, 0.25]
    """
    a, b = reals(operand(a), operand(b))
    if len(a.shape) < 2:
        raise ShapeError(f"solve: a: expected matrices (..., n, n), got {list(a.shape)}")
    return _solve(a, b.reshape((-1, 1)))[..., 0] if len(b.shape) == 1 else _solve(a, b)


@operation
def inv(xp: ModuleType, x: Array) -> Array:
    """The inverses of matrices (..., n, n).

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.inv(tg.tensor([[2.0, 0.0], [0.0, 4.0]]))
    tensor([[0.5 , 0.  ],
            [0.  , 0.25]])
    """
    with raising_linalg(xp):
        return xp.linalg.inv(x)


@operation
def det(xp: ModuleType, x: Array) -> Array:
    """The determinants of matrices (..., n, n); a singular one has no gradient.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.det(tg.tensor([[2.0, 1.0], [1.0, 2.0]]))
    tensor(3.)
    """
    return xp.linalg.det(x)


@operation
def slogdet(xp: ModuleType, x: Array) -> tuple[Array, Array]:
    """The signs of determinants, and the logarithms of their absolute values.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.slogdet(tg.tensor([[0.0, 1.0], [1.0, 0.0]]))
    (tensor(-1.), tensor(0.))
    """
    return tuple(xp.linalg.slogdet(*reals(x)))  # the engine converts for one result only


@operation
def cholesky(xp: ModuleType, x: Array) -> Array:
    """The lower triangular L with x = L @ L.mT, of symmetric positive definite matrices.

    Only the lower triangle of x is read; its gradient, as x, is symmetric.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.cholesky(tg.tensor([[4.0, 2.0], [2.0, 2.0]]))
    tensor([[2., 0.],
            [1., 1.]])
    """
    with raising_linalg(xp):
        return xp.linalg.cholesky(x)


def _in_cholesky(xp: ModuleType, g: Any, y: Any) -> Any:
    """Murray 2016, "Differentiation of the Cholesky decomposition", equation 10."""
    inner = y.mT @ g
    inverse = xp.linalg.inv(y)
    half = inverse.mT @ ((tril(inner) + tril(inner, k=-1)) * 0.5) @ inverse
    return (half + half.mT) * 0.5


def _of_each(g: Any) -> Any:
    """A number for each matrix, to multiply it with."""
    return g.reshape((*g.shape, 1, 1))


inv.vjp(x=lambda g, y: -(y.mT @ g @ y.mT))
det.vjp(x=lambda xp, g, x, y: _of_each(g * y) * xp.linalg.inv(x).mT)
slogdet.vjp(x=lambda xp, g, x: None if g[1] is None else _of_each(g[1]) * xp.linalg.inv(x).mT)
cholesky.vjp(x=_in_cholesky)

# ---------------------------------------------------------------- singular values


def _decomposed(xp: ModuleType, x: Array) -> tuple[Array, ...]:
    """u, s and v', NaN for a matrix that is not finite: LAPACK may iterate on one without end."""
    if x.ndim < 2:
        raise ValueError(f"expected matrices (..., m, n), got {x.shape}")
    finite = xp.isfinite(x).all(axis=(-2, -1), keepdims=True)
    u, s, vt = xp.linalg.svd(xp.where(finite, x, 0), full_matrices=False)
    return tuple(
        xp.where(f, part, xp.nan) for f, part in ((finite, u), (finite[..., 0], s), (finite, vt))
    )


_svd = Op("svd", _decomposed)


def _in_svd(g: Any, y: Any) -> Any:
    """Townsend 2016, "Differentiating the singular value decomposition", split into 1/(s_j - s_i).

    and 1/(s_j + s_i): so what does not depend on the choice of u and v has a derivative where two
    values are equal, too.
    """
    (gu, gs, gvt), (u, s, vt) = g, y
    v, s_i, s_j = vt.mT, s[..., :, None], s[..., None, :]
    dx = 0 if gs is None else (u * gs[..., None, :]) @ vt
    if gu is None and gvt is None:
        return dx
    gu, gv = 0 * u if gu is None else gu, 0 * v if gvt is None else gvt.mT
    in_u, in_v = u.mT @ gu, v.mT @ gv
    turn_u, turn_v = in_u - in_u.mT, in_v - in_v.mT
    inner = (turn_u + turn_v) * reciprocal(s_j - s_i) + (turn_u - turn_v) * reciprocal(s_j + s_i)
    beside_u, beside_v = gu - u @ in_u, gv - v @ in_v  # what leaves the spaces that u and v span
    outer = (beside_u * reciprocal(s_j)) @ vt + u @ (beside_v * reciprocal(s_j)).mT
    return dx + u @ (inner * 0.5) @ vt + outer


_svd.vjp(lambda g, y: (_in_svd(g, y),))


def svdvals(x: Array) -> Array:
    """The singular values of matrices (..., m, n), the largest first: (..., min(m, n)).

    They are NaN for a matrix that is not finite.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.svdvals(tg.tensor([[0.0, 3.0], [-4.0, 0.0]])).tolist()
    [4.0, 3.0]
    """
    return _svd(*reals(operand(x)))[1]


# ---------------------------------------------------------------- norms


@operation
def _length(xp: ModuleType, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    return xp.sqrt((x * x).sum(axis=axis, keepdims=keepdims))


def _in_length(g: Any, x: Any, y: Any, axis: Axis) -> Any:
    return (g * reciprocal(y)).reshape(keep_dims(x.shape, axis)) * x


_length.vjp(x=_in_length)
_nonzero = Op("norm", lambda xp, x: (x != 0).astype(x.dtype)).vjp(x=flat)


def _power(x: Any, p: float) -> Any:
    """x**p of x >= 0; where x is 0 its derivatives are 0."""
    zero = x == 0
    return where(zero, 0 if p > 0 else math.inf, where(zero, 1, x) ** p)


def norm(
    x: Array, ord: float | str | None = None, axis: Axis = None, *, keepdims: bool = False
) -> Array:
    """The length of vectors along an axis, or the norm of matrices along two.

    **Arguments** ord: of vectors a number p, for sum(abs(x)**p)**(1/p), `inf` or `-inf`; of
    matrices `"fro"`, `"nuc"`, 1, -1, 2, -2, `inf` or `-inf`; None for the root of the sum of
    squares. axis: one or two; None for all of x, or with an ord for x as
    it is. **Raises** ValueError for an ord that is none of these. Where a vector, or for p < 2 an
    element of it, is 0 and the norm has a kink, all derivatives are 0 there; equal extremes
    share the gradient evenly.

    >>> import tinygrad_rnn as tg
    >>> tg.linalg.norm(tg.tensor([3.0, 4.0])).item()
    5.0
    """
    (x,) = reals(operand(x))  # squares of small integers would overflow
    axes = axes_of(len(x.shape), axis)
    if ord is None or (ord == 2 and len(axes) == 1) or (ord == "fro" and len(axes) == 2):
        return _length(x, axis=axes, keepdims=keepdims)
    if len(axes) == 1 and isinstance(ord, int | float):
        if math.isinf(ord):
            extreme = max if ord > 0 else min
            return extreme(abs(x), axis=axes, keepdims=keepdims)
        if ord == 0:
            return sum(_nonzero(x), axis=axes, keepdims=keepdims)
        return _power(sum(_power(abs(x), ord), axis=axes, keepdims=keepdims), 1 / ord)
    if len(axes) == 2 and ord in (1, -1, math.inf, -math.inf):
        summed, kept = axes if ord in (1, -1) else axes[::-1]
        sums = sum(abs(x), axis=summed, keepdims=True)
        y = (max if ord > 0 else min)(sums, axis=kept, keepdims=True)
        return y if keepdims else y.squeeze(axes)
    if len(axes) == 2 and ord in (2, -2, "nuc"):
        reduce = sum if ord == "nuc" else max if ord == 2 else min
        y = reduce(svdvals(moveaxis(x, axes, (-2, -1))), axis=-1)
        return expand_dims(y, axis=tuple(sorted(axes))) if keepdims else y
    raise InvalidValueError(f"norm: no ord {ord!r} along {len(axes)} axes")
