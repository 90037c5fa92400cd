"""Gradient checks against finite differences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import GradcheckError, InvalidTypeError, InvalidValueError, public
from . import autodiff, backend, ops, tree
from .graph import grad_mode
from .random import Generator
from .shapes import integer
from .tensor import Tensor

STEP = 1e-5  # of the finite differences, whose error is about STEP**2 in float64
DIRECTIONS = 3
FULL_JACOBIAN = 64  # outputs times inputs up to which every entry is compared
HIGHEST = 9  # the graph of each order is some times as large as that of the one before
THOROUGH = 2  # the order up to which they are: beyond it one direction is followed


@public
def gradcheck(
    fn: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    order: int = 1,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> bool:
    """Compares the derivatives of a function with central differences.

    Compares along random directions and, if there are few inputs and outputs, every entry of the
    Jacobian. Order 2 checks the gradient in the same way, as a function of the inputs and the
    cotangent. Each higher order checks the gradient of the order below, along one random direction.

    **Arguments** fn: a function of Tensors, or trees of them, that returns the like. inputs: a list
    of its arguments: float64 arrays, leaf Tensors that require grad, which may be parameters that
    fn reads from elsewhere, or trees of these. order: 1
    or higher. tolerance: of the error, relative to derivatives above 1. **Returns** True.
    **Raises** GradcheckError naming the derivative and its error; TypeError for other dtypes than
    float64.

    >>> import numpy as np, tinygrad_rnn as tg
    >>> tg.gradcheck(lambda x: tg.tanh(x) * x, [np.linspace(-1, 1, 5)], order=2)
    True
    """
    fn, xs = _flattened(fn, inputs)
    name = getattr(fn, "__name__", type(fn).__name__)
    with autodiff.no_grad():
        ys = _outputs(fn, xs)
    for what, tensors in (("inputs", xs), ("reals to be returned", ys)):
        if not sum(x.size for x in tensors):
            raise InvalidValueError(
                f"gradcheck: {name}: nothing to check: expected {what}, got {len(tensors)} tensors "
                "without an element"
            )
    gradient_errors(fn, xs, order=order, tolerance=tolerance, seed=seed)
    return True


def gradient_errors(
    fn: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    order: int = 1,
    tolerance: float = 1e-6,
    seed: int = 0,
) -> list[float]:
    """The largest error of each order of derivatives, as `gradcheck` measures it.

    **Arguments**, **Raises** as `gradcheck`. **Returns** a list of `order` numbers.
    """
    if integer(order, "gradcheck: order", 1) > HIGHEST:
        raise InvalidValueError(f"gradcheck: order: expected 1 to {HIGHEST}, got {order}")
    if not tolerance > 0:
        raise InvalidValueError(f"gradcheck: tolerance: expected more than 0, got {tolerance}")
    fn, xs = _flattened(fn, inputs)
    name, generator = getattr(fn, "__name__", type(fn).__name__), Generator(seed)
    errors = []
    for level in range(1, order + 1):
        errors.append(_worst_error(fn, xs, name, level, tolerance, generator))
        if level < order:
            fn, xs = _gradient_of(fn, xs, generator)
    return errors


def _flattened(fn: Callable[..., Any], inputs: Any) -> tuple[Callable[..., Any], list[Tensor]]:
    """A function of the leaves of its arguments, and these: float64, and requiring grad."""
    if isinstance(inputs, Tensor) or backend.is_array(inputs) or not isinstance(inputs, Iterable):
        raise InvalidTypeError(
            f"gradcheck: inputs: expected a list of arrays or Tensors, got {type(inputs).__name__}"
        )
    if not callable(fn):
        raise InvalidTypeError(f"gradcheck: fn: expected a function, got {type(fn).__name__}")
    inputs = list(inputs)
    nested = any(isinstance(x, (tuple, list, dict)) for x in inputs)
    given = tree.leaves(inputs, leaf=tree.is_item) if nested else inputs
    xs = [x if isinstance(x, Tensor) else Tensor(x, requires_grad=True) for x in given]
    for i, x in enumerate(xs):
        if x.dtype != np.float64 or not x.requires_grad or not x.is_leaf:
            raise InvalidTypeError(
                f"gradcheck: input {i}: expected a float64 array or leaf that requires grad, got "
                f"{x!r}"
            )
    if not nested:
        return fn, xs

    @functools.wraps(fn)
    def flat(*values: Any) -> Any:
        return fn(*tree.filled(inputs, values, tree.is_item))

    return flat, xs


def _outputs(fn: Callable[..., Any], xs: Sequence[Tensor]) -> list[Tensor]:
    """The real outputs of the function."""
    ys = tree.leaves(fn(*xs), leaf=tree.is_entry)
    for y in ys:
        if not isinstance(y, Tensor):
            raise InvalidTypeError(
                "gradcheck: fn: expected Tensors, or trees of them, to be returned; got "
                f"{type(y).__name__}"
            )
    return [y for y in ys if y.dtype.kind == "f"]


def _gradient_of(
    fn: Callable[..., Any], xs: list[Tensor], generator: Generator
) -> tuple[Callable[..., Any], list[Tensor]]:
    """The gradient of fn as a function of its inputs and of the outputs' cotangents."""
    with autodiff.no_grad():
        shapes = [y.shape for y in _outputs(fn, xs)]
    device = xs[0].device
    ws = [Tensor(generator.normal(s), device=device, requires_grad=True) for s in shapes]

    def gradient(*args: Tensor) -> tuple[Any, ...]:
        given, cotangents = args[: len(xs)], args[len(xs) :]
        recording = grad_mode.on
        with autodiff.enable_grad():
            pairs = zip(_outputs(fn, given), cotangents, strict=True)
            live = [(y, w) for y, w in pairs if y.requires_grad]
            if not live:
                return tuple(ops.zeros_like(x) for x in given)
            return autodiff.grad(
                [y for y, _ in live], given, [w for _, w in live], create_graph=recording
            )

    return gradient, [*xs, *ws]


def _worst_error(
    fn: Callable[..., Any],
    xs: list[Tensor],
    name: str,
    order: int,
    tolerance: float,
    generator: Generator,
) -> float:
    """Compares <w, J u> both ways for drawn w and u, then J entry by entry where it is small."""
    ys = _outputs(fn, xs)
    places = [x.numpy().copy() for x in xs]
    live = [i for i, y in enumerate(ys) if y.requires_grad]

    def pulled_back(ws: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
        if not live:
            return [np.zeros_like(place) for place in places]
        given = [backend.to_device(np.asarray(ws[i]), ys[i].device) for i in live]
        return [
            g.numpy() for g in autodiff.grad([ys[i] for i in live], xs, given, retain_graph=True)
        ]

    def put(us: Sequence[Any], step: float) -> None:
        for x, place, u in zip(xs, places, us, strict=True):
            x.data = backend.to_device(np.asarray(place + step * u), x.device)

    def moved(us: Sequence[Any], step: float) -> np.ndarray[Any, Any]:
        put(us, step)
        with autodiff.no_grad():
            return _flat(y.numpy() for y in _outputs(fn, xs))

    def slopes(us: Sequence[Any], step: float) -> np.ndarray[Any, Any]:
        try:
            return np.asarray((moved(us, step) - moved(us, -step)) / (2 * step))
        finally:
            put(us, 0.0)

    def error(found: Any, us: Sequence[Any], along: Any, what: str) -> float:
        """The error of a derivative, by central differences, or by better ones if it is large."""
        true = along(slopes(us, STEP))
        worst = _distance(found, true)
        if (
            not worst <= tolerance
        ):  # a steep function: extrapolate, which removes the third derivative
            true = (4 * true - along(slopes(us, 2 * STEP))) / 3
            worst = _distance(found, true)
        if not worst <= tolerance:
            raise GradcheckError(
                f"gradcheck: {name}: derivative of order {order}, {what}: the rules give {found}, "
                f"finite differences {true}: they differ by {worst:.1e}, more than {tolerance:.0e}"
            )
        return worst

    thorough = order <= THOROUGH
    comparisons: list[tuple[Any, Any, Any, str]] = []  # all gradients of one graph, before x moves
    for direction in range(DIRECTIONS if thorough else 1):
        ws = [generator.normal(y.shape) for y in ys]
        us = [generator.normal(x.shape) for x in xs]
        found = np.array(
            sum(float((g * u).sum()) for g, u in zip(pulled_back(ws), us, strict=True))
        )
        weights = _flat(ws)
        comparisons.append((found, us, lambda d, w=weights: w @ d, f"direction {direction}"))
    inputs, outputs = sum(x.size for x in xs), sum(y.size for y in ys)
    if thorough and 0 < inputs * outputs <= FULL_JACOBIAN:
        rows = [_flat(pulled_back(_units(ys, j))) for j in range(outputs)]
        jacobian = np.stack(rows)
        for k in range(inputs):
            what = f"element {k} of the inputs"
            comparisons.append((jacobian[:, k], _units(xs, k), lambda d: d, what))
    return max(error(*comparison) for comparison in comparisons)


def _units(like: Sequence[Tensor], k: int) -> list[np.ndarray[Any, Any]]:
    """Zeros in the shapes of some tensors, with a 1 at the k-th of all elements."""
    ends = np.cumsum([x.size for x in like])
    parts = np.split(np.eye(1, int(ends[-1]), k)[0], ends[:-1])
    return [part.reshape(x.shape) for part, x in zip(parts, like, strict=True)]


def _distance(found: Any, true: Any) -> float:
    return float(np.max(np.abs(found - true) / np.maximum(1, np.abs(true)), initial=0.0))


def _flat(arrays: Any) -> np.ndarray[Any, Any]:
    pieces = [np.ravel(a) for a in arrays]
    return np.concatenate(pieces) if pieces else np.zeros(0)
