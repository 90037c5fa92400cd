"""Products of matrices: as exact as sums in their precision can be, however their operands lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.cpu import functions as cpu
from tinygrad_rnn.kernels.products import Multiplier, add_product, product, sum_of_products

from ..drawing import HypothesisSampler

Matrix = np.ndarray[Any, Any]

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
native = pytest.mark.skipif(cpu.native is None, reason=cpu.describe())


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = tg.get_num_threads()
    yield
    tg.set_num_threads(before)


def drawn(d: HypothesisSampler, rows: int, columns: int, dtype: str) -> Matrix:
    """A matrix that lies in memory in some way, with numbers around it that are none of its."""
    whole = np.random.default_rng(d.integer(0, 99)).normal(size=(2 * rows + 3, 2 * columns + 5))
    whole = whole.astype(dtype)
    return {
        "straight": whole[:rows, :columns].copy(),
        "transposed": whole[:rows, :columns].T.copy().T,
        "part": whole[1 : 1 + rows, 2 : 2 + columns],
        "part, transposed": whole.T.copy().T[3 : 3 + rows, 1 : 1 + columns],
        "backwards": whole[rows - 1 :: -1, :columns] if rows else whole[:0, :columns],
        "with gaps": whole[: 2 * rows : 2, : 2 * columns : 2],
        "one row": np.broadcast_to(whole[0, :columns], (rows, columns)),
        "one number": np.broadcast_to(whole[0, 0], (rows, columns)),
    }[d.one_of(["straight", "transposed", "part", "part, transposed", "backwards", "with gaps",
                "one row", "one number"])]  # fmt: skip


def assert_exact(found: Matrix, a: Matrix, b: Matrix) -> None:
    """Every sum of n products is within n roundings of what it sums (Higham 2002, section 3.1)."""
    true, size = a.astype("float64") @ b.astype("float64"), np.abs(a) @ np.abs(b)
    assert found.dtype == a.dtype
    assert found.shape == true.shape
    # One rounding more for each block of terms, and the float64 product has errors of its own.
    assert (np.abs(found - true) <= 2 * (a.shape[1] + 1) * np.finfo(a.dtype).eps * size).all()


def sizes(d: HypothesisSampler) -> tuple[int, int, int]:
    """Small ones, 0 and 1 among them; or one that is longer than a block."""
    m, k, n = (d.integer(0, 40) for _ in range(3))
    return d.one_of([(m, k, n), (m, k, n), (m + 90, k, n), (m, k + 500, n), (m, k, n + 250)])


@dtypes
@given(data=st.data())
def test_product_of_any_two_matrices(dtype: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    m, k, n = sizes(d)
    a, b = drawn(d, m, k, dtype), drawn(d, k, n, dtype)
    before = a.copy(), b.copy()
    tg.set_num_threads(d.integer(1, 3))
    assert_exact(product(a, b), a, b)
    multiplier = Multiplier(np, b)
    assert_exact(multiplier(a), a, b)
    assert_exact(multiplier(a[None, :, None])[0, :, 0], a, b)
    bias = drawn(d, 1, n, dtype)[0]  # one term more of each sum
    a_and_one, b_and_bias = np.hstack([a, np.ones((m, 1), dtype)]), np.vstack([b, bias])
    for found in (product(a, b, bias), multiplier(a, bias)):
        assert_exact(found, a_and_one, b_and_bias)
    if m:
        assert_exact(multiplier(a[0])[None], a[:1], b)
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


@dtypes
@given(data=st.data())
def test_sum_of_products_is_that_of_what_lies_below_each_other(
    dtype: str, data: st.DataObject
) -> None:
    d = HypothesisSampler(data)
    m, n = d.integer(0, 150), d.integer(0, 300)
    rows = [d.integer(0, 40) for _ in range(d.integer(1, 20))]
    a, b = ([drawn(d, k, columns, dtype) for k in rows] for columns in (m, n))
    tg.set_num_threads(d.integer(1, 3))
    found = sum_of_products(np, a, b)
    assert_exact(found, np.concat(a).T, np.concat(b))
    assert found.flags.c_contiguous


@dtypes
@given(data=st.data())
def test_a_product_is_added(dtype: str, data: st.DataObject) -> None:
    d = HypothesisSampler(data)
    m, k, n = sizes(d)
    a, b = drawn(d, m, k, dtype), drawn(d, k, n, dtype)
    tg.set_num_threads(d.integer(1, 3))
    c = drawn(d, m, n, dtype).copy()
    before = c.copy()
    add_product(c, a, b)
    assert_exact(c, np.hstack([a, before]), np.vstack([b, np.eye(n, dtype=dtype)]))


@native
@dtypes
@pytest.mark.parametrize("size", [(300, 200, 700), (700, 600, 40), (20, 600, 700)])
def test_bits_depend_neither_on_the_run_nor_on_the_threads(
    dtype: str, size: tuple[int, int, int]
) -> None:
    m, k, n = size
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(m, k)).astype(dtype), rng.normal(size=(k, n)).astype(dtype)
    for left in (a, np.asfortranarray(a)):
        runs = []
        for threads in (1, 3, 3):
            tg.set_num_threads(threads)
            runs.append([cpu.native.product(left, b), Multiplier(np, b)(left)])
            assert runs[-1][0] is not None
        for found in runs[1:]:
            for one, other in zip(runs[0], found, strict=True):
                np.testing.assert_array_equal(one, other)


def test_what_is_no_pair_of_real_matrices_is_multiplied_by_its_own_module() -> None:
    a, b = np.ones((2, 3)), np.ones((3, 4))
    for x, y in [
        (a.astype("int64"), b.astype("int64")),
        (a.astype("float32"), b),
        (a.astype("float16"), b.astype("float16")),
        (a.astype(complex), b.astype(complex)),
        (a.astype(">f8"), b),
        (a[0], b),
        (a, b[:, 0]),
        (np.ones((5, 2, 3)), b),
    ]:
        found = product(x, y)
        np.testing.assert_array_equal(found, x @ y)
        assert found.dtype == (x @ y).dtype
    assert type(product(tg.tensor(a), tg.tensor(b))) is tg.Tensor
    assert Multiplier(np, b)(a.astype("float32")).dtype == "float64"


@pytest.mark.parametrize("rows", [2, 3, 300])
def test_matrices_that_do_not_fit_are_refused(rows: int) -> None:
    a, b = np.ones((rows, 4)), np.ones((5, 6))
    for multiply in (lambda: product(a, b), lambda: Multiplier(np, b)(a)):
        with pytest.raises(ValueError, match="mismatch"):
            multiply()
    for left, right in [([a], [b]), ([a, a[:, :3]], [a, a])]:
        with pytest.raises(ValueError, match=r"mismatch|must match"):
            sum_of_products(np, left, right)


@native
def test_native_code_runs_where_it_pays() -> None:
    """Otherwise the tests above would test NumPy alone."""
    a, b = np.ones((32, 64), "float32"), np.ones((64, 32), "float32")
    for left in (a, a.astype("float64"), np.asfortranarray(a), a[::-1]):
        right = b.astype(left.dtype)
        assert cpu.native.product(left, right) is not None
        assert cpu.native.product(left, np.asfortranarray(right)) is not None
        assert cpu.native.pack(right) is not None
    assert cpu.native.sum_of_products((a, a), (a, a)) is not None
    assert cpu.native.product(a, b[:, ::2]) is not None  # of a copy
    assert cpu.native.product(a[:1].repeat(4096, 1), b.repeat(64, 0)) is None
