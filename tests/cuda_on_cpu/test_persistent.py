"""Kernels that run a whole sequence in one launch: numbers, orders, launches, planted bugs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.kernels.cuda import persistent, recurrent

from ..kernels.fused import Fused
from .driver import start
from .test_launches import counted, figures, training
from .test_recurrent import CELLS, arrays, everything, of_cell, results

pytestmark = pytest.mark.gpu

ONE_LAUNCH = ["rnn_tanh", "rnn_relu", "gru_reset_after", "lstm", "lstm_coupled"]
SIZES = 5, 5, 30


@pytest.fixture(autouse=True)
def asked_for(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """They run, in small tiles: several groups of several blocks. New arrays are NaN."""
    import cupy

    monkeypatch.setenv("TINYGRAD_RNN_CUDA_KERNELS", "persistent")
    monkeypatch.setattr(persistent, "tile", lambda *_: persistent.Tile(8, 2, 1 << 16))
    monkeypatch.setattr(persistent, "_verdicts", {})
    cupy.cuda.set_allocator(None)  # not what an earlier call wrote
    yield
    cupy.cuda.set_allocator(cupy.get_default_memory_pool().malloc)


def by_steps(monkeypatch: pytest.MonkeyPatch, cell: str, reverse: bool = False) -> list[Any]:
    with monkeypatch.context() as m:
        m.setenv("TINYGRAD_RNN_CUDA_KERNELS", "steps")
        return of_cell(cell, recurrent, "cuda", *SIZES, reverse=reverse)


@pytest.mark.parametrize("cell", ONE_LAUNCH)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_all_options_in_any_order_as_with_a_launch_for_each_step(
    cell: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    reverse = seed == 1
    true = by_steps(monkeypatch, cell, reverse)
    with start().order(seed), start().counting():
        found = of_cell(cell, recurrent, "cuda", *SIZES, reverse=reverse)
        launched = start().kernels()
    assert launched["forward"] >= 1
    assert launched["backward"] >= 1
    for a, b in zip(found, true, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_is_one_launch_whatever_its_length(cell: str) -> None:
    name, options, _ = CELLS[cell]

    def launches(steps: int) -> int:
        inputs, constants = arrays(cell, steps, 2, 4), everything(cell, steps, 2, 4)
        call = lambda: results(Fused(recurrent, name), "cuda", inputs, constants, **options)
        call()  # checks itself
        found = counted(call)
        return found["launches"] + found["products"]

    assert (launches(4) == launches(9)) == (cell in ONE_LAUNCH)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_an_update_of_charlm(cell: str) -> None:
    run = training("cuda", cell=cell)
    next(run), next(run)
    update = counted(lambda: next(run))
    assert update["launches"] + update["products"] <= 40
    assert update["waits"] == 1
    np.testing.assert_allclose(figures("cuda", cell=cell), figures("cpu", cell=cell), rtol=2e-5)


def test_tiles_of_an_h100(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    shared = 232_448
    for batch, hidden in [(64, 512), (16, 256), (128, 512), (64, 1024), (16, 768), (1, 512)]:
        found = persistent.tile(4, hidden, batch, 4, 132, shared)
        assert found is not None
        assert -(-hidden // found.units) * -(-batch // found.rows) <= 132
        assert found.shared + persistent.STATIC <= shared
    assert persistent.tile(4, 4096, 64, 4, 132, shared) is None  # 268 MB of weights
    assert persistent.tile(4, 512, 64, 4, 0, shared) is None  # no cooperative launches


def test_what_does_not_fit_takes_a_launch_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistent, "tile", lambda *_: None)
    with start().counting():
        of_cell("lstm", recurrent, "cuda", *SIZES)
        assert start().kernels()["lstm"] == SIZES[0]


def test_a_kernel_that_computes_something_else_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = persistent.source
    persistent._kernel.cache_clear()
    monkeypatch.setattr(
        persistent, "source", lambda *a: right(*a).replace("= sums[r];", "= 2 * sums[r];")
    )
    true = by_steps(monkeypatch, "rnn_tanh")
    with pytest.warns(RuntimeWarning, match="the persistent kernel of rnn in float64"):
        found = of_cell("rnn_tanh", recurrent, "cuda", *SIZES)
    persistent._kernel.cache_clear()
    for a, b in zip(found, true, strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINYGRAD_RNN_CUDA_KERNELS", "fastest")
    with pytest.raises(
        tg.DeviceError, match="TINYGRAD_RNN_CUDA_KERNELS: expected steps or persistent"
    ):
        of_cell("lstm", recurrent, "cuda", *SIZES)


BUGS = {
    "blocks do not wait for each other": (
        "while (*(volatile unsigned*)arrived < times)", "while (0)",
    ),
    "blocks wait for too few": ("gridDim.x * (n + 1)", "gridDim.x * n + 1"),
    "backwards, too": ("gridDim.x * (s.T - n)", "gridDim.x * (s.T - n - 1) + 1"),
    "no barrier after a stage": (
        ": Real(0);\n    }\n    __syncthreads();", ": Real(0);\n    }",
    ),
    "no barrier before a stage": ("__syncthreads();  // the stage may still be read", ""),
    "gates are read before they are there": (
        "__syncthreads();  // another thread of the block has computed", "//",
    ),
    "a term too few": ("K - first < CHUNK ? K - first :", "K - first < CHUNK ? K - first - 1 :"),
    "weights of another unit": ("u = first_unit + j % HT;", "u = first_unit + j / GATES;"),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = BUGS[name]
    right, planted = persistent.source, []

    def with_bug(*a: Any) -> str:
        planted.append(old in right(*a))
        return right(*a).replace(old, new)

    true = by_steps(monkeypatch, "lstm")
    monkeypatch.setattr(persistent, "source", with_bug)
    monkeypatch.setattr(persistent, "_right", lambda *_: True)
    persistent._kernel.cache_clear()
    caught = False
    for seed in range(4):
        with start().order(seed):
            try:
                found = of_cell("lstm", recurrent, "cuda", *SIZES)
            except tg.DeviceError:
                caught = True
            else:
                caught |= not all(map(np.allclose, found, true))
    persistent._kernel.cache_clear()
    assert all(planted)
    assert caught
