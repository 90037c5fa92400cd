"""NVIDIA's compiler takes every CUDA source, without spilling registers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import nvrtc

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        nvrtc.version() is None,
        reason="NVRTC is not installed: pip install -r tests/cuda_on_cpu/requirements.txt",
    ),
]


def test_no_kernel_spills_and_the_table_in_the_docs_is_true() -> None:
    found = nvrtc.usage()
    for (real, architecture), kernels in found.items():
        for kernel, used in kernels.items():
            assert not used.spilled, (real, architecture, kernel)
            # A multiprocessor has 65,536 registers, and one block of a persistent kernel.
            most = 128 if kernel in ("forward", "backward") else 64
            assert used.registers <= most, (real, architecture, kernel)
    if nvrtc.version() == (13, 0):  # others allocate otherwise
        assert nvrtc.table(found) in PAGE.read_text("utf-8"), "python -m tests.cuda_on_cpu.nvrtc"


def test_what_does_not_compile_is_reported() -> None:
    with pytest.raises(RuntimeError, match=re.escape("kernel.cu(1): error")):
        nvrtc.compiled("__global__ void f() { undefined; }", "sm_90")
