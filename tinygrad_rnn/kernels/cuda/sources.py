"""The CUDA sources beside this file."""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

TYPES = {  # of NumPy, and of CUDA C++
    "float32": "float", "float64": "double", "bool": "bool",
    "int8": "signed char", "int16": "short", "int32": "int", "int64": "long long",
    "uint8": "unsigned char", "uint16": "unsigned short", "uint32": "unsigned",
    "uint64": "unsigned long long",
}  # fmt: skip


def cuda_source(name: str) -> str:
    """Reads a source, such as `rows.cu`."""
    from pathlib import Path  # which takes a tenth of the time to import the package

    return Path(__file__).with_name(name).read_text("utf-8")


@lru_cache
def kernel(xp: ModuleType, file: str, name: str, **types: str) -> Any:
    """A compiled kernel of a source. **Arguments** types: NumPy's, for the source's names."""
    typedefs = "".join(f"typedef {TYPES[dtype]} {alias};\n" for alias, dtype in types.items())
    return xp.RawModule(code=typedefs + cuda_source(file)).get_function(name)
