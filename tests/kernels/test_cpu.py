"""The native kernels: like the reference at every size and with any threads, to the last places."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.kernels import dispatch, reference
from tinygrad_rnn.kernels.cpu import functions as cpu
from tinygrad_rnn.testing import sequence

from ..drawing import HypothesisSampler
from .fused import Fused

pytestmark = pytest.mark.skipif(cpu.native is None, reason=cpu.describe())

CELLS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "rnn tanh": ("rnn", 1, {"activation": "tanh"}),
    "rnn relu": ("rnn", 1, {"activation": "relu"}),
    "gru": ("gru", 3, {"reset_after": False}),
    "gru reset_after": ("gru", 3, {"reset_after": True}),
    "lstm": ("lstm", 4, {}),
}
cells = pytest.mark.parametrize("cell", CELLS)


def inputs(cell: str, rng: Any, sizes: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """Arrays of an operation with weights of a usual size."""
    name, gates, _ = CELLS[cell]
    t, b, i, h = sizes

    def drawn(*shape: int, scale: float = 1.0) -> Any:
        return (scale * rng.normal(size=shape)).astype(dtype)

    arrays = {
        "x": drawn(t, b, i),
        "h0": drawn(b, h),
        "c0": drawn(b, h) if name == "lstm" else None,
        "w_ih": drawn(gates * h, i, scale=i**-0.5),
        "w_hh": drawn(gates * h, h, scale=h**-0.5),
        "b_ih": drawn(gates * h),
        "b_hh": None if cell == "gru" else drawn(gates * h),
    }
    return {k: v for k, v in arrays.items() if v is not None}


def results(op: Any, arrays: dict[str, Any], used: list[bool], **options: Any) -> list[Any]:
    """The outputs, and the gradients in all inputs of those used."""
    xs = {k: tg.tensor(v, requires_grad=True) for k, v in arrays.items()}
    ys = op(**xs, **options)
    live = [y for y, use in zip(ys, used, strict=True) if use]
    gs = [np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype) for y in live]
    return [*ys, *tg.grad(live, list(xs.values()), gs)]


@pytest.fixture(autouse=True)
def _threads() -> Any:
    before = tg.get_num_threads()
    yield
    tg.set_num_threads(before)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 2e-4)])
@given(data=st.data())
def test_native_equals_reference(
    name: str, dtype: str, tolerance: float, data: st.DataObject
) -> None:
    d = HypothesisSampler(data)
    if d.one_of([True, False]):  # one step of few rows, two threads' worth of rows, several chunks
        sizes = d.one_of([(1, 1), (1, 9), (3, 70), (180, 3)])
    else:
        sizes = d.integer(1, 9), d.integer(1, 9)
    drawn, constants, options = sequence(d, name, *sizes, d.integer(1, 70), d.integer(1, 70))
    if name == "rnn":
        options["activation"] = d.one_of(["tanh", "relu"])
    # What grows from step to step is badly conditioned.
    gains = {"w_ih": 0.5, "w_hh": 0.3 if options.get("activation") == "relu" else 1.0}
    gains |= {"w_hr": drawn["w_hh"].shape[1] ** -0.5, "w_ch": 0.3}
    arrays = {k: (gains.get(k, 1.0) * v).astype(dtype) for k, v in drawn.items()}
    given = {k: v for k, v in constants.items() if v is not None}
    given = {k: v.astype(dtype) if v.dtype.kind == "f" else v for k, v in given.items()}
    assert cpu.supports(*arrays.values(), *(v for v in given.values() if v.dtype.kind == "f"))
    used = [
        d.one_of([True, False]) for _ in range(2 if name != "lstm" else 3 + options["every_cell"])
    ]
    used[d.integer(0, len(used) - 1)] = True
    tg.set_num_threads(d.integer(1, 3))
    found = results(Fused(cpu, name), arrays, used, **given, **options)
    true = results(Fused(reference, name), arrays, used, **given, **options)
    for a, b in zip(found, true, strict=True):
        assert a.dtype == dtype
        # Rounding is of the size of a sum's terms, of which the largest element gives an idea.
        size = max(1.0, float(abs(b).max().item())) if b.size else 1.0
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=tolerance, atol=tolerance * size)


@cells
def test_nobody_differentiates_and_the_numbers_are_the_same(cell: str) -> None:
    name, _, options = CELLS[cell]
    arrays = inputs(cell, np.random.default_rng(0), (7, 5, 3, 21), "float32")
    forward = getattr(cpu, f"{name}_forward")
    names = list(arrays)
    ins = [arrays.get(n) for n in ("x", "h0", *(["c0"] if name == "lstm" else []), "w_ih", "w_hh")]
    ins += [arrays.get("b_ih"), arrays.get("b_hh")]
    kept, saved = forward(np, *ins, **options)
    plain, none = forward(np, *ins, keep=False, **options)
    assert saved is not None
    assert none is None
    assert names[0] == "x"
    for a, b in zip(kept, plain, strict=True):
        np.testing.assert_array_equal(a, b)


@cells
@pytest.mark.parametrize("batch", [2, 12])  # splits the hidden units; splits the rows
def test_bits_do_not_depend_on_the_run_nor_numbers_on_the_threads(cell: str, batch: int) -> None:
    name, _, options = CELLS[cell]
    arrays = inputs(cell, np.random.default_rng(1), (40, batch, 30, 150), "float32")
    used = [True] * (3 if name == "lstm" else 2)
    runs = []
    for threads in (1, 3, 3):
        tg.set_num_threads(threads)
        runs.append(results(Fused(cpu, name), arrays, used, **options))
    for one, three, again in zip(*runs, strict=True):
        np.testing.assert_array_equal(three.numpy(), again.numpy())
        np.testing.assert_allclose(one.numpy(), three.numpy(), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- tanh and the logistic function


def points(dtype: str) -> Any:
    """Numbers of all magnitudes, both signs, and those that are odd."""
    info = np.finfo(dtype)
    rng = np.random.default_rng(0)
    near = rng.uniform(-12, 12, 200_000)
    far = 10 ** rng.uniform(-30, np.log10(800 if dtype == "float64" else 90), 200_000)
    odd = [0.0, -0.0, np.inf, -np.inf, info.tiny, -info.tiny, info.max, -info.max]
    return np.concatenate([near, far, -far, odd]).astype(dtype)


def ulps(found: Any, true: Any, dtype: str) -> float:
    """The largest error in units in the last place; what is below all normal numbers may be 0."""
    with np.errstate(under="ignore"):
        unit = np.spacing(np.abs(true).astype(dtype))
    error = np.abs(found.astype(np.longdouble) - true)
    normal = np.abs(true) >= np.finfo(dtype).tiny
    assert np.all(error[~normal] <= np.finfo(dtype).tiny)
    return float(np.max(error[normal] / unit[normal]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tanh_is_exact_to_four_places(dtype: str) -> None:
    x = points(dtype)
    one, zero = np.ones((1, 1), dtype), np.zeros((1, 1), dtype)
    y = cpu.rnn_forward(np, x[None, :, None], np.zeros((len(x), 1), dtype), one, zero, keep=False)
    found = y[0][0][0, :, 0]
    assert ulps(found, np.tanh(x.astype(np.longdouble)), dtype) <= 4
    assert not np.signbit(found[x == 0]).any()  # a product's sum begins from +0
    nan = cpu.rnn_forward(np, x[None, :1, None] * np.nan, zero, one, zero, keep=False)
    assert np.isnan(nan[0][0]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sigmoid_is_exact_to_four_places(dtype: str) -> None:
    x = points(dtype)  # into the forget gate of c0 = 1, the candidate being 0
    x = x[np.abs(x) < np.finfo(dtype).max]  # 0 * inf in the other gates
    w_ih = np.array([[0], [1], [0], [0]], dtype)
    h0, c0 = np.zeros((len(x), 1), dtype), np.ones((len(x), 1), dtype)
    w_hh = np.zeros((4, 1), dtype)
    (_, _, c), _ = cpu.lstm_forward(np, x[None, :, None], h0, c0, w_ih, w_hh, keep=False)
    with np.errstate(over="ignore"):
        true = 1 / (1 + np.exp(-x.astype(np.longdouble)))
    assert ulps(c[:, 0], true, dtype) <= 4
    for value, expected in ((np.inf, 1.0), (-np.inf, 0.0), (np.nan, np.nan)):
        b = np.array([0, value, 0, 0], dtype)
        (_, _, c), _ = cpu.lstm_forward(
            np, np.zeros((1, 1, 1), dtype), h0[:1], c0[:1], w_ih, w_hh, b, keep=False
        )
        np.testing.assert_array_equal(c, [[expected]])


# ---------------------------------------------------------------- threads


def test_threads_are_counted() -> None:
    tg.set_num_threads(2)
    assert tg.get_num_threads() == 2
    for wrong in (0, -1, 1025, 2**70):
        with pytest.raises(tg.InvalidValueError, match=f"expected 1 to 1024 threads, got {wrong}"):
            tg.set_num_threads(wrong)
    for other in (2.0, True, "2", None):
        with pytest.raises(tg.InvalidTypeError, match="set_num_threads: expected an integer"):
            tg.set_num_threads(other)  # type: ignore[arg-type]
    assert tg.get_num_threads() == 2


@pytest.mark.parametrize(
    ("given", "expected"),
    [("3", 3), (" 2 ", 2), ("4,2", 4), ("2000", 1024), ("9" * 30, 1024)]
    + [(other, None) for other in ("", "0", "-1", "abc", "²", "1.5", ",")],
)
def test_any_number_of_threads_in_the_environment(
    given: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    everything = min(len(os.sched_getaffinity(0)), 1024)
    assert cpu._threads_at_start() == (everything if expected is None else expected)


THREADS = """
import resource, sys
import numpy as np, tinygrad_rnn as tg
tg.set_num_threads(int(sys.argv[1]))
a = tg.as_tensor(np.ones((2000, 500), "float32"))
layer, x = tg.nn.LSTM(64, 64), tg.zeros((9, 300, 64))
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + int(sys.argv[2]), now + int(sys.argv[2])))
for call in (lambda: (a @ a.mT).numpy()[7, 9], lambda: 500 * len(layer(x)) // 2):
    try:
        assert call() == 500
    except (MemoryError, RuntimeError):
        pass
print("alive")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
@pytest.mark.parametrize(
    ("threads", "room"), [(2, 20_000_000), (64, 70_000_000), (64, 400_000_000)]
)
def test_fewer_threads_where_the_system_gives_no_more(threads: int, room: int) -> None:
    run = [sys.executable, "-c", THREADS, str(threads), str(room)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr[-300:])
    assert "alive" in done.stdout


def heavy() -> Any:
    """Enough work that threads are used."""
    arrays = inputs("lstm", np.random.default_rng(2), (30, 8, 16, 64), "float32")
    return results(Fused(cpu, "lstm"), arrays, [True] * 3)


def test_several_python_threads_at_a_time() -> None:
    tg.set_num_threads(2)
    true, found = heavy(), []
    workers = [threading.Thread(target=lambda: found.append(heavy())) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 4
    for run in found:
        for a, b in zip(run, true, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    tg.set_num_threads(2)
    true = heavy()
    child = os.fork()
    if child == 0:
        same = all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(heavy(), true, strict=True))
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


# ---------------------------------------------------------------- what it is not for


def test_arrays_that_native_code_does_not_take_run_in_the_reference() -> None:
    arrays = inputs("lstm", np.random.default_rng(0), (3, 2, 4, 5), "float64")
    assert dispatch.pick(np, [*arrays.values(), None]) is cpu
    for other in (arrays["h0"].astype("float16"), arrays["h0"].astype(int)):
        assert dispatch.pick(np, [*(arrays | {"h0": other}).values()]) is reference
    assert dispatch.pick(np, [a.astype("float16") for a in arrays.values()]) is reference
    y, *_ = tg.lstm(**(arrays | {"x": arrays["x"][:0]}))  # native code would refuse it
    assert y.shape == (0, 2, 5)


@cells
@pytest.mark.parametrize("batch", [2, 10])  # weights are read where they lie; packed
@pytest.mark.parametrize("infinite", [1, 4])  # elements
@pytest.mark.parametrize("where", ["a table", "a table, past a length", "an input"])
def test_what_is_infinite_spoils_what_reads_it_alone(
    cell: str, batch: int, infinite: int, where: str
) -> None:
    """With 5 units, that fill no vector: what is left of it holds infinity times zero."""
    name, _, options = CELLS[cell]
    arrays = inputs(cell, np.random.default_rng(0), (3, batch, 4, 5), "float64")
    given: dict[str, Any] = {}
    if where == "an input":
        arrays["x"][1, 0, :infinite] = np.inf
    else:
        arrays["x"] = np.random.default_rng(1).normal(size=(6, 4))
        arrays["x"][2, :infinite] = np.inf
        given["ids"] = np.ones((3, batch), int)
        given["ids"][2 if "past" in where else 1, 0] = 2
    if "past" in where:
        given["lengths"] = np.array([2] + [3] * (batch - 1))
    used = [True] * (3 if name == "lstm" else 2)
    with np.errstate(all="ignore"):
        found = results(Fused(cpu, name), arrays, used, **given, **options)
        true = results(Fused(reference, name), arrays, used, **given, **options)
    for a, b in zip(found, true, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), 1e-11, 1e-11)
        assert "past" not in where or np.isfinite(a.numpy()).all()
    assert np.isfinite(found[0].numpy()[:, 1]).all()


@pytest.mark.parametrize("name", ["h0", "w_ih", "w_hh", "b_ih"])
def test_memory_is_safe_without_the_contract(name: str) -> None:
    """Even where nothing has checked the shapes before."""
    arrays = inputs("rnn tanh", np.random.default_rng(0), (3, 2, 4, 5), "float32")
    arrays[name] = arrays[name][:1]
    names = ("x", "h0", "w_ih", "w_hh", "b_ih", "b_hh")
    with pytest.raises(ValueError, match="shape does not fit"):
        cpu.rnn_forward(np, *(arrays[n] for n in names))
