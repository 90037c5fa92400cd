"""Gradients of the mean over all ranks' samples, summed in buckets."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from types import ModuleType
from typing import Any

import numpy as np

from ..annotations import described
from ..errors import InvalidTypeError, InvalidValueError, ShapeError, public
from ..nn import Module
from ..optim.checks import listed
from ..tensor import backend
from ..tensor.backend import Array
from ..tensor.conversion import DType
from ..tensor.graph import wrap
from ..tensor.tensor import Tensor
from .communication import Communicator, communicator

BUCKET = 2**22  # bytes that the ranks sum at a time: sums of few bytes wait, those of many copy


@public
def average_gradients(
    parameters: Iterable[Tensor],
    count: float = 1,
    *means: Any,
    ranks: Communicator | None = None,
) -> tuple[float, ...]:
    """Replaces each rank's gradients by those of the mean over all ranks' samples.

    Each rank has computed the gradient of a mean over `count` samples (or symbols) of its own. The
    result is the gradient of the mean over the samples of all ranks, however they are divided. A
    rank without samples calls with a count of 0, and the values of its gradients do not matter.

    **Arguments** parameters: the same on each rank. means: others over the same samples, such as
    the loss: scalars. ranks: those of this job, if None. **Returns** the count, and the means, over
    all ranks. **Raises** TypeError, ValueError.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([3.0], requires_grad=True)
    >>> loss = (w * tg.tensor([1.0, 2.0])).mean()
    >>> loss.backward()
    >>> tg.distributed.average_gradients([w], 2, loss)  # of one process alone
    (2.0, 4.5)
    """
    ranks = communicator() if ranks is None else ranks
    mine = float(count)
    if not 0 <= mine < inf:
        raise InvalidValueError(f"average_gradients: count: expected 0 or more, got {count}")
    values = [_number(mean) for mean in means]
    leaves = list({id(p): p for p in listed(parameters, "average_gradients: parameters")}.values())
    for p in leaves:
        if not isinstance(p, Tensor) or not p.is_leaf:
            raise InvalidTypeError(
                f"average_gradients: parameters: expected leaf tensors, got {described(p)}"
            )
    if ranks.size == 1:
        return mine, *values
    own = [p.grad.data if mine and p.grad is not None else None for p in leaves]
    sums = [mine * value if mine else 0.0 for value in values]
    known = [float(p.grad is not None) for p in leaves]
    total, *rest = ranks.sum(np.array([mine, *sums, *known])).tolist()
    sums, known = rest[: len(sums)], rest[len(sums) :]
    kinds: dict[Any, list[tuple[Tensor, Array | None]]] = {}
    for p, g, there in zip(leaves, own, known, strict=True):
        if there:
            kinds.setdefault((p.dtype, backend.module_of(p.data)), []).append((p, g))
        else:
            p.grad = None
    for (dtype, xp), gradients in kinds.items():
        _sum_in_buckets(ranks, xp, dtype, gradients, mine / (total or 1))
    return total, *(s / total if total else 0.0 for s in sums)


def broadcast_parameters(module: Module, *, ranks: Communicator | None = None) -> None:
    """Gives a module the parameters and buffers that rank 0 has.

    **Arguments** ranks: those of this job, if None.

    >>> import tinygrad_rnn as tg
    >>> tg.distributed.broadcast_parameters(tg.nn.Linear(1, 1))
    """
    ranks = communicator() if ranks is None else ranks
    if ranks.size > 1:
        state = ranks.broadcast(module.state_dict() if ranks.rank == 0 else None)
        if ranks.rank:
            module.load_state_dict(state)


def _number(mean: Any) -> float:
    if isinstance(mean, Tensor):
        if mean.size != 1:
            raise ShapeError(f"average_gradients: means: expected scalars, got {described(mean)}")
        return float(mean.item())
    return float(mean)


def _sum_in_buckets(
    ranks: Communicator,
    xp: ModuleType,
    dtype: DType,
    gradients: list[tuple[Tensor, Array | None]],
    weight: float,
) -> None:
    """Sets gradients to the weighted sum over the ranks; None counts as zeros."""
    room = BUCKET // np.dtype(dtype).itemsize
    bucket = xp.empty(min(room, sum(p.size for p, _ in gradients)), dtype)
    targets: list[Array] = []
    used = 0

    def flush() -> None:
        nonlocal used
        ranks.sum(bucket[:used])
        start = 0
        for target in targets:
            target[...] = bucket[start : start + target.size]
            start += target.size
        targets.clear()
        used = 0

    for p, g in gradients:
        summed = xp.empty(p.shape, dtype)
        flat, source = summed.reshape(-1), None if g is None else g.reshape(-1)
        start = 0
        while start < flat.size:
            stop = min(flat.size, start + room - used)
            here = bucket[used : used + stop - start]
            if source is None:
                here[...] = 0
            else:
                xp.multiply(source[start:stop], weight, out=here)
            targets.append(flat[start:stop])
            start, used = stop, used + stop - start
            if used == room:
                flush()
        p.grad = wrap(Tensor, summed, None)
    if used:
        flush()
