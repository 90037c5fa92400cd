"""Replacements for arguments: other memory layouts of the same value, and wrong values."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

import tinygrad_rnn as tg


class Subclass(np.ndarray[Any, Any]):
    """An array of a class of one's own."""


def unaligned(a: Any) -> Any:
    """The same values at an address that is no multiple of the elements' size."""
    raw = np.empty(a.nbytes + 1, np.uint8)[1:]
    found = raw.view(a.dtype) if a.nbytes else np.empty(0, a.dtype)
    found = found.reshape(a.shape)
    found[...] = a
    return found


def read_only(a: Any) -> Any:
    """A copy that cannot be written to."""
    a = a.copy()
    a.flags.writeable = False
    return a


def strided(a: Any) -> Any:
    """The same values, with a gap after each element of the last axis."""
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


# Other forms of the same values: the result stays the same.
SAME: list[Callable[[Any], Any]] = [
    lambda a: pickle.loads(pickle.dumps(a)),
    lambda a: a.astype(a.dtype.newbyteorder(">")),
    unaligned,
    read_only,
    lambda a: a.view(Subclass),
    lambda a: np.array(a, order="F"),
    lambda a: a[::-1].copy()[::-1] if a.ndim else a,
    lambda a: strided(a) if a.ndim else a,
    lambda a: np.broadcast_to(a, a.shape),
]


def filled(value: float) -> Callable[[Random, Any], Any]:
    """Puts a value at one of the places."""

    def fill(r: Random, a: Any) -> Any:
        if a.dtype.kind != "f" or not a.size:
            return a
        a = a.copy()
        a.reshape(-1)[r.randrange(a.size)] = value
        return a

    return fill


def cut(r: Random, a: Any) -> Any:
    """One element less, along an axis."""
    axis = r.randrange(a.ndim) if a.ndim else 0
    return a if not a.ndim or not a.shape[axis] else np.delete(a, 0, axis)


def grown(r: Random, a: Any) -> Any:
    """One element more, along an axis."""
    axis = r.randrange(a.ndim) if a.ndim else 0
    return a if not a.ndim or not a.shape[axis] else np.concatenate([a, a.take([0], axis)], axis)


def emptied(r: Random, a: Any) -> Any:
    """No elements, along an axis."""
    axis = r.randrange(a.ndim) if a.ndim else 0
    return a.take(np.arange(0), axis) if a.ndim else a


def cast(*dtypes: str) -> Callable[[Random, Any], Any]:
    """Another dtype."""

    def to(r: Random, a: Any) -> Any:
        with np.errstate(all="ignore"):
            return a.astype(r.choice(dtypes))

    return to


def numbered(r: Random, a: Any) -> Any:
    """Integers that may be out of range: below zero, large."""
    if a.dtype.kind not in "iu" or not a.size:
        return a
    a = a.astype(np.int64)
    a.reshape(-1)[r.randrange(a.size)] = r.choice([-1, -100, 10**6, 2**31, 2**62, -(2**63)])
    return a


# Other values, and other kinds of arrays.
OTHER: list[Callable[[Random, Any], Any]] = [
    filled(math.nan),
    filled(math.inf),
    filled(-math.inf),
    filled(1e30),
    cut,
    cut,
    grown,
    grown,
    emptied,
    numbered,
    numbered,
    cast("float16", "float32", "float64"),
    cast("int64", "int32", "uint8", "bool", "uint64"),
    cast("complex64", "complex128"),
    cast("object", "str", "datetime64[s]"),
    lambda r, a: a[..., None],
    lambda r, a: a[0] if a.ndim and len(a) else a,
    lambda r, a: np.ma.masked_array(a, mask=np.zeros(a.shape, bool)),
    lambda r, a: a.view(np.matrix) if a.ndim == 2 else a,
    lambda r, a: a.tolist(),
]

ANYTHING: list[Any] = [
    None,
    0,
    1,
    -1,
    2,
    2.5,
    -0.5,
    math.nan,
    math.inf,
    True,
    "x",
    "",
    b"x",
    (),
    [],
    {},
    [None],
    ("a", 1),
    10**7,
    2**63,
    -(2**70),
    1e300,
    1j,
    object(),
    np.float64(0.5),
    np.int64(2),
    np.float32(math.nan),
    slice(None),
    ...,
    int,
    len,
    np.zeros(0),
    np.zeros((1, 1)),
    [[1], [1, 2]],
]


def replaced(r: Random, old: Any) -> tuple[Any, bool]:
    """Something in the place of an argument, and whether it is the same value in another form."""
    if isinstance(old, tg.Tensor) and r.random() < 0.8:
        new, same = replaced_array(r, old.numpy())
        if isinstance(new, np.ndarray) and r.random() < 0.7:
            return _tensor(new, old.requires_grad), same
        return new, same and not old.requires_grad  # a raw array has no gradient
    if isinstance(old, np.ndarray) and r.random() < 0.8:
        return replaced_array(r, old)
    if isinstance(old, (tuple, list)) and old and r.random() < 0.6:
        at = r.randrange(len(old))
        parts = list(old)
        parts[at], _ = replaced(r, parts[at])
        choices = [parts, [*old, old[0]], list(old[1:]), list(reversed(old))]
        return type(old)(r.choice(choices)) if type(old) in (tuple, list) else tuple(parts), False
    if isinstance(old, dict) and old and r.random() < 0.6:
        key = r.choice(list(old))
        without = {k: v for k, v in old.items() if k != key}
        return r.choice(
            [without, {**old, "other": 1}, {**old, key: replaced(r, old[key])[0]}]
        ), False
    if isinstance(old, (int, float)) and not isinstance(old, bool) and r.random() < 0.7:
        some = [-old, old + 1, old - 1, old * 1000, 0, -1, math.nan, math.inf, float(old), str(old)]
        kinds = [np.float64, np.float32, np.asarray, tg.tensor]
        return r.choice([*some, *(kind(old) for kind in kinds)]), False
    return r.choice(ANYTHING), False


def replaced_array(r: Random, a: Any) -> tuple[Any, bool]:
    """An array in the place of another."""
    if r.random() < 0.3:
        return r.choice(SAME)(a), True
    return r.choice(OTHER)(r, a), False


def _tensor(a: Any, requires_grad: bool) -> Any:
    """A Tensor in an array's memory; the array, where it cannot be one."""
    try:
        x = tg.as_tensor(a)
        if requires_grad and x.dtype.kind == "f":
            x = x.detach()
            x.requires_grad = True
    except tg.TinygradRnnError:
        return a
    return x
