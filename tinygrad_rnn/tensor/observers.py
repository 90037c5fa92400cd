"""Observers of the engine: callbacks and tracers of a thread, on its operations; hooks on a node.

All are empty by default: then an operation pays one test for each.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol, Self

from .graph import Node, Traced

if TYPE_CHECKING:
    from .operation import Op


@dataclass
class Callbacks:
    """Called on every value, node and cotangent of a thread; None if there is none."""

    forward: Callable[[Op, Any, list[Any]], None] | None = None  # (operation, output, inputs)
    recorded: Callable[[Node], None] | None = None
    backward: Callable[[Node, int, Any], None] | None = None  # (node, which input, cotangent)


callbacks: dict[int, Callbacks] = {}  # by thread: another one computes as if it were alone


def observing() -> Callbacks:
    """The callbacks of this thread."""
    return callbacks.get(get_ident()) or Callbacks()


@contextmanager
def observe(
    forward: Callable[[Op, Any, list[Any]], None] | None = None,
    recorded: Callable[[Node], None] | None = None,
    backward: Callable[[Node, int, Any], None] | None = None,
) -> Iterator[None]:
    """Installs callbacks for this thread within a `with` block, in place of those it has."""
    thread = get_ident()
    before = callbacks.get(thread)
    callbacks[thread] = Callbacks(forward, recorded, backward)
    try:
        yield
    finally:
        if before is None:
            del callbacks[thread]
        else:
            callbacks[thread] = before


class Tracer(Protocol):
    """Traces the operations that one thread calls."""

    def replayed(self, op: Op, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """The result of an operation without applying it; None to apply it."""

    def record(self, op: Op, args: tuple[Any, ...], params: dict[str, Any], result: Any) -> None:
        """Records an operation that was applied to Traced values or to arrays."""

    def concretize(self, value: Traced) -> None:
        """Python is about to read the elements of a value."""

    def overwritten(self, value: Traced) -> None:
        """A value is about to be overwritten."""

    def loop(self, scan: Callable[..., Any], args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """The result of a loop that is recorded whole; None to run its steps."""

    def refuse(self, what: str, remedy: str) -> None:
        """Refuses what is not an operation and cannot be traced."""


tracers: dict[int, Tracer] = {}  # by thread

hooked: weakref.WeakSet[Node] = weakref.WeakSet()  # the nodes that have hooks


class RemovableHandle:
    """Adds a hook to others, and removes it: by `remove()`, a call, or the end of a `with` block.

    The hooks do not refer to their handles, which would be a cycle.
    """

    def __init__(self, hooks: dict[object, Any], hook: Any) -> None:
        self._hooks, self._key = hooks, object()  # the same function may be registered twice
        hooks[self._key] = hook

    def remove(self) -> None:
        """Removes the hook, if it is still there."""
        self._hooks.pop(self._key, None)

    __call__ = remove

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def is_tracing() -> bool:
    """Whether the operations of this thread are traced."""
    return get_ident() in tracers


def concretize(value: Traced) -> Any:
    """The array of a value whose elements Python reads; informs the tracer."""
    if tracers and (tracer := tracers.get(get_ident())) is not None:
        tracer.concretize(value)
    return value.array


def report_overwrite(value: Traced) -> None:
    """Informs the tracer that a value is about to be overwritten."""
    if tracers and (tracer := tracers.get(get_ident())) is not None:
        tracer.overwritten(value)


def loop_in_trace(scan: Callable[..., Any], args: tuple[Any, ...], params: dict[str, Any]) -> Any:
    """Lets the tracer, if there is one, record a loop whole; None to run its steps."""
    tracer = tracers.get(get_ident())
    return None if tracer is None else tracer.loop(scan, args, params)


def refuse_in_trace(what: str, remedy: str) -> None:
    """Lets the tracer, if there is one, refuse what is not an operation."""
    if tracers and (tracer := tracers.get(get_ident())) is not None:
        tracer.refuse(what, remedy)
