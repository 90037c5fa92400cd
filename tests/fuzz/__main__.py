"""`python -m tests.fuzz --calls N --seed S`: draws calls, and prints how they ended."""

from __future__ import annotations

import argparse
import os
import pickle
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .calls import drawn, templates
from .outcome import Outcome, difference

BATCH = 1000  # calls in a process


def fuzz(calls: int, seed: int = 0, processes: int = 2) -> tuple[Counter[str], list[str]]:
    """Makes calls. **Returns** how many ended how, and what was not allowed."""
    parts = [(a, min(a + BATCH, calls)) for a in range(0, calls, BATCH)]
    counts: Counter[str] = Counter()
    faults: list[str] = []
    with ThreadPoolExecutor(processes) as pool:
        for ended in pool.map(lambda part: list(_batch(seed, *part)), parts):
            for kind, fault in ended:
                counts[kind] += 1
                if fault:
                    faults.append(fault)
    return counts, faults


def _batch(seed: int, first: int, last: int) -> Iterator[tuple[str, str]]:
    """Yields the kind of each call's outcome, and its fault, if any."""
    native, plain = (_outcomes(seed, first, last, kernels) for kernels in ("", "reference"))
    names = list(templates())
    for i in range(first, last):
        name, one, other = names[i % len(names)], native[i], plain[i]
        fault = one.fault or other.fault
        if not fault and "crash" not in (one.kind, other.kind):
            found = difference(one, other)
            fault = f"native kernels and array code differ: {found}" if found else ""
        call = ""
        if fault:
            call = f"{name} (seed {seed + i}): {_written(name, seed + i)}\n    {fault}"
            for outcome in (one, other):
                call += f"\n    {outcome.text}" if outcome.kind == "foreign" else ""
        yield one.kind, call


def _written(name: str, seed: int) -> str:
    call = drawn(name, templates()[name], seed)
    shown = {n: str(call.arguments[n])[:60] for n in call.replaced if n in call.arguments}
    return ", ".join(f"{n}={text!r}" for n, text in shown.items()) or "as drawn"


def _outcomes(seed: int, first: int, last: int, kernels: str) -> dict[int, Outcome]:
    """The outcomes of calls by their numbers; a process that died is started again behind them."""
    found: dict[int, Outcome] = {}
    env = {**os.environ, "TINYGRAD_RNN_KERNELS": kernels, "OMP_NUM_THREADS": "1"}
    while first < last:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "outcomes"
            command = [
                sys.executable,
                "-m",
                "tests.fuzz.batch",
                path,
                str(seed),
                str(first),
                str(last),
            ]
            done = subprocess.run(command, env=env, capture_output=True, check=False)
            with path.open("rb") as file:
                while True:
                    try:
                        i, _, outcome = pickle.load(file)
                    except (EOFError, pickle.UnpicklingError):
                        break
                    found[i] = outcome
        first = max(found, default=first - 1) + 1 if found else first
        if first < last:
            words = f"the process ended with {done.returncode}: {done.stderr[-800:].decode()}"
            found[first] = Outcome("crash", [], words, words)
            first += 1
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000, help="how many calls are made")
    parser.add_argument("--seed", type=int, default=0, help="the seed of the first of them")
    parser.add_argument("--show", type=int, default=50, help="how many faults are printed")
    given = parser.parse_args()
    counts, faults = fuzz(given.calls, given.seed)
    for fault in faults[: given.show]:
        print(fault)
    print(f"{given.calls} calls:", ", ".join(f"{n} {kind}" for kind, n in counts.most_common()))
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
