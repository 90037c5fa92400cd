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
from collections.abc import Callable, Iterable, Sequence
from functools import update_wrapper
from operator import itemgetter
from threading import get_ident
from types import MethodType, ModuleType
from typing import Any, Self, TypeVar, cast

import numpy as np
from numpy import ndarray

from ..errors import InvalidTypeError, from_cupy, public
from . import backend
from .conversion import DTYPES
from .graph import Edge, Node, Traced, WideNode, grad_mode, new, older, wrap
from .inputs import FLOAT16, FLOAT32, FLOAT64, NUMBERS, PYTHON, SETTLED, Inputs, Rule, is_plain
from .observers import Tracer, callbacks, observing, tracers

T = TypeVar("T")

RESERVED = {"g", "y", "xp", "shapes", "needs", "saved"}  # names that rules read


class Op(Inputs):
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
        super().__init__(name, forward, expects)
        self.decomposition, self.fresh = decomposition, fresh
        if taken := RESERVED & {*self.inputs, *self.parameters}:
            raise InvalidTypeError(
                f"{name}: {sorted(taken)} are reserved for the arguments of rules"
            )
        self.rules: dict[str, Rule] = {}
        self.joint: Rule | None = None
        self._bind()
        self.__name__ = name

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
        kind = "differentiable" if self.differentiable else "which has no derivative"
        described = (self.decomposition or self.forward).__doc__
        self.__doc__ = described or f"As `numpy.{self.name}`, {kind}."

    def __call__(self, *args: Any, **params: Any) -> Any:
        if len(args) != len(self.inputs) and not self.variadic:
            args, params = self._arrange(args, params)
        if params and not SETTLED.issuperset(map(type, params.values())):
            params = {n: self._setting(n, v) for n, v in params.items()}
        if tracers and (tracer := tracers.pop(get_ident(), None)) is not None:
            return self._recorded(tracer, args, params)
        cls, xp, first, tracing, known = None, None, None, False, True
        raw, edges, shapes = [], [], []
        for a in args:
            if isinstance(a, Traced):
                array, edge = a.array, a.edge
                if cls is None:
                    cls, first = a.result_class, array.dtype
                    xp = np if type(array) is ndarray else backend.module_of(array)
                if edge is not None:
                    tracing = True
                raw.append(array)
                edges.append(edge)
                shapes.append(array.shape)
            else:
                raw.append(a)
                edges.append(None)
                if type(a) in PYTHON:
                    shapes.append(())
                    continue
                shapes.append(getattr(a, "shape", ()))
                if type(a) is ndarray:
                    known = known and DTYPES.get(a.dtype) is a.dtype
                elif a is not None or not self.optional:
                    known = False
        if xp is None:
            like = next((a for a in raw if backend.is_array(a)), None)
            known, xp = known and like is not None, np
            if like is not None:
                first, xp = like.dtype, backend.module_of(like)
        if not known and (converted := self._converted(args)) is not args:
            return self(*converted, **params)
        tracing = tracing and self.differentiable and grad_mode.on
        saved = None
        given = params
        if self.decomposition is not None:
            for n, v in params.items():
                if isinstance(v, tuple) and v is not self.parameters[n]:
                    given = {**given, n: self._constants(n, v, xp)}
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
        if type(y) is not ndarray:  # NumPy returns scalars where there are no axes
            several = type(y) is tuple
            if several:
                y = tuple([xp.asarray(v) for v in y])
            elif isinstance(y, NUMBERS):
                y = xp.asarray(y)
        dtype: Any = None if several else y.dtype
        if dtype is FLOAT64 or dtype is FLOAT16 or (dtype is FLOAT32 and first is not dtype):
            same = self._in_one_dtype(args, raw)
            if same is not args:
                return self(*same, **params)
        if callbacks and (seen := observing().forward) is not None:
            seen(self, y, raw)
        if cls is None:
            return y
        if not tracing:
            if several:
                return tuple([wrap(cls, v, None) for v in y])
            out = new(cls)
            out.array, out.edge = y, None
            return out
        if "c" in [v.dtype.kind for v in y] if several else dtype.kind == "c":
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
        if callbacks and (recorded := observing().recorded) is not None:
            recorded(node)
        if several:
            return tuple([wrap(cls, v, (node, i)) for i, v in enumerate(y)])
        out = new(cls)
        out.array, out.edge = y, (node, 0)
        return out

    def _recorded(self, tracer: Tracer, args: tuple[Any, ...], params: dict[str, Any]) -> Any:
        """Applies the operation and records it with the tracer; of a fused one, its decomposition.

        Operations inside the forward function are not traced.
        """
        args = self._converted(args)
        raw = [a.array if isinstance(a, Traced) else a for a in args]
        mixed = self._in_one_dtype(args, raw) is not args
        if mixed:
            y = self(*args, **params)
            mixed = type(y) is not tuple and y.array.dtype.kind == "f"
        tracers[get_ident()] = tracer
        if mixed:
            args = self._in_one_dtype(args, raw)  # now recorded
        if self.decomposition is not None:
            return self.decomposition(*args, **{**self.parameters, **params})
        del tracers[get_ident()]
        try:
            known = tracer.replayed(self, args, params)
            if known is not None:
                return known
            result = self(*args, **params)
            tracer.record(self, args, params, result)
            return result
        finally:
            tracers[get_ident()] = tracer

    def __set_name__(self, owner: type, name: str) -> None:
        """Puts a function in the operation's place in a class, which Python calls faster."""
        call = self.__call__
        if len(self.inputs) == 2 and name.startswith("__"):
            method: Any = lambda a, b: call(a, b)
        else:
            method = lambda *args, **params: call(*args, **params)
        setattr(owner, name, update_wrapper(method, self, updated=()))

    def __get__(self, instance: T | None, owner: type[T]) -> Callable[..., T]:
        """In a class body an operation is a method: `x.tanh()` is `tanh(x)`."""
        if instance is None:
            return cast(Callable[..., T], self)
        return MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<operation {self.name}{self.__signature__}>"

    # ------------------------------------------------------------ backward

    def cotangents(
        self,
        node: Node,
        g: Any,
        edges: Sequence[Edge | None],
        xp: ModuleType,
        kept: Iterable[Any],
    ) -> Iterable[tuple[int, Any]]:
        """Runs the rules of a node, of the inputs that have an edge here.

        **Returns** the cotangents of inputs, by position.
        """
        if self.joint is not None:
            assert self._pick_joint is not None
            needs = [edge is not None for edge in edges]
            env = (xp, g, node.shapes, needs, *kept)
            return enumerate(self.joint(*self._pick_joint(env)))
        env = (xp, g, node.shapes, None, *kept)
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


def operation(forward: Rule) -> Op:
    """Declares an operation from its forward function, under the name of the function.

    >>> import tinygrad_rnn as tg
    >>> @tg.operation
    ... def cubed(xp, x):
    ...     return x**3
    >>> _ = cubed.vjp(x=lambda g, x: g * 3 * x**2)
    >>> cubed(tg.tensor(2.0))
    tensor(8.)
    """
    return Op(forward.__name__, forward)


def names(rule: Rule) -> tuple[str, ...]:
    """The parameter names of a rule, which declare the values that it reads."""
    if not is_plain(rule):
        return tuple(inspect.signature(rule).parameters)
    return rule.__code__.co_varnames[: rule.__code__.co_argcount]


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
