"""Derivatives where there is hardly one: at kinks, zeros, ties and infinities, as PyTorch has them.

Where PyTorch gives NaN and a convention gives a number, ours is the number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.tensor import ops

torch = pytest.importorskip("torch")
functional = torch.nn.functional

INF = math.inf
POINTS = [-INF, -3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0, INF]
VECTORS = [
    [0.0, 0.0], [3.0, 4.0], [3.0, 0.0], [0.0, -2.0], [1.0, 1.0], [0.0], [1.0], [2.0, 2.0, 1.0],
    [2.0, 0.0, 3.0, 0.0],
]  # fmt: skip
MATRICES = {"zero": np.zeros((2, 2)), "one": np.eye(2), "corner": np.diag([1.0, 0.0])}
ORDS = [None, 0, 0.5, 1, 1.5, 2, 2.5, 3, -1, -2, INF, -INF]

SAME_NAME = [
    "abs", "sqrt", "rsqrt", "square", "exp", "exp2", "expm1", "log", "log2", "log10", "log1p",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh",
    "atanh", "erf", "sigmoid", "relu", "floor", "ceil", "trunc", "round", "sign",
]  # fmt: skip
# By our name PyTorch's function, of one input.
UNARY: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(torch, name) for name in SAME_NAME},
    "softplus": functional.softplus,
    "log_sigmoid": functional.logsigmoid,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "hard_sigmoid": lambda x: functional.relu6(x + 3) / 6,  # hardsigmoid has no second derivative
}
BINARY: dict[str, tuple[Callable[..., Any], list[float], list[float]]] = {
    "atan2": (torch.atan2, [0.0, 1.0, -1.0], [0.0, 1.0, -1.0]),
    "logaddexp": (torch.logaddexp, [-INF, 0.0, 1.0, INF], [-INF, 0.0, 1.0]),
    "maximum": (torch.maximum, [0.0, 1.0, -INF, INF], [0.0, 1.0, -INF, INF]),
    "minimum": (torch.minimum, [0.0, 1.0, -INF, INF], [0.0, 1.0, -INF, INF]),
    "remainder": (torch.remainder, [0.0, 1.0, -1.0, 2.5], [1.0, -1.0, 2.0]),
    "divide": (torch.divide, [0.0, 1.0, INF], [0.0, 1.0, INF]),
    "multiply": (torch.multiply, [0.0, 1.0, INF], [0.0, 1.0, INF]),
}
REDUCED: dict[str, Callable[[Any], Any]] = {
    "prod": torch.prod,
    "max": torch.amax,
    "min": torch.amin,
    "mean": torch.mean,
    "cumprod": lambda x: torch.cumprod(x, 0),
    "cummax": lambda x: torch.cummax(x, 0)[0],
    "sort": lambda x: torch.sort(x, stable=True)[0],
    "softmax": lambda x: torch.softmax(x, 0),
    "log_softmax": lambda x: torch.log_softmax(x, 0),
    "logsumexp": lambda x: torch.logsumexp(x, 0),
}


def numbers(value: Any) -> np.ndarray[Any, Any]:
    return np.asarray(value.detach().numpy(force=True) if torch.is_tensor(value) else value)


def derivatives(grad: Any, fn: Any, xs: list[Any], order: int) -> list[Any]:
    """The value, the gradient of its sum, and the gradient of each of that one's elements."""
    y = fn(*xs)
    found = [y]
    gs = grad(y.sum(), xs)
    found += gs
    if order == 2:
        for g in gs:
            flat = g.reshape(-1)
            for k in range(flat.shape[0]):
                found += grad(flat[k], xs)
    return found


def by_torch(y: Any, xs: list[Any]) -> list[Any]:
    if not y.requires_grad:
        return [torch.zeros_like(x) for x in xs]
    found = torch.autograd.grad(y, xs, create_graph=True, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True)]


def by_us(y: Any, xs: list[Any]) -> list[Any]:
    if not y.requires_grad:
        return [ops.zeros_like(x) for x in xs]
    return [*tg.grad(y, xs, create_graph=True)]


def compare(ours: Any, theirs: Any, *inputs: Any, order: int = 2) -> None:
    """Ours are PyTorch's, to second order; a number, where PyTorch's is NaN by its first order."""
    arrays = [np.asarray(x, np.float64) for x in inputs]
    with np.errstate(all="ignore"):
        found = derivatives(by_us, ours, [tg.tensor(x, requires_grad=True) for x in arrays], order)
        found = [numbers(v.detach().numpy()) for v in found]
    leaves = [torch.tensor(x, requires_grad=True) for x in arrays]
    true = [numbers(v) for v in derivatives(by_torch, theirs, leaves, order)]
    for i, (a, b) in enumerate(zip(found, true, strict=True)):
        known = np.full(b.shape, True) if i == 0 else ~np.isnan(b)
        np.testing.assert_allclose(
            a[known], b[known], rtol=1e-12, atol=1e-14, err_msg=f"at {inputs}, part {i}"
        )


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_input(name: str) -> None:
    for x in POINTS:
        jumps = name == "elu" and x == 0  # its second derivative does: either side's is one
        compare(getattr(tg, name), UNARY[name], x, order=1 if jumps else 2)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_inputs(name: str) -> None:
    theirs, first, second = BINARY[name]
    for a in first:
        for b in second:
            compare(getattr(tg, name), theirs, a, b)


@pytest.mark.parametrize("bounds", [(-1, 1), (None, 1), (0, None)])
def test_clip_at_its_bounds(bounds: tuple[Any, Any]) -> None:
    for x in (-1.0, 0.0, 1.0, 2.0):
        compare(lambda x: tg.clip(x, *bounds), lambda x: torch.clamp(x, *bounds), x)


@pytest.mark.parametrize("name", REDUCED)
def test_reductions_of_ties_zeros_and_infinities(name: str) -> None:
    softened = name in ("softmax", "log_softmax", "logsumexp", "max", "min")
    for x in VECTORS + ([[-INF, -INF], [-INF, 0.0]] if softened else []):
        ours = getattr(tg, name)
        along = name.startswith("cum")
        compare((lambda x, f=ours: f(x, axis=0)) if along else ours, REDUCED[name], x)


@pytest.mark.parametrize("correction", [0, 1])
def test_spreads_of_equal_elements(correction: int) -> None:
    for x in VECTORS:
        if len(x) > correction:
            compare(
                lambda x: tg.std(x, correction=correction),
                lambda x: torch.std(x, correction=correction),
                x,
            )
            compare(
                lambda x: tg.var(x, correction=correction),
                lambda x: torch.var(x, correction=correction),
                x,
            )


@pytest.mark.parametrize("ord", ORDS)
def test_norms_of_vectors(ord: Any) -> None:
    p = 2 if ord is None else ord
    for x in VECTORS:
        compare(lambda x: tg.linalg.norm(x, ord), lambda x: torch.linalg.vector_norm(x, p), x)
    rows = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 2.0]])
    compare(
        lambda x: tg.linalg.norm(x, ord, 1), lambda x: torch.linalg.vector_norm(x, p, dim=1), rows
    )


@pytest.mark.parametrize("ord", ["fro", "nuc", 1, -1, 2, -2, INF, -INF])
@pytest.mark.parametrize("name", MATRICES)
def test_norms_of_matrices(ord: Any, name: str) -> None:
    compare(
        lambda x: tg.linalg.norm(x, ord, (0, 1)),
        lambda x: torch.linalg.matrix_norm(x, ord),
        MATRICES[name],
    )


def test_what_where_does_not_take_has_no_gradient() -> None:
    a, b = [math.nan, 1.0], [1.0, math.nan]
    taken = np.array([False, True])
    compare(
        lambda a, b: tg.where(taken, a, b),
        lambda a, b: torch.where(torch.tensor(taken), a, b),
        a,
        b,
    )


@pytest.mark.parametrize("exponent", [-1, 0, 1, 2, 3, 0.5, 1.5, 2.5])
def test_powers_by_a_number(exponent: float) -> None:
    for x in (-2.0, 0.0, 1.0, 2.0):
        compare(lambda x: x**exponent, lambda x: x**exponent, x)


@pytest.mark.parametrize("a", [-2.0, 0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("b", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, -1.0])
def test_powers_by_a_tensor(a: float, b: float) -> None:
    """To first order: PyTorch's second derivative across is 0 for an exponent of 0, and is not."""
    compare(tg.pow, torch.pow, a, b, order=1)
