"""One launch for a whole sequence: kernels that keep the recurrent weights in shared memory.

They run RNN, GRU (reset after) and LSTM without a projection, with every option, where the weights
fit the device; the rest takes one product and one kernel a step (`recurrent.py`), whose functions
of an element they share. They have not run on a GPU, so they are off unless the environment asks:
TINYGRAD_RNN_CUDA_KERNELS=persistent. The first call of a cell then checks itself on a small case.
"""

from __future__ import annotations

import os
import warnings
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ...errors import DeviceError
from . import sequence
from .sources import TYPES, cuda_source

Array = Any

THREADS, CHUNK = 256, 32  # as in persistent.cu
MULTIPROCESSORS, SHARED_MEMORY, COOPERATIVE = 16, 97, 95  # cudaDeviceAttr
TILES = (1, 2, 4, 8, 16, 32, 64)

# Of each cell: whether the product is kept apart from the input's share.
CELLS = {"rnn": 0, "gru_after": 1, "lstm": 0}
STATIC = 8 * 64  # bytes of shared memory for the rows' addresses


class Tile(NamedTuple):
    """The units and rows of a block, and the shared memory that it uses."""

    units: int
    rows: int
    shared: int  # bytes


def wanted() -> bool:
    """Whether the environment asks for these kernels. **Raises** DeviceError for another name."""
    name = os.environ.get("TINYGRAD_RNN_CUDA_KERNELS", "")
    if name not in ("", "steps", "persistent"):
        raise DeviceError(f"TINYGRAD_RNN_CUDA_KERNELS: expected steps or persistent, got {name!r}")
    return name == "persistent"


def describe() -> str:
    """Names the kernels that run a sequence, and the reason."""
    if wanted():
        return "one launch for a sequence where it fits (TINYGRAD_RNN_CUDA_KERNELS)"
    return "two launches for a step; one for a sequence has not run on a GPU and is off"


@lru_cache(256)
def tile(
    gates: int, hidden: int, batch: int, itemsize: int, blocks: int, shared: int
) -> Tile | None:
    """Divides (batch, hidden) among blocks that are resident at a time; None if they do not fit.

    **Arguments** blocks: as many as there are multiprocessors. shared: bytes of each.
    """
    fitting = []
    for units in TILES:
        for rows in TILES:
            needed = (gates * hidden * units + CHUNK * rows) * itemsize
            count = -(-hidden // units) * -(-batch // rows)
            if count <= blocks and needed + STATIC <= shared:
                fitting.append(
                    (max(units * rows * gates, THREADS), count, Tile(units, rows, needed))
                )
    # The smallest share of the work that leaves no thread idle, of equal ones in the fewest blocks.
    return min(fitting)[2] if fitting else None


def source(real: str, cell: str, gates: int, units: int, rows: int) -> str:
    """The CUDA C++ of a cell for a tile."""
    return (
        sequence.source(real)
        + f"#define HT {units}\n#define BT {rows}\n#define GATES {gates}\n"
        + f"#define SEPARATE {CELLS[cell]}\n"
        + f"#define STEP {cell}_at\n#define STEP_BACK {cell}_back_at\n"
        + cuda_source("persistent.cu")
    )


@lru_cache
def _kernel(xp: ModuleType, way: str, real: str, *built: Any) -> Any:
    return xp.RawModule(code=source(TYPES[real], *built)).get_function(way)


@lru_cache
def _limits(xp: ModuleType, device: int) -> tuple[int, int]:
    """Multiprocessors, 0 if blocks cannot wait for each other; bytes of shared memory of each."""
    of = xp.cuda.runtime.deviceGetAttribute
    return of(MULTIPROCESSORS, device) * of(COOPERATIVE, device), of(SHARED_MEMORY, device)


def run(s: Any, cell: str, way: str, w_hh: Array) -> bool:
    """Runs all steps of a `sequence.Pass`; False if they are left to a launch for each.

    **Arguments** way: `forward` or `backward`. w_hh: contiguous; the caller holds it.
    """
    if not wanted():
        return False
    xp, device, gates = s.xp, s.xp.cuda.Device().id, len(w_hh) // s.width
    fitting = tile(gates, s.width, s.loop.batch, s.dtype.itemsize, *_limits(xp, device))
    if fitting is None or not _right(xp, device, cell, gates, str(s.dtype)):
        return False
    units, rows, shared = fitting
    kernel = _kernel(xp, way, str(s.dtype), cell, gates, units, rows)
    if shared > 48 * 1024:
        kernel.max_dynamic_shared_size_bytes = shared
    s.put(w_hh=w_hh)
    groups = -(-s.loop.batch // rows)
    arrived = xp.zeros(groups, "uint32")
    counter = np.array([arrived.data.ptr], np.uintp)
    given = np.array([s.record.ctypes.data, counter.ctypes.data], np.uintp)
    xp.cuda.driver.launchCooperativeKernel(
        kernel.kernel.ptr, -(-s.width // units), groups, 1, THREADS, 1, 1, shared,
        xp.cuda.get_current_stream().ptr, given.ctypes.data,
    )  # fmt: skip
    return True


_verdicts: dict[tuple[int, str, int, str], bool] = {}


def _right(xp: ModuleType, device: int, cell: str, gates: int, dtype: str) -> bool:
    """Whether a small case comes out as with a launch for each step; checked once a process."""
    key = device, cell, gates, dtype
    if key not in _verdicts:
        _verdicts[key] = True  # for the check's own calls
        found = _small_case(xp, cell, gates, dtype)
        _verdicts[key] = False
        expected = _small_case(xp, cell, gates, dtype)
        near = 1e-4 if dtype == "float32" else 1e-10
        _verdicts[key] = all(
            np.allclose(a.get(), b.get(), rtol=near, atol=near)
            for a, b in zip(found, expected, strict=True)
        )
        if not _verdicts[key]:
            warnings.warn(
                f"TINYGRAD_RNN_CUDA_KERNELS: the persistent kernel of {cell} in {dtype} computes "
                "something else than the kernels of single steps, which run in its place",
                RuntimeWarning,
                stacklevel=2,
            )
    return _verdicts[key]


def _small_case(xp: ModuleType, cell: str, gates: int, dtype: str) -> list[Array]:
    """Outputs and gradients of a few steps, of more rows and units than one block has."""
    from . import recurrent

    name = cell.partition("_")[0]
    steps, batch, hidden = 4, 5, 24
    rng = np.random.default_rng(0)
    shapes = [(steps, batch, 3), (batch, hidden), (gates * hidden, 3), (gates * hidden, hidden)]
    x, h0, w_ih, w_hh = (xp.asarray(rng.normal(size=shape).astype(dtype)) for shape in shapes)
    states = [h0, h0] if name == "lstm" else [h0]
    settings = {"gru": {"reset_after": True}, "lstm": {"coupled_gates": gates == 3}}.get(name, {})
    forward = getattr(recurrent, f"{name}_forward")
    backward = getattr(recurrent, f"{name}_backward")
    outputs, saved = forward(xp, x, *states, w_ih, w_hh, **settings)
    g = tuple(xp.ones_like(y) for y in outputs)
    needs = [True] * (3 + len(states)) + [False, False]
    needs += [False, False] if name == "lstm" else []
    gradients = backward(xp, g, saved, needs)
    return [*outputs, *(d for d in gradients if d is not None)]
