"""Gradient clipping, against gradients that explode over long chains."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite, sqrt

from .. import kernels
from ..errors import AnomalyError, InvalidValueError
from ..tensor import backend
from ..tensor.tensor import Tensor


def clip_grad_norm_(
    parameters: Iterable[Tensor], max_norm: float, *, error_if_nonfinite: bool = False
) -> float:
    """If the norm of all gradients together exceeds v, g <- g * v / norm (Pascanu et al. 2013).

    A norm that is infinite or no number leaves the gradients as they are: it is returned, so that
    the caller can leave the step out, or stop.

    **Arguments** max_norm: the threshold v. error_if_nonfinite: raises for such a norm instead.
    **Returns** the norm before clipping. **Raises** ValueError for a v that is not above 0;
    FloatingPointError.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([3.0, 4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.clip_grad_norm_([w], 1.0), [round(g, 3) for g in w.grad.tolist()]
    (10.0, [0.6, 0.8])
    """
    if not max_norm > 0:
        raise InvalidValueError(f"clip_grad_norm_: max_norm: expected more than 0, got {max_norm}")
    gradients = [(p, p.grad) for p in parameters if p.grad is not None]
    norm = sqrt(float(sum(kernels.sum_of_squares(g.data) for _, g in gradients)))
    if not isfinite(norm):
        if error_if_nonfinite:
            raise AnomalyError(f"clip_grad_norm_: the gradients' norm is {norm}")
    elif norm > max_norm:
        for p, g in gradients:
            p.grad = g * (max_norm / norm)  # not in place: the array may be another's as well
    return norm


def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Limits every element of the gradients to [-clip_value, clip_value].

    **Raises** ValueError for a value that is not above 0.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([3.0, -4.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.clip_grad_value_([w], 7.0); w.grad.tolist()
    [6.0, -7.0]
    """
    if not clip_value > 0:
        raise InvalidValueError(
            f"clip_grad_value_: clip_value: expected more than 0, got {clip_value}"
        )
    for p in parameters:
        if p.grad is not None:
            g = p.grad.data
            backend.module_of(g).clip(g, -clip_value, clip_value, out=g)
