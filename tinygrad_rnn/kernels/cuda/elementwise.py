"""Fused elementwise arithmetic on a GPU: a chain of functions becomes one kernel.

The chains are those of `kernels.elementwise`, which native code interprets on the CPU: instructions
of four bytes (function, two operands, result) on registers.
"""

from __future__ import annotations

import math
import sys
from array import array
from typing import Any

import numpy as np

from .sources import TYPES

Array = Any

THREADS = 128

EXPRESSIONS = (  # in the order of kernels.elementwise.FUNCTIONS
    "{a} + {b}", "{a} - {b}", "{a} * {b}", "{a} / {b}",
    "({a} >= {b} || {a} != {a}) ? {a} : {b}", "({a} <= {b} || {a} != {a}) ? {a} : {b}",  # NaN stays
    "-{a}", "fabs({a})", "{a} > 0 ? Real(1) : {a} < 0 ? Real(-1) : {a}", "tanh({a})",
)  # fmt: skip


def _literal(x: float) -> str:
    if math.isfinite(x):
        return f"Real({x.hex()})"
    return "Real(0) / Real(0)" if math.isnan(x) else f"{'-' if x < 0 else ''}Real(1) / Real(0)"


def source(real: str, native_args: tuple[Any, ...]) -> str:
    """The CUDA C++ of a chain.

    Its argument is a list of numbers: rows and columns; for each input its address and the elements
    from row to row; for each output array its address.
    """
    steps, registers, constants, results, widths, *_ = native_args
    code = [steps[i : i + 4] for i in range(0, len(steps), 4)]
    inputs = min((to for *_, to in code), default=registers) - len(constants)
    outputs = [(i, k, widths[i]) for i in range(len(widths)) for k in range(widths[i])]
    lines = [
        f"  Real r{i} = ((const Real*)g.at[{2 + 2 * i}])[row * g.at[{3 + 2 * i}] + column];"
        for i in range(inputs)
    ]
    lines += [f"  const Real r{inputs + i} = {_literal(c)};" for i, c in enumerate(constants)]
    names = {to: f"r{to}" for *_, to in code}
    lines += [f"  Real {', '.join(names.values())};"] if names else []
    for f, a, b, to in code:
        lines.append(f"  r{to} = {EXPRESSIONS[f].format(a=f'r{a}', b=f'r{b}')};")
    for (i, k, width), register in zip(outputs, results, strict=True):
        to = f"((Real*)g.at[{2 + 2 * inputs + i}])[(row * {width} + {k}) * columns + column]"
        lines.append(f"  {to} = r{register};")
    body = "\n".join(lines)
    return f"""typedef {real} Real;
struct Given {{ long long at[{2 + 2 * inputs + len(widths)}]; }};
extern "C" __global__ void chain(const Given g) {{
  const long long columns = g.at[1], e = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (e >= g.at[0] * columns) return;
  const long long row = e / columns, column = e % columns;
{body}
}}
"""


def evaluate(
    native_args: tuple[Any, ...], kernels: dict[str, Any], arrays: tuple[Array, ...],
    out: tuple[Array | None, ...],
) -> tuple[Array, ...] | None:  # fmt: skip
    """Runs a chain on arrays of a GPU, as `native.evaluate` does on those of the CPU.

    **Arguments** kernels: those that were compiled for this chain, by dtype. **Returns** the
    results, or None for arrays that it does not take: then the functions run one by one.
    """
    widths, columns, starts = native_args[4:7]
    xp = sys.modules[type(arrays[0]).__module__.partition(".")[0]]
    if not all(isinstance(a, xp.ndarray) for a in arrays):
        return None
    dtype = arrays[0].dtype
    if str(dtype) not in ("float32", "float64") or any(a.dtype != dtype for a in arrays):
        return None
    widest = max(arrays, key=lambda a: a.ndim)
    shape = widest.shape
    if not widest.size or (not shape and (columns or max(widths) > 1)):
        return None
    columns = columns or (shape[-1] if shape else 1)
    rows, before = math.prod(shape[:-1]), shape[:-1]
    first_of = array("l", starts) if starts else None
    given, held = [rows, columns], []
    for i, a in enumerate(arrays):
        first = first_of[i] if first_of else -1
        full = a.ndim == len(shape) and a.shape[:-1] == before
        wide = a.shape[-1] if a.ndim else 1
        if not full and not (a.ndim == 1 and len(shape) > 1):
            return None
        if wide != columns if first < 0 else wide - columns < first:
            return None
        row = wide
        if not a.flags.c_contiguous:
            if a.ndim == 2 and a.strides[1] == a.itemsize and a.strides[0] % a.itemsize == 0:
                row = a.strides[0] // a.itemsize
            else:
                a = xp.ascontiguousarray(a)
                held.append(a)  # until the launch
        given += [a.data.ptr + max(first, 0) * a.itemsize, row if full else 0]
    results: list[Array] = []
    for i, width in enumerate(widths):
        wanted = (*before, width * columns) if shape else ()
        into = out[i] if i < len(out) else None
        if into is None or not _fits(into, dtype, wanted, (*arrays, *results)):
            into = xp.empty(wanted, dtype)
        results.append(into)
        given.append(into.data.ptr)
    kernel = kernels.get(dtype.char)
    if kernel is None:
        code = source(TYPES[str(dtype)], native_args)
        kernel = kernels[dtype.char] = xp.RawModule(code=code).get_function("chain")
    numbers = np.array(given, np.int64)
    arguments = np.array([numbers.ctypes.data], np.uintp)  # a kernel takes pointers to arguments
    xp.cuda.driver.launchKernel(
        kernel.kernel.ptr, -(-rows * columns // THREADS), 1, 1, THREADS, 1, 1, 0,
        xp.cuda.get_current_stream().ptr, arguments.ctypes.data, 0,
    )  # fmt: skip
    return tuple(results)


def _fits(
    a: Array, dtype: np.dtype[Any], shape: tuple[int, ...], others: tuple[Array, ...]
) -> bool:
    """Whether results can be written into an array: contiguous, and apart from all others."""
    if a.dtype != dtype or a.shape != shape or not a.flags.c_contiguous:
        return False
    begin, end = a.data.ptr, a.data.ptr + a.nbytes
    return all(end <= b.data.ptr or b.data.ptr + _extent(b) <= begin for b in others)


def _extent(a: Array) -> int:
    """Bytes from an array's first element to behind its last; strides are not negative here."""
    last = sum((n - 1) * s for n, s in zip(a.shape, a.strides, strict=True) if n > 1)
    return int(a.itemsize + last)
