"""Operations and the graph that they record.

An `Op` is a forward function with a rule for each differentiable input. Of arrays it returns
arrays. Of `Traced` values it returns values of the same class and records a `Node` with the edges
to its inputs and the values that the rules read.

The parameter names of a rule declare what it reads. Values that no rule names are not saved:

    g               the cotangent of the output (a tuple with None for absent ones, if several)
    y               the output
    xp              the array module: NumPy or CuPy, or `ops` while the engine differentiates the
                    rule itself
    shapes          the inputs' shapes
    needs           for each input, whether its cotangent is needed
    saved           values that a fused forward function saved for its rule
    anything else   the input or parameter of that name
"""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from threading import get_ident
from types import MethodType
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np

from ..errors import (
    DeviceError,
    InvalidTypeError,
    InvalidValueError,
    MatrixError,
    OutOfRangeError,
    ShapeError,
    from_cupy,
    keyword_remedy,
    public,
)
from . import backend, conversion
from .backend import Array
from .conversion import DTYPES
from .observers import Tracer, callbacks, tracers

T = TypeVar("T")
Edge = tuple["Node", int]  # the node that produced a value, and the index of the output
Rule = Callable[..., Any]

NUMBERS = (int, float, complex, np.generic)  # accepted in place of an array
PYTHON = frozenset({int, float, bool, complex})  # accepted without a check
NESTED = (list, tuple, range)
_SETTLED = {*PYTHON, type(None), str, tuple, slice, type}  # parameters that need no conversion

older = itertools.count(0, -1).__next__  # serials fall, so that a heap pops the youngest first


class _GradMode(threading.local):
    on = True


grad_mode = _GradMode()


@contextmanager
def set_grad_mode(on: bool) -> Iterator[None]:
    """Switches recording on or off within a `with` block, in this thread."""
    before, grad_mode.on = grad_mode.on, on
    try:
        yield
    finally:
        grad_mode.on = before


class Node:
    """One application of an operation. It refers to arrays, not to its outputs: no cycles."""

    __slots__ = ("__weakref__", "edges", "hooks", "kept", "op", "serial", "shapes")

    op: Any  # the Op; to a type checker a class attribute of that type would be a method
    edges: Sequence[Edge | None]  # of each input
    shapes: Sequence[tuple[int, ...]]  # of each input
    kept: Iterable[Any] | None  # for the rules; iterated once per visit; None when freed
    serial: int
    # Functions of a complete cotangent: (index of the output, function), on `hooked` nodes only. No
    # other object refers to them, since a function may refer to the tensor that it is set on.
    hooks: list[tuple[int, Callable[[Any], Any]]]

    changed = False
    several = False  # whether the operation returns a tuple
    outputs = 1


class WideNode(Node):
    """One application of an operation that returns a tuple."""

    __slots__ = ("outputs",)

    several = True

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs


class Leaf(Node):
    """A leaf of the graph: a value that the user created, and its gradient."""

    __slots__ = ("changed", "dtype", "grad")

    def __init__(self, array: Array) -> None:
        self.dtype = array.dtype
        self.op, self.edges, self.shapes, self.kept = None, (), (), ()
        self.serial = older()
        self.grad: Array | None = None
        self.changed = False  # overwritten since it was used: graphs that read it are stale


class Traced:
    """An array and its edge in the graph (None for a constant)."""

    __slots__ = ("__weakref__", "array", "edge")

    array: Array
    edge: Edge | None
    result_class: ClassVar[type[Traced]]  # the class of the results of operations on this one


def wrap(cls: type[T], array: Array, edge: Edge | None) -> T:
    """Creates a traced value from an array without checks."""
    value = cls.__new__(cls)
    value.array, value.edge = array, edge  # type: ignore[attr-defined]
    return value


class Op:
    """A differentiable operation: `Op(name, forward).vjp(input=rule, ...)`.

    **Arguments** forward: a function `(xp, *inputs, *, parameters)` on raw arrays. name: for
    errors. expects: the condition on its inputs, for errors. decomposition: the same
    function of ordinary operations, for a fused operation whose rule reads `saved`; its forward
    also takes `keep` (whether a backward pass may follow) and returns `(outputs, saved)`. Its
    parameters may be tuples with constants in them, Tensors or arrays: forward gets arrays. fresh:
    the rules return new arrays or `g` itself, so that the engine need not copy one that becomes a
    `.grad`.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> cube = tg.Op("cube", lambda xp, x: x**3).vjp(x=lambda g, x: 3 * g * x**2)
    >>> x = tg.tensor(2.0, requires_grad=True)
    >>> cube(x).backward(); x.grad.item()
    12.0
    """

    @public
    def __init__(
        self,
        name: str,
        forward: Rule,
        *,
        expects: str = "",
        decomposition: Rule | None = None,
        fresh: bool = False,
    ) -> None:
        if not callable(forward):
            raise InvalidTypeError(f"Op: forward: expected a function, got {forward!r}")
        self.name, self.forward, self.fresh = name, forward, fresh
        self.decomposition = decomposition
        signature = inspect.signature(forward)
        declared = list(signature.parameters.values())[1:]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in declared)
        self.inputs = tuple(p.name for p in declared if p.kind is not p.KEYWORD_ONLY)
        broadcast = "shapes that broadcast together" if len(self.inputs) > 1 else ""
        self.expects = expects or broadcast
        self.optional = {
            p.name: p.default
            for p in declared
            if p.name in self.inputs and p.default is not inspect.Parameter.empty
        }
        self.parameters = {
            p.name: p.default for p in declared if p.kind is p.KEYWORD_ONLY and p.name != "keep"
        }
        taken = {"g", "y", "xp", "shapes", "needs", "saved"} & {*self.inputs, *self.parameters}
        if taken:
            raise InvalidTypeError(
                f"{name}: {sorted(taken)} are reserved for the arguments of rules"
            )
        self.rules: dict[str, Rule] = {}
        self.joint: Rule | None = None
        self._bind()
        self.__signature__ = signature.replace(
            parameters=[p for p in declared if p.name != "keep"], return_annotation=signature.empty
        )
        self.__name__ = name
        self.__doc__ = (decomposition or forward).__doc__ or f"As `numpy.{name}`, differentiable."

    @public
    def vjp(self, joint: Rule | None = None, /, **rules: Rule) -> Self:
        """Declares the rules: one per input by name, or a joint one that returns all cotangents.

        An input without a rule is not differentiable.
        """
        if unknown := rules.keys() - set(self.inputs):
            raise InvalidTypeError(
                f"{self.name} has no inputs {sorted(unknown)}: it has {self.inputs}"
            )
        for name, rule in {"joint": joint, **rules}.items():
            if not callable(rule) and (name != "joint" or rule is not None):
                raise InvalidTypeError(f"{self.name}: {name}: expected a rule, got {rule!r}")
        self.joint = joint
        self.rules.update(rules)
        self._bind()
        return self

    def _bind(self) -> None:
        """Resolves the names that rules read to positions, once."""
        read = {n for rule in (self.joint, *self.rules.values()) if rule for n in names(rule)}
        seen = ("y", "saved", *self.inputs)
        keep = tuple(n for n in seen if n in read or (self.decomposition and n in self.inputs))
        self.kept_names = (*keep, *self.parameters)
        self._pick_kept = _picker(keep, seen)
        layout = ("xp", "g", "shapes", "needs", *self.kept_names)
        if unknown := read - set(layout):
            raise InvalidTypeError(
                f"{self.name}: a rule reads {sorted(unknown)}, which is not an input, an "
                "output or a parameter"
            )
        if self.variadic and read & set(self.inputs):
            raise InvalidTypeError(
                f"{self.name}: a rule cannot read {self.inputs}: their number varies"
            )
        self._pick_joint = _picker(names(self.joint), layout) if self.joint else None
        self._bound = [
            (i, self.rules[n], _picker(names(self.rules[n]), layout))
            for i, n in enumerate(self.inputs)
            if n in self.rules
        ]
        self.differentiable = bool(self.rules) or self.joint is not None

    def __call__(self, *args: Any, **params: Any) -> Any:
        if len(args) != len(self.inputs) and not self.variadic:
            args, params = self._arrange(args, params)
        if params and not _SETTLED.issuperset(map(type, params.values())):
            params = {n: self._setting(n, v) for n, v in params.items()}
        if tracers and (tracer := tracers.pop(get_ident(), None)) is not None:
            return self._recorded(tracer, args, params)
        cls, xp, tracing, known = None, None, False, True
        raw, edges, shapes = [], [], []
        for a in args:
            if isinstance(a, Traced):
                array, edge = a.array, a.edge
                if cls is None:
                    cls = a.result_class
                    xp = np if type(array) is np.ndarray else backend.module_of(array)
                if edge is not None:
                    tracing = True
                raw.append(array)
                edges.append(edge)
                shapes.append(array.shape)
            else:
                if type(a) is np.ndarray:
                    known = known and DTYPES.get(a.dtype) is a.dtype
                elif type(a) not in PYTHON and not (a is None and self.optional):
                    known = False
                raw.append(a)
                edges.append(None)
                shapes.append(getattr(a, "shape", ()))
        if xp is None:
            found = next((backend.module_of(a) for a in raw if backend.is_array(a)), None)
            known, xp = known and found is not None, found or np
        if not known and (converted := self._converted(args)) is not args:
            return self(*converted, **params)
        tracing = tracing and self.differentiable and grad_mode.on
        saved = None
        if self.decomposition is not None:
            given = {
                n: self._constants(n, v, xp)
                if isinstance(v, tuple) and v is not self.parameters[n]
                else v
                for n, v in params.items()
            }
        try:
            if self.decomposition is None:
                y = self.forward(xp, *raw, **params)
            else:
                y, saved = self.forward(xp, *raw, keep=tracing, **given)
        except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
            raise self._explained(error, raw, params) from error
        except Exception as error:
            if (of_device := from_cupy(error)) is None:
                raise
            of_device.args = (f"{self.name}: {of_device}",)
            raise of_device from error
        several = False
        if type(y) is not np.ndarray:  # NumPy returns scalars where there are no axes
            several = type(y) is tuple
            if several:
                y = tuple([xp.asarray(v) for v in y])
            elif isinstance(y, NUMBERS):
                y = xp.asarray(y)
        if callbacks.forward is not None:
            callbacks.forward(self, y, raw)
        if cls is None:
            return y
        if not tracing:
            if several:
                return tuple([wrap(cls, v, None) for v in y])
            out = cls.__new__(cls)
            out.array, out.edge = y, None
            return out
        if any(v.dtype.kind == "c" for v in y) if several else y.dtype.kind == "c":
            raise InvalidTypeError(
                f"{self.name}: complex numbers have no gradients here: compute with the real and "
                "the imaginary part as tensors of their own, or under tg.no_grad()"
            )
        node = WideNode(len(y)) if several else Node()
        node.op, node.serial, node.edges, node.shapes = self, older(), edges, shapes
        kept = self._pick_kept((y, saved, raw) if self.variadic else (y, saved, *raw))
        if self.parameters:
            kept += tuple([params.get(n, default) for n, default in self.parameters.items()])
        node.kept = kept
        if callbacks.recorded is not None:
            callbacks.recorded(node)
        if several:
            return tuple([wrap(cls, v, (node, i)) for i, v in enumerate(y)])
        out = cls.__new__(cls)
        out.array, out.edge = y, (node, 0)
        return out

    def _recorded(self, tracer: Tracer, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Applies the operation and records it with the tracer; of a fused one, its decomposition.

        Operations inside the forward function are not traced.
        """
        args = self._converted(args)
        if self.decomposition is not None:
            tracers[get_ident()] = tracer
            return self.decomposition(*args, **{**self.parameters, **params})
        try:
            known = tracer.replayed(self, args, params)
            if known is not None:
                return known
            result = self(*args, **params)
            tracer.record(self, args, params, result)
            return result
        finally:
            tracers[get_ident()] = tracer

    def __get__(self, instance: T | None, owner: type[T]) -> Callable[..., T]:
        """In a class body an operation is a method: `x.tanh()` is `tanh(x)`."""
        if instance is None:
            return cast(Callable[..., T], self)
        return MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<operation {self.name}{self.__signature__}>"

    # ------------------------------------------------------------ backward

    def cotangents(
        self, node: Node, g: Any, xp: Any, kept: Iterable[Any]
    ) -> Iterable[tuple[int, Any]]:
        """Runs the rules of a node. **Returns** the cotangents of its inputs, by position."""
        if self.joint is not None:
            assert self._pick_joint is not None
            needs = [edge is not None for edge in node.edges]
            env = (xp, g, node.shapes, needs, *kept)
            return enumerate(self.joint(*self._pick_joint(env)))
        env = (xp, g, node.shapes, None, *kept)
        edges = node.edges
        return [(i, rule(*pick(env))) for i, rule, pick in self._bound if edges[i] is not None]

    def reattached(self, node: Node, cls: type[Traced]) -> tuple[Any, ...]:
        """The saved arrays of a node, wrapped as values attached to the nodes that produced
        them."""
        assert node.kept is not None
        at = dict(zip(self.inputs, node.edges, strict=not self.variadic))
        return tuple(
            _reattach(cls, value, [(node, i) for i in range(node.outputs)])
            if name == "y"
            else wrap(cls, value, at[name])
            if name in at and not self.variadic and backend.is_array(value)
            else value
            for name, value in zip(self.kept_names, node.kept, strict=True)
        )

    # ------------------------------------------------------------ operands

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

    def _setting(self, name: str, value: Any) -> Any:
        """Converts a parameter: a NumPy scalar to a Python number; refuses real Tensors."""
        if isinstance(value, Traced) and value.array.dtype.kind in "fc":
            raise InvalidTypeError(
                f"{self.name}: {name}: expected a Python value, got a Tensor of reals, through "
                f"which no gradient would flow: {name}.item()"
            )
        if isinstance(value, tuple):
            _SETTLED.add(type(value))
        return value.item() if isinstance(value, np.generic) else value

    def _constants(self, name: str, value: Any, xp: Any) -> Any:
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
        if backend.is_array(value) and backend.module_of(value) is not xp:
            raise DeviceError(
                f"{self.name}: {name}: expected it on the device of the inputs, got "
                f"{backend.device_of(value)}: move it there with .to()"
            )
        return value

    def _input(self, i: int) -> str:
        """The name of the i-th input; the last name, if their number varies."""
        return self.inputs[min(i, len(self.inputs) - 1)]

    def _may_be_operand(self, i: int, a: Any) -> bool:
        """Whether an input is a number, an array, or the default of an optional one."""
        if backend.is_array(a) or isinstance(a, (*NUMBERS, *NESTED)):
            return True
        return self._input(i) in self.optional and a is self.optional[self._input(i)]

    # ------------------------------------------------------------ errors

    def _not_an_operand(self, i: int, a: Any) -> Exception:
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
        settings = "".join(f", {n}={v!r}" for n, v in params.items())
        named = [*zip(itertools.chain(self.inputs, itertools.repeat("and")), raw, strict=False)]
        for i, (_, a) in enumerate(named):
            if not self._may_be_operand(i, a):
                return self._not_an_operand(i, a)
        got = ", ".join(
            f"{n} {a.dtype}{list(a.shape)}" if backend.is_array(a) else f"{n} {a!r}"
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
        of_shapes = self.expects and kind is not InvalidTypeError
        expected = f"expected {self.expects}; " if of_shapes else ""
        said = f"{error}{keyword_remedy(error)}"
        return kind(f"{self.name}: {expected}got {got}{settings} ({said})")


def operand(value: Any) -> Any:
    """Converts an input of a composite function: Python numbers and lists become Tensors."""
    python = isinstance(value, (int, float, *NESTED))
    return cast(Any, Traced.result_class)(value) if python else value


def operation(forward: Rule) -> Op:
    """Declares an operation from its forward function, under the name of the function."""
    return Op(forward.__name__, forward)


def names(rule: Rule) -> tuple[str, ...]:
    """The parameter names of a rule, which declare the values that it reads."""
    code = getattr(rule, "__code__", None)
    if code is None or hasattr(rule, "__wrapped__"):
        return tuple(inspect.signature(rule).parameters)
    return tuple(code.co_varnames[: code.co_argcount])  # hundreds of rules: inspect would take 5 ms


def _picker(wanted: tuple[str, ...], layout: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Creates a function that selects the values of some names from a tuple of this layout."""
    at = [layout.index(n) for n in wanted if n in layout]
    if len(at) > 1:
        return itemgetter(*at)
    return itemgetter(slice(at[0], at[0] + 1) if at else slice(0))


def _reattach(cls: type[Traced], y: Any, edges: list[Edge]) -> Any:
    if type(y) is tuple:
        return tuple(wrap(cls, v, edge) for v, edge in zip(y, edges, strict=True))
    return wrap(cls, y, edges[0])
