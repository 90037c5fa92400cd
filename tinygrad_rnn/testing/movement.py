"""OpInfos of operations that move elements and change none."""

from __future__ import annotations

import numpy as np

from ..tensor import backend, ops
from .builders import along_axis, applied, op_info
from .op_info import (
    Array,
    Sample,
    Sampler,
    an_axis,
    axis_or_none,
    broadcastable,
    real,
    shape,
    some_axes,
)


def _reshape(d: Sampler) -> Sample:
    x = real(d, shape(d))
    new = d.one_of([x.shape[::-1], (x.size,), (1, *x.shape), *([(-1,)] if x.size else [])])
    return Sample([x], lambda f, x: f(x, shape=new) if f is ops.reshape else f(x, new))


def _permute_dims(d: Sampler) -> Sample:
    x = real(d, shape(d))
    axes = tuple(int(i) for i in np.argsort(d.reals((x.ndim,)), kind="stable"))
    return applied(x, axes=d.one_of([None, axes]))


def _swapaxes(d: Sampler) -> Sample:
    x = real(d, shape(d, least=1))
    return applied(x, axis1=an_axis(d, x), axis2=an_axis(d, x))


def _concat(d: Sampler) -> Sample:
    first = real(d, shape(d, least=1))
    axis = an_axis(d, first)
    longer = list(first.shape)
    longer[axis] = d.integer(0, 3)
    return Sample([first, real(d, tuple(longer))], lambda f, *xs: f(list(xs), axis=axis))


def _stack(d: Sampler) -> Sample:
    whole = shape(d)
    axis = d.integer(-len(whole) - 1, len(whole))
    inputs = [real(d, whole) for _ in range(d.integer(1, 3))]
    return Sample(inputs, lambda f, *xs: f(list(xs), axis=axis))


def _unstack(d: Sampler) -> Sample:
    x = real(d, shape(d, least=1, smallest=1))
    axis = an_axis(d, x)
    used = d.integer(1, x.shape[axis])  # the others' cotangents are absent
    return Sample([x], lambda f, x: f(x, axis=axis)[:used])


def _broadcast_to(d: Sampler) -> Sample:
    whole = shape(d)
    return applied(real(d, broadcastable(d, whole)), shape=whole)


def _a_new_axis(d: Sampler, x: Array) -> int:
    return d.integer(-x.ndim - 1, x.ndim)


def _to_device(d: Sampler) -> Sample:
    return Sample([real(d, shape(d))], lambda f, x: f(x, backend.default_device()))


def _squeeze(d: Sampler) -> Sample:
    x = real(d, (1, *shape(d, most=2), 1))
    return applied(x, axis=d.one_of([None, 0, -1, (0, -1)]))


def _moveaxis(d: Sampler) -> Sample:
    x = real(d, shape(d, least=1))
    one, other = an_axis(d, x), an_axis(d, x)
    several = tuple(range(x.ndim)), tuple(range(-x.ndim, 0))[::-1]
    source, destination = d.one_of([(one, other), several])
    return Sample([x], lambda f, x: f(x, source, destination))


def _roll(d: Sampler) -> Sample:
    x = real(d, shape(d))
    shift, axis = d.integer(-4, 4), some_axes(d, x)
    by = tuple(shift - i for i in axis) if isinstance(axis, tuple) else shift
    return Sample([x], lambda f, x: f(x, by, axis=axis))


def _split(d: Sampler) -> Sample:
    x = real(d, shape(d, least=1))
    axis = an_axis(d, x)
    n = x.shape[axis]
    cuts = sorted(d.integer(0, n) for _ in range(d.integer(0, 2)))
    parts = d.one_of([cuts, n or 1, 1])
    return Sample([x], lambda f, x: tuple(f(x, parts, axis=axis)))


def _broadcast_arrays(d: Sampler) -> Sample:
    whole = shape(d)
    inputs = [real(d, broadcastable(d, whole)) for _ in range(d.integer(1, 3))]
    return Sample(inputs, lambda f, *xs: tuple(f(*xs)))


def _meshgrid(d: Sampler) -> Sample:
    inputs = [real(d, (d.integer(0, 3),)) for _ in range(d.integer(1, 3))]
    indexing = d.one_of(["xy", "ij"])
    return Sample(inputs, lambda f, *xs: tuple(f(*xs, indexing=indexing)))


def _tile(d: Sampler) -> Sample:
    x = real(d, shape(d))
    reps = d.one_of([d.integer(0, 3), tuple(d.integer(0, 2) for _ in range(d.integer(0, 4)))])
    return Sample([x], lambda f, x: f(x, reps))


def _repeat(d: Sampler) -> Sample:
    x = real(d, shape(d))
    axis = axis_or_none(d, x)
    n = x.size if axis is None else x.shape[axis]
    repeats = d.one_of([d.integer(0, 3), [d.integer(0, 2) for _ in range(n)]])
    return Sample([x], lambda f, x: f(x, repeats, axis))


def _pad(d: Sampler) -> Sample:
    mode = d.one_of(["constant", "edge", "reflect", "symmetric", "wrap"])
    x = real(d, shape(d, smallest=0 if mode == "constant" else 1))
    pairs = [(d.integer(0, 4), d.integer(0, 4)) for _ in range(x.ndim)]
    width = d.one_of([pairs, 1, (0, 2)]) if x.ndim else 1
    return Sample([x], lambda f, x: f(x, width, mode))


def _triangle(d: Sampler) -> Sample:
    return applied(real(d, shape(d, least=2)), k=d.integer(-3, 3))


def _diagonal(d: Sampler) -> Sample:
    x = real(d, shape(d, least=2, most=4))
    offset, one, other = d.integer(-4, 4), an_axis(d, x), d.integer(1, x.ndim - 1)
    return Sample([x], lambda f, x: f(x, offset, one, (one + other) % x.ndim))


MOVEMENT = [
    op_info("reshape", _reshape),
    op_info("permute_dims", _permute_dims),
    op_info("swapaxes", _swapaxes),
    op_info("matrix_transpose", lambda d: applied(real(d, shape(d, least=2)))),
    op_info("concat", _concat),
    op_info("stack", _stack),
    op_info("unstack", _unstack),
    op_info("broadcast_to", _broadcast_to),
    along_axis("expand_dims", axes=_a_new_axis, least=0, smallest=0),
    op_info("squeeze", _squeeze),
    op_info("astype", lambda d: applied(real(d, shape(d)), dtype="float64")),
    op_info("to_device", _to_device),
    op_info("moveaxis", _moveaxis),
    along_axis("flip", axes=some_axes, least=0, smallest=0),
    op_info("roll", _roll),
    op_info("split", _split),
    op_info("broadcast_arrays", _broadcast_arrays),
    op_info("meshgrid", _meshgrid),
    op_info("tile", _tile),
    op_info("repeat", _repeat),
    op_info("pad", _pad),
    op_info("tril", _triangle),
    op_info("triu", _triangle),
    op_info("diagonal", _diagonal),
    op_info("trace", _diagonal),
]
