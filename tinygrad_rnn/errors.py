"""Errors of the package: each says what was expected, what came, and what to do.

All derive from `TinygradRnnError` and from the builtin error that Python would raise.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import getattr_static, signature
from types import CodeType, FrameType, MappingProxyType
from typing import Any, NoReturn, TypeVar, cast

import numpy as np

from .annotations import described, misfit

F = TypeVar("F", bound=Callable[..., Any])


class TinygradRnnError(Exception):
    """The base of every error that the package raises."""

    words = ""  # without the call that the error names; empty if it names none


def words_of(error: Exception) -> str:
    """The words of an error for someone who has not written the call that it names."""
    return getattr(error, "words", "") or str(error)


class InvalidTypeError(TinygradRnnError, TypeError):
    """An argument of a wrong type or dtype."""


class InvalidValueError(TinygradRnnError, ValueError):
    """An argument of the right type with an invalid value."""


class OutOfRangeError(TinygradRnnError, IndexError):
    """An index, an id or an axis out of range."""


class UnknownNameError(TinygradRnnError, AttributeError):
    """A name of PyTorch or NumPy that the package does not have; the error says what to type."""


class ShapeError(TinygradRnnError, ValueError):
    """Shapes or axes that do not match an operation or a layer."""


class MatrixError(TinygradRnnError, np.linalg.LinAlgError):
    """A matrix of the right shape that is singular, or not positive definite."""


class DeviceError(TinygradRnnError, RuntimeError):
    """A device that is not available, or tensors on different devices in one operation."""


class OutOfMemoryError(TinygradRnnError, MemoryError):
    """An array that does not fit in the memory that a GPU has left."""


class GraphError(TinygradRnnError, RuntimeError):
    """A graph that cannot be differentiated: freed, changed, or never recorded."""


class ExportError(TinygradRnnError, BufferError):
    """Memory that cannot be shared with another library."""


class AnomalyError(TinygradRnnError, FloatingPointError):
    """A value or a gradient that is NaN or infinite."""


class GradcheckError(TinygradRnnError, AssertionError):
    """A gradient that differs from the finite differences of its function."""


@contextmanager
def needs(package: str, who: str, remedy: str, kind: type[TinygradRnnError]) -> Iterator[None]:
    """Turns a failed import of a package into an error of a kind that says how to install it."""
    try:
        yield
    except ImportError as error:
        raise kind(f"{who} needs the package {package} ({error}): {remedy}") from None


# ---------------------------------------------------------------- errors at public functions

_OURS = {"tinygrad_rnn", "numpy", "cupy", *sys.stdlib_module_names} - {"__main__"}
boundaries = set[CodeType]()  # the functions that raise errors in the name of what they call
functions = {"tensor"}  # the names of those that are no methods
_CALLED = re.compile(r"^[\w.<>]+\(\) (?=got|missing|takes)")  # Python's names of functions
_KINDS: dict[type[Exception], type[TinygradRnnError]] = {
    TypeError: InvalidTypeError,
    AttributeError: InvalidTypeError,
    ValueError: InvalidValueError,
    OverflowError: InvalidValueError,
    ZeroDivisionError: InvalidValueError,
    IndexError: OutOfRangeError,
    KeyError: InvalidValueError,
    RecursionError: InvalidValueError,
}


def unknown_name(owner: str, name: str, obj: Any, remedy: str = "") -> AttributeError:
    """The error for an attribute that does not exist.

    **Arguments** owner: in the words of `torch_names`; obj: what was asked. remedy: what to type,
    if the table has no entry.
    """
    known = ""
    if not name.startswith("_"):  # those are asked for by protocols of Python and NumPy
        from .torch_names import missing

        known = missing(owner, name, remedy)
    if known:
        return UnknownNameError(known)
    kind = "module" if owner.islower() else repr(type(obj).__name__) + " object"
    what = f"{kind} {obj.__name__!r}" if owner.islower() else kind
    return AttributeError(f"{what} has no attribute {name!r}", name=name, obj=obj)


class Absent:
    """Stands in a class for an attribute that it does not have: reading it says what to type.

    A `__getattr__` would do, but CPython reads every attribute of a class with one more slowly.
    """

    def __init__(self, owner: type, name: str, remedy: str) -> None:
        self.owner, self.name, self.remedy = owner, name, remedy

    def __get__(self, instance: object, kind: type) -> Any:
        bases = kind.__mro__
        for base in bases[bases.index(self.owner) + 1 :]:  # another base of a subclass may have it
            if self.name in vars(base):
                found = vars(base)[self.name]
                return found.__get__(instance, kind) if hasattr(found, "__get__") else found
        raise unknown_name(self.owner.__name__, self.name, instance, self.remedy)


def answer_in(cls: Any, others: Mapping[str, str] = MappingProxyType({})) -> None:
    """Lets a class answer for the names of `torch_names` that it does not have.

    **Arguments** others: more names, and what to type for them.
    """
    from .torch_names import names

    for name in names(cls.__name__) | others.keys():
        setattr(cls, name, Absent(cls, name, others.get(name, "")))

    def present(self: object) -> list[str]:
        """The names of the attributes, for completion."""
        names = object.__dir__(self)
        absent = (n for n in names if isinstance(getattr_static(self, n, None), Absent))
        return sorted({*names} - {n for n in absent if not hasattr(self, n)})

    cls.__dir__ = present


def keyword_remedy(error: Exception) -> str:
    """Returns the remedy for arguments that a function does not take; empty if there is none."""
    if not isinstance(error, TypeError) or " argument" not in str(error):
        return ""
    from .torch_names import keyword  # only for errors

    return keyword(str(error))


def public(function: F) -> F:
    """Marks a public function: errors inside it name the function and its arguments.

    Errors of Python and NumPy become errors of the package. Errors in a function that the caller
    passed propagate unchanged.
    """
    first = function.__code__.co_varnames[:1]

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            name = function.__name__
            if first in (("self",), ("cls",)):
                owner = args[0].__name__ if first == ("cls",) else type(args[0]).__name__
                name = (
                    owner
                    if name in ("__init__", "__post_init__", "__call__")
                    else f"{owner}.{name}"
                )
            raise_named(error, name, function, args, kwargs)

    boundaries.add(cast(Any, call).__code__)
    if first not in (("self",), ("cls",)):
        functions.add(function.__name__)
    return cast(F, call)


def raise_named(
    error: Exception,
    name: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> NoReturn:
    """Raises an error from inside a public function again, with its name and arguments.

    If public functions call each other, the error names the outermost, which the caller knows: in
    place of a function that names itself, as `nn.cross_entropy` does in `nn.CrossEntropyLoss`.
    """
    if (of_device := from_cupy(error)) is not None:
        of_device.args = (f"{name}: {of_device}",)
        raise of_device from error
    ours = isinstance(error, TinygradRnnError)
    kind = next((ours for theirs, ours in _KINDS.items() if isinstance(error, theirs)), None)
    if not (ours or kind) or _is_the_callers(error) or _inside_another():
        raise error
    text, names = _CALLED.sub("", str(error)), list(signature(function).parameters)
    speaker, _, said = text.partition(": ")
    kinds = [base.__name__ for base in type(args[0]).__mro__] if "." in name else []
    if ours and speaker.partition(".")[0] in kinds:
        raise error  # the object speaks already, such as of what it was created with
    about_arguments = not ours or isinstance(error, (TypeError, ValueError, LookupError))
    # Of a function that this one called, which spoke in its own name.
    of_another = ours and about_arguments and speaker in functions - {name, *names}
    words = f"{name}: {said}" if of_another else text
    said_who = ours and _has_word(words, name)
    said_which = ours and any(re.search(rf"(?<!\w){n}[:=\[]", words) for n in names)
    text = words
    if about_arguments and not (said_who and said_which):
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        shown = {n: v for n, v in given.items() if n not in ("self", "cls")}
        got = ", ".join(f"{n}={described(v)}" for n, v in shown.items())
        text = words if said_who else f"{name}: {words}"
        unsaid = isinstance(error, TypeError) and not said_which and (of_another or not said_who)
        if (not ours or unsaid) and (blamed := _blamed(function, shown, args, kwargs)):
            text = f"{name}: {blamed}"
        elif said_which or not got:
            text += keyword_remedy(error)
        else:
            text += f"{keyword_remedy(error)} (got {got})"
    if isinstance(error, TinygradRnnError):
        error.args, error.words = (text,), words.removeprefix(f"{name}: ")
        raise error
    assert kind is not None
    raise kind(text) from error


def from_cupy(error: Exception) -> TinygradRnnError | None:
    """The package's error for one that CuPy raises of a device; None for any other error."""
    if type(error).__module__.partition(".")[0] not in ("cupy", "cupy_backends"):
        return None
    if isinstance(error, MemoryError):
        cupy = sys.modules["cupy"]
        pool = cupy.get_default_memory_pool()
        free, total = cupy.cuda.runtime.memGetInfo()
        return OutOfMemoryError(
            f"{error} On the GPU {_in_bytes(free)} of {_in_bytes(total)} are free; arrays take "
            f"{_in_bytes(pool.used_bytes())}, and {_in_bytes(pool.free_bytes())} are kept for "
            "reuse: take smaller batches or shorter sequences, or checkpoint the function"
        )
    if type(error).__name__ == "CompileException":
        return DeviceError(
            f"a CUDA kernel does not compile: {str(error)[:1000]}: install the CuPy that fits the "
            "driver; TINYGRAD_RNN_KERNELS=reference runs CuPy's own kernels in place of ours"
        )
    return DeviceError(f"the GPU reports: {error}")


def _in_bytes(count: int) -> str:
    """A number of bytes, with a unit."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size /= 1024
        del units[0]
    return f"{size:.4g} {units[0]}"


def _blamed(
    function: Callable[..., Any],
    given: Mapping[str, Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> str:
    """Says which argument does not fit its annotation; nothing if their number or names do not."""
    try:
        signature(function).bind(*args, **kwargs)
    except TypeError:
        return ""
    if function.__name__ == "__post_init__":  # of a dataclass, whose fields are set by now
        return misfit(vars(args[0]), type(args[0]))
    return misfit(given, function)


def _has_word(text: str, name: str) -> bool:
    """Whether a text has a word."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None


def _is_the_callers(error: Exception) -> bool:
    """Whether an error was raised in, or below, a function that is not the package's own."""
    trace = error.__traceback__
    while trace is not None:
        if not _is_ours(trace.tb_frame):
            return True
        trace = trace.tb_next
    return False


def _inside_another() -> bool:
    """Whether the public function that is failing was called by another."""
    frame = sys._getframe(2).f_back  # what called it
    while frame is not None and _is_ours(frame):
        if frame.f_code in boundaries:
            return True
        frame = frame.f_back
    return False


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in _OURS
