"""Function transforms: vjp, jvp, jacobian, hessian, hvp, value_and_grad.

Each runs the function on aliases of its inputs, so that two arguments that are the same tensor get
separate derivatives, and no `.grad` changes. The results are differentiable.

Arguments and results are Tensors or trees of them (tuples, lists, dicts, named tuples): derivatives
have the structure of what they belong to.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from ..errors import InvalidTypeError, InvalidValueError, ShapeError, public
from . import autodiff, ops, tree
from .graph import Leaf, grad_mode
from .observers import refuse_in_trace
from .recompute import behind, now
from .shapes import integer
from .tensor import Tensor

Function = Callable[..., Any]


@public
def vjp(fn: Function, *primals: Tensor) -> tuple[Any, Function]:
    """Computes the value of a function and its vector-Jacobian product function (pullback).

    **Arguments** fn: a function of Tensors, or trees of them, that returns the like. primals: the
    point. **Returns** y, and `pull(w)`: for w of the structure and the shapes of y the products
    w' J, a tuple with one of each primal's structure. It can be called repeatedly. **Raises**
    TypeError for primals that are not of real Tensors; ShapeError for a w of another shape.

    >>> import tinygrad_rnn as tg
    >>> y, pull = tg.vjp(lambda a, b: a * b, tg.tensor([1.0, 2.0]), tg.tensor([3.0, 4.0]))
    >>> pull(tg.tensor([1.0, 10.0]))
    (tensor([ 3., 40.]), tensor([ 1., 20.]))
    """
    run = _Linearized("vjp", fn, primals)

    def pull(w: Any) -> tuple[Any, ...]:
        return run.like_inputs(run.pull(_fitting("vjp's pull: cotangent", run.result, w)))

    return run.value, pull


@public
def jvp(fn: Function, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Computes the value of a function and its Jacobian-vector product.

    The pullback is linear in the cotangent, and its own pullback is the Jacobian-vector product:
    two backward passes, which work for every operation with a rule.

    **Arguments** fn: a function of Tensors, or trees of them, that returns the like. primals: the
    point; a tuple or a list holds several arguments. tangents: the vector, of the same structure
    and shapes. **Returns** y, and J v of the structure of y. **Raises** TypeError for primals that
    are not of real Tensors; ShapeError for tangents of other shapes.

    >>> import tinygrad_rnn as tg
    >>> tg.jvp(lambda x: x**3, tg.tensor(2.0), tg.tensor(1.0))
    (tensor(8.), tensor(12.))
    """
    xs = _several(primals)
    run = _Linearized("jvp", fn, xs)
    vs = _fitting("jvp: tangent", xs, _several(tangents))
    linear = _Linearized("jvp", lambda *ws: run.pull(ws), [_zeros(y) for y in run.ys], run.mark)
    return run.value, run.like_outputs(linear.pull(vs))


@public
def jacobian(fn: Function, *primals: Tensor) -> Any:
    """Computes the Jacobian of a function, with a backward pass for each output element.

    **Arguments** fn: a function of Tensors, or trees of them, that returns the like. primals: the
    point. **Returns** a Tensor of shape (*y.shape, *x.shape); for several primals a tuple of them,
    for a primal that is a tree a tree of them; and for an output that is a tree, a tree of that.
    **Raises** TypeError for primals that are not of real Tensors.

    >>> import tinygrad_rnn as tg
    >>> tg.jacobian(lambda x: x * x, tg.tensor([1.0, 2.0]))
    tensor([[2., 0.],
            [0., 4.]])
    """
    return _jacobian("jacobian", fn, primals)


@public
def hessian(fn: Function, *primals: Tensor) -> Any:
    """Computes the Hessian of a scalar function: the Jacobian of its gradient.

    **Arguments** fn: a function of Tensors, or trees of them, that returns one element. primals:
    the point. **Returns** a Tensor of shape (*x.shape, *x.shape); for several primals a tuple of
    tuples, in which [i][j] belongs to primals i and j, and so for the entries of a tree. **Raises**
    TypeError for primals that are not of real Tensors; ShapeError if fn returns more than one
    element.

    >>> import tinygrad_rnn as tg
    >>> tg.hessian(lambda x: x[0] ** 2 * x[1], tg.tensor([1.0, 2.0]))
    tensor([[4., 2.],
            [2., 0.]])
    """
    return _jacobian("hessian", _gradient("hessian", fn), primals)


@public
def hvp(fn: Function, primals: Any, vectors: Any) -> Any:
    """Computes the Hessian-vector product of a scalar function, with two backward passes.

    **Arguments** fn: a function of Tensors, or trees of them, that returns one element. primals:
    the point; a tuple or a list holds several arguments. vectors: of the same structure and shapes.
    **Returns** H v, structured as primals. **Raises** TypeError for primals that are not of real
    Tensors; ShapeError if fn returns more than one element, or for vectors of other shapes.

    >>> import tinygrad_rnn as tg
    >>> tg.hvp(lambda x: (x**3).sum(), tg.tensor([1.0, 2.0]), tg.tensor([1.0, 10.0]))
    tensor([  6., 120.])
    """
    xs = _several(primals)
    run = _Linearized("hvp", _gradient("hvp", fn), xs)
    found = run.like_inputs(run.pull(_fitting("hvp: vector", xs, _several(vectors))))
    return found if type(primals) in (tuple, list) else found[0]


@public
def value_and_grad(
    fn: Function, argnums: int | Sequence[int] = 0, *, create_graph: bool = False
) -> Function:
    """Creates a function that computes the value and the gradient of a scalar function.

    An argument can be a module, which stands for its parameters: a training step is
    `loss, grads = tg.value_and_grad(loss_of)(model, x, y)`. It can also be a tree of Tensors and
    modules.

    **Arguments** fn: returns a Tensor of one element. argnums: the position or positions of the
    arguments to differentiate with respect to. create_graph: records the
    gradients, as in `tg.grad`, so that they can be differentiated again; inside another transform,
    or if the value depends on computed tensors, they always are. **Returns** a function of the
    arguments of fn that returns (value, gradient), with a tuple of gradients for a tuple of
    positions. The gradient of a Tensor is a Tensor, that of a module a dict by parameter names,
    that of a tree a tree of these. **Raises** TypeError for an argument that is none of them;
    ShapeError if fn returns more than one element.

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
            arguments, values = list(args), iter(xs)
            with ExitStack() as standing:
                for i in at:
                    arguments[i] = _filled(args[i], values, standing)
                return fn(*arguments, **settings)

        run = _Linearized("value_and_grad", call, [x for i in at for x in _inputs(args[i], i)])
        record = create_graph or (grad_mode.on and run.reaches(leaves=False))
        gradients = iter(run.pull([run.one()], record=record, retain=record))
        grads = tuple(_packed(args[i], gradients) for i in at)
        value = run.ys[0] if record else run.ys[0].detach()
        return value, grads[0] if isinstance(argnums, int) else grads

    return value_and_gradient


def _inputs(argument: Any, i: int) -> list[Tensor]:
    """The inputs in an argument: Tensors, and the parameters of modules that require grad."""
    found: list[Tensor] = []
    for place, item in tree.named(argument):
        if not isinstance(item, Tensor) and not hasattr(item, "named_parameters"):
            raise InvalidTypeError(
                f"value_and_grad: argument {i}{place}: expected a Tensor or a module, got "
                f"{type(item).__name__}"
            )
        found += [item] if isinstance(item, Tensor) else _parameters(item).values()
    return found


def _parameters(module: Any) -> dict[str, Tensor]:
    """The parameters that require grad."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def _filled(argument: Any, values: Iterator[Tensor], standing: ExitStack) -> Any:
    """The argument of fn with other values: of its Tensors, and of its modules' parameters."""
    items = tree.leaves(argument, leaf=tree.is_item)
    for k, item in enumerate(items):
        if isinstance(item, Tensor):
            items[k] = next(values)
        else:
            for p in _parameters(item).values():
                standing.enter_context(_standing_in(p, next(values)))
    return tree.filled(argument, items, tree.is_item)


def _packed(argument: Any, grads: Iterator[Tensor]) -> Any:
    """Structures gradients like an argument."""
    parts = [
        next(grads)
        if isinstance(item, Tensor)
        else {name: next(grads) for name in _parameters(item)}
        for item in tree.leaves(argument, leaf=tree.is_item)
    ]
    return tree.filled(argument, parts, tree.is_item)


@contextmanager
def _standing_in(p: Tensor, x: Tensor) -> Iterator[None]:
    """Replaces the edge of p by that of x, of the same value, within a `with` block."""
    before, p.edge = p.edge, x.edge
    try:
        yield
    finally:
        p.edge = before


# ---------------------------------------------------------------- linearization


class _Linearized:
    """The value of a function on aliases of its inputs, and its pullback.

    Nodes older than the `mark` are outside of the function. If its value depends on such a node,
    its derivatives are recorded, too.
    """

    def __init__(
        self, name: str, fn: Function, primals: Sequence[Any], mark: int | None = None
    ) -> None:
        if not callable(fn):
            raise InvalidTypeError(f"{name}: fn: expected a function, got {type(fn).__name__}")
        if not primals:
            raise InvalidValueError(f"{name}: expected one primal or more, got none")
        refuse_in_trace(f"tg.{name}", "differentiate what the loop returns")
        self.name, self.primals = name, tuple(primals)
        self.mark = now() if mark is None else mark
        with autodiff.enable_grad():
            places = tree.named(self.primals)
            self.xs = [_own(x, f"{name}: primal {_place(place)}") for place, x in places]
            if not self.xs:
                raise InvalidValueError(f"{name}: expected a Tensor or more in the primals")
            self.result = fn(*self.like_inputs(self.xs))
        self.ys = tree.leaves(self.result, leaf=tree.is_item)
        if not self.ys:
            raise InvalidValueError(
                f"{name}: expected fn to return a Tensor, got "
                + (
                    f"an empty {kind}"
                    if (kind := type(self.result).__name__) != "NoneType"
                    else "None"
                )
            )
        for place, y in tree.named(self.result):
            if not isinstance(y, Tensor):
                raise InvalidTypeError(
                    f"{name}: expected fn to return Tensors, or trees of them; got "
                    f"{type(y).__name__}" + (f" at {place}" if place else "")
                )

    @functools.cached_property
    def outside(self) -> bool:
        """Whether the value depends on older tensors that require grad."""
        return self.reaches()

    def reaches(self, *, leaves: bool = True) -> bool:
        """Whether the value depends on older nodes (other than leaves, if leaves=False)."""
        nodes = list(behind(self.ys, lambda node: node.serial < self.mark))
        edges = [edge for node in nodes for edge in node.edges] + [y.edge for y in self.ys]
        older = [edge[0] for edge in edges if edge and edge[0].serial > self.mark]
        return any(leaves or not isinstance(node, Leaf) for node in older)

    @property
    def value(self) -> Any:
        """The result of the function."""
        record = grad_mode.on and self.outside
        return self.like_outputs(self.ys if record else [y.detach() for y in self.ys])

    def pull(
        self, ws: Sequence[Tensor | None], record: bool | None = None, retain: bool = True
    ) -> tuple[Tensor, ...]:
        """Computes input cotangents from output cotangents; None stands for zero."""
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
        if not isinstance(self.result, Tensor) or self.result.size != 1:
            got = [list(y.shape) for y in self.ys]
            kind = type(self.result).__name__
            raise ShapeError(
                f"{self.name}: expected fn to return a scalar, got "
                + (f"shape {got[0]}" if self.result is self.ys[0] else f"a {kind} of {len(got)}")
                + ": sum it, or ask for the jacobian"
            )
        return ops.ones_like(self.ys[0].detach())

    def like_inputs(self, values: Iterable[Any]) -> tuple[Any, ...]:
        """Structures values, one for each input, like the primals."""
        structured: tuple[Any, ...] = tree.filled(self.primals, values, tree.is_item)
        return structured

    def like_outputs(self, values: Iterable[Any]) -> Any:
        """Structures values, one for each output, like the result of the function."""
        return tree.filled(self.result, values, tree.is_item)


def _own(x: Any, what: str) -> Tensor:
    """An alias of x with a new node, connected to x if it requires grad."""
    if not isinstance(x, Tensor) or x.dtype.kind != "f":
        got = f"a Tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise InvalidTypeError(
            f"{what}: expected a Tensor of reals, got {got}: convert it with tg.tensor(...)"
        )
    if not x.requires_grad:
        x = x.detach()
        x.requires_grad = True
    return ops.alias(x)


def _place(place: str) -> str:
    """A place in the primals as an error names it: 0, or 1['w'] in a tree."""
    number, _, rest = place[1:].partition("]")
    return number + rest


def _fitting(what: str, like: Any, values: Any) -> list[Tensor]:
    """The Tensors in cotangents or tangents, checked against what they belong to."""
    if type(values) in (tuple, list) and type(like) in (tuple, list):
        values = type(like)(values)
        if len(values) != len(like):
            raise ShapeError(f"{what}: expected {len(like)} of them, got {len(values)}")
    differs = tree.difference(like, values, tree.is_item)
    if differs:
        raise ShapeError(
            f"{what}: expected the structure of what it belongs to, but they differ: {differs}"
        )
    places = zip(tree.named(like), tree.leaves(values, like, tree.is_item), strict=True)
    for (place, x), v in places:
        where = f"{what} {_place(place)}" if place else what
        if not isinstance(v, Tensor):
            raise InvalidTypeError(f"{where}: expected a Tensor, got {type(v).__name__}")
        if v.shape != x.shape:
            raise ShapeError(f"{where}: expected shape {list(x.shape)}, got {list(v.shape)}")
    return tree.leaves(values, like, tree.is_item)


def _gradient(name: str, fn: Function) -> Function:
    """Creates the gradient function of a scalar function; of several arguments it gives a tuple."""

    def gradient(*xs: Any) -> Any:
        run = _Linearized(name, fn, xs)
        found = run.like_inputs(run.pull([run.one()]))
        return found if len(xs) > 1 else found[0]

    return gradient


def _jacobian(name: str, fn: Function, primals: Sequence[Any]) -> Any:
    run = _Linearized(name, fn, primals)
    of_outputs = []
    for k, y in enumerate(run.ys):
        rows = []
        for i in range(y.size):
            ws: list[Tensor | None] = [None] * len(run.ys)
            ws[k] = Tensor(np.eye(1, y.size, i, y.dtype).reshape(y.shape), device=y.device)
            rows.append(run.pull(ws))
        blocks = run.like_inputs(
            _block([row[j] for row in rows], y, x) for j, x in enumerate(run.xs)
        )
        of_outputs.append(blocks if len(primals) > 1 else blocks[0])
    return run.like_outputs(of_outputs)


def _block(rows: list[Tensor], y: Tensor, x: Tensor) -> Tensor:
    """Stacks the gradients of the elements of y to the Jacobian with respect to x."""
    shape = y.shape + x.shape
    if not rows:
        return ops.broadcast_to(_zeros(x), shape=shape)
    return ops.stack(rows).reshape(shape)


def _several(values: Any) -> tuple[Any, ...]:
    """The arguments in a tuple or a list; else one."""
    return tuple(values) if type(values) in (tuple, list) else (values,)


def _zeros(x: Tensor) -> Tensor:
    """A real cotangent or tangent of zero."""
    x = x.detach()
    return ops.zeros_like(x if x.dtype.kind == "f" else x.astype("float32"))
