"""The CUDA sources beside this file."""

from __future__ import annotations


def cuda_source(name: str) -> str:
    """Reads a source, such as `rows.cu`."""
    from pathlib import Path  # which takes a tenth of the time to import the package

    return Path(__file__).with_name(name).read_text("utf-8")
