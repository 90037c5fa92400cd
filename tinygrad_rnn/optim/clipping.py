"""Gradient clipping, against exploding gradients."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite, sqrt
from types import ModuleType
from typing import Any

import numpy as np

from .. import kernels
from ..annotations import described
from ..errors import AnomalyError, InvalidTypeError, public
from ..tensor import backend
from ..tensor.graph import wrap
from ..tensor.shapes import flag
from ..tensor.tensor import Tensor
from .checks import above_zero, listed


@public
def clip_grad_norm_(
    parameters: Iterable[Tensor], max_norm: float, *, error_if_nonfinite: bool = False
) -> float:
    """Scales gradients whose total norm exceeds v: g <- g * v / norm (Pascanu et al. 2013).

    If the norm is infinite or NaN, the gradients stay unchanged: the caller can skip the step.

    **Arguments** max_norm: the threshold v. error_if_nonfinite: raises for such a norm instead.
    **Returns** the norm before clipping; 0 if no parameter has a gradient. **Raises** ValueError
    for a v that is not above 0, and for no parameters; TypeError for one Tensor instead of a list;
    FloatingPointError.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.clip_grad_norm_([w], 1.0), [round(g, 3) for g in w.grad.tolist()]
    (10.0, [0.6, 0.8])
    """
    flag(error_if_nonfinite, "clip_grad_norm_: error_if_nonfinite")
    (norm,) = clip_and_read(parameters, max_norm)
    if error_if_nonfinite and not isfinite(norm):
        raise AnomalyError(f"clip_grad_norm_: the gradients' norm is {norm}")
    return norm


def clip_and_read(
    parameters: Iterable[Tensor], max_norm: float, *scalars: Tensor
) -> tuple[float, ...]:
    """Clips as `clip_grad_norm_`. **Returns** the norm before and the scalars.

    On a GPU they come to the host together: a training update waits for the device once.
    """
    max_norm = above_zero(max_norm, "clip_grad_norm_: max_norm")
    return _clipped(_gradients(parameters, "clip_grad_norm_"), max_norm, scalars)


def norm_and_read(groups: list[dict[str, Any]], *scalars: Tensor) -> tuple[float, ...]:
    """Returns the norm of the gradients of an optimizer's groups, and the scalars."""
    pairs = [(p, g.data) for group in groups for p in group["params"] if (g := p.grad) is not None]
    return _clipped(pairs, inf, scalars)


def _clipped(
    gradients: list[tuple[Tensor, Any]], max_norm: float, scalars: tuple[Tensor, ...]
) -> tuple[float, ...]:
    arrays = [g for _, g in gradients]
    xp = backend.module_of(arrays[0]) if arrays else np
    if xp is not np and kernels.cuda.fits(xp, arrays):
        found, scaled = kernels.cuda.clip_norm(xp, arrays, max_norm)
        for (p, _), g in zip(gradients, scaled, strict=True):
            p.grad = wrap(Tensor, g, None)
        return tuple(_read(xp, found, scalars))
    squares = sum(map(kernels.sum_of_squares, arrays))
    square, *values = _read(xp, squares, scalars)
    norm = sqrt(square)
    if isfinite(norm) and norm > max_norm:
        for p, g in gradients:
            p.grad = wrap(Tensor, g * (max_norm / norm), None)  # g may be shared
    return norm, *values


def _read(xp: ModuleType, number: Any, scalars: tuple[Tensor, ...]) -> list[float]:
    """Returns a number and scalars, which come from a GPU in one copy."""
    if xp is np:
        return [float(number), *[float(s.item()) for s in scalars]]
    values = (number, *[s.data for s in scalars])
    there = [xp.asarray(a).reshape(1).astype("float64", copy=False) for a in values]
    read: list[float] = backend.to_host(xp.concatenate(there)).tolist()
    return read


@public
def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Limits every element of the gradients to [-clip_value, clip_value].

    **Raises** ValueError for a value that is not above 0, and for no parameters; TypeError for one
    Tensor instead of a list.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([3.0, -4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.clip_grad_value_([w], 7.0); w.grad.tolist()
    [6.0, -7.0]
    """
    clip_value = above_zero(clip_value, "clip_grad_value_: clip_value")
    for p, g in _gradients(parameters, "clip_grad_value_"):
        p.grad = wrap(Tensor, g.clip(-clip_value, clip_value), None)


def _gradients(parameters: Iterable[Tensor], what: str) -> list[tuple[Tensor, Any]]:
    """Returns the parameters that have a gradient, each once, with the gradients as arrays."""
    pairs = {}
    for p in listed(parameters, what):
        if not isinstance(p, Tensor) or not p.is_leaf:
            raise InvalidTypeError(
                f"{what}: parameters: expected leaf tensors, which have gradients, got "
                f"{described(p)}"
            )
        if p.grad is not None:
            pairs[id(p)] = p, p.grad.data
    return list(pairs.values())
