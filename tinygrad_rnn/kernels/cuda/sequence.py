"""A pass over a sequence on a GPU: its arrays, and what is launched at a step.

All pointers of a step are known before the loop, so that a launch is one call with numbers: nothing
is allocated, converted or checked there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from ..contract import SequenceOptions
from ..reference.time_loop import TimeLoop, project
from .sources import TYPES, cuda_source

Array = Any
Arrays = tuple[Array | None, ...]
Step = Callable[[int], None]

THREADS = 128

# The fields of struct Sequence in recurrent.cu, in order.
REALS = (
    "h0", "c0", "gates", "part", "hs", "cs", "ms", "y", "h_last", "c_last", "c_every",
    "c_computed", "aside", "projected", "mask", "h_zone", "c_zone", "peepholes", "b_hh",
    "w_hh", "gh", "gc", "gy", "gcs", "dh", "dc", "dm", "dz", "dz_rec", "d_projected",
)  # fmt: skip
BYTES = ("over", "begins", "cut")
NUMBERS = ("T", "B", "H", "P", "reverse", "relu", "coupled", "h_wide", "c_wide")
RECORD = np.dtype(
    [(name, np.uint64) for name in (*REALS, *BYTES)]
    + [("clip", np.float64)]
    + [(name, np.int32) for name in NUMBERS],
    align=True,
)


def source(real: str) -> str:
    """The CUDA C++ of all kernels, for one type of numbers."""
    return f"""typedef {real} Real;
struct Sequence {{
  Real *{", *".join(REALS)};
  unsigned char *{", *".join(BYTES)};
  double clip;
  int {", ".join(NUMBERS)};
}};
{cuda_source("recurrent.cu")}"""


@lru_cache
def _kernel(xp: ModuleType, name: str, dtype: str) -> Any:
    return _module(xp, dtype).get_function(name)


@lru_cache
def _module(xp: ModuleType, dtype: str) -> Any:
    return xp.RawModule(code=source(TYPES[dtype]))


class Pass:
    """A pass over a sequence: its arrays and sizes by their names in recurrent.cu."""

    def __init__(
        self,
        xp: ModuleType,
        x: Array,
        options: SequenceOptions,
        h0: Array,
        width: int,
        c0: Any = None,
    ) -> None:
        """**Arguments** width: hidden units, H."""
        self.xp, self.dtype = xp, x.dtype
        self.loop = loop = TimeLoop(xp, x, options)
        self.width, self.out = width, h0.shape[1]
        self.arrays: dict[str, Array] = {}
        self.record = np.zeros(1, RECORD)
        self.factors = np.array([0, 1], self.dtype)
        self._point()
        self.numbers(T=loop.steps, B=loop.batch, H=width, P=self.out, reverse=loop.reverse)
        self.put(h0=h0, c0=c0, over=loop.ended, begins=loop.reset, mask=loop.h_mask)
        for leaf, zone in zip("hc", options.zoneout, strict=False):
            if zone is not None:
                self.put(**{f"{leaf}_zone": zone})
                self.numbers(**{f"{leaf}_wide": zone.size > 1})
        self.make(hs=(loop.steps + 1, loop.batch, self.out), h_last=h0.shape)
        if loop.ended is not None:
            self.make(y=(loop.steps, loop.batch, self.out))
        if loop.reset is not None or loop.h_mask is not None:
            self.make(ms=(loop.steps, loop.batch, self.out))
        if c0 is not None:
            self.make(cs=(loop.steps + 1, loop.batch, width), c_last=c0.shape)

    def _point(self) -> None:
        """Lists, for each step, the addresses of what a kernel is given: the record and n."""
        steps = self.loop.steps
        self.steps = np.arange(steps, dtype=np.int32)
        self.arguments = np.empty((steps, 2), np.uintp)
        self.arguments[:, 0] = self.record.ctypes.data
        self.arguments[:, 1] = self.steps.ctypes.data + 4 * np.arange(steps, dtype=np.uintp)

    def put(self, **arrays: Array | None) -> None:
        """Gives the kernels arrays, which are converted if they must; None is no array."""
        for name, a in arrays.items():
            if a is not None:
                dtype = bool if name in BYTES else self.dtype
                self.arrays[name] = self.xp.ascontiguousarray(a, dtype=dtype)
                self.record[name] = self.arrays[name].data.ptr

    def make(self, **shapes: tuple[int, ...]) -> None:
        """Allocates arrays."""
        for name, shape in shapes.items():
            dtype = bool if name in BYTES else self.dtype
            self.put(**{name: self.xp.empty(shape, dtype)})

    def numbers(self, **numbers: float) -> None:
        """Gives the kernels numbers."""
        for name, number in numbers.items():
            self.record[name] = number

    def each_step(self, width: int) -> tuple[int, int, int]:
        """The shape of an array of every step, (T, B, width)."""
        return self.loop.steps, self.loop.batch, width

    def project(self, x: Array, w_ih: Array, b: Array | None) -> None:
        """The gates' share of the inputs; of a table's rows once each, if they are fewer."""
        ids = self.loop.ids
        if ids is None:
            gates = project(self.xp, x, w_ih, b)
        elif len(x) < ids.size:
            gates = project(self.xp, x, w_ih, b)[ids]
        else:
            gates = project(self.xp, x[ids], w_ih, b)
        self.put(gates=gates)

    def backward(self, g: Arrays) -> Pass:
        """The pass backwards over the same arrays, which it only reads.

        **Arguments** g: the cotangents of y, h_n, and of an LSTM c_n and cs.
        """
        back = Pass.__new__(Pass)
        back.__dict__.update(self.__dict__)
        back.arrays, back.record = dict(self.arrays), self.record.copy()
        back._point()
        back.put(**dict(zip(("gy", "gh", "gc", "gcs"), g, strict=False)))
        back.make(dh=(self.loop.batch, self.out), dm=(self.loop.batch, self.out))
        back.make(dz=self.arrays["gates"].shape)
        if "cs" in self.arrays:
            back.make(dc=(self.loop.batch, self.width))
        return back

    # -------------------------------------------------------------- what is launched

    def launcher(self, name: str, width: int) -> Step:
        """Launches a kernel, with a thread for each element of (B, width), at a step."""
        kernel = _kernel(self.xp, name, str(self.dtype)).kernel.ptr
        blocks = -(-self.loop.batch * width // THREADS)
        launch, stream = self.xp.cuda.driver.launchKernel, self.xp.cuda.get_current_stream().ptr
        first, size = self.arguments.ctypes.data, self.arguments.strides[0]

        def step(n: int) -> None:
            launch(kernel, blocks, 1, 1, THREADS, 1, 1, 0, stream, first + size * n, 0)

        return step

    def pointers(self, name: str) -> range:
        """The addresses of an array's places, in running order."""
        a = self.arrays[name]
        places = range(a.data.ptr, a.data.ptr + a.nbytes, a.strides[0])
        return places[::-1] if self.loop.reverse else places

    def forwards(self) -> Iterator[tuple[int, int, int]]:
        """For each step its number, and the addresses of the product's input and of the gates."""
        steps, states = range(self.loop.steps), self.pointers("ms" if "ms" in self.arrays else "hs")
        return zip(steps, states, self.pointers("gates"), strict=False)  # hs has one more

    def backwards(self, *names: str) -> Iterator[tuple[int, ...]]:
        """From the last step its number, and the addresses of these arrays at the step."""
        steps = range(self.loop.steps)[::-1]
        return zip(steps, *(self.pointers(name)[::-1] for name in names), strict=True)

    def product(
        self, w: Array, *, transposed: bool, add: bool = False, a_row: int = 0, out_row: int = 0
    ) -> Callable[[int, int], None]:
        """Multiplies rows by w, or by its transpose: a function of the addresses of both arrays.

        **Arguments** w: contiguous; the caller holds it. add: adds to what is there. a_row,
        out_row: elements from one row to the next, if these are parts of wider ones.
        """
        xp, (rows, columns) = self.xp, w.shape
        out, inner = (rows, columns) if transposed else (columns, rows)
        kind, compute = (0, 68) if self.dtype == np.float32 else (1, 70)  # CUDA_R_32F, COMPUTE_32F
        if xp._core.get_compute_type(self.dtype) == xp._core._routines_linalg.COMPUTE_TYPE_TF32:
            compute = 77  # COMPUTE_32F_FAST_TF32
        zero, one = (self.factors[k:].ctypes.data for k in range(2))
        beta = one if add else zero
        gemm, handle, batch = xp.cuda.cublas.gemmEx, xp.cuda.Device().cublas_handle, self.loop.batch
        of_w, flag, a_row, out_row = w.data.ptr, int(transposed), a_row or inner, out_row or out

        def multiply(a: int, result: int) -> None:  # of matrices by columns: the transposed ones
            gemm(
                handle, flag, 0, out, batch, inner, one, of_w, kind, columns, a, kind, a_row,
                beta, result, kind, out_row, compute, -1,
            )  # fmt: skip

        return multiply

    # -------------------------------------------------------------- states and their cotangents

    def start(self) -> None:
        """Before the first step."""
        self.launcher("start", max(self.out, self.width))(0)

    def finish(self) -> None:
        """After the last step backwards: dh and dc are those of h0 and c0."""
        self.launcher("finish", max(self.out, self.width))(0)

    def before(self, states: str) -> Array:
        """The states that the steps read, in order of time."""
        a = self.arrays[states]
        return a[1:] if self.loop.reverse else a[:-1]

    def after(self, states: str) -> Array:
        """The states after each step, in order of time."""
        a = self.arrays[states]
        return a[:-1] if self.loop.reverse else a[1:]

    @property
    def output(self) -> Array:
        """The h of every step; zero where a row has ended."""
        return self.arrays["y"] if "y" in self.arrays else self.after("hs")

    @property
    def m(self) -> Array:
        """The inputs of the recurrent products, (T, B, P)."""
        return self.arrays["ms"] if "ms" in self.arrays else self.before("hs")
