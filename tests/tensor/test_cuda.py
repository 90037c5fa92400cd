"""A GPU gives the results and the errors of the CPU: tests for `make test-cupy`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg

from ..cuda_on_cpu import driver

pytestmark = pytest.mark.gpu


def in_order(seed: int) -> AbstractContextManager[None]:
    """Threads run in a drawn order on the stand-in, and as they do on a GPU."""
    return driver.start().order(seed) if driver.started() else nullcontext()


@pytest.fixture(autouse=True)
def _in_another_order() -> Iterator[None]:
    with in_order(3):
        yield


def both(call: Callable[[str], Any]) -> tuple[Any, Any]:
    """Results of a call on the GPU and on the CPU."""
    return call("cuda"), call("cpu")


@pytest.mark.parametrize("columns", [0, 1, 3])
@pytest.mark.parametrize("stack", [(), (2,), (2, 2), (0,)])
def test_solve_takes_any_number_of_columns(columns: int, stack: tuple[int, ...]) -> None:
    a = np.eye(2) + np.ones((*stack, 2, 2))
    b = np.ones((*stack, 2, columns))
    there, here = both(
        lambda on: tg.linalg.solve(tg.tensor(a, device=on), tg.tensor(b, device=on)).tolist()
    )
    np.testing.assert_allclose(np.asarray(there), np.asarray(here))


@pytest.mark.parametrize("stack", [(), (2,)])
@pytest.mark.parametrize("name", ["inv", "solve", "cholesky"])
def test_linalg_refuses_what_it_refuses_on_the_cpu(name: str, stack: tuple[int, ...]) -> None:
    with tg.device("cuda"):
        zeros, b = tg.zeros((*stack, 2, 2)), tg.ones((*stack, 2, 1))
        operands = (zeros, b) if name == "solve" else (zeros,)
        with pytest.raises(ValueError, match=name):
            getattr(tg.linalg, name)(*operands)


@pytest.mark.parametrize("shape", [(5,), (2, 5)])
def test_the_last_of_repeated_writes_wins(shape: tuple[int, ...]) -> None:
    index = np.array([1, 0, 1, 1, 0])

    def run(on: str) -> list[Any]:
        x = tg.zeros((*shape[:-1], 3), device=on, requires_grad=True)
        v = tg.tensor(np.arange(10.0)[: np.prod(shape)].reshape(shape), device=on)
        v.requires_grad = True
        ids = tg.tensor(index, device=on)
        y = tg.index_update(x, v, index=(..., ids) if len(shape) > 1 else ids)
        (y * y).sum().backward()
        assert x.grad is not None
        assert v.grad is not None
        return [y.tolist(), x.grad.tolist(), v.grad.tolist()]

    there, here = both(run)
    assert there == here


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [(), (1,), (3,), (70,), (2, 40)])
def test_sums_of_rows_are_those_of_the_cpu(columns: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 4, (5, 9))
    values = rng.normal(size=(5, 9, *columns)).astype(dtype)

    def run(on: str) -> Any:
        table = tg.zeros((6, *columns), dtype=dtype, device=on, requires_grad=True)
        (
            tg.take(table, tg.tensor(ids, device=on), axis=0) * tg.tensor(values, device=on)
        ).sum().backward()
        assert table.grad is not None
        return table.grad.numpy()

    there, here = both(run)
    np.testing.assert_allclose(there, here, rtol=1e-5, atol=1e-5)


def test_sums_of_rows_have_the_same_bits_in_every_order() -> None:
    rng = np.random.default_rng(0)
    ids, values = rng.integers(0, 3, 600), rng.normal(size=(600, 5)).astype("float32")

    def gradients() -> list[Any]:
        found = []
        at = tg.tensor(ids, device="cuda")
        for index in (at, (at, at)):  # rows, and elements
            table = tg.zeros((5, 5), device="cuda", requires_grad=True)
            y = table[index]
            (y * tg.tensor(values if y.ndim > 1 else values[:, 0], device="cuda")).sum().backward()
            assert table.grad is not None
            found.append(table.grad.tolist())
        return found

    with in_order(1):
        first = gradients()
    with in_order(2):
        assert gradients() == first


OUTSIDE: dict[str, Callable[[tg.Tensor], tg.Tensor]] = {
    "Embedding": lambda ids: tg.nn.Embedding(5, 2)(ids),
    "index": lambda ids: tg.take(tg.ones((5, 2)), ids, axis=0),
    "index, of two axes": lambda ids: tg.ones((3, 2, 5))[:, tg.tensor([0, 1]), ids],
    "index, after dots": lambda ids: tg.ones((2, 3, 5))[..., ids],
    "index, along an axis": lambda ids: tg.take_along_axis(tg.ones((2, 5)), ids.reshape((2, 1))),
    "one_hot": lambda ids: tg.one_hot(ids, num_classes=5),
    "cross_entropy": lambda ids: tg.nn.cross_entropy(tg.ones((2, 5)), ids),
    "linear_cross_entropy": lambda ids: tg.nn.linear_cross_entropy(
        tg.ones((2, 3)), tg.ones((5, 3)), ids
    ),
}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("wrong", [7, -9])
def test_an_id_out_of_range_is_reported_with_the_next_value(name: str, wrong: int) -> None:
    with tg.device("cuda"):
        ids = tg.tensor([1, wrong])
        y = OUTSIDE[name](ids).sum()
        with pytest.raises(IndexError, match=rf"{name.split(',')[0]}.*{wrong} "):
            y.item()
        assert np.isfinite(OUTSIDE[name](tg.tensor([1, 4])).sum().item())  # reported once


def test_ids_of_the_host_are_refused_at_once() -> None:
    with tg.device("cuda"), pytest.raises(IndexError, match="7"):
        tg.take(tg.ones((5, 2)), [1, 7], axis=0)


SHAPES = [(3, 4), (), (5000,), (0, 2), (1, 4096), (4097,)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [tg.optim.Adam, tg.optim.AdamW])
def test_adam_and_clipping_of_many_parameters(make: Any, dtype: str) -> None:
    def run(on: str) -> list[Any]:
        rng = np.random.default_rng(0)
        draw = lambda shape: tg.tensor(rng.normal(size=shape), dtype=dtype, device=on)
        ps = [draw(shape) for shape in SHAPES]
        for p in ps:
            p.requires_grad = True
        optimizer = make([{"params": ps[:2]}, {"params": ps[2:], "lr": 0.1}], weight_decay=0.1)
        norms = []
        for step in range(3):
            for p in ps:
                p.grad = draw(p.shape)
            if step:
                ps[1].grad = None  # from here on this one is younger than the others
            norms.append(tg.optim.clip_grad_norm_(ps, 1.0 if step else 1e9))
            optimizer.step()
        return [
            norms,
            *(p.grad.numpy() for p in ps if p.grad is not None),
            *(p.numpy() for p in ps),
        ]

    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype]
    for there, here in zip(*both(run), strict=True):
        np.testing.assert_allclose(there, here, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e30])
def test_clipping_leaves_gradients_whose_norm_is_not_finite(value: float) -> None:
    def run(on: str) -> list[Any]:
        p = tg.zeros((3,), device=on, requires_grad=True)
        p.grad = tg.tensor([1.0, value, 2.0], device=on)
        return [tg.optim.clip_grad_norm_([p], 1.0), *p.grad.tolist()]

    np.testing.assert_allclose(*both(run))


# ---------------------------------------------------------------- memory, devices and errors


def test_memory_is_counted_and_given_back() -> None:
    tg.cuda.synchronize()
    tg.cuda.empty_cache()
    before = tg.cuda.memory_stats()
    x = tg.ones((1024, 1024), device="cuda")
    during = tg.cuda.memory_stats()
    assert during["arrays"] - before["arrays"] == 4 * 1024 * 1024
    assert 0 < during["free"] <= during["total"]
    del x
    after = tg.cuda.memory_stats()
    assert after["arrays"] == before["arrays"]
    assert after["cached"] >= 4 * 1024 * 1024
    tg.cuda.empty_cache()
    # What is left lies in one block with arrays of other tests.
    assert tg.cuda.memory_stats()["cached"] <= before["cached"] < 4 * 1024 * 1024


def fails(error: type[Exception], words: str, call: Callable[[], Any]) -> None:
    """A call fails with one clear error, and the process stays usable."""
    with pytest.raises(error, match=words):
        call()
    assert (tg.ones((2, 3), device="cuda") * 2).sum().item() == 12


def test_no_memory_is_left() -> None:
    huge = (1 << 20, 1 << 24)
    fails(
        tg.OutOfMemoryError,
        "zeros: Out of memory allocating 70,368,744,177,664 .*free",
        lambda: zeros(huge),
    )
    x = tg.ones((4, 4, 1), device="cuda")
    wide = tg.broadcast_to(x, (4, 4, 1 << 50))
    fails(tg.OutOfMemoryError, "multiply: .* are free.*smaller", lambda: wide * 2.0)


def zeros(shape: tuple[int, ...]) -> tg.Tensor:
    return tg.zeros(shape, device="cuda")


@pytest.mark.parametrize(
    "call",
    [
        lambda: tg.zeros((2,), device="cuda:7"),
        lambda: tg.ones((2,)).to("cuda:7"),
        lambda: tg.set_default_device("cuda:7"),
        lambda: tg.device("cuda:7").__enter__(),
    ],
)
def test_a_device_that_does_not_exist(call: Callable[[], Any]) -> None:
    fails(tg.DeviceError, "'cuda:7'.*'cuda:0'", call)


def test_two_devices_mixed() -> None:
    there = tg.ones((2, 1, 2), device="cuda")
    for name, call in {"add": lambda: there + there.to("cpu"), "lstm": lambda: lstm(there)}.items():
        fails(tg.DeviceError, rf"{name}: inputs on cpu and cuda:0.*\.to\(\)", call)


def lstm(x: tg.Tensor) -> Any:
    return tg.nn.LSTM(2, 3)(x)


def test_a_kernel_that_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    from tinygrad_rnn.kernels.cuda import sources

    compiled = cupy.RawModule
    sources.kernel.cache_clear()
    monkeypatch.setattr(cupy, "RawModule", lambda code: compiled(code=code + "\nnonsense"))
    x = tg.ones((2, 3), device="cuda")
    fails(
        tg.DeviceError, "cross_entropy: .*a CUDA kernel does not compile",
        lambda: tg.nn.cross_entropy(x, [0, 1]),
    )  # fmt: skip
    sources.kernel.cache_clear()


def test_tf32_is_for_products_only_where_it_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    import cupy

    kinds, gemm = [], cupy.cuda.cublas.gemmEx

    def noted(*args: Any) -> Any:
        kinds.append(args[-2])
        return gemm(*args)

    x = tg.ones((3, 2, 4), device="cuda")
    layer = tg.nn.LSTM(4, 5)
    layer.to("cuda")
    monkeypatch.setattr(cupy.cuda.cublas, "gemmEx", noted)
    layer(x)
    tg.cuda.allow_tf32(True)
    try:
        layer(x)
    finally:
        tg.cuda.allow_tf32(False)
    layer(x)
    assert kinds == [68] * 4 + [77] * 4 + [68] * 4  # CUBLAS_COMPUTE_32F, 32F_FAST_TF32
    with pytest.raises(TypeError, match="allow_tf32: allowed"):
        tg.cuda.allow_tf32(1)  # type: ignore[arg-type]
