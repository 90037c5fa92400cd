"""Puts the stand-in under CuPy: compiles it, loads it in place of CUDA's libraries, and counts.

CuPy itself is unchanged: its Python and Cython code, its checks, its dtype rules, the sources of
its kernels. Beneath it, `libcuda.so.1`, cuBLAS and cuSOLVER are ours; the CUDA runtime, which the
wheel links statically, is overwritten in memory by jumps to ours; Thrust's sorts are NumPy's; and
NVRTC is g++.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("CUDA_ON_CPU_CACHE") or HERE.parents[1] / "build" / "cuda_on_cpu")

FLAGS = ["-std=c++20", "-O1", "-g0", "-fPIC", "-w", "-fpermissive", "-ffp-contract=off"]
INSTRUMENTED = ["-fsanitize=thread"]  # its calls before each access come to grid.cpp

COUNTERS = (
    "launches", "products", "sorts", "to_host", "to_device", "copies", "fills", "waits",
    "allocations",
)  # fmt: skip


def run(*command: Any) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr[:4000]}")
    return done.stdout


def cached(name: str, *content: bytes) -> Path:
    """The path in the cache of what is made of some content."""
    CACHE.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(b"\0".join(content)).hexdigest()[:16]
    return CACHE / f"{digest}-{name}"


def made(path: Path, *command: Any) -> Path:
    """Runs a compiler whose output is a path, unless it is there. Processes may do so at once."""
    if not path.exists():
        mine = path.with_name(f"{os.getpid()}-{path.name}")
        run(*command, "-o", mine)
        mine.rename(path)
    return path


def cupy_file(module: str) -> Path:
    """The extension module's file, without importing it."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(os.path.realpath(spec.origin))


class Driver:
    """The stand-in, under the CuPy of this process: what it counts, and how it runs kernels."""

    def __init__(self) -> None:
        self.cuda = self._library("libcuda.so.1", ["driver.cpp", "grid.cpp"])
        self._blas = {
            module: self._library(name, ["blas.cpp"], f"cupy_backends.cuda.libs.{module}")
            for module, name in {
                "cublas": "libcublas.so.13",
                "cusolver": "libcusolver.so.12",
            }.items()
        }
        self._blas["cublas"].count_products_in(ctypes.byref(self._counter("products")))
        for name in ("last_failure", "names_launched"):
            getattr(self.cuda, name).restype = ctypes.c_char_p
        self._take_cupy()

    # -------------------------------------------------------------- for tests

    @property
    def counts(self) -> dict[str, int]:
        return {name: self._counter(name).value for name in COUNTERS}

    @contextmanager
    def counting(self) -> Iterator[dict[str, int]]:
        """Fills a dict with what was counted within a `with` block, and the launches by name."""
        before, found = self.counts, dict[str, int]()
        self.cuda.clear_names()
        yield found
        found |= {name: n - before[name] for name, n in self.counts.items()}

    def kernels(self) -> dict[str, int]:
        """Returns the launches of each kernel since `counting` began."""
        lines = self.cuda.names_launched().decode().splitlines()
        return {name: int(n) for name, n in (line.split() for line in lines)}

    @property
    def failure(self) -> str:
        """Returns the message of the last launch that failed."""
        return str(self.cuda.last_failure().decode())

    @contextmanager
    def order(self, seed: int) -> Iterator[None]:
        """Runs threads and blocks in an order drawn by a seed, not by their numbers."""
        self.cuda.set_order(seed)
        try:
            yield
        finally:
            self.cuda.set_order(0)

    @contextmanager
    def late_copies(self) -> Iterator[None]:
        """Makes copies in a second stream when someone waits for them, as a GPU may do."""
        self.cuda.set_late(1)
        try:
            yield
        finally:
            self.cuda.set_late(0)

    # -------------------------------------------------------------- how it is put there

    def _counter(self, name: str) -> Any:
        return ctypes.c_long.in_dll(self.cuda, f"count_{name}")

    def _library(self, name: str, sources: list[str], module: str = "") -> ctypes.CDLL:
        """Compiles a library and loads it, so that CuPy, which asks for its name, finds it loaded.

        What a CuPy module needs of it beyond the sources is there, and returns "not supported".
        """
        texts = [*sorted(HERE.glob("*.cpp")), *HERE.glob("grid.hpp")]
        code = [t.read_bytes() for t in texts]
        files = [HERE / s for s in sources]
        flags = ["-O2", "-std=c++20", "-fPIC", "-shared", f"-Wl,-soname,{name}"]
        if module:
            listed = run("nm", "-D", "--undefined-only", cupy_file(module))
            needed = re.findall(rf"U (\w+)@+{re.escape(name)}", listed)
            stubs = cached("stubs.cpp", name.encode(), listed.encode())
            stubs.write_text(
                "".join(
                    f'extern "C" __attribute__((weak)) int {n}() {{ return 15; }}\n' for n in needed
                )
            )
            version = cached("version", name.encode())
            version.write_text(name + " { global: *; };\n")
            files.append(stubs)
            flags.append(f"-Wl,--version-script={version}")
        path = made(cached(name, *code, name.encode()), "g++", *flags, *files, "-ldl")
        return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)

    def _take_cupy(self) -> None:
        os.environ["CUPY_ACCELERATORS"] = ""  # CUB's kernels are compiled by NVIDIA
        os.environ["CUPY_CACHE_IN_MEMORY"] = "1"  # the cache on disk is ours
        import cupy_backends.cuda.api.runtime as runtime

        self._overwrite(Path(runtime.__file__))
        from cuda import pathfinder

        # CuPy would search files for cuBLAS and cuSOLVER: ours are loaded.
        search = pathfinder.load_nvidia_dynamic_lib
        pathfinder.load_nvidia_dynamic_lib = lambda name: (
            SimpleNamespace(_handle_uint=self._blas[name]._handle)
            if name in self._blas
            else search(name)
        )
        from cupy.cuda import compiler, cub, thrust

        for module in (cub, thrust):
            self._overwrite(Path(module.__file__))
        self._sort_by_numpy(thrust)
        import cupy

        include = Path(cupy.__file__).parent / "_core" / "include"
        self._flags = [*FLAGS, f"-I{include}", f"-I{include}/cupy/_cccl/libcudacxx"]
        compiler._nvrtc_version = (13, 0)
        compiler._compile_using_nvrtc_no_warning = self._compile
        compiler._preprocess = lambda *_, **__: "g++"
        cupy.linalg.svd = self._svd_by_numpy
        cupy._core.set_routine_accelerators([])
        cupy._core.set_reduction_accelerators([])

    def _overwrite(self, path: Path) -> None:
        """Writes jumps to ours over the CUDA runtime that is linked into a loaded module."""
        path = Path(os.path.realpath(path))
        for line in Path("/proc/self/maps").read_text().splitlines():
            words = line.split()
            if words[-1] == str(path) and int(words[2], 16) == 0:
                base = int(words[0].split("-")[0], 16)
                break
        symbols = (line.split() for line in run("nm", path).splitlines())
        there = {s[2]: int(s[0], 16) for s in symbols if len(s) == 3 and s[1] in "tT"}
        ours = re.findall(r"T rt_(\w+)", run("nm", "-D", self.cuda._name))
        libc = ctypes.CDLL(None)
        page = os.sysconf("SC_PAGESIZE")
        for name in ours:
            target = ctypes.cast(getattr(self.cuda, f"rt_{name}"), ctypes.c_void_p).value
            assert target is not None
            for symbol in (name + end for end in ("", "_ptsz", "_ptds", "_v2")):
                if symbol in there:
                    at = base + there[symbol]
                    first = ctypes.c_void_p(at & -page)
                    assert libc.mprotect(first, ctypes.c_size_t(2 * page), 7) == 0
                    jump = b"\x48\xb8" + target.to_bytes(8, "little") + b"\xff\xe0"  # to an address
                    ctypes.memmove(at, jump, len(jump))

    def _sort_by_numpy(self, thrust: Any) -> None:
        calls = self._counter("sorts")

        def view(pointer: int, dtype: Any, shape: Any) -> Any:
            n, dtype = int(np.prod(shape)), np.dtype(dtype)
            raw = (ctypes.c_char * max(1, n * dtype.itemsize)).from_address(pointer)
            return np.frombuffer(raw, dtype, n).reshape(tuple(shape))

        def sort(dtype: Any, data: int, keys: int, shape: Any, *_: Any) -> None:
            calls.value += 1
            values = view(data, dtype, shape)
            values[...] = np.sort(values, axis=-1, kind="stable")

        def argsort(dtype: Any, index: int, data: int, keys: int, shape: Any, *_: Any) -> None:
            calls.value += 1
            order = np.argsort(view(data, dtype, shape), axis=-1, kind="stable")
            view(index, np.intp, shape)[...] = order

        def lexsort(dtype: Any, index: int, keys: int, k: int, n: int, *_: Any) -> None:
            calls.value += 1
            view(index, np.intp, (n,))[...] = np.lexsort(view(keys, dtype, (k, n)))

        thrust.sort, thrust.argsort, thrust.lexsort = sort, argsort, lexsort

    @staticmethod
    def _svd_by_numpy(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
        import cupy

        parts = np.linalg.svd(a.get(), full_matrices, compute_uv)
        return tuple(map(cupy.asarray, parts)) if compute_uv else cupy.asarray(parts)

    # -------------------------------------------------------------- g++ in place of NVRTC

    def _compile(
        self,
        source: str,
        options: tuple[str, ...] = (),
        arch: Any = None,
        filename: str = "",
        name_expressions: Any = None,
        *_: Any,
        **__: Any,
    ) -> tuple[bytes, None]:
        """Compiles a source. **Returns** the path of the library, which takes a cubin's place.

        With the option -DCHECKED the kernel fails at a race or a stray write.
        """
        from cupy.cuda.compiler import CompileException

        names = re.findall(
            r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(',
            source,
        )
        waits = int(bool(re.search(r"__sync|__shfl|__shared__|__nanosleep", source)))
        code = re.sub(r"#include\s*<cupy/(complex|atomics)\.cuh>", "", source)
        code = re.sub(
            r"extern\s+__shared__\s+(\w+)\s+(\w+)\s*\[\s*\]",
            r"\1* \2 = (\1*)dynamic_shared()",
            code,
        )
        code += "".join(
            f'\nextern "C" void launch_{n}(void** p) {{ call({n}, p); }}' for n in names
        )
        checked = "-DCHECKED" in options
        code += f"\nDESCRIBE({waits}, {int(checked)})\n"
        defines = [o for o in options if o.startswith("-D")]
        flags = [*self._flags, *defines, *(INSTRUMENTED if checked else [])]
        header = self._header(flags)
        path = cached("kernel.so", code.encode(), header.name.encode(), " ".join(defines).encode())
        if not path.exists():
            text = path.with_suffix(f".{os.getpid()}.cpp")
            text.write_text(code)
            object_file = text.with_suffix(".o")
            try:
                run(
                    "g++", *flags, "-include", header.with_suffix(""), "-c", text, "-o", object_file
                )
                made(path, "g++", "-shared", object_file)
            except RuntimeError as error:
                raise CompileException(str(error), source, filename, options, "g++") from error
            finally:
                text.unlink()
                object_file.unlink(missing_ok=True)
        return f"ONCPU:{path}\0".encode(), None

    def _header(self, flags: list[str]) -> Path:
        """Compiles device.hpp with CuPy's carray.cuh, once for each set of flags."""
        text = (HERE / "device.hpp").read_bytes() + b"\n#include <cupy/carray.cuh>\n"
        header = cached("device.hpp", text, " ".join(flags).encode())
        if not header.exists():
            header.write_bytes(text)
        return made(header.with_suffix(".hpp.gch"), "g++", *flags, "-x", "c++-header", header)


def missing() -> str:
    """Names what this machine lacks for the stand-in; empty if nothing."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "the stand-in driver runs on Linux on x86-64 only"
    if find_spec("cupy_backends") is None:
        return "CuPy is not installed: pip install cupy-cuda13x"
    for tool in ("g++", "nm"):
        if subprocess.run(["which", tool], capture_output=True).returncode:
            return f"{tool} is not installed"
    return ""


_started: Driver | None = None


def started() -> bool:
    """Whether CuPy runs on the stand-in in this process."""
    return _started is not None


def start() -> Driver:
    """Starts the stand-in in this process, before CuPy is first used."""
    global _started
    if lacks := missing():
        raise RuntimeError(lacks)
    _started = _started or Driver()
    return _started
