"""Memory stays flat over many updates, with the garbage collector off: a short soak."""

import subprocess
import sys

import pytest

from .soak import MODELS

# A process of its own: other tests leave caches that fill, and threads that allocate.
PROGRAM = """
import sys
from tests.soak import soak
name, steps = sys.argv[1], int(sys.argv[2])
_, before, end = soak(name, steps, 3)
assert end.step - before.step == steps // 3
assert end.blocks - before.blocks < steps // 3, (before, end)  # no update leaves an object
assert not end.grown(before), (before, end)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", MODELS)
def test_memory_stays_flat(name: str) -> None:
    """In the last third, no update leaves an object, be it a float."""
    steps = (
        "720" if name == "charlm" else "360"
    )  # its caches take more updates, short ones, to fill
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, steps], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
