"""Libraries that take turns, each in a process of its own that answers one request a line."""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from math import exp, inf, log
from pathlib import Path
from statistics import mean, median
from typing import Any

ENOUGH = 0.2  # seconds of running that make a turn


class Peer:
    """A library in a process of its own."""

    def __init__(self, suite: str, name: str, threads: int) -> None:
        limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.name = name
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.turns", suite, name],
            env={**os.environ, **dict.fromkeys(limits, str(threads))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> Any:
        """The answer to a request; None once the process is gone."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()


def serve(suite: str, name: str) -> None:
    """Answers requests: builds a case and gives its first results, runs it, measures its memory."""
    # On one thread what other programs do meanwhile does not count.
    clock = time.process_time if os.environ["OMP_NUM_THREADS"] == "1" else time.perf_counter
    module = importlib.import_module(suite)
    library = module.PEERS[name]()
    run: Any = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = None
        if request["do"] == "build":
            run = getattr(library, request["case"], None)
            compared = range(getattr(module, "COMPARED", 1))
            answer = None if run is None else [float(run()) for _ in compared]
        elif request["do"] == "time":
            run()
            times: list[float] = []
            while sum(times) < ENOUGH:
                start = clock()
                run()
                times.append(clock() - start)
            answer = min(times)
        elif request["do"] == "memory":
            answer = _peak_memory(run)
        print(json.dumps(answer), flush=True)


def _peak_memory(run: Any) -> float:
    """Bytes that a run needs at its peak, beyond what the process held before it."""

    def read(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(s.split()[1]) for s in lines if s.startswith(key))

    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier runs have freed goes back
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark so far
    before = read("VmRSS")
    run()
    return float(read("VmHWM") - before)


def measure(
    suite: str,
    cases: dict[str, str],
    peers: dict[str, Any],
    given: argparse.Namespace,
    flops: Callable[[str], float] | None = None,
) -> None:
    """Lets the libraries take turns at each case, and prints how they compare with ours.

    Where the suite counts operations, speeds are printed, too, and geometric means at the end.
    """
    machine = f"{platform.processor() or platform.machine()}, Python {platform.python_version()}"
    print(f"{machine}, {given.threads} thread(s), {given.rounds} rounds; min (median) of turns")
    print(f"{'case':<56}{'library':<15}{'min':>13}{'median':>13}{'to ours':>9}")
    if given.only and not any(given.only in case for case in cases):
        raise SystemExit(f"no case contains {given.only!r}; there are: {', '.join(cases)}")
    running = [Peer(suite, name, given.threads) for name in peers]
    figures: list[dict[str, Any]] = []
    for case, what in cases.items():
        if given.only and given.only not in case:
            continue
        values = {peer.name: peer.ask(do="build", case=case) for peer in running}
        ours = next(iter(values.values()))
        turns: dict[str, list[float]] = {n: [] for n, v in values.items() if v is not None}
        near = 1e-2 if case.endswith("int8") else 1e-3  # each rounds weights in its own way
        for name in turns:
            for i, (theirs, own) in enumerate(zip(values[name], ours, strict=True)):
                if not abs(theirs - own) <= near * max(1.0, abs(own)):
                    raise SystemExit(f"{case}: {name} computes {theirs}, we {own}, in run {i + 1}")
        kind = "memory" if case.endswith("memory") else "time"
        for _ in range(given.rounds):
            for peer in running:
                if peer.name in turns:
                    turns[peer.name].append(peer.ask(do=kind))
        best = {name: min(t) for name, t in turns.items()}
        first = next(iter(best))
        for name, t in turns.items():
            unit, scale, digits = ("MB", 1e-6, 1) if kind == "memory" else ("us", 1e6, 0)
            ratio = best[name] / best[first]
            label = f"{case}: {what}" if name == first else ""
            counted = flops is not None and kind == "time"
            speed = f"{flops(case) / best[name] * 1e-9:>9.1f} GFLOP/s" if counted else ""
            print(
                f"{label:<56}{name:<15}{best[name] * scale:>10,.{digits}f} {unit}"
                f"{median(t) * scale:>10,.{digits}f} {unit}{ratio:>9.2f}{speed}",
                flush=True,
            )
            figures.append(
                {"case": case, "library": name, "unit": unit, "min": best[name] * scale,
                 "median": median(t) * scale, "ratio": ratio}
            )  # fmt: skip
    for peer in running:
        peer.close()
    for unit in ("us", "MB") if flops else ():
        _means([f for f in figures if f["unit"] == unit], unit)
    if given.json:
        Path(given.json).write_text(json.dumps({"machine": machine, "figures": figures}, indent=2))


def _means(figures: list[dict[str, Any]], unit: str) -> None:
    """Prints the geometric means of the ratios, and of those to the best of the others."""
    ratios: dict[str, list[float]] = {}
    nearest: dict[str, float] = {}
    for f in figures:
        if f["library"] != figures[0]["library"]:
            ratios.setdefault(f["library"], []).append(f["ratio"])
            nearest[f["case"]] = min(nearest.get(f["case"], inf), f["ratio"])
    if nearest:
        ratios["the best of each case"] = list(nearest.values())
    for name, r in ratios.items():
        middle = exp(mean(map(log, r)))
        print(f"{name}, {unit}: {middle:.2f} in the geometric mean, {min(r):.2f} at least")


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
