"""The stand-in's own tests run where it runs: see plugin.py, whose import starts it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tinygrad_rnn.kernels.cuda import sequence, sources

from . import driver

collect_ignore = ["plugin.py"]
if not driver.started():
    names = ("driver", "elementwise", "kernels", "launches", "nvrtc", "persistent", "recurrent")
    collect_ignore += [f"test_{name}.py" for name in names]


@pytest.fixture
def cp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """CuPy, whose kernels are checked, and whose arrays each have an allocation of their own."""
    import cupy

    compiled = cupy.RawModule
    monkeypatch.setattr(
        cupy, "RawModule", lambda code, options=(): compiled(code=code, options=("-DCHECKED",))
    )
    caches = [sequence._module, sequence._kernel, sources.kernel]
    for cache in caches:
        cache.cache_clear()
    cupy.cuda.set_allocator(None)
    yield cupy
    cupy.cuda.set_allocator(cupy.get_default_memory_pool().malloc)
    for cache in caches:
        cache.cache_clear()
