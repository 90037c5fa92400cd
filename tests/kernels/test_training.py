"""The kernels for training, in array code and natively, against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import kernels
from tinygrad_rnn.kernels.cpu import functions as cpu

WAYS = ["reference", "cpu"] if cpu.native is not None else ["reference"]
native = pytest.mark.skipif(cpu.native is None, reason=cpu.describe())
TOLERANCE = {"float32": 3e-6, "float64": 1e-13}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "reference":
        monkeypatch.setattr(cpu, "native", None)
    return str(request.param)


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = tg.get_num_threads()
    yield
    tg.set_num_threads(before)


def log_softmax(x: Any) -> Any:
    x = x.astype("float64") - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def drawn(seed: int, shape: tuple[int, ...], classes: int, dtype: str) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    x = (5 * rng.normal(size=(*shape, classes)) + 1000 * rng.normal(size=(*shape, 1))).astype(dtype)
    return x, rng.integers(0, classes, shape), rng.normal(size=shape).astype(dtype)


def check_cross_entropy(x: Any, targets: Any, weights: Any, smoothing: float = 0.0) -> None:
    tolerance, log_p = TOLERANCE[x.dtype.name], log_softmax(x)
    losses = kernels.cross_entropy(np, x, targets, smoothing=smoothing)
    hit = np.arange(x.shape[-1]) == targets[..., None]
    wanted = (1 - smoothing) * hit + smoothing / x.shape[-1]
    np.testing.assert_allclose(losses, -(log_p * wanted).sum(axis=-1), tolerance, tolerance)
    gradient = kernels.cross_entropy_gradient(np, x, targets, weights, smoothing=smoothing)
    expected = (np.exp(log_p) - wanted) * weights[..., None]
    np.testing.assert_allclose(gradient, expected, 30 * tolerance, tolerance)
    assert (losses.dtype, gradient.dtype) == (x.dtype, x.dtype)
    together, z = np.full_like(losses, 7), np.array(x, order="C")  # at once, and in its place
    found = kernels.cross_entropy_gradient(
        np, z, targets, weights, smoothing=smoothing, losses=together, out=z,
        sums=(sums := np.ones(x.shape[-1], x.dtype)),
    )  # fmt: skip
    assert found is z
    total = 1 + gradient.reshape(-1, x.shape[-1]).sum(axis=0)
    np.testing.assert_allclose(sums, total, 30 * tolerance, 30 * tolerance)
    np.testing.assert_allclose(together, losses, tolerance, tolerance)
    np.testing.assert_allclose(z, gradient, 30 * tolerance, tolerance)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4), (0,), (2, 0)])
@pytest.mark.parametrize("classes", [1, 2, 15, 16, 17, 31, 64, 65, 84, 300])
def test_cross_entropy(way: str, shape: tuple[int, ...], classes: int, dtype: str) -> None:
    check_cross_entropy(*drawn(classes, shape, classes, dtype))
    check_cross_entropy(*drawn(classes, shape, classes, dtype), smoothing=0.1)


@given(st.integers(0, 2**32), st.integers(1, 70), st.integers(1, 200))
def test_cross_entropy_of_drawn_sizes(seed: int, rows: int, classes: int) -> None:
    check_cross_entropy(*drawn(seed, (rows,), classes, "float32"))


@pytest.mark.parametrize("transposed", ["x", "targets", "weights"])
def test_any_layout_and_any_integers(way: str, transposed: str) -> None:
    x, targets, weights = drawn(0, (4, 5), 6, "float64")
    given = {"x": x, "targets": targets.astype("uint8"), "weights": weights}
    given[transposed] = np.asfortranarray(given[transposed])
    check_cross_entropy(**given)
    check_cross_entropy(x, targets, np.broadcast_to(weights[0, 0], targets.shape))


def test_what_is_not_finite_is_as_in_numpy(way: str) -> None:
    inf, nan = np.inf, np.nan
    x = np.array(
        [[-inf, 0, 1], [nan, 0, 1], [0, nan, 1], [inf, 0, 1], [-inf] * 3, [-1e30, 1e30, 0]]
    )
    for dtype in TOLERANCE:
        with np.errstate(invalid="ignore", over="ignore"):
            losses = kernels.cross_entropy(np, x.astype(dtype), np.array([1, 1, 2, 1, 0, 1]))
            gradient = kernels.cross_entropy_gradient(
                np, x[:1].astype(dtype), np.array([1]), np.ones(1, dtype)
            )
        np.testing.assert_allclose(losses, [1.31326169, nan, nan, inf, nan, 0], rtol=1e-6)
        assert gradient[0, 0] == 0


def test_an_infinite_weight_leaves_no_nan_beside_the_target(way: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 19))
    for dtype in TOLERANCE:
        weights = np.array([-np.inf, np.inf], dtype)
        with np.errstate(invalid="ignore"):
            g = kernels.cross_entropy_gradient(np, x.astype(dtype), np.array([1, 2]), weights)
        beside = np.delete(g[0], 1), np.delete(g[1], 2)
        assert (beside[0] == -np.inf).all()
        assert (beside[1] == np.inf).all()


def test_underflow_is_zero_and_large_losses_are_exact(way: str) -> None:
    x = np.array([[0.0, -200.0, -90.0]], "float32")
    assert kernels.cross_entropy(np, x, np.array([1])).tolist() == [200.0]
    gradient = kernels.cross_entropy_gradient(np, x, np.array([1]), np.ones(1, "float32"))
    assert gradient[0, :2].tolist() == [1, -1]
    assert gradient[0, 2] < 1e-38


@native
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(threads: int) -> None:
    x, targets, weights = drawn(0, (501,), 401, "float32")  # enough work to be shared
    p, g, m, v = np.random.default_rng(0).random((4, 123_457)).astype("float32")

    def results(count: int) -> list[Any]:
        tg.set_num_threads(count)
        copies = [p.copy(), g, m.copy(), v.copy()]
        step(*copies)
        return [
            *copies,
            kernels.sum_of_squares(p),
            kernels.add_rows(np, np.zeros((401, 401), "float32"), targets % 7, x),
            kernels.cross_entropy(np, x, targets),
            kernels.cross_entropy_gradient(np, x, targets, weights),
        ]

    for one, more in zip(results(1), results(threads), strict=True):
        np.testing.assert_array_equal(one, more)


LOGITS = np.arange(24.0).reshape(4, 6)
WRONG = {
    "fewer": np.array([0, 1, 7]),
    "more": np.array([0, 1] * 6),
    "another axis": np.zeros((4, 1), int),
    "reals": np.array([0.5, 1.9, 2.0, 3.0]),
    "booleans": np.array([True, False, True, True]),
    "negative": np.array([0, 1, -1, 2]),
    "too large": np.array([0, 1, 6, 2]),
    "wrapped": np.array([0, 1, 2**64 - 1, 2], "uint64"),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_targets_are_refused(way: str, name: str, dtype: str) -> None:
    kind = IndexError if name in ("negative", "too large", "wrapped") else ValueError
    x, weights = LOGITS.astype(dtype), np.ones(4, dtype)
    with pytest.raises(kind, match="targets: expected"):
        tg.softmax_cross_entropy(tg.tensor(x), WRONG[name])
    with pytest.raises(kind, match="targets: expected"):
        kernels.cross_entropy_gradient(np, x, WRONG[name], weights)
    with pytest.raises(kind, match="targets: expected"):
        tg.linear_softmax_cross_entropy(
            tg.ones((4, 3), dtype=dtype), tg.ones((6, 3), dtype=dtype), WRONG[name], weights
        )


@pytest.mark.parametrize("shape", [(3,), (4, 1), ()])
def test_a_weight_for_each_row_and_no_other(way: str, shape: tuple[int, ...]) -> None:
    x, w, targets = np.ones((4, 3)), np.ones((6, 3)), np.array([0, 1, 2, 3])
    with pytest.raises(ValueError, match="weights: expected"):
        kernels.cross_entropy_gradient(np, LOGITS, targets, np.ones(shape))
    with pytest.raises(ValueError, match="weights: expected"):
        kernels.linear_cross_entropy(np, x, w, targets, np.ones(shape))
    with pytest.raises(ValueError, match="b: expected"):
        kernels.linear_cross_entropy(np, x, w, targets, np.ones(4), np.ones(shape))
    with pytest.raises(ValueError, match="counts: expected"):
        kernels.cross_entropy(np, LOGITS, targets, np.ones(shape, bool))


def test_what_is_read_only_is_not_written_to(way: str) -> None:
    for which in range(4):
        given = np.random.default_rng(0).random((4, 5))
        arrays = [a.copy() for a in given]
        arrays[which].flags.writeable = False
        if which == 1:  # the gradient
            step(*arrays)
            continue
        with pytest.raises(ValueError, match="read-only"):
            step(*arrays)
        np.testing.assert_array_equal(arrays, given)
    with pytest.raises(ValueError, match="adam: expected g, m and v"):
        step(*(np.zeros(n) for n in (3, 3, 1, 3)))


@native
@pytest.mark.parametrize("target", [-1, 3])
def test_a_target_outside_the_classes_is_refused(target: int) -> None:
    with pytest.raises(IndexError, match=f"targets: expected 0 to 2, got {target}"):
        cpu.cross_entropy(np.zeros((2, 3)), np.array([0, target]))


@native
def test_memory_is_safe_without_the_contract() -> None:
    x, targets, out = np.zeros((2, 3)), np.zeros(2, np.int64), np.zeros(2)
    call = cpu.native.cross_entropy
    for wrong in (
        (x, targets, None, 0.0, out[:1].copy(), None, None),
        (x, targets, None, 0.0, np.zeros(2, "float32"), None, None),
        (x, targets, out[:1].copy(), 0.0, None, np.zeros((2, 3)), None),
        (x, targets, out, 0.0, None, np.zeros((2, 2)), None),
        (x, targets, out, 0.0, out[:1].copy(), np.zeros((2, 3)), None),
        (x, targets, out, 0.0, None, np.zeros((2, 3)), out.copy()),
        (x, targets[:1], None, 0.0, out, None, None),
        (x.astype("float16"), targets, None, 0.0, out, None, None),
    ):
        with pytest.raises((TypeError, ValueError), match="does not fit"):
            call(*wrong)
    with pytest.raises(ValueError, match="targets: expected integers"):
        call(x, targets * 1.0, None, 0.0, out, None, None)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        call(x, targets, None, 0.0, out, None, None)
    with pytest.raises(TypeError, match="expected 7"):
        call(x, targets)
    with pytest.raises(ValueError, match="rows: its shape does not fit"):
        cpu.native.add_rows(x, targets, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="ids: expected integers"):
        cpu.native.add_rows(x, targets > 0, x)
    with pytest.raises(ValueError, match="g: its shape does not fit"):
        cpu.native.adam(np.zeros(3), np.zeros(2), np.zeros(3), np.zeros(3), *[0.5] * 9)


def step(p: Any, g: Any, m: Any, v: Any, decay: float = 0.0, decoupled: bool = False) -> None:
    kernels.adam(
        np,
        p,
        g,
        m,
        v,
        step=3,
        lr=0.1,
        betas=(0.9, 0.99),
        eps=1e-3,
        decay=decay,
        decoupled=decoupled,
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 100_000])
def test_sum_of_squares(way: str, size: int, dtype: str) -> None:
    x = np.random.default_rng(size).normal(size=size).astype(dtype)
    assert kernels.sum_of_squares(x) == pytest.approx(float((x.astype("float64") ** 2).sum()))
    large = np.full(3, 1e30, dtype)  # whose squares float32 does not have
    assert kernels.sum_of_squares(large) == pytest.approx(3e60)
    assert not np.isfinite(kernels.sum_of_squares(np.array([1, np.nan], dtype)))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", [(), (1,), (40,), (3, 5), (0,)])
@pytest.mark.parametrize("width", [(), (1,), (16,), (33,), (3, 7)])
def test_add_rows(way: str, shape: tuple[int, ...], width: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    table, rows = rng.normal(size=(9, *width)).astype(dtype), rng.normal(size=(*shape, *width))
    ids = rng.integers(-9, 9, shape)
    expected = table.astype("float64")
    np.add.at(expected, ids, rows)
    found = kernels.add_rows(np, table, ids, rows.astype(dtype))
    assert found is table
    np.testing.assert_allclose(table, expected, 30 * TOLERANCE[dtype], 10 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_rows_outside_of_a_table_are_refused(way: str, dtype: str) -> None:
    table, rows = np.zeros((9, 2), dtype), np.ones((2, 2), dtype)
    for outside in (-10, 9):
        with pytest.raises(IndexError, match=f"ids: expected -9 to 8, got {outside}"):
            kernels.add_rows(np, table, np.array([0, outside]), rows)
    with pytest.raises(IndexError, match=f"got {2**64 - 1}"):  # it wraps round to -1
        kernels.add_rows(np, table, np.array([0, 2**64 - 1], "uint64"), rows)
    with pytest.raises(ValueError, match="integers"):
        kernels.add_rows(np, table, np.array([0.0, 1.0]), rows)
    assert not table.any()


@pytest.mark.parametrize("part", [-1e-9, 1 + 1e-9, 10_000_000, np.nan, -np.inf])
def test_smoothing_is_a_part(way: str, part: float) -> None:
    x, targets = tg.zeros((1, 2)), tg.tensor([1])
    for call in (
        lambda: tg.softmax_cross_entropy(x, targets, smoothing=part),
        lambda: tg.linear_softmax_cross_entropy(x, x, targets, tg.ones((1,)), smoothing=part),
        lambda: tg.nn.cross_entropy(x, targets, label_smoothing=part),
        lambda: tg.nn.CrossEntropyLoss(label_smoothing=part),
    ):
        with pytest.raises(tg.InvalidValueError, match="smoothing"):
            call()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_one_row_for_all_ids(way: str, dtype: str) -> None:
    found = kernels.add_rows(np, np.zeros((3, 2), dtype), np.array([0, 2]), np.ones((1, 2), dtype))
    np.testing.assert_array_equal(found, [[1, 1], [0, 0], [1, 1]])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [0, 1, 15, 64, 65, 1000])
@pytest.mark.parametrize(("decay", "decoupled"), [(0.0, False), (0.2, False), (0.2, True)])
def test_adam(way: str, size: int, decay: float, decoupled: bool, dtype: str) -> None:
    p, g, m, v = given = np.random.default_rng(size).random((4, size)).astype(dtype)
    slope = g.astype("float64") + (0 if decoupled else decay * p)
    mean, square = 0.9 * m + 0.1 * slope, 0.99 * v + 0.01 * slope**2
    kept = (1 - 0.1 * decay) * p if decoupled else p.astype("float64")
    new = kept - 0.1 * mean / (1 - 0.9**3) / (np.sqrt(square / (1 - 0.99**3)) + 1e-3)
    before = g.copy()
    step(*given, decay, decoupled)
    for found, expected in ((p, new), (m, mean), (v, square)):
        np.testing.assert_allclose(found, expected, 10 * TOLERANCE[dtype], TOLERANCE[dtype])
    np.testing.assert_array_equal(g, before)
