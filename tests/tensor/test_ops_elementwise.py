"""Elementwise operations where the samples of `testing` do not come: kinks, bounds, extremes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg


def slopes(function: Any, *values: float) -> list[float]:
    xs = [tg.tensor(np.array(v), requires_grad=True) for v in values]
    function(*xs).backward()
    return [0.0 if x.grad is None else x.grad.item() for x in xs]


def test_erf_is_that_of_the_c_library_everywhere() -> None:
    ends = [0.0, -0.0, 1e-300, 1e300, -1e300, math.inf, -math.inf, 0.46875, 4.0, 6.0]
    x = np.concatenate([np.linspace(-7, 7, 20001), ends])
    true = np.array([math.erf(v) for v in x])
    np.testing.assert_allclose(tg.erf(x), true, rtol=1e-15, atol=0)
    single = x[np.abs(x) < 10].astype(np.float32)
    found = tg.erf(single)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [math.erf(v) for v in single], rtol=4e-7, atol=0)
    assert math.isnan(tg.erf(np.array(math.nan)))


def test_ties_share_the_gradient_evenly() -> None:
    assert slopes(tg.maximum, 2.0, 2.0) == [0.5, 0.5]
    assert slopes(tg.minimum, 2.0, 2.0) == [0.5, 0.5]
    assert slopes(tg.maximum, 2.0, 1.0) == [1.0, 0.0]
    assert slopes(tg.minimum, 2.0, 1.0) == [0.0, 1.0]


def test_on_a_bound_the_gradient_of_clip_is_that_of_x() -> None:
    assert [slopes(tg.clip, x, -1.0, 1.0) for x in (-2.0, -1.0, 0.0, 1.0, 2.0)] == [
        [0.0, 1.0, 0.0],
        [1.0, 0.0, 0.0],
        [1.0, 0.0, 0.0],
        [1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0],
    ]


@pytest.mark.parametrize("name", ["log_sigmoid", "elu", "gelu", "silu", "hard_sigmoid", "softplus"])
def test_activations_are_finite_far_from_zero(name: str) -> None:
    for far in (-1e4, 1e4):
        x = tg.tensor(far, requires_grad=True)
        y = getattr(tg, name)(x)
        y.backward()
        assert y.dtype == np.float32
        assert np.isfinite(y.numpy())
        assert x.grad is not None
        assert np.isfinite(x.grad.numpy())


@given(
    a=st.integers(-(2**1000), 2**1000) | st.floats(-10, 10) | st.sampled_from([0, 1, 2**63, 2**64]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_a_number_to_the_power_of_a_tensor(a: float, dtype: str) -> None:
    b = tg.tensor([0.5, 1.0, 0.25], dtype=dtype, requires_grad=True)
    with np.errstate(all="ignore"):
        y = a**b
        (slope,) = tg.grad(y.sum(), [b], create_graph=True)
        (curvature,) = tg.grad(slope.sum(), [b])
        if a == 0:
            expected = np.zeros(3)
        else:
            expected = y.numpy().astype(float) * (math.log(a) if a > 0 else np.nan)
    assert slope.dtype == curvature.dtype == dtype
    np.testing.assert_allclose(slope.numpy(), expected.astype(dtype), rtol=1e-5)
    assert (curvature.numpy()[1] >= 0) == (a >= 0)


def test_a_number_that_no_dtype_holds_is_refused_in_short() -> None:
    with pytest.raises(tg.InvalidValueError, match=r"^multiply: got a .* \(int too large") as found:
        tg.ones((2,)) * 10**4000
    assert len(str(found.value)) < 250


def test_operators() -> None:
    x = tg.tensor([5.0, -5.0])
    assert (x // 3).tolist() == [1.0, -2.0]
    assert (x % 3).tolist() == [2.0, 1.0]
    assert (7 // x).tolist() == [1.0, -2.0]
    assert (7 % x).tolist() == [2.0, -3.0]
    assert ((x > 0) & True).tolist() == [True, False]
    assert (False | (x > 0)).tolist() == [True, False]
    assert ((x > 0) ^ (x < 9)).tolist() == [False, True]


@pytest.mark.parametrize(
    "function",
    [
        tg.relu,
        tg.sparsemax,
        lambda x: tg.max(x, keepdims=True),
        lambda x: tg.index_update(tg.zeros((1,)), x, index=([0, 0, 0],)),
    ],
)
@pytest.mark.parametrize("order", [1, 2])
def test_what_does_not_reach_a_result_has_no_gradient(function: Any, order: int) -> None:
    """Whatever the cotangent is: zero times infinity is NaN."""
    x = tg.tensor([-1.0, -2.0, 5.0], requires_grad=True)
    y = function(x)
    g = np.full(y.shape, math.inf, np.float32)
    if y.size > 1:
        g[2] = 1
    (found,) = tg.grad(y, [x], tg.tensor(g), create_graph=order == 2)
    assert not np.isnan(found.numpy()[:2]).any()
    assert (found.numpy()[:2] == 0).all()


# ---------------------------------------------------------------- reals beside integers

MIXED: dict[str, Any] = {
    **{name: getattr(tg, name) for name in ("add", "subtract", "multiply", "divide", "pow",
       "maximum", "minimum", "remainder", "floor_divide", "atan2", "logaddexp")},
    "where": lambda a, b: tg.where(a > 1, a, b),
    "concat": lambda a, b: tg.concat([a, b]),
    "stack": lambda a, b: tg.stack([a, b]),
    "matmul": tg.matmul,
    "einsum": lambda a, b: tg.einsum("i,i->i", a, b),
    "linear": lambda a, b: tg.nn.cross_entropy(a.expand_dims(axis=0) * b, [1]),
}  # fmt: skip


@pytest.mark.parametrize("name", MIXED)
@given(
    real=st.sampled_from(["float16", "float32", "float64"]),
    whole=st.sampled_from(["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"]),
    swapped=st.booleans(),
    array=st.booleans(),
)
def test_integers_take_the_dtype_of_the_reals_beside_them(
    name: str, real: str, whole: str, swapped: bool, array: bool
) -> None:
    x = tg.tensor([1.5, 2.0, 0.5], dtype=real, requires_grad=True)
    n: Any = np.array([1, 2, 3], whole) if array else tg.tensor([1, 2, 3], dtype=whole)

    def result(n: Any) -> Any:
        if name == "linear":
            return MIXED[name](x, n)
        return MIXED[name](n, x) if swapped and name != "where" else MIXED[name](x, n)

    found, expected = result(n), result(tg.tensor([1, 2, 3], dtype=real))
    assert found.dtype == real
    np.testing.assert_array_equal(found.numpy(), expected.numpy())
    for create_graph in (False, True):
        (g,) = tg.grad(found.sum(), [x], create_graph=create_graph, retain_graph=True)
        assert g.dtype == real


@pytest.mark.parametrize(
    ("call", "dtype"),
    [
        (lambda n: n / 2, "float32"),
        (lambda n: n * 0.5, "float32"),
        (lambda n: 1 / n, "float32"),
        (lambda n: tg.sqrt(n), "float32"),
        (lambda n: tg.where(n > 1, n, 0.5), "float32"),
        (lambda n: (n > 1) * 0.5, "float32"),
        (lambda n: (n > 1) / 0.5, "float32"),
        (lambda n: tg.sigmoid(n > 1), "float32"),
        (lambda n: tg.exp(n.astype("uint8")), "float32"),
        (lambda n: tg.elu(n), "float32"),
        (lambda n: tg.softmax(n), "float32"),
        (lambda n: tg.logsumexp(n), "float32"),
        (lambda n: tg.linalg.solve(tg.stack([n, n * n]), n), "float32"),
        (lambda n: tg.linalg.solve(tg.stack([n, n * n]), n / 2), "float32"),
        (lambda n: tg.linalg.slogdet(tg.stack([n, n * n]))[1], "float32"),
        (lambda n: n * 2, "int64"),
        (lambda n: tg.where(n > 1, n, 0), "int64"),
        (lambda n: n // 2, "int64"),
        (lambda n: n.sum(), "int64"),
        (lambda n: n / n.astype("float64"), "float64"),
        (lambda n: n.mean(), "float32"),
        (lambda n: (n > 1).mean(), "float32"),
        (lambda n: n.std(correction=1), "float32"),
        (lambda n: tg.linalg.norm(n), "float32"),
        (lambda n: tg.full_like(n, 1.0, dtype="float64"), "float64"),
    ],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_reals_of_integers_are_float32(call: Any, dtype: str, compiled: bool) -> None:
    n = tg.tensor([[1, 2], [3, 4]])
    if compiled:
        _, found = tg.scan(lambda h, n: (h, call(n)), tg.zeros((2,)), n, fused=True)
    else:
        found = call(n[0])
    assert found.dtype == dtype


def test_functions_of_bytes_have_the_digits_of_float32() -> None:
    n = tg.tensor([2, 200], dtype="uint8")  # NumPy's roots are in float16
    np.testing.assert_allclose(tg.sqrt(n).numpy(), np.sqrt([2.0, 200.0]), rtol=1e-6)


def test_an_operation_of_ones_own_gets_an_index_as_it_is_and_may_return_float64() -> None:
    def rows(xp: Any, table: Any, ids: Any) -> Any:
        return table[ids].astype("float64")

    def spread(g: Any, ids: Any, shapes: Any) -> Any:
        return tg.index_add(tg.zeros(shapes[0]), g.astype("float32"), index=ids)

    op = tg.Op("rows", rows).vjp(table=spread)
    table = tg.tensor([1.0, 2.0], requires_grad=True)
    found = op(table, tg.tensor([1, 1, 0]))
    assert (found.dtype, found.tolist()) == ("float64", [2.0, 2.0, 1.0])


def test_integers_in_a_compiled_loop_take_the_dtype_of_the_reals() -> None:
    n, h = tg.arange(12).reshape(4, 3), tg.ones((3,), requires_grad=True)

    def step(h: Any, n: Any) -> Any:
        new = tg.tanh(h * 0.5 + n / 10)
        return new, new * n

    results = [tg.scan(step, h, n, fused=fused) for fused in (False, True)]
    for y, last in results:
        assert {y.dtype, last.dtype} == {np.dtype("float32")}
    gradients = [tg.grad(y.sum(), [h])[0].numpy() for y, _ in results]
    np.testing.assert_allclose(*gradients, rtol=1e-5)


@pytest.mark.parametrize(
    "call",
    [
        lambda n: tg.pad(n, 1, constant_values=0.5),
        lambda n: tg.index_add(n, tg.ones((3,)), index=[0, 1, 2]),
        lambda n: tg.index_add(n, 0.5, index=0),
        lambda n: tg.index_update(n, 1.5, index=0),
        lambda n: tg.full_like(n, 0.5),
    ],
)
@pytest.mark.parametrize("dtype", ["int64", "bool"])
def test_reals_are_not_truncated_to_integers_silently(call: Any, dtype: str) -> None:
    with pytest.raises(TypeError, match=rf"that {dtype} can represent, got float"):
        call(tg.ones((3,), dtype=dtype))
