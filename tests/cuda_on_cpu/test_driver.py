"""The stand-in runs kernels as a GPU may, and reports what a GPU would only sometimes show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from .driver import start

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cp() -> Any:
    import cupy

    return cupy


SUM = r"""
extern "C" __global__ void row_sum(const float* x, float* y, int n) {
  __shared__ float part[128];
  const float* row = x + (long)blockIdx.x * n;
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += row[i];
  part[threadIdx.x] = sum;
  __syncthreads();
  for (int k = blockDim.x / 2; k; k /= 2) {
    if (threadIdx.x < k) part[threadIdx.x] += part[threadIdx.x + k];
    __syncthreads();
  }
  if (threadIdx.x == 0) y[blockIdx.x] = part[0];
}
"""

# Blocks hand a number on, each to the next, and so need each other to run.
CHAIN = r"""
extern "C" __global__ void chain(int* flags, int* out) {
  extern __shared__ int mine[];
  const int b = blockIdx.x;
  if (threadIdx.x == 0) {
    while (b && atomicAdd(&flags[b - 1], 0) == 0) __nanosleep(20);
    mine[0] = b ? out[b - 1] + b : 0;
  }
  __syncthreads();
  if (threadIdx.x == blockDim.x - 1) {
    out[b] = mine[0];
    __threadfence();
    atomicExch(&flags[b], 1);
  }
}
"""

WARP = r"""
extern "C" __global__ void warp_sum(const float* x, float* y) {
  float v = x[blockIdx.x * 32 + threadIdx.x];
  for (int k = 16; k; k /= 2) v += __shfl_down_sync(~0u, v, k);
  if (threadIdx.x == 0) y[blockIdx.x] = v;
}
"""


def row_sums(cp: Any, source: str, options: tuple[str, ...] = ()) -> Any:
    kernel = cp.RawKernel(source, "row_sum", options)
    x = cp.arange(3 * 200, dtype="float32").reshape(3, 200)
    y = cp.empty(3, "float32")
    kernel((3,), (128,), (x, y, np.int32(200)))
    return y.tolist(), x.sum(axis=1).tolist()


@pytest.mark.parametrize("seed", range(4))
def test_barriers_hold_in_every_order(cp: Any, seed: int) -> None:
    with start().order(seed):
        ours, expected = row_sums(cp, SUM)
    assert ours == expected


@pytest.mark.parametrize("seed", range(4))
def test_warps_shuffle(cp: Any, seed: int) -> None:
    x = cp.arange(64, dtype="float32")
    y = cp.empty(2, "float32")
    with start().order(seed):
        cp.RawKernel(WARP, "warp_sum")((2,), (32,), (x, y))
    assert y.tolist() == [496.0, 1520.0]


@pytest.mark.parametrize("seed", range(4))
def test_blocks_that_wait_for_each_other_run_side_by_side(cp: Any, seed: int) -> None:
    kernel = cp.RawKernel(CHAIN, "chain", enable_cooperative_groups=True)
    flags, out = cp.zeros(20, "int32"), cp.zeros(20, "int32")
    with start().order(seed):
        kernel((20, 1), (64,), (flags, out), shared_mem=256)
    assert out.tolist() == [n * (n + 1) // 2 for n in range(20)]


def planted(source: str, old: str, new: str) -> str:
    assert source.count(old) >= 1
    return source.replace(old, new, 1)


BUGS: dict[str, tuple[str, str, str]] = {
    "a barrier that is missing": (
        "part[threadIdx.x] = sum;\n  __syncthreads();", "part[threadIdx.x] = sum;", "race",
    ),
    "a barrier that is missing in a loop": (
        "part[threadIdx.x + k];\n    __syncthreads();", "part[threadIdx.x + k];", "race",
    ),
    "a tree that leaves branches out": ("k; k /= 2", "k; k /= 4", ""),
    "an index past the end": ("y[blockIdx.x] =", "y[blockIdx.x + 128] =", "stray write"),
    "blocks that write to one place": ("y[blockIdx.x] =", "y[0] =", "race"),
    "a loop that starts one too far": ("int i = threadIdx.x;", "int i = threadIdx.x + 1;", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BUGS)
def test_planted_bugs_are_caught(cp: Any, name: str) -> None:
    old, new, found = BUGS[name]
    cp.cuda.set_allocator(None)  # each array has an allocation of its own, whose end is known
    try:
        ours, expected = row_sums(cp, SUM, ("-DCHECKED",))
        assert ours == expected
        try:
            ours, _ = row_sums(cp, planted(SUM, old, new), ("-DCHECKED",))
        except cp.cuda.driver.CUDADriverError:
            assert "kernel row_sum" in start().failure
            assert found in start().failure
        else:
            assert not found
            assert ours != expected
    finally:
        cp.cuda.set_allocator(cp.get_default_memory_pool().malloc)


def test_a_wait_without_end_is_an_error_and_the_process_goes_on(cp: Any) -> None:
    kernel = cp.RawKernel(
        planted(CHAIN, "atomicExch(&flags[b], 1);", ""), "chain", enable_cooperative_groups=True
    )
    flags, out = cp.zeros(2, "int32"), cp.zeros(2, "int32")
    with pytest.raises(cp.cuda.driver.CUDADriverError):
        kernel((2, 1), (32,), (flags, out), shared_mem=256)
    assert "wait for each other" in start().failure
    assert (cp.ones(2) + 1).tolist() == [2.0, 2.0]


def test_what_does_not_compile_is_an_error(cp: Any) -> None:
    from cupy.cuda.compiler import CompileException

    with pytest.raises(CompileException, match="no_such_name"):
        cp.RawKernel('extern "C" __global__ void k() { no_such_name(); }', "k").compile()


COUNTED: dict[str, tuple[Callable[[Any, Any], Any], dict[str, int]]] = {
    "an addition": (lambda cp, x: x + x, {"launches": 1, "waits": 0}),
    "a product": (lambda cp, x: x @ x, {"products": 1, "waits": 0}),
    "a value on the host": (lambda cp, x: x.get(), {"launches": 0, "to_host": 1, "waits": 1}),
}


@pytest.mark.parametrize("name", COUNTED)
def test_launches_and_waits_are_counted(cp: Any, name: str) -> None:
    call, expected = COUNTED[name]
    x = cp.ones((4, 4), "float32")
    call(cp, x)
    with start().counting() as found:
        call(cp, x)
    assert {key: found[key] for key in expected} == expected
