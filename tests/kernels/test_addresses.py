"""The bits of a result do not depend on where in memory the arguments are."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg


def placed(values: np.ndarray[Any, Any], offset: int) -> Any:
    """A copy that begins so many elements after a cache line."""
    raw = np.empty(values.nbytes + 192, np.uint8)
    start = -raw.ctypes.data % 64 + offset * values.itemsize
    found = raw[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    found[...] = values
    return tg.as_tensor(found)


@given(
    cell=st.sampled_from(["rnn", "gru", "lstm"]),
    rows=st.integers(1, 5),
    inputs=st.sampled_from([24, 64, 100, 128, 144, 256]),
    hidden=st.sampled_from([6, 24, 64, 136]),
    dtype=st.sampled_from(["float32", "float64"]),
    offsets=st.lists(st.integers(0, 15), min_size=4, max_size=4),
)
def test_weights_anywhere_in_memory(
    cell: str, rows: int, inputs: int, hidden: int, dtype: str, offsets: list[int]
) -> None:
    rng, gates = np.random.default_rng(0), {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    shapes = [(3, rows, inputs), (rows, hidden), (gates * hidden, inputs), (gates * hidden, hidden)]
    values = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    results = []
    for places in ([0] * 4, offsets):
        x, h, w_ih, w_hh = map(placed, values, places)
        state = (h, h) if cell == "lstm" else (h,)
        w_ih.requires_grad = True
        y, *_ = getattr(tg, cell)(x, *state, w_ih, w_hh)
        y.sum().backward()
        results.append((y.numpy().tobytes(), w_ih.grad.numpy().tobytes()))
    assert results[0] == results[1]
