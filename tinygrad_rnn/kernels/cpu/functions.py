"""The kernels in C++ for CPUs: the six functions of the contract.

The module `_native` is compiled when the package is installed. Without it, and for arrays that it
does not support, the reference kernels run.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import InvalidTypeError, InvalidValueError, public
from ..contract import NO_OPTIONS, SequenceOptions

native: Any = None  # the compiled module: the one place that says whether native code runs
absent = ""
if os.environ.get("TINYGRAD_RNN_KERNELS") == "reference":
    absent = "turned off by TINYGRAD_RNN_KERNELS"
else:
    try:
        native = import_module("tinygrad_rnn.kernels.cpu._native")
    except ImportError as error:  # no compiler where the package was installed
        absent = f"not compiled ({error})"

Array = Any
Arrays = tuple[Array | None, ...]

MOST_THREADS = 1024

# enum class Cell in kernels.hpp
RNN_TANH, RNN_RELU, GRU, GRU_RESET_AFTER, LSTM, LSTM_COUPLED = range(6)
INFERENCE_CELLS = {
    "rnn_tanh": RNN_TANH, "rnn_relu": RNN_RELU, "gru": GRU, "gru_reset_after": GRU_RESET_AFTER,
    "lstm": LSTM,
}  # fmt: skip


def supports(*inputs: Array | None, outputs: Sequence[Array | None] = ()) -> bool:
    """Whether native code supports these arrays: NumPy, all float32 or all float64.

    None entries are skipped. Inputs may have any strides, alignment and byte order: they are
    converted. Outputs must be contiguous, aligned, in native byte order and share no memory with
    other arrays; for a read-only one the call raises.
    """
    return native is not None and bool(native.supports(inputs, tuple(outputs)))


def describe() -> str:
    """Which instructions are used, or why none are."""
    if native is None:
        return absent
    return f"{native.level().replace('x86_64_', 'x86-64-')}, {get_num_threads()} threads"


@public
def set_num_threads(count: int) -> None:
    """Sets how many threads the native kernels may use; at first OMP_NUM_THREADS, or all cores.

    Where the system gives fewer, fewer work. **Raises** TypeError, and ValueError for a number that
    is not from 1 to 1024.

    >>> import tinygrad_rnn as tg
    >>> before = tg.get_num_threads()
    >>> tg.set_num_threads(before)
    """
    if isinstance(count, bool) or not hasattr(count, "__index__"):
        raise InvalidTypeError(f"set_num_threads: expected an integer, got {count!r}")
    if not 1 <= count <= MOST_THREADS:
        raise InvalidValueError(
            f"set_num_threads: expected 1 to {MOST_THREADS} threads, got {count!r}"
        )
    if native is not None:
        native.set_num_threads(count)


def get_num_threads() -> int:
    """Returns the number of threads of the native kernels: 1 where there are no such kernels.

    >>> import tinygrad_rnn as tg
    >>> tg.get_num_threads() >= 1
    True
    """
    return 1 if native is None else int(native.get_num_threads())


def _threads_at_start() -> int:
    given = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    count = int(given[:9]) if given.isdecimal() else 0  # anything else is as if it were not there
    if not count:
        mine = hasattr(os, "sched_getaffinity")  # not on every system
        count = len(os.sched_getaffinity(0)) if mine else os.cpu_count() or 1
    return min(count, MOST_THREADS)


set_num_threads(_threads_at_start())


def _forward(cell: int, keep: bool, *inputs: Any) -> tuple[Arrays, Any]:
    y, h_n, c_n, cs, *saved = native.forward(cell, *inputs, keep)
    outputs = tuple([v for v in (y, h_n, c_n, cs) if v is not None])
    return outputs, ((cell, *inputs), (y, *saved)) if keep else None


def _backward(g: Arrays, saved: Any, needs: Sequence[bool]) -> tuple[Array | None, ...]:
    """The cotangents of x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, w_ch."""
    inputs, kept = saved
    dtype = kept[0].dtype
    for a in g:
        if a is not None and a.dtype != dtype:  # of a loss with a float64 target
            g = tuple([None if a is None else a.astype(dtype) for a in g])
            break
    asked = 0  # a bit for each
    for i, need in enumerate(needs):
        asked |= need << i
    result: tuple[Array | None, ...] = native.backward(*inputs, asked, *g, *kept)
    return result


def infer_stack(
    cell: str, layers: int, x: Array, h: Array | None, c: Array | None, weights: Arrays,
    quantized: Arrays | None = None,
) -> Arrays | None:  # fmt: skip
    """Runs a stack of layers without options in one native call; saves nothing for backward.

    **Arguments** cell: `rnn_tanh`, `rnn_relu`, `gru`, `gru_reset_after` or `lstm`. layers: L. x:
    (T, B, I), or one step, (B, I). h, and an LSTM's c: (L, B, H), or None for zeros. weights:
    w_ih, w_hh and the biases, if any, of each layer in turn. quantized: of each w_ih and w_hh in
    turn, the matrix it was quantized from and the last two results of `quantize_int8`; ignored for
    a matrix that is another now, or not read-only. **Returns** (y, h, c), y being (T, B, H) or
    (B, H); None where native code does not support the arrays or they do not fit each other: then
    the forward functions compute it, or say what is wrong.
    """
    if native is None:
        return None
    code = INFERENCE_CELLS[cell]
    found: Arrays | None = native.infer_stack(code, layers, x, h, c, weights, quantized)
    return found


def rnn_forward(
    xp: ModuleType, x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None = None,
    b_hh: Array | None = None, *, activation: str = "tanh", options: SequenceOptions = NO_OPTIONS,
    keep: bool = True,
) -> tuple[Arrays, Any]:  # fmt: skip
    """See `kernels`."""
    cell = RNN_TANH if activation == "tanh" else RNN_RELU
    return _forward(cell, keep, x, h0, None, w_ih, w_hh, b_ih, b_hh, None, None, options, None)


def gru_forward(
    xp: ModuleType, x: Array, h0: Array, w_ih: Array, w_hh: Array, b_ih: Array | None = None,
    b_hh: Array | None = None, *, reset_after: bool = False, options: SequenceOptions = NO_OPTIONS,
    keep: bool = True,
) -> tuple[Arrays, Any]:  # fmt: skip
    """See `kernels`."""
    cell = GRU_RESET_AFTER if reset_after else GRU
    return _forward(cell, keep, x, h0, None, w_ih, w_hh, b_ih, b_hh, None, None, options, None)


def lstm_forward(
    xp: ModuleType, x: Array, h0: Array, c0: Array, w_ih: Array, w_hh: Array,
    b_ih: Array | None = None, b_hh: Array | None = None,
    w_hr: Array | None = None, w_ch: Array | None = None, *,
    coupled_gates: bool = False, cell_clip: float | None = None,
    options: SequenceOptions = NO_OPTIONS, keep: bool = True,
) -> tuple[Arrays, Any]:  # fmt: skip
    """See `kernels`."""
    cell = LSTM_COUPLED if coupled_gates else LSTM
    inputs = (x, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, w_ch)
    return _forward(cell, keep, *inputs, options, cell_clip)


def rnn_backward(xp: ModuleType, g: Arrays, saved: Any, needs: Sequence[bool]) -> Arrays:
    """See `kernels`."""
    needs = (*needs[:2], False, *needs[2:])  # there is no c0
    dx, dh0, _none, *dw = _backward((*g, None, None), saved, needs)
    return (dx, dh0, *dw[:4])


gru_backward = rnn_backward


def lstm_backward(xp: ModuleType, g: Arrays, saved: Any, needs: Sequence[bool]) -> Arrays:
    """See `kernels`."""
    return _backward((*g, None)[:4], saved, needs)


# ---------------------------------------------------------------- training


def cross_entropy(
    x: Array,
    targets: Array,
    weights: Array | None = None,
    smoothing: float = 0.0,
    *,
    losses: Array | None = None,
    out: Array | None = None,
    sums: Array | None = None,
) -> Array:
    """The losses of rows of logits, or with weights their gradient: see `kernels.training`.

    **Arguments** losses: with weights, an array for the losses too. out: one for the result. sums:
    (C,), to which the result's rows are added.
    """
    char = x.dtype.char  # x may be in the other byte order
    made = np.empty(x.shape[:-1] if weights is None else x.shape, char) if out is None else out
    if weights is None:
        native.cross_entropy(x, targets, None, smoothing, made, None, None)
    else:
        weights = weights.astype(char, casting="same_kind", copy=False)
        native.cross_entropy(x, targets, weights, smoothing, losses, made, sums)
    return made


def add_rows(table: Array, ids: Array, rows: Array) -> None:
    """Adds rows to the entries of a table: see `kernels.training`."""
    native.add_rows(table, ids, rows)


def sum_of_squares(x: Array) -> float:
    """See `kernels`."""
    return float(native.sum_of_squares(x))


def adam(p: Array, g: Array, m: Array, v: Array, *settings: float) -> None:
    """Adam's step in place: see `kernels`. The settings are those of AdamStep in kernels.hpp."""
    native.adam(p, g, m, v, *settings)
