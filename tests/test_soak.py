"""The short form of `make soak`: without the garbage collector, memory stays flat."""

import sys

import pytest

from .soak import MODELS, soak


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", MODELS)
def test_memory_stays_flat(name: str) -> None:
    """In the last third, no update leaves an object, be it a float."""
    steps = 720 if name == "charlm" else 360  # whose caches take more updates, short ones, to fill
    _, before, end = soak(name, steps, 3)
    assert end.blocks - before.blocks < end.step - before.step == steps // 3, (before, end)
    assert end.grown(before) == []
