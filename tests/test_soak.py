"""The short form of `make soak`: without the garbage collector, memory stays flat."""

import sys

import pytest

from .soak import MODELS, soak

STEPS = 120


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", MODELS)
def test_memory_stays_flat(name: str) -> None:
    """From half of the updates to the end, no object is left over, in a cycle or not."""
    _, _, half, _, _, end = soak(name, STEPS, 6)
    assert end.step - half.step == STEPS // 2
    assert end.objects - half.objects < STEPS // 8, (half, end)
    assert end.resident - half.resident < 2**20, (half, end)
