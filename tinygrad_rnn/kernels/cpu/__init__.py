"""The kernels in C++ for CPUs: the six functions of the contract, as far as native code has them.

The sources beside this file say how they work. The module `_native` is compiled when the package
is installed; without it, or for what it does not have, the reference kernels run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import _native

Array = Any
Arrays = tuple[Array | None, ...]

RNN_TANH, RNN_RELU, GRU, GRU_RESET_AFTER, LSTM = range(5)  # enum class Cell in layer.hpp


def lstm_forward(
    xp: Any, x: Array, h0: Array, c0: Array, w_ih: Array, w_hh: Array,
    b_ih: Array | None = None, b_hh: Array | None = None, w_hr: Array | None = None,
    w_ch: Array | None = None, lengths: Array | None = None, *_: None,
    reverse: bool = False, keep: bool = True, **__: Any,
) -> tuple[Arrays, Any]:  # fmt: skip
    """See `kernels`."""
    inputs = (LSTM, reverse, x, h0, c0, w_ih, w_hh, b_ih, b_hh, lengths)
    y, h_n, c_n, *saved = _native.forward(*inputs, keep)
    return (y, h_n, c_n), ((*inputs, y, *saved) if keep else None)


def lstm_backward(xp: Any, g: Arrays, saved: Any, needs: Sequence[bool], *_: Any) -> Arrays:
    """See `kernels`."""
    asked = sum(1 << i for i, need in enumerate(needs[:7]) if need)
    return (*_native.backward(*saved[:10], asked, *g[:3], *saved[10:]), *(None,) * 7)
