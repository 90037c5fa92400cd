"""Expressions of indices as NumPy takes them, and what is no such expression."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.tensor.random import Generator

LENGTHS = {letter: 2 + i % 3 for i, letter in enumerate("abcdefghijklmnopqrstuvwxyzABXYZ")}

# From NumPy's documentation and its tests.
EXPRESSIONS = [
    "a,b,ab,abc", "a,b,ab,abc->", "a,ab,abc->abc", "ea,fb,abcd,gc,hd->efgh", "ab,ab,c->",
    "ab,cd,de->be", "abcd,ad", "bdd->b", "aab,cb->ca", "abc,bcc", "Ba,bX->BX", "ij,jk,kl,lm",
    "zaZ->Za", "cab,d,cd,ef->abe", "a,a,a->a", "aaa", "ij , jk -> ik",
]  # fmt: skip


def inputs(expression: str) -> list[np.ndarray[Any, Any]]:
    generator = Generator(0)
    terms = expression.replace(" ", "").partition("->")[0].split(",")
    return [generator.normal(tuple(LENGTHS[letter] for letter in term)) for term in terms]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_einsum_takes_numpys_expressions(expression: str) -> None:
    xs = inputs(expression)
    y = tg.einsum(expression, *(tg.tensor(x) for x in xs))
    expected = np.einsum(expression, *xs)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-10)
    assert tg.gradcheck(lambda *xs: tg.einsum(expression, *xs), xs, order=2)


def test_einsum_takes_operands_and_lists_in_turns() -> None:
    a, b = inputs("bij,bjk")
    for args in [
        (a, [0, 3, 1], b, [0, 1, 2], [2, 0]),
        (a, [0, 30, 1], b, [0, 1, 2]),
        (a, [..., 3, 1], b, [..., 1, 2]),
        (a, [..., 3, 1], b, [..., 1, 2], [3, ..., 2]),
    ]:
        given = [tg.tensor(v) if isinstance(v, np.ndarray) else v for v in args]
        np.testing.assert_allclose(tg.einsum(*given).numpy(), np.einsum(*args), rtol=1e-12)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("ij,jk->ik", "has 2 operands; got 1"),
        ("i->i", "does not name the 2 axes"),
        ("ii->i", "'i' is 2 and 3 long"),
        ("ij->ik", "takes each index once, of the inputs"),
        ("ij->ii", "takes each index once, of the inputs"),
        ("...->", "has no '...' for what broadcasts"),
    ],
)
def test_einsum_names_mistakes(expression: str, message: str) -> None:
    with pytest.raises(tg.ShapeError, match=message):
        tg.einsum(expression, tg.zeros((2, 3)))


def test_the_gradient_of_a_length_at_0_is_0() -> None:
    x = tg.zeros((3,), requires_grad=True)
    tg.linalg.norm(x).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_norm_refuses_an_unknown_ord() -> None:
    with pytest.raises(ValueError, match="norm: no ord 'fro' along 1 axes"):
        tg.linalg.norm(tg.zeros(2), "fro", 0)


def test_a_singular_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="Singular"):
        tg.linalg.inv(tg.zeros((2, 2)))


def test_equations_need_a_matrix() -> None:
    for a in (tg.ones(()), tg.ones((1,)), tg.ones((3,))):
        with pytest.raises(tg.ShapeError, match=r"solve: a: expected matrices \(..., n, n\), got"):
            tg.linalg.solve(a, tg.ones((1, 1, 1)))


# ---------------------------------------------------------------- dtypes

DTYPES = ["bool", "int8", "uint8", "int16", "uint32", "int64", "float32", "float64"]
PRODUCTS = {
    "matmul": lambda m, a, b: m.matmul(a, b.T),
    "of vectors": lambda m, a, b: m.matmul(a, b[0]),
    "vecdot": lambda m, a, b: m.vecdot(a, b),
    "outer": lambda m, a, b: m.outer(a, b),
    "tensordot": lambda m, a, b: m.tensordot(a, b, 2),
    "einsum": lambda m, a, b: m.einsum("ij,kj->ik", a, b),
    "einsum, summed": lambda m, a, b: m.einsum("ij,kl->", a, b),
    "einsum of one": lambda m, a, b: m.einsum("ij->i", a),
    "norm": lambda m, a, b: m.linalg.norm(a) + m.linalg.norm(b, 3, axis=1),
}


@pytest.mark.parametrize("name", PRODUCTS)
@given(
    dtypes=st.tuples(st.sampled_from(DTYPES), st.sampled_from(DTYPES)),
    numbers=st.lists(st.integers(0, 255), min_size=12, max_size=12),
)
def test_products_have_numpys_dtypes_and_wrap_as_its(
    name: str, dtypes: tuple[str, str], numbers: list[int]
) -> None:
    whole = np.array(numbers, np.uint8).reshape(2, 2, 3)
    a, b = (x.astype(dtype) for x, dtype in zip(whole, dtypes, strict=True))
    found = PRODUCTS[name](tg, tg.tensor(a), tg.tensor(b)).numpy()
    if name not in ("einsum of one", "norm") and "f" in a.dtype.kind + b.dtype.kind:
        real = a.dtype if a.dtype.kind == "f" else b.dtype  # integers take the dtype of reals
        a, b = (x if x.dtype.kind == "f" else x.astype(real) for x in (a, b))
    if name == "norm":
        a, b = (x if x.dtype.kind == "f" else x.astype("float32") for x in (a, b))
    true = np.asarray(PRODUCTS[name](np, a, b))
    assert found.dtype == true.dtype
    np.testing.assert_allclose(found, true, rtol=1e-6)


def test_a_product_of_small_integers_keeps_their_dtype() -> None:
    y = tg.vecdot(tg.tensor(np.uint8([250])), tg.tensor(np.uint8([2])))
    assert (y.item(), y.dtype) == (244, np.uint8)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_singular_values_of_a_matrix_that_is_not_finite_are_nan(bad: float) -> None:
    """LAPACK iterates on this matrix without end, where a number is infinite."""
    matrix = np.array([[-1.02, 0.11, -0.02], [bad, -1.87, 0.1], [-0.17, -0.05, -2.94]])
    x = tg.tensor(np.stack([matrix, np.diag([3.0, 2.0, 1.0])]), requires_grad=True)
    s = tg.linalg.svdvals(x)
    np.testing.assert_array_equal(np.isnan(s.numpy()), [[True] * 3, [False] * 3])
    np.testing.assert_allclose(s.numpy()[1], [3, 2, 1])
    s.sum().backward()
    np.testing.assert_allclose(x.grad.numpy()[1], np.eye(3), atol=1e-12)
    assert np.isnan(tg.linalg.norm(x.detach()[0], "nuc").item())
