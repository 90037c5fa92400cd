"""The arrays of Tensors, and of models that are loaded, begin at a cache line."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn

VALUES = np.arange(600, dtype=np.float32).reshape(2, 300)


def assigned() -> tg.Tensor:
    x = tg.tensor(VALUES)
    x.data = VALUES + 1
    return x


def moved() -> tg.Tensor:
    return tg.tensor(VALUES).move_("float64")


WAYS: dict[str, Callable[[], Any]] = {
    "tensor": lambda: tg.tensor(VALUES),
    "a list": lambda: tg.tensor(VALUES.tolist()),
    "a transpose": lambda: tg.tensor(VALUES.T),
    "a dtype": lambda: tg.tensor(VALUES, dtype="float64"),
    "a parameter": lambda: nn.Parameter(tg.tensor(VALUES)),
    "assigned": assigned,
    "moved": moved,
    "deepcopy": lambda: copy.deepcopy(tg.tensor(VALUES)),
    "pickle": lambda: pickle.loads(pickle.dumps(tg.tensor(VALUES))),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_tensor_begins_at_a_cache_line(way: str) -> None:
    kept = [WAYS[way]() for _ in range(20)]
    assert all(x.data.ctypes.data % 64 == 0 and x.data.flags.c_contiguous for x in kept)


@given(
    shape=st.lists(st.integers(0, 40), max_size=3).map(tuple),
    dtype=st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]),
    wanted=st.sampled_from([None, "float32", "float64"]),
    step=st.sampled_from([1, -1, 2]),
)
def test_values_are_those_of_the_data(
    shape: tuple[int, ...], dtype: str, wanted: str | None, step: int
) -> None:
    data = np.arange(int(np.prod(shape))).reshape(shape).astype(dtype).T
    data = data[::step] if shape else data
    x = tg.tensor(data, dtype=wanted)
    assert x.numpy().dtype == np.dtype(wanted or dtype)
    assert not np.shares_memory(x.data, data)
    np.testing.assert_array_equal(x.numpy(), data.astype(wanted or dtype))


def test_weights_stay_at_cache_lines(tmp_path: Path) -> None:
    def check(module: nn.Module) -> None:
        assert all(p.data.ctypes.data % 64 == 0 for p in module.parameters())

    model = nn.GRU(64, 96)
    check(model)
    optimizer = tg.optim.Adam(model.parameters(), lr=0.1)
    model(tg.ones((2, 3, 64)))[0].sum().backward()
    optimizer.step()
    check(model)
    model.load_state_dict({name: w.numpy() for name, w in model.state_dict().items()})
    check(model)
    check(copy.deepcopy(model))
    tg.io.save_model(tmp_path / "model.safetensors", model)
    check(tg.io.load_model(tmp_path / "model.safetensors"))
    check(model.to("float64"))
