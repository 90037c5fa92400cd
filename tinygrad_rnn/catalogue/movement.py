"""Rows of what moves elements and changes none."""

from __future__ import annotations

import numpy as np

from ..tensor import backend, ops
from .build import row
from .case import Case, Draw, an_axis, broadcastable, real, shape


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


MOVEMENT = [
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
]
