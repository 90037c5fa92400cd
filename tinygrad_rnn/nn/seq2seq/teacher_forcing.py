"""Schedules of the teacher forcing ratio, for scheduled sampling (Bengio et al. 2015).

A schedule maps the number of updates to the `teacher_forcing_ratio` of `Seq2Seq.forward`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ...errors import InvalidValueError
from ..checks import probability

Schedule = Callable[[int], float]


def constant(p: float = 1.0) -> Schedule:
    """Always p; 1 is teacher forcing.

    >>> constant(0.75)(1000)
    0.75
    """
    if p != 1:
        probability("constant: p", p)
    return lambda step: p


def linear(slope: float, least: float = 0.0) -> Schedule:
    """1 - slope * step, but never below the least.

    >>> schedule = linear(0.001, least=0.25)
    >>> schedule(0), schedule(500), schedule(2000)
    (1.0, 0.5, 0.25)
    """
    probability("linear: least", least)
    if slope < 0:
        raise InvalidValueError(f"linear: slope: expected 0 or more, got {slope}")
    return lambda step: max(least, 1.0 - slope * step)


def exponential(k: float) -> Schedule:
    """k to the number of updates, with k below 1.

    >>> exponential(0.5)(2)
    0.25
    """
    probability("exponential: k", k)
    return lambda step: float(k**step)


def inverse_sigmoid(k: float) -> Schedule:
    """k / (k + exp(step / k)), with k from 1 up: near 1 at first, and half where step is k ln k.

    >>> round(inverse_sigmoid(100.0)(461), 2)
    0.5
    """
    if k < 1:
        raise InvalidValueError(f"inverse_sigmoid: k: expected 1 or more, got {k}")
    return lambda step: k / (k + math.exp(min(step / k, 700.0)))  # the exponential of 710 overflows
