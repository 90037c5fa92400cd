"""A process that makes some calls and writes down how each ended: `python -m tests.fuzz.batch`."""

from __future__ import annotations

import pickle
import resource
import signal
import sys
from typing import Any

from .calls import drawn, templates
from .outcome import Outcome, difference, made

SECONDS = 20  # of processor time for a call; ten times that on the clock, if it waits
ROOM = 4 << 30  # bytes


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"took more than {SECONDS} s")


def outcome(name: str, template: Any, seed: int) -> Outcome:
    """Makes a call; arguments in another memory layout must give the same values."""
    call = drawn(name, template, seed)
    found = made(call)
    if call.replaced and call.same and found.kind == "value":
        other = difference(made(drawn(name, template, seed, mutate=False)), found)
        if other:
            return found._replace(fault=f"another form, another value: {other}")
    return found


def main() -> None:
    """Makes the calls from one number to before another, and writes how they end to a file."""
    path, seed, first, last = sys.argv[1], *map(int, sys.argv[2:5])
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for reached in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(reached, _too_long)
    every = list(templates().items())
    with open(path, "wb") as file:
        for i in range(first, last):
            name, template = every[i % len(every)]
            signal.alarm(10 * SECONDS)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            found = outcome(name, template, seed + i)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            pickle.dump((i, name, found), file)
            file.flush()


if __name__ == "__main__":
    main()
