"""Derivatives of functions: a function goes in, its derivative comes out.

Each of these runs the function on inputs of its own, so that two arguments that are one tensor
have a derivative each, and no `.grad` is touched. What comes out can be differentiated again, in
whatever it was computed from, as the result of any operation can.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError, ShapeError, public
from . import autodiff, ops
from .graph import Leaf, grad_mode
from .observers import refuse_in_trace
from .recompute import behind, now
from .shapes import integer
from .tensor import Tensor

Function = Callable[..., Any]


@public
def vjp(fn: Function, *primals: Tensor) -> tuple[Any, Function]:
    """The value of a function, and what takes a cotangent of it back to its inputs.

    **Arguments** fn: of Tensors, gives a Tensor or a tuple of them. primals: where to evaluate it.
    **Returns** y, and `pull(w)`: for w of y's shape (a tuple, if y is one) the products w' J, a
    tuple with a Tensor for each primal. It may be called more than once. **Raises** TypeError for
    other than Tensors of reals; ShapeError for a w that does not fit.

    >>> import tinygrad_rnn as tg
    >>> y, pull = tg.vjp(lambda a, b: a * b, tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    >>> pull(tg.tensor([1.0, 10.0]))
    (tensor([ 3., 40.]), tensor([ 1., 20.]))
    """
    run = _Run("vjp", fn, primals)
    return run.value, lambda w: run.pull(run.like_outputs("vjp's pull: cotangent", w))


@public
def jvp(fn: Function, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """The value of a function, and its derivative along a direction.

    The pullback is linear in the cotangent, so that pulling back through it pushes forward: two
    backward passes, and every operation that has a rule can be pushed through.

    **Arguments** fn: of Tensors, gives a Tensor or a tuple of them. primals: where to evaluate it,
    a Tensor or a tuple of them. tangents: the direction, of the same shapes. **Returns** y, and
    J v of y's shape. **Raises** TypeError for other than Tensors of reals; ShapeError for tangents
    that do not fit.

    >>> import tinygrad_rnn as tg
    >>> tg.jvp(lambda x: x**3, tg.tensor(2.0), tg.tensor(1.0))
    (tensor(8.), tensor(12.))
    """
    xs = _several(primals)
    run = _Run("jvp", fn, xs)
    vs = _fitting("jvp: tangent", run.xs, tangents)
    linear = _Run("jvp", lambda *ws: run.pull(ws), [_zeros(y) for y in run.ys], run.mark)
    return run.value, _as(run.several, linear.pull(vs))


@public
def jacobian(fn: Function, *primals: Tensor) -> Any:
    """Every derivative of every element of a function's value: a backward pass for each of these.

    **Arguments** fn: of Tensors, gives a Tensor or a tuple of them. primals: where to evaluate it.
    **Returns** a Tensor of shape (*y.shape, *x.shape); for several primals a tuple of them, for
    several outputs a tuple of that. **Raises** TypeError for other than Tensors of reals.

    >>> import tinygrad_rnn as tg
    >>> tg.jacobian(lambda x: x * x, tg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    return _jacobian("jacobian", fn, primals)


@public
def hessian(fn: Function, *primals: Tensor) -> Any:
    """The second derivatives of a scalar function: the Jacobian of its gradient.

    **Arguments** fn: of Tensors, gives a Tensor of one element. primals: where to evaluate it.
    **Returns** a Tensor of shape (*x.shape, *x.shape); for several primals a tuple of tuples, in
    which [i][j] belongs to primals i and j. **Raises** TypeError for other than Tensors of reals;
    ShapeError if fn gives more than one element.

    >>> import tinygrad_rnn as tg
    >>> tg.hessian(lambda x: x[0] ** 2 * x[1], tg.tensor([1.0, 2.0]))
    tensor([[4., 2.],
            [2., 0.]])
    """
    return _jacobian("hessian", _gradient("hessian", fn), primals)


@public
def hvp(fn: Function, primals: Any, vectors: Any) -> Any:
    """The Hessian of a scalar function times a vector, without the Hessian: two backward passes.

    **Arguments** fn: of Tensors, gives a Tensor of one element. primals: where to evaluate it, a
    Tensor or a tuple of them. vectors: of the same shapes. **Returns** H v, as primals are: a
    Tensor or a tuple. **Raises** TypeError for other than Tensors of reals; ShapeError if fn gives
    more than one element, or for vectors that do not fit.

    >>> import tinygrad_rnn as tg
    >>> tg.hvp(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]), tg.tensor([1.0, 10.0]))
    tensor([  6., 120.])
    """
    xs = _several(primals)
    run = _Run("hvp", _gradient("hvp", fn), xs)
    vs = _fitting("hvp: vector", run.xs, vectors)
    return _as(isinstance(primals, (tuple, list)), run.pull(vs))


@public
def value_and_grad(
    fn: Function, argnums: int | Sequence[int] = 0, *, create_graph: bool = False
) -> Function:
    """A function that gives the value of a scalar function together with its gradient.

    An argument may be a module, whose gradient is that of its parameters: a training step is
    `loss, grads = tg.value_and_grad(loss_of)(model, x, y)`.

    **Arguments** fn: gives a Tensor of one element. argnums: the positions of the arguments to
    differentiate in, Tensors or modules; one, or several. create_graph: records the gradients, as
    in `tg.grad`, so that they can be differentiated again; within another function of this file,
    or where the value comes from computed tensors, they always are. **Returns** a function of fn's
    arguments that gives (value, gradient), with a tuple of gradients for a tuple of positions. A
    Tensor's gradient is a Tensor of its shape, a module's a dict by the names of its parameters.
    **Raises** TypeError for an argument that is neither; ShapeError if fn gives more than one
    element.

    >>> import tinygrad_rnn as tg
    >>> tg.value_and_grad(lambda x, y: (x * y).sum(), (0, 1))(tg.tensor(2.0), tg.tensor(3.0))
    (tensor(6.), (tensor(3.), tensor(2.)))
    >>> model = tg.nn.Linear(1, 1)
    >>> loss, grads = tg.value_and_grad(lambda model, x: model(x).sum())(model, tg.ones((4, 1)))
    >>> grads
    {'weight': tensor([[4.]]), 'bias': tensor([4.])}
    """
    if not callable(fn):
        raise InvalidTypeError(f"value_and_grad: fn: expected a function, got {fn!r}")
    places = tuple([integer(i, "value_and_grad: argnums") for i in _several(argnums)])
    if not places:
        raise InvalidValueError("value_and_grad: argnums: expected one position or more, got none")

    @functools.wraps(fn)
    def value_and_gradient(*args: Any, **settings: Any) -> tuple[Any, Any]:
        at = [i + len(args) if i < 0 else i for i in places]
        if len(set(at)) < len(at) or not all(0 <= i < len(args) for i in at):
            raise InvalidTypeError(
                f"value_and_grad: argnums={argnums}: expected different positions among the "
                f"arguments, got {len(args)} of these"
            )

        def call(*xs: Tensor) -> Any:
            given, values = list(args), iter(xs)
            with ExitStack() as standing:
                for i in at:
                    given[i] = _filled(args[i], values, standing)
                return fn(*given, **settings)

        run = _Run("value_and_grad", call, [x for i in at for x in _held(args[i], i).values()])
        record = create_graph or (grad_mode.on and run.reaches(leaves=False))
        found = iter(run.pull([run.one()], record=record, retain=record))
        grads = tuple(_packed(args[i], found) for i in at)
        value = run.ys[0] if record else run.ys[0].detach()
        return value, grads[0] if isinstance(argnums, int) else grads

    return value_and_gradient


def _held(argument: Any, i: int) -> dict[str, Tensor]:
    """What is differentiated in: a Tensor itself, or a module's parameters that require grad."""
    if isinstance(argument, Tensor):
        return {"": argument}
    if not hasattr(argument, "named_parameters"):
        raise InvalidTypeError(
            f"value_and_grad: argument {i}: expected a Tensor or a module, got "
            f"{type(argument).__name__}"
        )
    return {name: p for name, p in argument.named_parameters() if p.requires_grad}


def _filled(argument: Any, values: Iterator[Tensor], standing: ExitStack) -> Any:
    """What fn is given in an argument's place: for a module itself, on other parameters."""
    if isinstance(argument, Tensor):
        return next(values)
    for p in _held(argument, 0).values():
        standing.enter_context(_standing_in(p, next(values)))
    return argument


def _packed(argument: Any, grads: Iterator[Tensor]) -> Any:
    """Gradients in the form of an argument."""
    if isinstance(argument, Tensor):
        return next(grads)
    return {name: next(grads) for name in _held(argument, 0)}


@contextmanager
def _standing_in(p: Tensor, x: Tensor) -> Iterator[None]:
    """Lets what is computed from p be computed from x, of the same value, in a `with` block."""
    before, p.edge = p.edge, x.edge
    try:
        yield
    finally:
        p.edge = before


# ---------------------------------------------------------------- a function, run to be pulled back


class _Run:
    """A function run on inputs of its own: its value, and the way back.

    What is older than the `mark` is not the function's own: if its value was computed from such a
    thing that requires grad, then its derivatives are recorded, too.
    """

    def __init__(
        self, name: str, fn: Function, primals: Sequence[Any], mark: int | None = None
    ) -> None:
        if not callable(fn):
            raise InvalidTypeError(f"{name}: fn: expected a function, got {type(fn).__name__}")
        if not primals:
            raise InvalidValueError(f"{name}: expected one primal or more, got none")
        refuse_in_trace(f"tg.{name}", "differentiate what the loop returns")
        self.name = name
        self.mark = now() if mark is None else mark
        with autodiff.enable_grad():
            self.xs = [_own(x, f"{name}: primal {i}") for i, x in enumerate(primals)]
            value = fn(*self.xs)
        self.several = isinstance(value, (tuple, list))
        self.ys = _several(value)
        if not self.ys:
            raise InvalidValueError(
                f"{name}: expected fn to return a Tensor, got an empty {type(value).__name__}"
            )
        for y in self.ys:
            if not isinstance(y, Tensor):
                raise InvalidTypeError(
                    f"{name}: expected fn to return a Tensor or a tuple of Tensors, got "
                    f"{type(y).__name__}"
                )

    @functools.cached_property
    def outside(self) -> bool:
        """Whether the value was computed from older things that require grad."""
        return self.reaches()

    def reaches(self, *, leaves: bool = True) -> bool:
        """Whether the value was computed from older things (other than leaves, if not wanted)."""
        nodes = list(behind(self.ys, lambda node: node.serial < self.mark))
        edges = [edge for node in nodes for edge in node.edges] + [y.edge for y in self.ys]
        older = [edge[0] for edge in edges if edge and edge[0].serial > self.mark]
        return any(leaves or not isinstance(node, Leaf) for node in older)

    @property
    def value(self) -> Any:
        """What the function gave."""
        record = grad_mode.on and self.outside
        return _as(self.several, self.ys if record else [y.detach() for y in self.ys])

    def pull(
        self, ws: Sequence[Tensor | None], record: bool | None = None, retain: bool = True
    ) -> tuple[Tensor, ...]:
        """The cotangents of the inputs from those of the outputs, of which some may be None."""
        if record is None:
            record = grad_mode.on and (
                self.outside or any(w is not None and w.requires_grad for w in ws)
            )
        pairs = [
            (y, w) for y, w in zip(self.ys, ws, strict=True) if y.edge is not None and w is not None
        ]
        if not pairs:
            return tuple(_zeros(x) for x in self.xs)
        ys, gs = zip(*pairs, strict=True)
        return autodiff.grad(ys, self.xs, gs, create_graph=record, retain_graph=retain)

    def one(self) -> Tensor:
        """The cotangent of a scalar."""
        if self.several or self.ys[0].size != 1:
            got = [list(y.shape) for y in self.ys]
            raise ShapeError(
                f"{self.name}: expected fn to return a scalar, got "
                f"{f'a tuple of {len(got)}' if self.several else f'shape {got[0]}'}: sum it, or "
                "ask for the jacobian"
            )
        return ops.ones_like(self.ys[0].detach())

    def like_outputs(self, what: str, ws: Any) -> tuple[Tensor, ...]:
        """Cotangents, checked to fit the outputs."""
        return _fitting(what, self.ys, ws)


def _own(x: Any, what: str) -> Tensor:
    """A tensor of the same value whose node is young: connected to x, if that requires grad."""
    if not isinstance(x, Tensor) or x.dtype.kind != "f":
        got = f"a Tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise InvalidTypeError(
            f"{what}: expected a Tensor of reals, got {got}: tg.tensor(...) makes one"
        )
    if not x.requires_grad:
        x = x.detach()
        x.requires_grad = True
    return ops.alias(x)


def _fitting(what: str, like: Sequence[Tensor], given: Any) -> tuple[Tensor, ...]:
    """Cotangents or tangents, checked to fit what they belong to."""
    vs = _several(given)
    if len(vs) != len(like):
        raise ShapeError(f"{what}: expected {len(like)} of them, got {len(vs)}")
    for i, (v, x) in enumerate(zip(vs, like, strict=True)):
        if not isinstance(v, Tensor):
            raise InvalidTypeError(f"{what} {i}: expected a Tensor, got {type(v).__name__}")
        if v.shape != x.shape:
            raise ShapeError(f"{what} {i}: expected shape {list(x.shape)}, got {list(v.shape)}")
    return vs


def _gradient(name: str, fn: Function) -> Function:
    """The gradient of a scalar function, as a function: a Tensor, or one for each input."""

    def gradient(*xs: Tensor) -> Any:
        run = _Run(name, fn, xs)
        return _as(len(xs) > 1, run.pull([run.one()]))

    return gradient


def _jacobian(name: str, fn: Function, primals: Sequence[Tensor]) -> Any:
    run = _Run(name, fn, primals)
    of_outputs = []
    for k, y in enumerate(run.ys):
        rows = []
        for i in range(y.size):
            ws: list[Tensor | None] = [None] * len(run.ys)
            ws[k] = Tensor(np.eye(1, y.size, i, y.dtype).reshape(y.shape), device=y.device)
            rows.append(run.pull(ws))
        blocks = [_block([row[j] for row in rows], y, x) for j, x in enumerate(run.xs)]
        of_outputs.append(_as(len(run.xs) > 1, blocks))
    return _as(run.several, of_outputs)


def _block(rows: list[Tensor], y: Tensor, x: Tensor) -> Tensor:
    """The derivatives of y in x, from those of each element of y."""
    shape = y.shape + x.shape
    if not rows:
        return ops.broadcast_to(_zeros(x), shape=shape)
    return ops.stack(rows).reshape(shape)


def _several(values: Any) -> tuple[Any, ...]:
    return tuple(values) if isinstance(values, (tuple, list)) else (values,)


def _as(several: bool, values: Sequence[Any]) -> Any:
    """A tuple, or the one value that it holds."""
    return tuple(values) if several else values[0]


def _zeros(x: Tensor) -> Tensor:
    """A cotangent or tangent of zero: of reals, whatever x is of."""
    x = x.detach()
    return ops.zeros_like(x if x.dtype.kind == "f" else x.astype("float32"))
