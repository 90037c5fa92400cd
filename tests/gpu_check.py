"""All that is to be known of a GPU that is had for minutes, in one command: `make gpu-check`.

    python -m tests.gpu_check --budget 600 --json gpu-check.json

compares with the CPU: every operation, cell, layer and loss to second derivatives; drawn recurrent
layers; training. It looks for bits that differ from run to run, and then times (`bench/gpu.py`).
Each section has a share of the budget and prints as it goes; no failure stops the others. It needs
no network. `--stand-in` rehearses it without a GPU, with small sizes.

CuPy compiles some 700 kernels at their first use, a third of a second each. `--save-kernels FILE`
keeps what was compiled, and `--kernels FILE` takes it from there; `--stand-in --save-kernels FILE
--architecture 90` has NVRTC compile for a GPU that is somewhere else.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Found = dict[str, Any]
START = time.perf_counter()
TOLERANCES = {"float64": (1e-9, 1e-10), "float32": (2e-3, 2e-4)}  # relative, absolute


def say(text: str) -> None:
    print(f"[{time.perf_counter() - START:6.1f} s] {text}", flush=True)


# ---------------------------------------------------------------- comparisons


def flat(ys: Any) -> list[Any]:
    return [y for part in ys for y in flat(part)] if isinstance(ys, (tuple, list)) else [ys]


def cosines(ys: list[Any], device: str) -> list[Any]:
    """Cotangents that tell elements from each other."""
    import tinygrad_rnn as tg

    waves = [np.cos(np.arange(y.size) + 1).reshape(y.shape).astype(y.dtype) for y in ys]
    return [tg.tensor(w, device=device) for w in waves]


def distance(there: list[Any], here: list[Any], dtype: str) -> float:
    """The worst difference in units of the tolerance: at most 1 is equal."""
    (relative, absolute), worst = TOLERANCES[dtype], 0.0
    for a, b in zip(there, here, strict=True):
        if a.shape != b.shape or a.dtype != b.dtype:
            return math.inf
        if a.dtype.kind != "f":
            worst = max(worst, 0.0 if np.array_equal(a, b) else math.inf)
        elif a.size:
            same = (a == b) | (np.isnan(a) & np.isnan(b))
            size = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
            with np.errstate(invalid="ignore", over="ignore"):
                off = np.abs(a - b) / (absolute * max(1.0, size) + relative * np.abs(b))
            worst = max(worst, float(np.nan_to_num(np.where(same, 0, off), nan=math.inf).max()))
    return worst


def to_second_order(info: Any, seed: int, dtype: str, device: str) -> list[list[Any]]:
    """Values, first and second derivatives of a sample, as NumPy arrays."""
    import tinygrad_rnn as tg
    from tinygrad_rnn.testing.op_info import SeededSampler

    sample = info.draw(SeededSampler(seed))
    inputs = [np.asarray(x) for x in sample.inputs]
    with tg.device(device):
        tg.manual_seed(seed)
        cast = [x.astype(dtype) if x.dtype.kind == "f" else x for x in inputs]
        xs = [tg.tensor(x, device=device, requires_grad=x.dtype.kind == "f") for x in cast]
        if sample.module is not None:
            sample.module.to(device)
            sample.module.to(dtype)
            xs += list(sample.module.parameters())
        wanted = [x for x in xs if x.requires_grad]
        ys = flat(sample.call(info.function, *xs[: len(inputs)]))
        results, live = [[y.numpy() for y in ys]], [y for y in ys if y.requires_grad]
        for order in (1, 2):
            if not live or not wanted:
                break
            gs = list(tg.grad(live, wanted, cosines(live, device), create_graph=order == 1))
            results.append([g.numpy() for g in gs])
            live = [g for g in gs if g.requires_grad]
        return results


def catalogue(until: float, device: str) -> Found:
    """Every OpInfo against the CPU; other samples, while there is time."""
    from tinygrad_rnn.testing import op_infos

    found: Found = {"rows": len(op_infos()), "samples": 0, "failed": {}, "worst": {}}
    for seed in range(4):
        for info in op_infos():
            for dtype in TOLERANCES:
                if time.perf_counter() > until:
                    return {**found, "stopped": f"seed {seed}, {info.name}"}
                found["samples"] += 1
                try:
                    pairs = [to_second_order(info, seed, dtype, on) for on in (device, "cpu")]
                    for order, (a, b) in enumerate(zip(*pairs, strict=True)):
                        far, key = distance(a, b, dtype), f"{dtype}, order {order}"
                        if far > 1:
                            raise AssertionError(f"{key}: {far:.3g} times the tolerance")
                        found["worst"][key] = max(found["worst"].get(key, 0.0), far)
                except Exception as error:  # reported, and the next one
                    text = f"seed {seed}, {dtype}: {type(error).__name__}: {error}"
                    found["failed"].setdefault(f"{info.kind} {info.name}", text[:400])
    return found


def layers(until: float, device: str) -> Found:
    """Drawn recurrent layers: outputs and gradients are the CPU's, and the same bits twice."""
    import tinygrad_rnn as tg
    from tinygrad_rnn.testing.op_info import SeededSampler

    found: Found = {"configurations": 0, "failed": {}, "worst": {}, "bits differ": []}
    for seed in range(300):
        for name in ("RNN", "GRU", "LSTM"):
            for dtype in TOLERANCES:
                if time.perf_counter() > until:
                    return {**found, "stopped": f"seed {seed}"}
                d = SeededSampler(seed)
                options: Found = {
                    "num_layers": d.integer(1, 2), "bidirectional": d.one_of([False, True]),
                    "dropout": d.one_of([0.0, 0.3]), "zoneout": d.one_of([0.0, 0.3]),
                    "recurrent_dropout": d.one_of([0.0, 0.3]),
                }  # fmt: skip
                if name == "RNN":
                    options["nonlinearity"] = d.one_of(["tanh", "relu"])
                if name == "GRU":
                    options["reset_after"] = d.one_of([False, True])
                if name == "LSTM":
                    options |= {
                        "proj_size": d.one_of([0, 5]), "peephole": d.one_of([False, True]),
                        "coupled_gates": d.one_of([False, True]),
                        "cell_clip": d.one_of([None, 0.2]),
                    }  # fmt: skip
                t, b = d.integer(1, 12), d.integer(1, 20)
                x = d.reals((t, b, 7)).astype(dtype)
                lengths = d.one_of([None, [d.integer(0, t) for _ in range(b)]])
                reset = d.one_of([None, d.reals((t, b)) > 1])

                def run(
                    on: str, name: str = name, options: Found = options, dtype: str = dtype,
                    x: Any = x, lengths: Any = lengths, reset: Any = reset, seed: int = seed,
                ) -> list[Any]:  # fmt: skip
                    with tg.device(on):
                        kind = getattr(tg.nn, name)
                        m = kind(7, 9, dtype=dtype, generator=tg.Generator(seed), **options)
                        given = tg.tensor(x, device=on, requires_grad=True)
                        ys = flat(m(given, lengths=lengths, reset=reset))
                        gs = tg.grad(ys, [given, *m.parameters()], cosines(ys, on))
                        return [a.numpy() for a in (*ys, *gs)]

                key = f"{name} {dtype}"
                found["configurations"] += 1
                try:
                    there, again, here = run(device), run(device), run("cpu")
                    if not all(map(np.array_equal, there, again)):
                        found["bits differ"].append(f"{key} seed {seed}")
                    far = distance(there, here, dtype)
                    if far > 1:
                        raise AssertionError(f"{far:.3g} times the tolerance")
                    found["worst"][key] = max(found["worst"].get(key, 0.0), far)
                except Exception as error:  # reported, and the next one
                    text = f"{options}: {type(error).__name__}: {error}"
                    found["failed"].setdefault(f"{key} seed {seed}", text[:400])
    return found


def training(until: float, device: str) -> Found:
    """Losses and norms of charlm are the CPU's, and the same bits twice."""
    from tinygrad_rnn.recipes import CharLMConfig, CharLMTraining

    text = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz ,.\n"), 9000))
    found: Found = {"failed": {}, "worst": 0.0}
    more: Found
    for cell, more in (
        ("lstm", {}),
        ("gru", {}),
        ("rnn", {}),
        ("lstm", {"num_layers": 2, "dropout": 0.3}),
    ):
        if time.perf_counter() > until:
            return {**found, "stopped": cell}
        sizes = {"hidden_size": 24, "embedding_dim": 8, "batch_size": 8, "bptt": 12, "steps": 12}
        config: Any = {"cell": cell, **sizes, **more}

        def run(on: str, config: Any = config) -> Any:
            points = CharLMTraining(text, CharLMConfig(**config), on)
            return np.array([(p.loss, p.norm) for p in points])

        try:
            there, again, here = run(device), run(device), run("cpu")
            if not np.array_equal(there, again):
                raise AssertionError("the bits differ from run to run")
            far = float(np.abs(there / here - 1).max())
            found["worst"] = max(found["worst"], far)
            if far > 1e-3:
                raise AssertionError(f"losses and norms are {far:.3g} from the CPU's")
        except Exception as error:  # reported, and the next one
            found["failed"][f"{cell} {more}"] = f"{type(error).__name__}: {error}"[:400]
    return found


# ---------------------------------------------------------------- compiled kernels, carried along


class Pack:
    """Takes compiled kernels from a file, and keeps those that are compiled here."""

    def __init__(self, path: str, compile_for: str = "") -> None:
        """**Arguments** compile_for: an architecture, `90`, for which NVRTC compiles them, too."""
        from cupy.cuda import compiler

        self.here = compiler._compile_using_nvrtc_no_warning
        self.compile_for, self.taken, self.compiled, self.refused = compile_for, 0, 0, 0
        self.known: dict[str, bytes] = {}
        if path:
            with zipfile.ZipFile(path) as file:
                self.known = {name: file.read(name) for name in file.namelist()}
        compiler._compile_using_nvrtc_no_warning = self

    def __call__(
        self, source: str, options: tuple[str, ...] = (), arch: Any = None, filename: str = "",
        name_expressions: Any = None, *rest: Any, **more: Any,
    ) -> Any:  # fmt: skip
        flags = [o for o in options if not o.startswith("-I")]  # paths are the machine's
        key = hashlib.sha256("\0".join([source, str(self.compile_for or arch), *flags]).encode())
        name, plain = key.hexdigest(), not name_expressions
        if plain and not self.compile_for and name in self.known:
            self.taken += 1
            return self.known[name], None
        found = self.here(source, options, arch, filename, name_expressions, *rest, **more)
        self.compiled += 1
        if plain and not self.compile_for:
            self.known[name] = found[0]
        elif plain and name not in self.known:
            from .cuda_on_cpu.nvrtc import machine_code

            try:
                self.known[name] = machine_code(source, [*options, f"-arch=sm_{self.compile_for}"])
            except RuntimeError as error:  # it will be compiled there
                self.refused += 1
                if self.refused == 1:
                    say(f"NVRTC: {str(error)[:300]}")
        return found

    def save(self, path: str) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, code in self.known.items():
                file.writestr(name, code)
        say(f"{len(self.known)} kernels in {path}; {self.refused} did not compile")


# ---------------------------------------------------------------- all of it


def environment(device: str) -> Found:
    import cupy

    from tinygrad_rnn import kernels

    there = cupy.cuda.Device()
    properties = cupy.cuda.runtime.getDeviceProperties(there.id)
    return {
        "python": sys.version.split()[0], "numpy": np.__version__, "cupy": cupy.__version__,
        "driver": cupy.cuda.runtime.driverGetVersion(), "card": properties["name"].decode(),
        "compute": there.compute_capability, "kernels": kernels.describe(),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_check", description=__doc__)
    parser.add_argument("--budget", type=float, default=600, help="seconds in all")
    parser.add_argument("--json", default="gpu-check.json", help="the report's file")
    parser.add_argument("--stand-in", action="store_true", help="rehearse without a GPU")
    parser.add_argument("--kernels", default="", help="a file of compiled kernels")
    parser.add_argument("--save-kernels", default="", help="keep them in a file")
    parser.add_argument("--architecture", default="90", help="of the stand-in's --save-kernels")
    given = parser.parse_args()
    if given.stand_in:
        from .cuda_on_cpu.driver import start

        start()
    try:
        report: Found = {"env": environment("cuda")}
    except Exception as error:  # no CuPy, no driver, no device
        print(f"gpu-check: {type(error).__name__}: {error}; --stand-in rehearses without a GPU")
        return 2
    if given.stand_in:
        report["env"]["card"] = "none: the stand-in driver, kernels run on the CPU"
    say(json.dumps(report["env"]))
    away = given.stand_in and given.save_kernels
    pack = Pack(given.kernels, given.architecture if away else "")
    sections: dict[str, tuple[float, Callable[[float, str], Found]]] = {
        "training": (0.15, training), "layers": (0.3, layers), "catalogue": (0.7, catalogue),
    }  # fmt: skip
    for name, (share, section) in sections.items():
        begin = time.perf_counter()
        until = max(START + share * given.budget, begin + 0.1 * given.budget)
        report[name] = found = section(until, "cuda")
        found["seconds"] = round(time.perf_counter() - begin, 1)
        say(f"{name}: {json.dumps(found, default=str)[:2000]}")
    from bench.gpu import figures

    left = given.budget - (time.perf_counter() - START)
    report["times"] = figures(max(1.0, left - 5), given.stand_in, say)
    report["kernels"] = {"taken": pack.taken, "compiled": pack.compiled}
    if given.save_kernels:
        pack.save(given.save_kernels)
    failed = {n: len(report[n]["failed"]) for n in sections if report[n]["failed"]}
    if differ := report["layers"]["bits differ"]:
        failed["bits that differ"] = len(differ)
    report["verdict"] = f"failures: {failed}" if failed else "equal to the CPU"
    report["seconds"] = round(time.perf_counter() - START, 1)
    Path(given.json).write_text(json.dumps(report, indent=1, default=str), "utf-8")
    say(f"{report['verdict']}; the report is in {given.json}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
