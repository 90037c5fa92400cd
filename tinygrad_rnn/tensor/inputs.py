"""The inputs of an operation: their names, their conversion, and what is said of wrong ones."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from reprlib import repr as brief
from types import FunctionType, ModuleType
from typing import Any, cast

import numpy as np

from ..annotations import described, misfit
from ..errors import (
    DeviceError,
    InvalidTypeError,
    InvalidValueError,
    MatrixError,
    OutOfRangeError,
    ShapeError,
    TinygradRnnError,
    keyword_remedy,
)
from . import backend, conversion
from .graph import Traced, grad_mode

Rule = Callable[..., Any]

NUMBERS = (int, float, complex, np.generic)  # accepted in place of an array
FLOAT64, FLOAT32, FLOAT16 = np.dtype("float64"), np.dtype("float32"), np.dtype("float16")
PYTHON = frozenset({int, float, bool, complex})  # accepted without a check
NESTED = (list, tuple, range)
# Types of parameters that need no conversion. A module may add a named tuple of constants to it.
SETTLED: set[type] = {*PYTHON, type(None), str, tuple, slice, type}


class _Signature:
    """The signature of an operation, for `help` and errors: derived when it is read."""

    def __get__(self, op: Inputs | None, owner: type[Inputs]) -> inspect.Signature:
        if op is None:
            raise AttributeError("__signature__")  # of the class, inspect derives it
        _, *parameters = inspect.signature(op.forward).parameters.values()
        return inspect.Signature([p for p in parameters if p.name != "keep"])


class Inputs:
    """Base of `Op`: the inputs and the parameters that a forward function declares.

    **Arguments** as of `Op`.
    """

    rules: dict[str, Rule]
    __signature__ = _Signature()

    def __init__(self, name: str, forward: Rule, expects: str) -> None:
        self.name = name
        self.forward = forward
        self.inputs, self.variadic, self.optional, settings = declared(forward)
        self.parameters = {n: default for n, default in settings.items() if n != "keep"}
        broadcast = "shapes that broadcast together" if len(self.inputs) > 1 else ""
        self.expects = expects or broadcast

    # ------------------------------------------------------------ conversion

    def _converted(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Converts the inputs to operands; returns the same tuple if all are operands.

        With a Tensor among them, NumPy scalars and nested lists are promoted as Python numbers: to
        the dtype of the Tensor, if it is of their kind or above. If all are Python numbers and
        lists, the first becomes a Tensor. Beside arrays, NumPy scalars stay unchanged.
        """
        like = next((a for a in args if isinstance(a, Traced)), None)
        if like is None:
            like = next((a for a in args if backend.is_array(a)), None)
        if like is not None:
            new = [self._operand(i, a, like) for i, a in enumerate(args)]
        elif args and all(a is None or type(a) in PYTHON or isinstance(a, NESTED) for a in args):
            what = f"{self.name}: {self.inputs[0]}"
            new = [
                cast(Any, Traced.result_class)(conversion.from_python(args[0], what=what)),
                *args[1:],
            ]
        else:
            for i, a in enumerate(args):
                if not self._may_be_operand(i, a):
                    raise self._not_an_operand(i, a)
            return args
        return args if all(a is b for a, b in zip(new, args, strict=True)) else tuple(new)

    def _in_one_dtype(self, args: tuple[Any, ...], raw: Sequence[Any]) -> tuple[Any, ...]:
        """Converts integers to the dtype of the reals beside them, or to float32 without any.

        So float32 stays float32, as in PyTorch and JAX, where NumPy's result would be float64; and
        the roots of bytes, which NumPy computes in float16, do not overflow. Only inputs with a
        rule of their own are converted: others may be indices. An operation that is told a dtype
        keeps it. Returns the same tuple if there is nothing to convert.

        **Arguments** args: operands; raw: the same, without the graph.
        """
        dtypes = set()
        for a in raw:
            if backend.is_array(a):
                if a.dtype is FLOAT64:
                    return args
                dtypes.add(a.dtype)
        reals = {dtype for dtype in dtypes if dtype.kind == "f"}
        whole = "iu" if reals else "biu"  # truth values do not widen reals
        if len(reals) > 1 or not any(dtype.kind in whole for dtype in dtypes):
            return args
        if not reals and "dtype" in self.parameters:
            return args
        dtype = reals.pop() if reals else FLOAT32
        new = [
            a.astype(dtype)
            if backend.is_array(array)
            and array.dtype.kind in whole
            and (self.variadic or self._input(i) in self.rules)
            else a
            for i, (a, array) in enumerate(zip(args, raw, strict=True))
        ]
        return args if all(a is b for a, b in zip(new, args, strict=True)) else tuple(new)

    def _operand(self, i: int, a: Any, like: Any) -> Any:
        """Converts an operand that stands beside a Tensor or an array."""
        if isinstance(a, Traced) or type(a) in PYTHON:
            return a
        name = self._input(i)
        what = f"{self.name}: {name}"
        if backend.is_array(a):
            return conversion.normalized(a, what)
        if a is None or not (isinstance(like, Traced) or isinstance(a, NESTED)):
            if not self._may_be_operand(i, a):
                raise self._not_an_operand(i, a)
            return a
        if isinstance(a, np.generic):
            if self.rules and name not in self.rules:
                return backend.module_of(like.array).asarray(a)  # an index
            number = conversion.normalized(np.asarray(a), what).item()
            return (
                float(number) if isinstance(number, np.floating) else number
            )  # a long double is not converted by item()
        array = like.array if isinstance(like, Traced) else like
        found = conversion.promoted(a, array.dtype, name in self.rules, what)
        return backend.module_of(array).asarray(found)

    def _setting(self, name: str, value: object) -> Any:
        """Converts a parameter: NumPy's scalars, lists of axes; refuses real Tensors."""
        if isinstance(value, Traced) and value.array.dtype.kind in "fc":
            raise InvalidTypeError(
                f"{self.name}: {name}: expected a Python value, got a Tensor of reals, through "
                f"which no gradient would flow: {name}.item()"
            )
        if name == "axis" and isinstance(value, list):  # NumPy's functions take tuples only
            return tuple(value)
        return value.item() if isinstance(value, np.generic) else value

    def _constants(self, name: str, value: object, xp: ModuleType) -> Any:
        """The arrays of the constants in a fused operation's parameter, a tuple or a named tuple.

        They are Tensors until here, so that a trace of the decomposition sees where they come from.
        """
        if isinstance(value, tuple):
            names: Sequence[str] = getattr(value, "_fields", (name,) * len(value))
            found: list[Any] = [
                v if v is None or type(v) is bool else self._constants(n, v, xp)
                for n, v in zip(names, value, strict=True)
            ]
            return tuple(found) if type(value) is tuple else type(value)(*found)
        if isinstance(value, Traced):
            if value.edge is not None and grad_mode.on:
                raise InvalidTypeError(
                    f"{self.name}: {name} is a constant, but requires grad: detach it, or "
                    "differentiate the step in a scan"
                )
            value = value.array
        if xp is np and type(value) is np.ndarray:
            return value  # the usual case
        if backend.is_array(value) and backend.module_of(value) is not xp:
            raise DeviceError(
                f"{self.name}: {name}: expected it on the device of the inputs, got "
                f"{backend.device_of(value)}: move it there with .to()"
            )
        return value

    def _input(self, i: int) -> str:
        """The name of the i-th input; the last name, if their number varies."""
        return self.inputs[min(i, len(self.inputs) - 1)]

    def _may_be_operand(self, i: int, a: object) -> bool:
        """Whether an input is a number, an array, or the default of an optional one."""
        if backend.is_array(a) or isinstance(a, (*NUMBERS, *NESTED)):
            return True
        return self._input(i) in self.optional and a is self.optional[self._input(i)]

    # ------------------------------------------------------------ errors

    def _not_an_operand(self, i: int, a: object) -> Exception:
        name = f"{self.inputs[0]}[{i}]" if self.variadic else self._input(i)
        return InvalidTypeError(
            f"{self.name}: {name}: expected a Tensor, an array or a number, got "
            f"{type(a).__name__} {a!r}"
        )

    def _arrange(
        self, args: tuple[Any, ...], params: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Binds positional parameters, and inputs by keyword or default."""
        count, passed = len(self.inputs), len(args)
        extra = dict(zip(self.parameters, args[count:], strict=False))
        args, missing = args[:count], self.inputs[len(args) :]
        surplus = len(args) + len(extra) < passed or extra.keys() & params.keys()
        known = {**self.optional, **params}
        if surplus or any(n not in known for n in missing):
            raise InvalidTypeError(
                f"{self.name}{self.__signature__}: got {passed} positional arguments"
            )
        rest = {n: v for n, v in params.items() if n not in missing}
        return (*args, *(known[n] for n in missing)), {**extra, **rest}

    def _explained(self, error: Exception, raw: list[Any], params: dict[str, Any]) -> Exception:
        arrays = [a for a in raw if backend.is_array(a)]
        devices = sorted({backend.device_of(a) for a in arrays})
        if len(devices) > 1:
            return DeviceError(
                f"{self.name}: inputs on {' and '.join(devices)}: move them to one "
                "device with .to()"
            )
        settings = "".join(f", {n}={described(v)}" for n, v in params.items())
        named = [*zip(itertools.chain(self.inputs, itertools.repeat("and")), raw, strict=False)]
        for i, (_, a) in enumerate(named):
            if not self._may_be_operand(i, a):
                return self._not_an_operand(i, a)
        wrong = misfit(params, self.forward) if not isinstance(error, TinygradRnnError) else ""
        if wrong:
            return InvalidTypeError(f"{self.name}: {wrong}")
        got = ", ".join(
            f"{n} {a.dtype}{list(a.shape)}" if backend.is_array(a) else f"{n} {brief(a)}"
            for n, a in named
        )
        if "negative integer powers" in str(error):
            return InvalidTypeError(
                f"{self.name}: got {got}: integers have no negative powers among integers: convert "
                "the base to reals first, as in x.astype('float32') ** -1"
            )
        kinds = {
            np.linalg.LinAlgError: MatrixError,  # a matrix is singular
            ValueError: ShapeError,
            IndexError: OutOfRangeError,
            OverflowError: InvalidValueError,
        }
        kind = next((k for e, k in kinds.items() if isinstance(error, e)), InvalidTypeError)
        if kind is ShapeError and str(error).partition(":")[0] in self.parameters:
            kind = InvalidValueError
        of_shapes = self.expects and kind not in (InvalidTypeError, InvalidValueError)
        expected = f"expected {self.expects}; " if of_shapes else ""
        said = f"{error}{keyword_remedy(error)}"
        return kind(f"{self.name}: {expected}got {got}{settings} ({said})")


def declared(forward: Rule) -> tuple[tuple[str, ...], bool, dict[str, Any], dict[str, Any]]:
    """The inputs that a forward function declares, whether their number varies, the defaults of
    optional ones, and the parameters with theirs."""
    if not is_plain(forward):
        _, *found = inspect.signature(forward).parameters.values()
        inputs = tuple([p.name for p in found if p.kind is not p.KEYWORD_ONLY])
        variadic = any(p.kind is p.VAR_POSITIONAL for p in found)
        defaults = {p.name: p.default for p in found if p.default is not p.empty}
        settings = tuple([p.name for p in found if p.kind is p.KEYWORD_ONLY])
    else:
        code = forward.__code__
        count, end = code.co_argcount, code.co_argcount + code.co_kwonlyargcount
        variadic = bool(code.co_flags & inspect.CO_VARARGS)
        inputs = code.co_varnames[1:count] + code.co_varnames[end : end + variadic]
        settings = code.co_varnames[count:end]
        last = reversed(forward.__defaults__ or ())
        defaults = dict(zip(reversed(code.co_varnames[:count]), last, strict=False))
        defaults.update(forward.__kwdefaults__ or {})
    empty = inspect.Parameter.empty
    optional = {n: defaults[n] for n in inputs if n in defaults}
    return inputs, variadic, optional, {n: defaults.get(n, empty) for n in settings}


def is_plain(function: Rule) -> bool:
    """Whether the code object says what the parameters are: no decorator, method or object.

    There are hundreds of rules, of which `inspect.signature` would take several milliseconds.
    """
    return isinstance(function, FunctionType) and not vars(function)


def reals(*xs: Any) -> tuple[Any, ...]:
    """The inputs of a function of reals whose rule is a joint one, so that the engine does not
    convert them: integers take the dtype of the reals beside them, or float32 without any."""
    typed = [x.dtype for x in xs if hasattr(x, "dtype")]
    if all(dtype.kind not in "biu" for dtype in typed):
        return xs
    dtype = np.result_type(*([d for d in typed if d.kind not in "biu"] or [FLOAT32]))
    return tuple(
        [x.astype(dtype) if hasattr(x, "dtype") and x.dtype.kind in "biu" else x for x in xs]
    )


def operand(value: object) -> Any:
    """Converts an input of a composite function: Python numbers and lists become Tensors."""
    python = isinstance(value, (int, float, *NESTED))
    return cast(Any, Traced.result_class)(value) if python else value
