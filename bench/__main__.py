"""Runs a suite of measurements and prints it as a table, and as JSON with --json FILE."""

from __future__ import annotations

import argparse
import importlib

from .turns import measure

SUITES = {
    "cells": "bench.cells",
    "engine": "bench.engine",
    "gpu": "bench.gpu",
    "imports": "bench.imports",
    "rnn": "bench.rnn",
    "step": "bench.step",
    "train": "bench.train",
}


def main() -> None:
    """Parses the command line and runs a suite."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--rounds", type=int, default=9, help="turns of each library (default 9)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each (default 1)")
    parser.add_argument("--only", help="cases whose name contains this")
    parser.add_argument("--json", help="a file to write the figures to")
    given = parser.parse_args()
    suite = importlib.import_module(SUITES[given.suite])
    if hasattr(suite, "measure"):
        suite.measure(given)
    else:
        measure(SUITES[given.suite], suite.CASES, suite.PEERS, given, getattr(suite, "flops", None))


if __name__ == "__main__":
    main()
