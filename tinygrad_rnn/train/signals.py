"""Signals that ask a training to stop: the current update ends, and the training saves."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collects the signals that ask to stop, so that the current update can end.

    These are SIGINT (Ctrl-C), SIGTERM (batch systems, `kill`) and SIGHUP (a closed terminal). A
    second Ctrl-C interrupts at once and leaves the last checkpoint whole; systems often send the
    others in pairs, so a second one of those has no effect. Only the main thread receives signals.

    >>> import tinygrad_rnn as tg
    >>> with tg.train.stop_requests() as requests:
    ...     for step in range(3):
    ...         if requests:
    ...             break
    >>> requests
    []
    """
    requests: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return

    def stop(number: int, frame: Any) -> None:
        requests.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)  # nohup ignores it
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: not Python's
