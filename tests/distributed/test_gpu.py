"""Gradients on a GPU go through page-locked memory of the host."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn.distributed import gradients
from tinygrad_rnn.distributed.mpi import MPI

pytestmark = pytest.mark.gpu


class World:
    """A stand-in for MPI: sums over two ranks that do the same, of arrays on the host."""

    rank, size = 0, 1

    def Iallreduce(self, place: object, array: object) -> Any:
        assert isinstance(array, np.ndarray)
        array *= 2
        return SimpleNamespace(Test=lambda: True)


def test_gradients_go_through_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    library = SimpleNamespace(
        COMM_WORLD=World(), IN_PLACE=None, Get_library_version=lambda: "of one rank"
    )
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(MPI=library))
    monkeypatch.setattr(gradients, "BUCKET", 64)
    ranks = MPI(9.0)
    ranks.size = 2
    a, b = (tg.zeros(n, device="cuda", requires_grad=True) for n in (37, 5))
    values = np.random.default_rng(0).normal(size=37).astype("float32")
    a.grad = tg.tensor(values, device="cuda")
    assert tg.distributed.average_gradients([a, b], 3, tg.tensor(2.5), ranks=ranks) == (6, 2.5)
    assert a.grad is not None
    assert a.grad.device == a.device
    np.testing.assert_array_equal(a.grad.numpy(), values)
    assert b.grad is None
    owner: Any = ranks._pinned
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    assert "PinnedMemory" in type(getattr(owner.base, "obj", owner.base)).__name__
