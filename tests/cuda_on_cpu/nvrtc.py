"""Compiles the package's CUDA sources with NVIDIA's compiler, which needs no GPU.

    python -m tests.cuda_on_cpu.nvrtc

prints the table that docs/gpu.md has, for NVRTC 13.0.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np

from tinygrad_rnn.kernels.cuda import (
    elementwise,
    linear,
    losses,
    many,
    persistent,
    philox,
    rows,
    sequence,
)
from tinygrad_rnn.kernels.elementwise import Symbol, compile_elementwise

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
TYPES = ("float", "double")


class Usage(NamedTuple):
    """The registers and the memory that a kernel uses on a device."""

    registers: int
    spilled: int  # bytes
    shared: int  # bytes


def chain(real: str) -> str:
    """The source of a chain: the gates of an LSTM."""
    tape: list[Symbol] = []
    i, f, g, o, c = (Symbol(tape) for _ in range(5))

    def sigmoid(x: Symbol) -> Any:
        return 0.5 * np.tanh(0.5 * x) + 0.5  # type: ignore[call-overload]

    new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)  # type: ignore[call-overload]
    program = compile_elementwise(tape, [(new,), (sigmoid(o) * np.tanh(new),)])
    assert program is not None
    return elementwise.source(real, program.native_args)


def sources(real: str) -> list[str]:
    """Every source of the package, for a type of numbers."""
    types = f"typedef {real} Real;\ntypedef long long Id;\n"
    files = [module.__file__.replace(".py", ".cu") for module in (linear, losses, many, rows)]
    whole = persistent.source(
        real, "lstm", 4, 16 if real == "float" else 8, 16
    )  # forward, backward
    found = [whole, sequence.source(real), chain(real)]
    for file in files:
        with open(file, encoding="utf-8") as source:
            found.append(types + source.read())
    with open(philox.__file__.replace(".py", ".cu"), encoding="utf-8") as source:
        found.append("typedef bool Out;\n" + source.read())
    return found


def version() -> tuple[int, int] | None:
    """The version of NVRTC; None if it is not installed."""
    from cupy.cuda import nvrtc

    try:
        major, minor = nvrtc.getVersion()
    except RuntimeError:
        return None
    return major, minor


def _program(source: str, options: list[str]) -> Any:
    """Compiles a source. **Raises** RuntimeError with the compiler's log."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(source, "kernel.cu", [], [])
    try:
        nvrtc.compileProgram(program, options)
    except Exception as error:
        raise RuntimeError(nvrtc.getProgramLog(program)) from error
    return program


def machine_code(source: str, options: list[str]) -> bytes:
    """Compiles a source, with options that name an architecture."""
    from cupy.cuda import nvrtc

    code: bytes = nvrtc.getCUBIN(_program(source, options))
    return code


def compiled(source: str, architecture: str) -> dict[str, Usage]:
    """Compiles a source. **Returns** what each kernel in it takes."""
    from cupy.cuda import nvrtc

    options = ["-std=c++17", "-ftz=true", f"-arch={architecture}", "--ptxas-options=-v"]
    log, found = nvrtc.getProgramLog(_program(source, options)), {}
    for part in log.split("Compiling entry function '")[1:]:
        registers = re.search(r"Used (\d+) registers", part)
        assert registers is not None, part
        spilled = sum(int(n) for n in re.findall(r"(\d+) bytes spill", part))
        shared = re.search(r"(\d+) bytes smem", part)
        found[part.partition("'")[0]] = Usage(
            int(registers[1]), spilled, int(shared[1]) if shared else 0
        )
    return found


def usage() -> dict[tuple[str, str], dict[str, Usage]]:
    """Compiles every kernel. **Returns** its usage, by type and architecture."""
    return {
        (real, architecture): {
            kernel: used
            for source in sources(real)
            for kernel, used in compiled(source, architecture).items()
        }
        for real in TYPES
        for architecture in ARCHITECTURES
    }


def table(found: dict[tuple[str, str], dict[str, Usage]]) -> str:
    """The registers of each kernel in float and double, and its shared memory, as Markdown."""
    lines = [
        f"| kernel | {' | '.join(ARCHITECTURES)} | shared memory |",
        f"|---|{'---|' * len(ARCHITECTURES)}---|",
    ]
    for kernel in sorted(found[TYPES[0], ARCHITECTURES[0]]):
        cells = [
            ", ".join(str(found[real, a][kernel].registers) for real in TYPES)
            for a in ARCHITECTURES
        ]
        shared = [found[real, ARCHITECTURES[0]][kernel].shared for real in TYPES]
        bytes_ = f"{shared[0]}, {shared[1]}" if any(shared) else ""
        lines.append(f"| `{kernel}` | {' | '.join(cells)} | {bytes_} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(usage()))
