"""How an operation is declared, and how applying it is recorded.

An `Op` is a forward function with a rule for each input it can be differentiated in.
Applied to arrays it gives arrays; applied to `Traced` values it gives values of the same class and
leaves a `Node`, which knows where the inputs came from and holds what the rules will read.

A rule says by the names of its parameters what it reads, and what no rule names is not kept:

    g               the cotangent of the output (a tuple, None where absent, if there are several)
    y               the output
    xp              the array module: NumPy or CuPy, or our operations while the rule is itself
                    being differentiated
    shapes          the inputs' shapes
    needs           which inputs anyone wants a cotangent of
    saved           what a fused forward function kept for its own rule
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
    public,
)
from . import backend, conversion
from .backend import Array
from .conversion import DTYPES
from .observers import Tracer, callbacks, tracers

T = TypeVar("T")
Edge = tuple["Node", int]  # where a value came from: a node, and which of its outputs it is
Rule = Callable[..., Any]

NUMBERS = (int, float, complex, np.generic)  # what may stand in an array's place
PYTHON = frozenset({int, float, bool, complex})  # these need no look
NESTED = (list, tuple, range)
_SETTLED = PYTHON | {type(None), str, tuple, slice, type}  # parameters that are what they are

older = itertools.count(0, -1).__next__  # serials fall, so that a heap pops the youngest first


class _GradMode(threading.local):
    on = True


grad_mode = _GradMode()


@contextmanager
def set_grad_mode(on: bool) -> Iterator[None]:
    """Records operations, or does not, within a `with` block, in this thread."""
    before, grad_mode.on = grad_mode.on, on
    try:
        yield
    finally:
        grad_mode.on = before


class Node:
    """One application of an operation. It holds arrays, never the values it gave: no cycles."""

    __slots__ = ("__weakref__", "edges", "hooks", "kept", "op", "serial", "shapes")

    op: Any  # the Op; to a type checker a class attribute of that type would be a method
    edges: Sequence[Edge | None]  # of each input
    shapes: Sequence[tuple[int, ...]]  # of each input
    kept: Iterable[Any] | None  # what the rules read, iterated once a visit; None once freed
    serial: int
    # What is called with its complete cotangents: (which output, function). Set only where the node
    # is `hooked`, and held by nothing else: a function may hold the tensor that it is called for.
    hooks: list[tuple[int, Callable[[Any], Any]]]

    changed = False
    several = False  # whether the operation gives a tuple
    outputs = 1


class WideNode(Node):
    """One application of an operation that gives a tuple, be it of one."""

    __slots__ = ("outputs",)

    several = True

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs


class Leaf(Node):
    """Where differentiation ends: a value that the user made, and its gradient."""

    __slots__ = ("changed", "dtype", "grad")

    def __init__(self, array: Array) -> None:
        self.dtype = array.dtype
        self.op, self.edges, self.shapes, self.kept = None, (), (), ()
        self.serial = older()
        self.grad: Array | None = None
        self.changed = False  # overwritten since: graphs that used it are no longer true


class Traced:
    """An array, and where it came from (None for a constant)."""

    __slots__ = ("__weakref__", "array", "edge")

    array: Array
    edge: Edge | None
    made: ClassVar[type[Traced]]  # the class that operations on this one give back


def wrap(cls: type[T], array: Array, edge: Edge | None) -> T:
    """A traced value around an array, without the checks that a user's own would need."""
    value = cls.__new__(cls)
    value.array, value.edge = array, edge  # type: ignore[attr-defined]
    return value


class Op:
    """A differentiable operation: `Op(name, forward).vjp(input=rule, ...)`.

    **Arguments** forward: a function `(xp, *inputs, *, parameters)` on raw arrays. name: what
    errors call it. expects: what its inputs must satisfy, said in errors. decomposition: the same
    function of ordinary operations, for a fused operation whose rule reads `saved`; its forward
    takes `keep` as well (whether anyone will differentiate) and returns `(outputs, saved)`. fresh:
    the rules give arrays that nobody else holds, or `g` itself, so that the engine need not copy
    what becomes a `.grad`.

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
        given = list(signature.parameters.values())[1:]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in given)
        self.inputs = tuple(p.name for p in given if p.kind is not p.KEYWORD_ONLY)
        broadcast = "shapes that broadcast together" if len(self.inputs) > 1 else ""
        self.expects = expects or broadcast
        self.optional = {
            p.name: p.default
            for p in given
            if p.name in self.inputs and p.default is not inspect.Parameter.empty
        }
        self.parameters = {
            p.name: p.default for p in given if p.kind is p.KEYWORD_ONLY and p.name != "keep"
        }
        taken = {"g", "y", "xp", "shapes", "needs", "saved"} & {*self.inputs, *self.parameters}
        if taken:
            raise InvalidTypeError(
                f"{name}: {sorted(taken)} are names that the engine gives to rules"
            )
        self.rules: dict[str, Rule] = {}
        self.joint: Rule | None = None
        self._bind()
        self.__signature__ = signature.replace(
            parameters=[p for p in given if p.name != "keep"], return_annotation=signature.empty
        )
        self.__name__ = name
        self.__doc__ = (decomposition or forward).__doc__ or f"As `numpy.{name}`, differentiable."

    @public
    def vjp(self, joint: Rule | None = None, /, **rules: Rule) -> Self:
        """Declares the rules: one for each input by its name, or one that returns all cotangents.

        An input without a rule is a constant to the operation.
        """
        if unknown := rules.keys() - set(self.inputs):
            raise InvalidTypeError(
                f"{self.name} has no inputs {sorted(unknown)}: it has {self.inputs}"
            )
        for what, rule in {"joint": joint, **rules}.items():
            if not callable(rule) and (what != "joint" or rule is not None):
                raise InvalidTypeError(f"{self.name}: {what}: expected a rule, got {rule!r}")
        self.joint = joint
        self.rules.update(rules)
        self._bind()
        return self

    def _bind(self) -> None:
        """Resolves the names that rules read into positions, once and for all."""
        read = {n for rule in (self.joint, *self.rules.values()) if rule for n in names(rule)}
        seen = ("y", "saved", *self.inputs)
        keep = tuple(n for n in seen if n in read or (self.decomposition and n in self.inputs))
        self.kept_names = (*keep, *self.parameters)
        self._pick_kept = _picker(keep, seen)
        layout = ("xp", "g", "shapes", "needs", *self.kept_names)
        if unknown := read - set(layout):
            raise InvalidTypeError(
                f"{self.name}: a rule reads {sorted(unknown)}, which nothing provides"
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
                    cls = a.made
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
        if not known and (entered := self._entered(args)) is not args:
            return self(*entered, **params)
        tracing = tracing and self.differentiable and grad_mode.on
        saved = None
        try:
            if self.decomposition is None:
                y = self.forward(xp, *raw, **params)
            else:
                y, saved = self.forward(xp, *raw, keep=tracing, **params)
        except (ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
            raise self._explained(error, raw, params) from error
        several = False
        if type(y) is not np.ndarray:  # where there are no axes NumPy gives its scalars
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
        """Applies the operation, and tells a tracer of it, or of what a fused one is composed of.

        The tracer is away in between: what an operation does inside is no concern of its.
        """
        args = self._entered(args)
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

    # ------------------------------------------------------------ in reverse

    def cotangents(
        self, node: Node, g: Any, xp: Any, kept: Iterable[Any]
    ) -> Iterable[tuple[int, Any]]:
        """What the rules give for the inputs of a node, by position."""
        if self.joint is not None:
            assert self._pick_joint is not None
            needs = [edge is not None for edge in node.edges]
            env = (xp, g, node.shapes, needs, *kept)
            return enumerate(self.joint(*self._pick_joint(env)))
        env = (xp, g, node.shapes, None, *kept)
        edges = node.edges
        return [(i, rule(*pick(env))) for i, rule, pick in self._bound if edges[i] is not None]

    def lifted(self, node: Node, cls: type[Traced]) -> tuple[Any, ...]:
        """What a node kept, tied back into the graph that it came from."""
        assert node.kept is not None
        at = dict(zip(self.inputs, node.edges, strict=not self.variadic))
        return tuple(
            _lift(cls, value, [(node, i) for i in range(node.outputs)])
            if name == "y"
            else wrap(cls, value, at[name])
            if name in at and not self.variadic and backend.is_array(value)
            else value
            for name, value in zip(self.kept_names, node.kept, strict=True)
        )

    # ------------------------------------------------------------ what comes in

    def _entered(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Inputs as an operation takes them; the same tuple, if they are that already.

        Beside a Tensor, NumPy's scalars and nested lists are numbers as Python's are: they take its
        dtype where they are of its kind, or below. Where Python's numbers and lists are all there
        is, the first becomes a Tensor. Among arrays, NumPy's scalars stay what they are.
        """
        like = next((a for a in args if isinstance(a, Traced)), None)
        if like is None:
            like = next((a for a in args if backend.is_array(a)), None)
        if like is not None:
            new = [self._operand(i, a, like) for i, a in enumerate(args)]
        elif args and all(a is None or type(a) in PYTHON or isinstance(a, NESTED) for a in args):
            what = f"{self.name}: {self.inputs[0]}"
            new = [cast(Any, Traced.made)(conversion.from_python(args[0], what=what)), *args[1:]]
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
        if not isinstance(like, Traced) and not isinstance(a, NESTED):
            if not self._may_be_operand(i, a):
                raise self._not_an_operand(i, a)
            return a
        if a is None:
            if name in self.optional:
                return a
            raise self._not_an_operand(i, a)
        if isinstance(a, np.generic):
            if self.rules and name not in self.rules:
                return backend.module_of(like.array).asarray(a)  # an index: read as an array
            number = conversion.normalized(np.asarray(a), what).item()
            return float(number) if isinstance(number, np.floating) else number  # a long double
        array = like.array if isinstance(like, Traced) else like
        found = conversion.promoted(a, array.dtype, name in self.rules, what)
        return backend.module_of(array).asarray(found)

    def _setting(self, name: str, value: Any) -> Any:
        """A parameter by name: a NumPy scalar as Python's; refuses real Tensors."""
        if isinstance(value, Traced) and value.array.dtype.kind in "fc":
            raise InvalidTypeError(
                f"{self.name}: {name}: expected a Python value, got a Tensor of reals, through "
                f"which no gradient would flow: {name}.item()"
            )
        return value.item() if isinstance(value, np.generic) else value

    def _input(self, i: int) -> str:
        """The name of the i-th input; of a variable number of them it is the last one's."""
        return self.inputs[min(i, len(self.inputs) - 1)]

    def _may_be_operand(self, i: int, a: Any) -> bool:
        """Whether NumPy's functions can take it as a number or an array, or it may be left out."""
        if backend.is_array(a) or isinstance(a, (*NUMBERS, *NESTED)):
            return True
        return self._input(i) in self.optional and a is self.optional[self._input(i)]

    # ------------------------------------------------------------ when a call is wrong

    def _not_an_operand(self, i: int, a: Any) -> Exception:
        name = f"{self.inputs[0]}[{i}]" if self.variadic else self._input(i)
        return InvalidTypeError(
            f"{self.name}: {name}: expected a Tensor, an array or a number, got "
            f"{type(a).__name__} {a!r}"
        )

    def _arrange(
        self, args: tuple[Any, ...], params: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sorts parameters given by position, inputs by name or left out, into their places."""
        count, given = len(self.inputs), len(args)
        extra = dict(zip(self.parameters, args[count:], strict=False))
        args, missing = args[:count], self.inputs[len(args) :]
        surplus = len(args) + len(extra) < given or extra.keys() & params.keys()
        found = {**self.optional, **params}
        if surplus or any(n not in found for n in missing):
            raise InvalidTypeError(
                f"{self.name}{self.__signature__}: got {given} positional arguments"
            )
        rest = {n: v for n, v in params.items() if n not in missing}
        return (*args, *(found[n] for n in missing)), {**extra, **rest}

    def _explained(self, error: Exception, raw: list[Any], params: dict[str, Any]) -> Exception:
        arrays = [a for a in raw if backend.is_array(a)]
        devices = sorted({backend.device_of(a) for a in arrays})
        if len(devices) > 1:
            return DeviceError(
                f"{self.name}: inputs on {' and '.join(devices)}: bring them together with .to()"
            )
        given = "".join(f", {n}={v!r}" for n, v in params.items())
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
            np.linalg.LinAlgError: MatrixError,  # the shapes are right: a matrix is not
            ValueError: ShapeError,
            IndexError: OutOfRangeError,
            OverflowError: InvalidValueError,
        }
        kind = next((k for e, k in kinds.items() if isinstance(error, e)), InvalidTypeError)
        of_shapes = self.expects and kind is not InvalidTypeError
        expected = f"expected {self.expects}; " if of_shapes else ""
        return kind(f"{self.name}: {expected}got {got}{given} ({error})")


def operand(value: Any) -> Any:
    """An input of a function of operations: Python's numbers and nested lists become Tensors."""
    python = isinstance(value, (int, float, *NESTED))
    return cast(Any, Traced.made)(value) if python else value


def operation(forward: Rule) -> Op:
    """Declares an operation by its forward function, under the function's name."""
    return Op(forward.__name__, forward)


def names(rule: Rule) -> tuple[str, ...]:
    """The names of a rule's parameters: its memory contract."""
    code = getattr(rule, "__code__", None)
    if code is None or hasattr(rule, "__wrapped__"):
        return tuple(inspect.signature(rule).parameters)
    return tuple(code.co_varnames[: code.co_argcount])  # hundreds of rules: inspect would take 5 ms


def _picker(wanted: tuple[str, ...], layout: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that picks the wanted names' values out of a tuple laid out so."""
    at = [layout.index(n) for n in wanted if n in layout]
    if len(at) > 1:
        return itemgetter(*at)
    return itemgetter(slice(at[0], at[0] + 1) if at else slice(0))


def _lift(cls: type[Traced], y: Any, edges: list[Edge]) -> Any:
    if type(y) is tuple:
        return tuple(wrap(cls, v, edge) for v, edge in zip(y, edges, strict=True))
    return wrap(cls, y, edges[0])
