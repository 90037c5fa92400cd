"""A row for every public operation: its draws, and what it must equal on plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..tensor import backend, ops
from .case import (
    Array,
    Case,
    Domain,
    Draw,
    Row,
    an_axis,
    away_from_zero,
    broadcastable,
    distinct,
    positive,
    real,
    shape,
    some_axes,
)

# ---------------------------------------------------------------- how to make rows


def row(
    name: str, draw: Callable[[Draw], Case], reference: Any = None, kind: str = "operation"
) -> Row:
    """A row for the operation of a name; compared with NumPy's function of that name, if any."""
    return Row(name, kind, getattr(ops, name), draw, reference or getattr(np, name, None))


def elementwise(name: str, *domains: Domain, reference: Any = None) -> Row:
    """A row for an operation that broadcasts; a domain for each input."""

    def draw(d: Draw) -> Case:
        whole = shape(d)
        shapes = [whole, *(broadcastable(d, whole) for _ in domains[1:])]
        inputs = [domain(d, s) for domain, s in zip(domains, shapes, strict=True)]
        return Case(inputs, lambda f, *xs: f(*xs))

    return row(name, draw, reference)


def reduction(name: str, domain: Domain = real, reference: Any = None, smallest: int = 0) -> Row:
    """A row for an operation with `axis` and `keepdims`."""

    def draw(d: Draw) -> Case:
        x = domain(d, shape(d, smallest=smallest))
        axis, keepdims = some_axes(d, x), d.one_of([True, False])
        return Case([x], lambda f, x: f(x, axis=axis, keepdims=keepdims))

    return row(name, draw, reference)


def along_axis(name: str, reference: Any) -> Row:
    """A row for an operation along one axis that keeps the shape."""

    def draw(d: Draw) -> Case:
        x = real(d, shape(d, least=1, smallest=1))
        axis = an_axis(d, x)
        return Case([x], lambda f, x: f(x, axis=axis))

    return row(name, draw, reference)


# ---------------------------------------------------------------- cases of their own


def _where(d: Draw) -> Case:
    whole = shape(d)
    condition = np.asarray(d.reals(whole) > 0)
    inputs = [real(d, broadcastable(d, whole)), real(d, whole)]
    return Case(inputs, lambda f, a, b: f(backend.to_device(condition), a, b))


def _pow(d: Draw) -> Case:
    x = positive(d, shape(d))
    exponent = d.one_of([2, 3, -1, 0.5, 0, 1, None])
    if exponent is None:
        return Case([x, real(d, broadcastable(d, x.shape))], lambda f, a, b: f(a, b))
    return Case([x], lambda f, a: f(a, exponent))


def _matmul(d: Draw) -> Case:
    n, k, m = (d.integer(1, 3) for _ in range(3))
    stack = shape(d, most=2, smallest=1)
    left, right = d.one_of(
        [
            ((k,), (k,)),
            ((n, k), (k,)),
            ((k,), (k, m)),
            ((k,), (*stack, k, m)),
            ((*stack, n, k), (k,)),
            ((*stack, n, k), (k, m)),
            ((n, k), (*stack, k, m)),
            ((*stack, n, k), (*broadcastable(d, stack), k, m)),
        ]
    )
    return Case([real(d, left), real(d, right)], lambda f, a, b: f(a, b))


def _reshape(d: Draw) -> Case:
    x = real(d, shape(d))
    new = d.one_of([x.shape[::-1], (x.size,), (1, *x.shape), *([(-1,)] if x.size else [])])
    return Case([x], lambda f, x: f(x, shape=new) if f is ops.reshape else f(x, new))


def _permute_dims(d: Draw) -> Case:
    x = real(d, shape(d))
    axes = tuple(int(i) for i in np.argsort(d.reals((x.ndim,)), kind="stable"))
    chosen = d.one_of([None, axes])
    return Case([x], lambda f, x: f(x, axes=chosen))


def _swapaxes(d: Draw) -> Case:
    x = real(d, shape(d, least=1))
    one, other = an_axis(d, x), an_axis(d, x)
    return Case([x], lambda f, x: f(x, axis1=one, axis2=other))


def _concat(d: Draw) -> Case:
    first = real(d, shape(d, least=1))
    axis = an_axis(d, first)
    longer = list(first.shape)
    longer[axis] = d.integer(0, 3)
    return Case([first, real(d, tuple(longer))], lambda f, *xs: f(list(xs), axis=axis))


def _stack(d: Draw) -> Case:
    whole = shape(d)
    axis = d.integer(-len(whole) - 1, len(whole))
    inputs = [real(d, whole) for _ in range(d.integer(1, 3))]
    return Case(inputs, lambda f, *xs: f(list(xs), axis=axis))


def _unstack(d: Draw) -> Case:
    x = real(d, shape(d, least=1, smallest=1))
    axis = an_axis(d, x)
    used = d.integer(1, x.shape[axis])  # the others' cotangents are absent
    return Case([x], lambda f, x: f(x, axis=axis)[:used])


def _broadcast_to(d: Draw) -> Case:
    whole = shape(d)
    x = real(d, broadcastable(d, whole))
    return Case([x], lambda f, x: f(x, shape=whole))


def _expand_dims(d: Draw) -> Case:
    x = real(d, shape(d))
    axis = d.integer(-x.ndim - 1, x.ndim)
    return Case([x], lambda f, x: f(x, axis=axis))


def _squeeze(d: Draw) -> Case:
    x = real(d, (1, *shape(d, most=2), 1))
    axis = d.one_of([None, 0, -1, (0, -1)])
    return Case([x], lambda f, x: f(x, axis=axis))


def index_of(d: Draw, n: int) -> Any:
    """Something that indexes an axis of length n > 0, each of NumPy's kinds."""
    return d.one_of(
        [
            d.integer(-n, n - 1),
            slice(None),
            slice(d.integer(0, n), None, d.one_of([1, 2])),
            slice(None, None, -1),
            [d.integer(-n, n - 1) for _ in range(d.integer(0, 4))],
            np.array([[d.integer(0, n - 1)] * 2, [0, d.integer(-n, n - 1)]]),
            np.arange(n) % 2 == d.integer(0, 1),
        ]
    )


def _an_index(d: Draw, x: Array) -> Any:
    parts = [index_of(d, x.shape[0])]
    if x.ndim > 1:
        parts.append(d.one_of([slice(None), d.integer(0, x.shape[1] - 1), None, ...]))
    return d.one_of([parts[0], tuple(parts)])


def _getitem(d: Draw) -> Case:
    x = real(d, shape(d, least=1, smallest=1))
    index = _an_index(d, x)
    return Case([x], lambda f, x: f(x, index=index))


def _place(d: Draw) -> Case:
    whole = shape(d, least=1, smallest=1)
    index = _an_index(d, np.zeros(whole))
    value = real(d, np.zeros(whole)[index].shape)
    return Case([value], lambda f, v: f(v, index=index, shape=whole))


def _index_update(d: Draw) -> Case:
    x = real(d, shape(d, least=1, smallest=1))
    index = _an_index(d, x)
    value = real(d, broadcastable(d, x[index].shape))
    return Case([x, value], lambda f, x, v: f(x, v, index=index))


def _take(d: Draw) -> Case:
    x = real(d, shape(d, least=1, smallest=1))
    axis = d.one_of([None, an_axis(d, x)])
    n = x.size if axis is None else x.shape[axis]
    indices = np.array([[d.integer(-n, n - 1)] * 2, [0, d.integer(-n, n - 1)]])
    return Case([x], lambda f, x: f(x, indices, axis=axis))


def _softmax_cross_entropy(d: Draw) -> Case:
    whole, classes = shape(d, most=2), d.integer(1, 4)
    targets = np.array(d.reals(whole) > 0, dtype=np.int64) * (classes - 1)
    return Case([real(d, (*whole, classes))], lambda f, x: f(x, backend.to_device(targets)))


def _surprise(x: Array, targets: Array) -> Array:
    p = _softmax(x, -1)
    return np.asarray(-np.log(np.take_along_axis(p, targets[..., None], axis=-1)[..., 0]))


def _recurrent(name: str, gates: int, states: int, **options: Sequence[Any]) -> Row:
    """A row for a fused sequence operation, whose reference is its composed twin."""

    def draw(d: Draw) -> Case:
        steps, batch, features, hidden = (d.integer(1, 4) for _ in range(4))
        chosen = {name: d.one_of(values) for name, values in options.items()}
        projected = d.integer(1, 3) if states == 2 and d.one_of([False, True]) else None
        out = projected or hidden
        biases = d.one_of([(), ("b_ih",), ("b_ih", "b_hh")])
        if name == "gru" and not chosen["reset_after"]:
            biases = biases[:1]
        inputs = {
            "x": real(d, (steps, batch, features)),
            "h0": real(d, (batch, out)),
            **({"c0": real(d, (batch, hidden))} if states == 2 else {}),
            "w_ih": real(d, (gates * hidden, features)),
            "w_hh": real(d, (gates * hidden, out)),
            **{b: real(d, (gates * hidden,)) for b in biases},
            **({"w_hr": real(d, (out, hidden))} if projected else {}),
        }
        lengths = d.one_of([None, np.array([d.integer(0, steps) for _ in range(batch)])])
        empty = dict.fromkeys(("b_ih", "b_hh", *(("w_hr",) if states == 2 else ())))

        def call(f: Any, *xs: Any) -> Any:
            given = {**empty, **dict(zip(inputs, xs, strict=True))}
            on = None if lengths is None else backend.to_device(lengths)
            return f(**given, lengths=on, **chosen)

        return Case(list(inputs.values()), call)

    return row(name, draw, getattr(ops, name).composed)


def _step(name: str, gates: int, states: int, reference: Any, **options: Sequence[Any]) -> Row:
    """A row for one step of a cell."""

    def draw(d: Draw) -> Case:
        batch, features, hidden = (d.integer(1, 3) for _ in range(3))
        chosen = {name: d.one_of(values) for name, values in options.items()}
        inputs = [
            real(d, (batch, features)),
            *(real(d, (batch, hidden)) for _ in range(states)),
            real(d, (gates * hidden, features)),
            real(d, (gates * hidden, hidden)),
            real(d, (gates * hidden,)),
        ]
        return Case(inputs, lambda f, *xs: f(*xs, **chosen))

    return row(name, draw, reference)


def _scan(d: Draw) -> Case:
    steps, batch = d.integer(1, 4), d.integer(1, 3)
    lengths = d.one_of([None, np.array([d.integer(0, steps) for _ in range(batch)])])
    reverse = d.one_of([False, True])

    def call(f: Any, xs: Any, carry: Any, w: Any) -> Any:
        on = None if lengths is None else backend.to_device(lengths)

        def step(s: Any, x: Any) -> Any:
            return s * w + x, s * x

        return f(step, carry, xs, reverse=reverse, lengths=on)

    return Case([real(d, (steps, batch, 2)), real(d, (batch, 2)), real(d, (2,))], call)


def _scan_by_hand(
    step: Any, carry: Array, xs: Array, reverse: bool, lengths: Array | None
) -> tuple[Array, Array]:
    """A scan row by row, each as long as it is: nothing masked."""
    last, ys = carry.copy(), np.zeros_like(xs)
    for b in range(xs.shape[1]):
        times = range(xs.shape[0] if lengths is None else int(lengths[b]))
        for t in reversed(times) if reverse else times:
            last[b], ys[t, b] = step(last[b], xs[t, b])
    return last, ys


def _logistic(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _rnn_step(x: Array, h: Array, u: Array, w: Array, b: Array, activation: str) -> Array:
    z = x @ u.T + h @ w.T + b
    return np.asarray(np.tanh(z) if activation == "tanh" else np.maximum(z, 0))


def _gru_step(x: Array, h: Array, u: Array, w: Array, b: Array, reset_after: bool) -> Array:
    (u_r, u_z, u_n), (w_r, w_z, w_n), (b_r, b_z, b_n) = (np.split(p, 3) for p in (u, w, b))
    r = _logistic(x @ u_r.T + h @ w_r.T + b_r)
    z = _logistic(x @ u_z.T + h @ w_z.T + b_z)
    n = np.tanh(x @ u_n.T + b_n + (r * (h @ w_n.T) if reset_after else (r * h) @ w_n.T))
    return np.asarray(z * h + (1 - z) * n)


def _lstm_step(x: Array, h: Array, c: Array, u: Array, w: Array, b: Array) -> tuple[Array, Array]:
    i, f, g, o = np.split(x @ u.T + h @ w.T + b, 4, axis=1)
    c = _logistic(f) * c + _logistic(i) * np.tanh(g)
    return _logistic(o) * np.tanh(c), c


def _softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def _placed(value: Array, index: Any, shape: tuple[int, ...]) -> Array:
    whole = np.zeros(shape)
    np.add.at(whole, index, value)
    return whole


def _updated(x: Array, value: Array, index: Any) -> Array:
    x = x.copy()
    x[index] = value
    return x


OPERATIONS = [
    # one input
    elementwise("alias", real, reference=lambda x: x),
    elementwise("negative", real),
    elementwise("abs", away_from_zero),
    elementwise("square", real),
    elementwise("sqrt", positive),
    elementwise("exp", real),
    elementwise("log", positive),
    elementwise("tanh", real),
    elementwise("sigmoid", real, reference=lambda x: _logistic(x)),
    elementwise("relu", away_from_zero, reference=lambda x: np.maximum(x, 0)),
    elementwise("softplus", real, reference=lambda x: np.log1p(np.exp(x))),
    # several
    elementwise("add", real, real),
    elementwise("subtract", real, real),
    elementwise("multiply", real, real),
    elementwise("divide", real, away_from_zero),
    row("pow", _pow, np.power),
    row("where", _where),
    row("matmul", _matmul),
    # over axes
    reduction("sum"),
    reduction("mean", smallest=1),
    reduction("var", smallest=1),
    reduction("max", distinct, smallest=1),
    reduction("min", distinct, smallest=1),
    reduction("logsumexp", smallest=1, reference=lambda x, **k: np.log(np.sum(np.exp(x), **k))),
    along_axis("softmax", _softmax),
    along_axis("log_softmax", lambda x, axis: np.log(_softmax(x, axis))),
    row("softmax_cross_entropy", _softmax_cross_entropy, _surprise),
    # moved
    row("reshape", _reshape),
    row("permute_dims", _permute_dims, np.transpose),
    row("swapaxes", _swapaxes, lambda x, axis1, axis2: np.swapaxes(x, axis1, axis2)),
    row(
        "matrix_transpose",
        lambda d: Case([real(d, shape(d, least=2))], lambda f, x: f(x)),
        lambda x: np.swapaxes(x, -1, -2),
    ),
    row("concat", _concat, np.concatenate),
    row("stack", _stack),
    row("unstack", _unstack, lambda x, axis: tuple(np.moveaxis(x, axis, 0))),
    row("broadcast_to", _broadcast_to),
    row("expand_dims", _expand_dims),
    row("squeeze", _squeeze),
    row(
        "astype",
        lambda d: Case([real(d, shape(d))], lambda f, x: f(x, "float64")),
        lambda x, dtype: x.astype(dtype),
    ),
    row(
        "to_device",
        lambda d: Case([real(d, shape(d))], lambda f, x: f(x, backend.default_device())),
        lambda x, device: x,
    ),
    # by index
    row("getitem", _getitem, lambda x, index: x[index]),
    row("place", _place, _placed),
    row("index_update", _index_update, _updated),
    row("take", _take),
    # over time
    row("scan", _scan, _scan_by_hand),
    _step("rnn_step", 1, 1, _rnn_step, activation=["tanh"]),
    _step("gru_step", 3, 1, _gru_step, reset_after=[False, True]),
    _step("lstm_step", 4, 2, _lstm_step),
    _recurrent("rnn", 1, 1, activation=["tanh"], reverse=[False, True]),
    _recurrent("gru", 3, 1, reset_after=[False, True], reverse=[False, True]),
    _recurrent("lstm", 4, 2, reverse=[False, True]),
]

# What is constant almost everywhere has no gradient to check: the tests compare its values.
WITHOUT_GRADIENT = frozenset(
    {
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
        *("logical_not", "sign", "zeros_like", "ones_like"),
    }
)
